//! Another kernel as an ordinary process: Debian's user-mode Linux (6.1), over this machine's file system. It has the real
//! IPVS, network namespaces of its own, and is up in three seconds.
//!
//! What runs inside is a program of this machine, usually the test itself with another argument. It writes to this
//! machine's files; only /run, /dev/shm and /lib/modules are its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The kernel, and its modules, where Debian's package user-mode-linux puts them.
const KERNEL: &str = "/usr/bin/linux.uml";
const MODULES: &str = "/usr/lib/uml/modules";

/// Is it there?
pub fn is_installed() -> bool {
    Path::new(KERNEL).exists()
}

/// What ran inside, and how it ended.
pub struct GuestExit {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub output: String,
}

/// A shell's word.
fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs a program inside, as root, with these arguments, environment and kernel modules; `dir` is where the kernel's files
/// lie until it ends, and stay if it fails.
pub fn run_in_guest(
    dir: &Path,
    argv: &[&str],
    env: &[(&str, &str)],
    modules: &[&str],
    limit: Duration,
) -> Result<GuestExit> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    fs::create_dir_all("/lib/modules").context("make /lib/modules")?;
    let init = dir.join("init");
    let file = |name: &str| shell_quote(&dir.join(name).display().to_string());
    let mut script = String::from("#!/bin/bash\n");
    script += &format!("exec </dev/null >{} 2>&1\n", file("console"));
    script += "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs -o mode=755 tmpfs /run\n\
        mkdir -p /dev/shm /dev/pts /run/netns /run/lock; mount -t tmpfs -o mode=1777 shm /dev/shm\n\
        mount -t devpts devpts /dev/pts; mount -t bpf bpf /sys/fs/bpf\n";
    script += &format!("mount -t hostfs -o {MODULES} none /lib/modules\n");
    script += "echo 1 >/proc/sys/kernel/panic; ip link set lo up; hostname uml\n";
    if !modules.is_empty() {
        script += &format!("modprobe -a {}\n", modules.join(" "));
    }
    script += "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8\n";
    for (name, value) in env {
        script += &format!("export {name}={}\n", shell_quote(value));
    }
    let words: Vec<String> = argv.iter().map(|a| shell_quote(a)).collect();
    script += &format!("{} >{} 2>&1\n", words.join(" "), file("output"));
    // The status last, and whole.
    script += &format!("echo $? >{}; mv {} {}; sync\n", file("status.new"), file("status.new"), file("status"));
    script += "busybox poweroff -f\n";
    fs::write(&init, script).context("write the guest's init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("write the guest's init")?;

    let log = fs::File::create(dir.join("kernel")).context("write the kernel's log")?;
    let mut kernel = Command::new(KERNEL)
        .args(["mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "con=null"])
        .arg("con0=fd:0,fd:1")
        .arg(format!("init={}", init.display()))
        .arg("umid=kernel0")
        .arg(format!("uml_dir={}/", dir.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("write the kernel's log")?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {KERNEL}: package user-mode-linux"))?;
    let group = Pid::from_raw(kernel.id().cast_signed());
    let deadline = Instant::now() + limit;
    let timed_out = loop {
        if kernel.try_wait().context("wait for the guest")?.is_some() {
            break false;
        }
        if Instant::now() > deadline {
            break true;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // Its processes are processes of this machine; what a crash left ends here.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = kernel.wait();
    let text = |name: &str| fs::read(dir.join(name)).map(|b| String::from_utf8_lossy(&b).into_owned());
    let output = text("output").unwrap_or_default();
    let status = text("status").ok().and_then(|s| s.trim().parse().ok());
    let Some(status) = status else {
        let why = if timed_out { "ran past its time" } else { "died" };
        let console = text("console").unwrap_or_default() + &text("kernel").unwrap_or_default();
        bail!("the guest {why}; its files are in {}\n{output}\n{console}", dir.display());
    };
    if status == 0 {
        let _ = fs::remove_dir_all(dir);
    }
    Ok(GuestExit { status, output })
}

/// Runs one test of the calling test binary inside, an ignored one; panics with what it printed if it fails.
pub fn run_test_in_guest(name: &str, env: &[(&str, &str)], modules: &[&str], limit: Duration) {
    let me = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let target = me.parent().and_then(Path::parent).and_then(Path::parent).unwrap_or(Path::new("/tmp"));
    let suffix = env.iter().map(|(_, v)| v.chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>());
    let folder = format!("{}-{}", name.replace("::", "-"), suffix.collect::<Vec<_>>().join("-"));
    let dir = target.join("uml").join(folder);
    let program = me.display().to_string();
    let argv = [program.as_str(), "--exact", name, "--ignored", "--nocapture", "--test-threads=1"];
    match run_in_guest(&dir, &argv, env, modules, limit) {
        Ok(ended) if ended.status == 0 => {
            let _ = std::io::stdout().write_all(ended.output.as_bytes());
        }
        Ok(ended) => panic!("{name} failed in the guest, files in {}:\n{}", dir.display(), ended.output),
        Err(e) => panic!("{e:#}"),
    }
}

//! Another kernel as an ordinary process: Debian's user-mode Linux (6.1) on this machine's file system. It has IPVS and
//! network namespaces of its own, and boots in three seconds.
//!
//! The guest runs a program of this machine, usually the test binary with another argument. It shares this machine's
//! files except /run, /dev/shm and /lib/modules.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The kernel, and its modules, where Debian's package user-mode-linux puts them.
const KERNEL: &str = "/usr/bin/linux.uml";
const MODULES: &str = "/usr/lib/uml/modules";

/// True if the package user-mode-linux is installed.
pub fn is_installed() -> bool {
    Path::new(KERNEL).exists()
}

/// The result of a program in the guest.
pub struct GuestExit {
    /// The exit status.
    pub status: i32,
    /// The output.
    pub output: String,
}

/// Quotes a word for the shell.
fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The guest's init: mounts file systems, loads modules, runs the program, and writes its output and status to files in `dir`.
fn init_script(dir: &Path, argv: &[&str], env: &[(&str, &str)], modules: &[&str]) -> String {
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
    // The status last, and by renaming, so that it is complete.
    script += &format!("echo $? >{}; mv {} {}; sync\n", file("status.new"), file("status.new"), file("status"));
    script + "busybox poweroff -f\n"
}

/// Starts the kernel with this init, as the leader of a process group.
fn start_kernel(dir: &Path, init: &Path) -> Result<Child> {
    let log = fs::File::create(dir.join("kernel")).context("write the kernel's log")?;
    Command::new(KERNEL)
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
        .with_context(|| format!("start {KERNEL} (package user-mode-linux)"))
}

/// Waits for the kernel's end. Returns false if `limit` has passed first; then the kernel is killed.
fn wait_for_kernel(kernel: &mut Child, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    let ended = loop {
        if kernel.try_wait().context("wait for the guest")?.is_some() {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // The guest's processes are processes of this machine: kill those that a crash has left.
    let _ = killpg(Pid::from_raw(kernel.id().cast_signed()), Signal::SIGKILL);
    let _ = kernel.wait();
    Ok(ended)
}

/// Runs a program in a guest, as root, with these arguments, environment and kernel modules. `dir` is the directory of the
/// guest's files; they stay if the program fails.
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
    fs::write(&init, init_script(dir, argv, env, modules)).context("write the guest's init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("write the guest's init")?;
    let mut kernel = start_kernel(dir, &init)?;
    let ended = wait_for_kernel(&mut kernel, limit)?;
    let text = |name: &str| fs::read(dir.join(name)).map(|b| String::from_utf8_lossy(&b).into_owned());
    let output = text("output").unwrap_or_default();
    let status = text("status").ok().and_then(|s| s.trim().parse().ok());
    let Some(status) = status else {
        let reason = if ended { "crashed" } else { "exceeded its time limit" };
        let console = text("console").unwrap_or_default() + &text("kernel").unwrap_or_default();
        bail!("the guest {reason}; its files are in {}\n{output}\n{console}", dir.display());
    };
    if status == 0 {
        let _ = fs::remove_dir_all(dir);
    }
    Ok(GuestExit { status, output })
}

/// Runs an ignored test of the calling test binary in a guest. Panics with its output if it fails.
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

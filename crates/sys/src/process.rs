//! Processes: listed from /proc, watched for their end, and started with attributes.

use std::ffi::CString;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getgrouplist, setgid, setgroups, setuid};

use crate::{Context, Result};

/// Calls `f` for each process with its ID, its short name and the words of its command line. Processes that end
/// meanwhile are skipped.
pub fn for_each_process(mut f: impl FnMut(u32, &str, &[&str])) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(short) = fs::read(entry.path().join("comm")) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let (short, command) = (String::from_utf8_lossy(&short), String::from_utf8_lossy(&command));
        let words: Vec<&str> = command.trim_end_matches('\0').split('\0').filter(|w| !w.is_empty()).collect();
        f(pid, short.trim_end(), &words);
    }
}

/// A descriptor that becomes readable when the process ends (pidfd_open(2), Linux 5.3); `None` if the process has
/// ended.
pub fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    // SAFETY: The system call takes no pointers, and a returned descriptor has no other owner.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, libc::O_NONBLOCK);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Makes the kernel send SIGTERM to the program when the thread that starts it ends, so also when this process ends.
pub fn set_parent_death_signal(command: &mut Command) {
    // SAFETY: Between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from));
    }
}

/// Makes the program run as this user, with this group and all groups that the user is a member of (initgroups(3)).
pub fn run_as_user(command: &mut Command, user: &str, uid: u32, gid: u32) -> Result<()> {
    let operation = || format!("look up the groups of {user}");
    let name = CString::new(user).context(operation)?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).context(operation)?;
    // SAFETY: Between fork and exec only system calls are made; the groups have been looked up before.
    unsafe {
        command.pre_exec(move || {
            setgroups(&groups)?;
            setgid(Gid::from_raw(gid))?;
            Ok(setuid(Uid::from_raw(uid))?)
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_listed() {
        let mut seen = false;
        for_each_process(|pid, short, command| {
            seen |= pid == std::process::id() && !short.is_empty() && !command.is_empty()
        });
        assert!(seen && open_pidfd(std::process::id()).is_some());
    }
}

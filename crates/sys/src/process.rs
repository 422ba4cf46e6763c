//! The processes of this machine, as /proc shows them.

use std::ffi::CString;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getgrouplist, setgid, setgroups, setuid};

use crate::{Context, Result};

/// Calls `look` for each process with its id, its short name and its command line; those that end meanwhile are left out.
pub fn for_each_process(mut look: impl FnMut(u32, &str, &[&str])) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(short) = fs::read(entry.path().join("comm")) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let (short, command) = (String::from_utf8_lossy(&short), String::from_utf8_lossy(&command));
        let words: Vec<&str> = command.trim_end_matches('\0').split('\0').filter(|w| !w.is_empty()).collect();
        look(pid, short.trim_end(), &words);
    }
}

/// A descriptor that becomes readable when the process ends (pidfd_open(2), Linux 5.3); `None` if it has.
pub fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    // SAFETY: no pointers are involved; a descriptor that comes back is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, libc::O_NONBLOCK);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// The program gets SIGTERM when the thread that starts it ends, and so with this process.
pub fn set_parent_death_signal(command: &mut Command) {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from));
    }
}

/// The program runs as this user, in this group and in all others that the user is a member of (initgroups(3)).
pub fn run_as_user(command: &mut Command, user: &str, uid: u32, gid: u32) -> Result<()> {
    let what = || format!("look up the groups of {user}");
    let name = CString::new(user).context(what)?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).context(what)?;
    // SAFETY: between fork and exec only system calls are made, with what was looked up before.
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
    fn this_process_is_among_them() {
        let mut seen = false;
        for_each_process(|pid, short, command| {
            seen |= pid == std::process::id() && !short.is_empty() && !command.is_empty()
        });
        assert!(seen && open_pidfd(std::process::id()).is_some());
    }
}

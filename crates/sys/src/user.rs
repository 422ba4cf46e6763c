//! Users, groups and capabilities.

use nix::unistd::{Group, User};

use crate::{Context, Error, Result};

/// The user ID and the group ID of a user and a group. Without a group it is the user's primary group.
pub fn lookup_ids(user: &str, group: Option<&str>) -> Result<(u32, u32)> {
    let operation = || format!("look up user {user}");
    let u = User::from_name(user).context(operation)?;
    let u = u.ok_or_else(|| Error::new(operation(), "there is no such user"))?;
    let gid = match group {
        None => u.gid,
        Some(g) => {
            let operation = || format!("look up group {g}");
            let group = Group::from_name(g).context(operation)?;
            group.ok_or_else(|| Error::new(operation(), "there is no such group"))?.gid
        }
    };
    Ok((u.uid.as_raw(), gid.as_raw()))
}

/// The number of the effective user.
pub fn effective_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// True if the effective user is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Drops all capabilities of this thread except these, given by their numbers in capability.h. The thread cannot get
/// them back. A program that is executed as root gets the capabilities of its bounding set again (capabilities(7)).
pub fn drop_capabilities_except(kept: &[u32]) -> Result<()> {
    /// _LINUX_CAPABILITY_VERSION_3: each set has two words.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // The effective, permitted and inheritable sets: of the capabilities 0 to 31, then of the others.
    let mut data = [0u32; 6];
    let operation = || "drop capabilities".into();
    // SAFETY: Header and data have the sizes of this version. Process ID 0 is this thread.
    if unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context(operation);
    }
    for (word, set) in data.chunks_mut(3).enumerate() {
        let bits = kept.iter().filter(|n| (**n / 32) as usize == word).fold(0, |bits, n| bits | 1 << (n % 32));
        set[1] &= bits;
        set[0] = set[1];
        set[2] = 0;
    }
    // SAFETY: As for capget.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context(operation);
    }
    Ok(())
}

/// The names of those capabilities of `wanted` that this process does not have. `wanted` has names and numbers of
/// capability.h.
pub fn missing_capabilities<'a>(wanted: &[(&'a str, u32)]) -> Vec<&'a str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let has = |n: u32| effective.is_none_or(|e| e & (1 << n) != 0);
    wanted.iter().filter(|(_, n)| !has(*n)).map(|(name, _)| *name).collect()
}

//! Users and groups, by name.

use nix::unistd::{Group, User};

use crate::{Context, Error, Result};

/// Numbers of a user and a group; the user's own group if none is named.
pub fn lookup_ids(user: &str, group: Option<&str>) -> Result<(u32, u32)> {
    let what = || format!("look up user {user}");
    let u = User::from_name(user).context(what)?.ok_or_else(|| Error::new(what(), "there is no such user"))?;
    let gid = match group {
        None => u.gid,
        Some(g) => {
            let what = || format!("look up group {g}");
            Group::from_name(g).context(what)?.ok_or_else(|| Error::new(what(), "there is no such group"))?.gid
        }
    };
    Ok((u.uid.as_raw(), gid.as_raw()))
}

/// Is this process root?
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Gives up every capability but these (by number, as capability.h has them), for good as far as this process is concerned: a
/// program that root executes has those of its bounding set again (capabilities(7)).
pub fn drop_capabilities_except(kept: &[u32]) -> Result<()> {
    /// _LINUX_CAPABILITY_VERSION_3: two words for each set.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // Effective, permitted, inheritable, of the first 32 capabilities and then of the others.
    let mut data = [0u32; 6];
    let what = || "give up capabilities".into();
    // SAFETY: the header and the data have the sizes of this version; 0 is this thread.
    if unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context(what);
    }
    for (word, set) in data.chunks_mut(3).enumerate() {
        let bits = kept.iter().filter(|n| (**n / 32) as usize == word).fold(0, |bits, n| bits | 1 << (n % 32));
        set[1] &= bits;
        set[0] = set[1];
        set[2] = 0;
    }
    // SAFETY: as above.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context(what);
    }
    Ok(())
}

/// Those capabilities of `wanted` (name and number, as capability.h has them) that this process lacks.
pub fn missing_capabilities<'a>(wanted: &[(&'a str, u32)]) -> Vec<&'a str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let has = |n: u32| effective.is_none_or(|e| e & (1 << n) != 0);
    wanted.iter().filter(|(_, n)| !has(*n)).map(|(name, _)| *name).collect()
}

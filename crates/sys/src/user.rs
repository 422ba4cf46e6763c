//! Users and groups, by name.

use nix::unistd::{Group, User};

use crate::{Context, Error, Result};

/// Numbers of a user and a group; the user's own group if none is named.
pub fn lookup(user: &str, group: Option<&str>) -> Result<(u32, u32)> {
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

/// Those capabilities of `wanted` (name and number, as capability.h has them) that this process lacks.
pub fn lacking<'a>(wanted: &[(&'a str, u32)]) -> Vec<&'a str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let has = |n: u32| effective.is_none_or(|e| e & (1 << n) != 0);
    wanted.iter().filter(|(_, n)| !has(*n)).map(|(name, _)| *name).collect()
}

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

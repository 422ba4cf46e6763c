//! The environment of a configuration: the files, users, interfaces and programs of this host.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use evenkeel_core::config::environment::{Environment, IprouteDirs, ProgramStatus, ReadError};
use nix::unistd::{AccessFlags, Group, User, access};

use crate::netlink::Netlink;
use crate::trusted_path::{self, PathError};

/// This host. Lookups are cached, because thousands of lines may ask for the same interface or user.
#[derive(Default)]
pub struct HostEnvironment {
    addresses: OnceCell<Vec<(IpAddr, IpAddr)>>,
    interfaces: RefCell<HashMap<String, bool>>,
    users: RefCell<HashMap<String, bool>>,
}

impl HostEnvironment {
    /// An environment with empty caches.
    pub fn new() -> Self {
        HostEnvironment::default()
    }

    /// The addresses of this host with their netmasks, without loopback addresses.
    fn addresses(&self) -> &[(IpAddr, IpAddr)] {
        self.addresses.get_or_init(|| {
            let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
            let ip = |a: nix::sys::socket::SockaddrStorage| {
                let v4 = a.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
                v4.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
            };
            all.filter_map(|a| Some((ip(a.address?)?, ip(a.netmask?)?))).filter(|(a, _)| !a.is_loopback()).collect()
        })
    }
}

fn cached_lookup(cache: &RefCell<HashMap<String, bool>>, name: &str, lookup: impl FnOnce() -> bool) -> bool {
    if let Some(known) = cache.borrow().get(name) {
        return *known;
    }
    let found = lookup();
    cache.borrow_mut().insert(name.to_owned(), found);
    found
}

impl Environment for HostEnvironment {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let other = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => ReadError::Missing,
            _ => ReadError::Other(e.to_string()),
        };
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let meta = fs::metadata(path).map_err(other)?;
        if meta.is_dir() {
            return Err(ReadError::Directory);
        }
        if !meta.is_file() || meta.permissions().mode() & 0o111 != 0 {
            return Err(ReadError::Executable);
        }
        fs::read(path).map_err(other)
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let found = pattern.to_str().and_then(|p| glob::glob(p).ok());
        let mut files: Vec<PathBuf> = found.into_iter().flatten().filter_map(Result::ok).collect();
        files.sort();
        files
    }

    fn env_variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn host_name(&self) -> String {
        crate::resolver::host_name().split('.').next().unwrap_or("").to_owned()
    }

    fn random_seed(&self) -> u64 {
        std::time::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64)
    }

    fn has_interface(&self, name: &str) -> Option<bool> {
        Some(cached_lookup(&self.interfaces, name, || nix::net::if_::if_nametoindex(name).is_ok()))
    }

    fn has_user(&self, name: &str) -> Option<bool> {
        Some(cached_lookup(&self.users, name, || {
            let number = name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty();
            number || matches!(User::from_name(name), Ok(Some(_)))
        }))
    }

    fn has_group(&self, name: &str) -> Option<bool> {
        let number = name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty();
        Some(number || matches!(Group::from_name(name), Ok(Some(_))))
    }

    fn iproute_id(&self, dirs: &IprouteDirs, table: &str, name: &str) -> Option<Option<u32>> {
        let or_default = |dir: &Option<PathBuf>, default: &[&str]| {
            dir.clone().map_or_else(|| default.iter().map(PathBuf::from).collect(), |d| vec![d])
        };
        let etc = or_default(&dirs.etc, &["/etc/iproute2"]);
        let usr = or_default(&dirs.usr, &["/usr/share/iproute2", "/usr/lib/iproute2"]);
        let files_of = |dir: PathBuf| {
            let more = glob::glob(&dir.join(format!("{table}.d/*.conf")).to_string_lossy());
            std::iter::once(dir.join(table)).chain(more.into_iter().flatten().flatten())
        };
        let paths = etc.into_iter().chain(usr).flat_map(files_of);
        let texts: Vec<String> = paths.filter_map(|p| fs::read_to_string(p).ok()).collect();
        let id_in = |l: &str| {
            let mut words = l.split_whitespace();
            let n = words.next().filter(|_| words.next() == Some(name))?;
            n.strip_prefix("0x").map_or_else(|| n.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
        };
        (!texts.is_empty()).then(|| texts.iter().flat_map(|t| t.lines()).find_map(id_in))
    }

    fn cpu_count(&self) -> Option<u32> {
        std::thread::available_parallelism().ok().map(|n| n.get() as u32)
    }

    fn program_status(&self, path: &str) -> ProgramStatus {
        let Some(full) = find_program(path) else {
            let reason = if path.contains('/') { "there is no such file" } else { "no directory of PATH contains it" };
            return ProgramStatus::Unusable(reason.to_owned());
        };
        match fs::metadata(&full) {
            Ok(m) if m.is_dir() => return ProgramStatus::Unusable("it is a directory".to_owned()),
            Ok(_) if access(&full, AccessFlags::X_OK).is_err() => {
                return ProgramStatus::Unusable("it is not executable; `chmod +x` it".to_owned());
            }
            Ok(_) => {}
            Err(e) => return ProgramStatus::Unusable(e.to_string()),
        }
        match full.to_str().map(trusted_path::resolve_program) {
            Some(Err(PathError::Untrusted { element, owner, mode })) => {
                ProgramStatus::Unsafe { element: element.display().to_string(), owner, mode }
            }
            Some(Err(PathError::Unusable(reason))) => ProgramStatus::Unusable(reason),
            Some(Ok(_)) | None => ProgramStatus::Safe,
        }
    }

    fn route_interface(&self, addr: IpAddr) -> Option<String> {
        let route = Netlink::new().and_then(|mut n| n.lookup_route(addr)).ok()??;
        nix::net::if_::if_indextoname(route.oif).ok()?.into_string().ok()
    }

    fn is_on_link(&self, addr: IpAddr) -> Option<bool> {
        if addr.is_loopback() {
            return Some(true);
        }
        let of_family: Vec<_> = self.addresses().iter().filter(|(a, _)| a.is_ipv4() == addr.is_ipv4()).collect();
        if of_family.is_empty() {
            return None;
        }
        Some(of_family.iter().any(|(own, mask)| match (own, mask, addr) {
            (IpAddr::V4(o), IpAddr::V4(m), IpAddr::V4(a)) => (u32::from(*o) ^ u32::from(a)) & u32::from(*m) == 0,
            (IpAddr::V6(o), IpAddr::V6(m), IpAddr::V6(a)) => (u128::from(*o) ^ u128::from(a)) & u128::from(*m) == 0,
            _ => false,
        }))
    }
}

/// The path of a program, which is searched in the directories of PATH if it has no slash.
fn find_program(path: &str) -> Option<PathBuf> {
    if path.contains('/') {
        return Path::new(path).exists().then(|| PathBuf::from(path));
    }
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|d| d.join(path)).find(|p| access(p, AccessFlags::X_OK).is_ok() && p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iproute_names_are_looked_up_in_the_configured_directories() {
        let dir = std::env::temp_dir().join(format!("evenkeel-tables-{}", std::process::id()));
        fs::create_dir_all(dir.join("rt_tables.d")).expect("writable");
        fs::write(dir.join("rt_tables"), "# names\n4711 blue\n0x10 green\n").expect("writable");
        fs::write(dir.join("rt_tables.d/more.conf"), "12 red\n").expect("writable");
        let at = IprouteDirs { etc: Some(dir.clone()), usr: Some(dir.join("nowhere")) };
        let m = HostEnvironment::new();
        let found = ["blue", "green", "red", "main"].map(|n| m.iproute_id(&at, "rt_tables", n));
        assert_eq!(found, [Some(Some(4711)), Some(Some(16)), Some(Some(12)), Some(None)]);
        assert_eq!(m.iproute_id(&at, "rt_protos", "bird"), None, "there is no such table");
        fs::remove_dir_all(dir).expect("removed");
    }
}

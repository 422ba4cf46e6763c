//! ipvsadm's messages for errno values (ipvs_strerror() of libipvs, verified by recordings).

use evenkeel_core::ipvs::Change;
use evenkeel_sys::Error;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOPROTOOPT: i32 = 92;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;

/// The message for a rejected change.
pub fn change_error(change: &Change, e: &Error) -> String {
    use Change as C;
    let special = match (change, e.errno()) {
        (C::AddService(_), Some(EEXIST)) => Some("Service already exists"),
        (C::AddService(_) | C::EditService(_), Some(ENOENT)) => Some("Scheduler or persistence engine not found"),
        (C::EditService(_) | C::RemoveService(_) | C::Zero(_), Some(ESRCH)) => Some("No such service"),
        (C::AddDest(..) | C::EditDest(..) | C::RemoveDest(..), Some(ESRCH)) => Some("Service not defined"),
        (C::AddDest(..), Some(EEXIST)) => Some("Destination already exists"),
        (C::EditDest(..) | C::RemoveDest(..), Some(ENOENT)) => Some("No such destination"),
        (C::StartDaemon(_), Some(EEXIST)) => Some("Daemon has already run"),
        (C::StopDaemon(_), Some(ESRCH)) => Some("No daemon is running"),
        _ => None,
    };
    special.map_or_else(|| general_error(e), str::to_owned)
}

/// The message for any other error.
pub fn general_error(e: &Error) -> String {
    let text = match e.errno() {
        Some(EPERM | EACCES) => "Permission denied (you must be root)",
        Some(EINVAL) => "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        Some(ENOPROTOOPT) => "Protocol not available",
        Some(ENOMEM) => "Memory allocation problem",
        Some(EOPNOTSUPP) => "Operation not supported with IPv6",
        Some(EAFNOSUPPORT) => "Operation not supported with specified address family",
        Some(ESRCH) => "No such service",
        Some(n) => return strerror(n),
        None => return e.to_string(),
    };
    text.to_owned()
}

/// strerror(3), without the ` (os error N)` that Rust appends.
fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

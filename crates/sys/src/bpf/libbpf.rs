//! libbpf: its log, its errors, and what this crate needs to know of its maps.

use std::io;
use std::sync::Mutex;

use libbpf_rs::{MapCore, PrintLevel, set_print};

use crate::Error;

/// The reason of the verifier's last rejection.
static LAST_REJECTION: Mutex<Option<String>> = Mutex::new(None);

/// The line of the verifier's log that names the reason: the last line before the statistics.
fn rejection_reason(log: &str) -> Option<String> {
    let (_, log) = log.split_once("-- BEGIN PROG LOAD LOG --")?;
    let (log, _) = log.split_once("-- END PROG LOAD LOG --").unwrap_or((log, ""));
    let mut lines = log.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("processed "));
    lines.next_back().map(str::to_owned)
}

/// Takes the reason of the verifier's last rejection, and forgets it.
pub(super) fn take_last_rejection() -> Option<String> {
    LAST_REJECTION.lock().ok().and_then(|mut last| last.take())
}

/// Writes libbpf's messages to this program's log instead of stderr.
pub(super) fn redirect_libbpf_log() {
    set_print(Some((PrintLevel::Debug, |level, line| {
        let line = line.trim_end();
        match level {
            // Every failure is also returned as an error, so a warning here is only a detail.
            PrintLevel::Warn => {
                if let Some(reason) = rejection_reason(line)
                    && let Ok(mut last) = LAST_REJECTION.lock()
                {
                    *last = Some(reason);
                }
                tracing::debug!(target: "libbpf", "{line}");
            }
            _ => tracing::trace!(target: "libbpf", "{line}"),
        }
    })));
}

/// An error of libbpf. A missing permission becomes EPERM with a hint.
pub(super) fn bpf_error(operation: String, e: libbpf_rs::Error) -> Error {
    if e.kind() == libbpf_rs::ErrorKind::PermissionDenied {
        let hint = "it needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
        return Error::from_errno(operation, libc::EPERM).with_hint(hint);
    }
    Error::from_io(operation, io::Error::other(format!("{e:#}")))
}

/// True for a static table (`TABLE` in bpf/maps.h): it has one value, which is a C array at an address that the program
/// knows. Other array maps have a value for each element.
pub(super) fn is_static_table(map: &impl MapCore) -> bool {
    map.max_entries() == 1
}

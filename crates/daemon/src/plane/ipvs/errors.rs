//! Errors of IPVS with a hint: the kernel gives only a number.

use evenkeel_core::plan::Step;
use evenkeel_sys::Error;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// Explains the error of a step. ENOENT of a service means that its scheduler or persistence engine is missing.
pub fn explain_step_error(step: &Step, e: Error) -> Error {
    let (Step::AddService(_, spec) | Step::EditService(_, spec)) = step else { return explain_error(e) };
    if e.errno() != Some(ENOENT) {
        return explain_error(e);
    }
    let reason = match spec.persistence_engine {
        None => format!("the module ip_vs_{} cannot be loaded", spec.scheduler),
        Some(engine) => format!("the module ip_vs_{} or ip_vs_pe_{} cannot be loaded", spec.scheduler, engine.name()),
    };
    let hint = "load it, or choose another scheduler; the daemon tries again every few seconds";
    Error::new(e.operation, reason).with_hint(hint)
}

/// Explains an error number of IPVS.
pub fn explain_error(e: Error) -> Error {
    const HINTS: [(i32, &str); 6] = [
        (EPERM, "run as root, or with CAP_NET_ADMIN"),
        (ENOENT, "the server does not exist any more: another program changes the table"),
        (ESRCH, "the service does not exist any more: another program changes the table"),
        (EEXIST, "it exists already: another program changes the table"),
        (ENODEV, "the interface does not exist"),
        (EINVAL, "a server must have a unicast address of the service's family, or be behind a tunnel"),
    ];
    match HINTS.iter().find(|(n, _)| e.errno() == Some(*n)) {
        Some((_, hint)) => e.with_hint(hint),
        None => e,
    }
}

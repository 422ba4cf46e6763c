//! MISC_CHECK: the exit status of a program. 0 passes, 1 fails; with `misc_dynamic` 2 to 255 pass and set the weight to
//! the status minus 2 (keepalived.conf(5)).

use evenkeel_core::health::Phase;
use evenkeel_core::model::ScriptCommand;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, program};

pub async fn run(
    command: &ScriptCommand,
    dynamic: bool,
    secure: bool,
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let exit = program::run_program(command, timer.phase_timeout, secure).await;
    timer.end_phase(Phase::Expect);
    let status = exit.map_err(|why| (Phase::Expect, why))?;
    match status.code() {
        Some(0) => Ok("exit status 0".to_owned().into()),
        Some(n) if dynamic && n > 1 => {
            Ok(ProbeSuccess { detail: format!("exit status {n}: weight {}", n - 2), weight: Some(n as u32 - 2) })
        }
        _ => Err((Phase::Expect, status.to_string())),
    }
}

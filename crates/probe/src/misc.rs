//! MISC_CHECK: a program judges. Status 0 is good, 1 bad; with `misc_dynamic` 2 to 255 set the weight to that less 2
//! (keepalived.conf(5)).

use evenkeel_core::health::Phase;
use evenkeel_core::model::ScriptCommand;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, program};

pub async fn run(
    command: &ScriptCommand,
    dynamic: bool,
    secure: bool,
    watch: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let ended = program::run_program(command, watch.phase_timeout, secure).await;
    watch.end_phase(Phase::Expect);
    let status = ended.map_err(|why| (Phase::Expect, why))?;
    match status.code() {
        Some(0) => Ok("exit status 0".to_owned().into()),
        Some(n) if dynamic && n > 1 => {
            Ok(ProbeSuccess { detail: format!("exit status {n}: weight {}", n - 2), weight: Some(n as u32 - 2) })
        }
        _ => Err((Phase::Expect, status.to_string())),
    }
}

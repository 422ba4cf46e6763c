//! Programs that read a FIFO (`notify_fifo_script`): started again when they end, as long as they are configured.

use std::time::Duration;

use evenkeel_core::model::ScriptCommand;

use evenkeel_probe::program;

/// Before it is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs a reader for as long as it is configured; it ends with the daemon.
pub async fn run(reader: ScriptCommand, secure: bool) {
    let name = reader.argv.first().cloned().unwrap_or_default();
    let mut trouble = String::new();
    loop {
        let ended = async {
            let mut command = program::program_command(&reader, secure)?;
            command.kill_on_drop(true);
            evenkeel_sys::process::set_parent_death_signal(command.as_std_mut());
            let mut child = command.spawn().map_err(|e| format!("cannot run it: {e}"))?;
            child.wait().await.map(|status| status.to_string()).map_err(|e| e.to_string())
        };
        let (Ok(how) | Err(how)) = ended.await;
        if how != trouble {
            tracing::warn!(script = %name, "the reader of a FIFO, {name}, has ended and is started again: {how}");
            trouble = how;
        }
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

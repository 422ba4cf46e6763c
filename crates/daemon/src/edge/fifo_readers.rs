//! FIFO readers: the programs of `notify_fifo_script` and the like, which read a notify FIFO. A reader that ends is
//! started again.

use std::time::Duration;

use evenkeel_core::model::ScriptCommand;
use evenkeel_probe::program;

/// Delay before a reader is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs a reader until the task is stopped. The reader ends with the edge process.
pub async fn run(reader: ScriptCommand, secure: bool) {
    let name = reader.argv.first().cloned().unwrap_or_default();
    let mut last_end = String::new();
    loop {
        let run = async {
            let mut command = program::program_command(&reader, secure)?;
            command.kill_on_drop(true);
            evenkeel_sys::process::set_parent_death_signal(command.as_std_mut());
            let mut child = command.spawn().map_err(|e| format!("cannot run it: {e}"))?;
            child.wait().await.map(|status| status.to_string()).map_err(|e| e.to_string())
        };
        let (Ok(how) | Err(how)) = run.await;
        if how != last_end {
            tracing::warn!(script = %name, "the FIFO reader {name} has ended, starting it again: {how}");
            last_end = how;
        }
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

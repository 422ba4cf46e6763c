//! Health checks against keepalived's recorded runs, and against real servers that fail in every way that can be staged.

mod broken_servers;
mod discovery;
mod fixture;
mod misc_check;
mod mock_servers;
mod real_servers;
mod recording;
mod replay;

/// Whoever replays what happened at certain moments holds it alone; those who load the machine share it.
static TIMING_LOCK: std::sync::RwLock<()> = std::sync::RwLock::new(());

//! Health checks against keepalived's recorded runs, and against real servers that fail in every way that can be staged.

mod names;
mod peers;
mod programs;
mod recorded;
mod replay;
mod rough;
mod servers;
mod stage;

/// Whoever replays what happened at certain moments holds it alone; those who load the machine share it.
static QUIET: std::sync::RwLock<()> = std::sync::RwLock::new(());

//! Health checks: recorded runs of keepalived, and real servers that fail in every way that can be arranged.

mod broken_servers;
mod comparison;
mod discovery;
mod fixture;
mod misc_check;
mod mock_servers;
mod real_servers;
mod recording;
mod replay;

/// A test that depends on timing takes the write lock, and runs alone. Tests that load the machine take the read lock.
static TIMING_LOCK: std::sync::RwLock<()> = std::sync::RwLock::new(());

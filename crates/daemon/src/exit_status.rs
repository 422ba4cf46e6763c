//! keepalived's exit statuses, as its man page and its behaviour have them.

/// The daemon cannot run.
pub const FATAL: u8 = 1;
/// The configuration is not usable.
pub const CONFIG: u8 = 2;
/// A file cannot be read, or the process lacks privileges.
pub const NO_PERMISSION: u8 = 4;

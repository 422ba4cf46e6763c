//! Why some of keepalived's keywords will never do anything here.

pub(crate) const SNMP: &str = "there is no SNMP agent: status, metrics and events are an API of their own";
pub(crate) const DBUS: &str = "there is no D-Bus interface: the control socket does that work";
pub(crate) const IPTABLES: &str = "nftables is used, never iptables";
pub(crate) const PROCESSES: &str = "the daemon's processes and threads have fixed names";
pub(crate) const DEBUGGING: &str = "an aid for keepalived's own debugging";
pub(crate) const ONE_READER: &str = "the file is read once, by one process";
pub(crate) const NOTHING: &str = "it does nothing in keepalived either";
pub(crate) const LOCKED: &str = "memory is locked with it and without it";

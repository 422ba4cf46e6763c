//! Why some of keepalived's keywords will never do anything here.

pub(crate) const NO_SNMP: &str = "there is no SNMP agent: status, metrics and events are an API of their own";
pub(crate) const NO_DBUS: &str = "there is no D-Bus interface: the control socket does that work";
pub(crate) const NO_IPTABLES: &str = "nftables is used, never iptables";
pub(crate) const FIXED_PROCESS_NAMES: &str = "the daemon's processes and threads have fixed names";
pub(crate) const KEEPALIVED_DEBUGGING: &str = "an aid for keepalived's own debugging";
pub(crate) const PARSED_ONCE: &str = "the file is read once, by one process";
pub(crate) const KEEPALIVED_IGNORES_IT: &str = "it does nothing in keepalived either";
pub(crate) const MEMORY_ALWAYS_LOCKED: &str = "memory is locked with it and without it";
pub(crate) const VRRP_ALWAYS_REALTIME: &str = "VRRP's thread runs in real time from the start: `vrrp_rt_priority`";
pub(crate) const BFD_IN_VRRP_THREAD: &str = "VRRP's thread speaks BFD, in real time: `vrrp_rt_priority`";
pub(crate) const WATCHDOG: &str =
    "a thread that hangs is ended after three seconds, real time or not, and a new process started";
pub(crate) const NETLINK_RESYNC: &str = "what finds no room is asked for again, all of it";
pub(crate) const CARRIER_EVENTS: &str =
    "link state is what the kernel says of the carrier, at once; no driver of today has to be asked";
pub(crate) const INSTANCE_FILE_NAMES: &str = "pid files, sockets and dumps are told apart by the name of `--instance`";
pub(crate) const SCRIPT_PATHS_AS_WRITTEN: &str =
    "scripts are run by the path as it is written; what it leads to is checked";
pub(crate) const SERVICE_PER_ADDRESS: &str = "each address of a group is a service of its own, whose number costs nothing; for one service over many addresses write `member` in a `virtual_server fwmark`";
pub(crate) const VRRP_SOCKET_BUFFERS: &str = "a socket is given adverts of its own virtual routers alone and is read in real time, so that the system's buffer does";

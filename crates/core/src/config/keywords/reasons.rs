//! Remarks on keywords that differ from keepalived: why they have no effect, or how their effect differs.

pub(crate) const NO_SNMP: &str = "there is no SNMP agent; the HTTP API serves status, metrics and events";
pub(crate) const NO_DBUS: &str = "there is no D-Bus interface; use the control socket";
pub(crate) const NO_IPTABLES: &str = "the firewall backend is nftables, never iptables";
pub(crate) const FIXED_PROCESS_NAMES: &str = "the daemon's processes and threads have fixed names";
pub(crate) const KEEPALIVED_DEBUGGING: &str = "it is a debugging aid of keepalived";
pub(crate) const PARSED_ONCE: &str = "one process reads the file once, so that no copy is needed";
pub(crate) const KEEPALIVED_IGNORES_IT: &str = "it has no effect in keepalived either";
pub(crate) const MEMORY_ALWAYS_LOCKED: &str = "memory is always locked";
pub(crate) const VRRP_ALWAYS_REALTIME: &str =
    "the VRRP thread always has a real-time priority; set it with `vrrp_rt_priority`";
pub(crate) const BFD_IN_VRRP_THREAD: &str =
    "BFD runs in the VRRP thread, which has a real-time priority; set it with `vrrp_rt_priority`";
pub(crate) const WATCHDOG: &str =
    "a watchdog replaces the process when its VRRP thread does not respond for three seconds, real time or not";
pub(crate) const NETLINK_RESYNC: &str = "when a netlink socket overruns, the whole state is read again";
pub(crate) const CARRIER_EVENTS: &str =
    "the link state comes from the kernel's carrier events; current drivers need no polling";
pub(crate) const INSTANCE_FILE_NAMES: &str =
    "`--instance NAME` puts the name into the paths of pid files, sockets and dumps";
pub(crate) const SCRIPT_PATHS_AS_WRITTEN: &str = "scripts run by the path as written; with `enable_script_security`, as root, by the path without links, and argv[0] is the path \
     as written";
pub(crate) const SERVICE_PER_ADDRESS: &str = "each address of a group is a service of its own, at no extra cost; for one service over many \
     addresses write `member` in a `virtual_server fwmark`";
pub(crate) const VRRP_SOCKET_BUFFERS: &str = "a socket receives only adverts of its own virtual routers and is read in real time, so that the \
     system's default buffer is sufficient";
pub(crate) const PROCESS_DESCRIPTORS: &str = "processes are watched by pidfd, without netlink";

pub(crate) const NEEDS_IPVS: &str =
    "it requires the kernel's IPVS, so `dataplane auto` selects that, and with `dataplane xdp` it has no effect";
pub(crate) const FWMARKS_BY_MEMBER: &str = "with `dataplane xdp` the packet path sets firewall marks itself, by `member`; only the kernel's IPVS sees the \
     marks of netfilter";
pub(crate) const REMOVED_ADDRESS_ADDED_AGAIN: &str =
    "an address that another program removes is added again, unless it has `no_track`";

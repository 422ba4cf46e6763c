//! ipvsadm's options: their spellings, and the commands that allow them (ipvsadm(8), version 1.31).

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
    Help,
    Version,
}

impl Command {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Command::AddService => "add-service",
            Command::EditService => "edit-service",
            Command::DeleteService => "delete-service",
            Command::Flush => "flush",
            Command::List => "list",
            Command::AddServer => "add-server",
            Command::DeleteServer => "delete-server",
            Command::EditServer => "edit-server",
            Command::Set => "set",
            Command::StartDaemon => "start-daemon",
            Command::StopDaemon => "stop-daemon",
            Command::Restore => "restore",
            Command::Save => "save",
            Command::Zero => "zero",
            Command::Help => "help",
            Command::Version => "version",
        }
    }

    /// The command that an option is, if any.
    pub fn from_option(option: Opt) -> Option<Command> {
        Some(match option {
            Opt::Command(c) => c,
            _ => return None,
        })
    }

    fn requires(self, o: Opt) -> bool {
        use Command as C;
        match o {
            Opt::Service => matches!(
                self,
                C::AddService | C::EditService | C::DeleteService | C::AddServer | C::EditServer | C::DeleteServer
            ),
            Opt::Server => matches!(self, C::AddServer | C::EditServer | C::DeleteServer),
            _ => false,
        }
    }

    fn allows(self, o: Opt) -> bool {
        use Command as C;
        self.requires(o)
            || match self {
                C::AddService | C::EditService => matches!(
                    o,
                    Opt::Scheduler
                        | Opt::Persistent
                        | Opt::Netmask
                        | Opt::OnePacket
                        | Opt::PersistenceEngine
                        | Opt::SchedFlags
                ),
                C::AddServer | C::EditServer => {
                    matches!(o, Opt::Forward | Opt::Weight | Opt::UThreshold | Opt::LThreshold) || o.is_tunnel()
                }
                C::List => matches!(
                    o,
                    Opt::Numeric
                        | Opt::Connection
                        | Opt::Service
                        | Opt::Timeout
                        | Opt::Daemon
                        | Opt::Stats
                        | Opt::Rate
                        | Opt::Thresholds
                        | Opt::PersistentConn
                        | Opt::NoSort
                        | Opt::Exact
                        | Opt::TunInfo
                        | Opt::Json
                        | Opt::Watch
                        | Opt::Client
                        | Opt::State
                        | Opt::End
                ),
                C::StartDaemon => matches!(
                    o,
                    Opt::McastInterface
                        | Opt::SyncId
                        | Opt::SyncMaxlen
                        | Opt::McastGroup
                        | Opt::McastPort
                        | Opt::McastTtl
                ),
                C::StopDaemon => o == Opt::SyncId,
                C::Save => matches!(o, Opt::Numeric | Opt::Complete),
                C::Restore => o == Opt::Atomic,
                C::Zero => o == Opt::Service,
                _ => false,
            }
    }

    /// Checks that required options are given and that no other than allowed ones are, in the order of [`ORDER`]. An
    /// error is ipvsadm's message.
    pub fn check_options(self, given: &[Opt]) -> Result<(), String> {
        for o in ORDER {
            let name = o.name();
            if !given.contains(&o) {
                if self.requires(o) {
                    return Err(format!("You need to supply the '{name}' option for the '{}' command", self.name()));
                }
            } else if !self.allows(o) {
                return Err(format!("Illegal '{name}' option with the '{}' command", self.name()));
            }
        }
        Ok(())
    }
}

/// An option, independent of its spelling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opt {
    Command(Command),
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    Server,
    Forward,
    Weight,
    UThreshold,
    LThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    NoSort,
    SyncId,
    Exact,
    OnePacket,
    PersistenceEngine,
    SchedFlags,
    TunInfo,
    TunType,
    TunPort,
    TunNoCsum,
    TunCsum,
    TunRemCsum,
    SyncMaxlen,
    McastGroup,
    McastPort,
    McastTtl,
    // These have no name in messages of ipvsadm.
    Ipv6,
    Sort,
    // Extensions of evenkeel.
    Json,
    Watch,
    Complete,
    Atomic,
    Client,
    State,
    End,
    DataPlane,
}

/// The order in which options are checked.
const ORDER: [Opt; 41] = [
    Opt::Numeric,
    Opt::Connection,
    Opt::Service,
    Opt::Scheduler,
    Opt::Persistent,
    Opt::Netmask,
    Opt::Server,
    Opt::Forward,
    Opt::Weight,
    Opt::UThreshold,
    Opt::LThreshold,
    Opt::McastInterface,
    Opt::Timeout,
    Opt::Daemon,
    Opt::Stats,
    Opt::Rate,
    Opt::Thresholds,
    Opt::PersistentConn,
    Opt::NoSort,
    Opt::SyncId,
    Opt::Exact,
    Opt::OnePacket,
    Opt::PersistenceEngine,
    Opt::SchedFlags,
    Opt::TunInfo,
    Opt::TunType,
    Opt::TunPort,
    Opt::TunNoCsum,
    Opt::TunCsum,
    Opt::TunRemCsum,
    Opt::SyncMaxlen,
    Opt::McastGroup,
    Opt::McastPort,
    Opt::McastTtl,
    Opt::Json,
    Opt::Watch,
    Opt::Complete,
    Opt::Atomic,
    Opt::Client,
    Opt::State,
    Opt::End,
];

impl Opt {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Opt::Command(c) => c.name(),
            Opt::Numeric => "numeric",
            Opt::Connection => "connection",
            Opt::Service => "service-address",
            Opt::Scheduler => "scheduler",
            Opt::Persistent => "persistent",
            Opt::Netmask => "netmask",
            Opt::Server => "real-server",
            Opt::Forward => "forwarding-method",
            Opt::Weight => "weight",
            Opt::UThreshold => "u-threshold",
            Opt::LThreshold => "l-threshold",
            Opt::McastInterface => "mcast-interface",
            Opt::Timeout => "timeout",
            Opt::Daemon => "daemon",
            Opt::Stats => "stats",
            Opt::Rate => "rate",
            Opt::Thresholds => "thresholds",
            Opt::PersistentConn => "persistent-conn",
            Opt::NoSort => "nosort",
            Opt::SyncId => "syncid",
            Opt::Exact => "exact",
            Opt::OnePacket => "ops",
            Opt::PersistenceEngine => "pe",
            Opt::SchedFlags => "sched-flags",
            Opt::TunInfo => "tun-info",
            Opt::TunType => "tun-type",
            Opt::TunPort => "tun-port",
            Opt::TunNoCsum => "tun-nocsum",
            Opt::TunCsum => "tun-csum",
            Opt::TunRemCsum => "tun-remcsum",
            Opt::SyncMaxlen => "sync-maxlen",
            Opt::McastGroup => "mcast-group",
            Opt::McastPort => "mcast-port",
            Opt::McastTtl => "mcast-ttl",
            Opt::Ipv6 => "ipv6",
            Opt::Sort => "sort",
            Opt::Json => "json",
            Opt::Watch => "watch",
            Opt::Complete => "complete",
            Opt::Atomic => "atomic",
            Opt::Client => "client",
            Opt::State => "state",
            Opt::End => "end",
            Opt::DataPlane => "dataplane",
        }
    }

    /// One of `--tun-*`, but not `--tun-info`.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Opt::TunType | Opt::TunPort | Opt::TunNoCsum | Opt::TunCsum | Opt::TunRemCsum)
    }
}

/// A spelling of an option.
pub struct OptionSpec {
    pub long: &'static str,
    pub short: char,
    pub option: Opt,
    /// A value is required.
    pub takes_value: bool,
    /// Distinguishes spellings of one option: the protocol of a service, the forwarding method of a server.
    pub kind: u8,
}

const fn flag(long: &'static str, short: char, option: Opt) -> OptionSpec {
    OptionSpec { long, short, option, takes_value: false, kind: 0 }
}

const fn value(long: &'static str, short: char, option: Opt) -> OptionSpec {
    OptionSpec { long, short, option, takes_value: true, kind: 0 }
}

const fn with_kind(mut s: OptionSpec, kind: u8) -> OptionSpec {
    s.kind = kind;
    s
}

/// There is no short form.
const NO_SHORT: char = '\0';
/// The kind of `-f`. The kinds of other services are protocol numbers.
pub const KIND_FWMARK: u8 = 0;

/// All spellings.
pub const OPTION_SPECS: &[OptionSpec] = &[
    flag("add-service", 'A', Opt::Command(Command::AddService)),
    flag("edit-service", 'E', Opt::Command(Command::EditService)),
    flag("delete-service", 'D', Opt::Command(Command::DeleteService)),
    flag("clear", 'C', Opt::Command(Command::Flush)),
    flag("list", 'L', Opt::Command(Command::List)),
    flag("list", 'l', Opt::Command(Command::List)),
    flag("zero", 'Z', Opt::Command(Command::Zero)),
    flag("add-server", 'a', Opt::Command(Command::AddServer)),
    flag("edit-server", 'e', Opt::Command(Command::EditServer)),
    flag("delete-server", 'd', Opt::Command(Command::DeleteServer)),
    flag("set", NO_SHORT, Opt::Command(Command::Set)),
    flag("help", 'h', Opt::Command(Command::Help)),
    flag("version", 'v', Opt::Command(Command::Version)),
    flag("restore", 'R', Opt::Command(Command::Restore)),
    flag("save", 'S', Opt::Command(Command::Save)),
    value("start-daemon", NO_SHORT, Opt::Command(Command::StartDaemon)),
    value("stop-daemon", NO_SHORT, Opt::Command(Command::StopDaemon)),
    with_kind(value("tcp-service", 't', Opt::Service), 6),
    with_kind(value("udp-service", 'u', Opt::Service), 17),
    with_kind(value("sctp-service", NO_SHORT, Opt::Service), 132),
    with_kind(value("fwmark-service", 'f', Opt::Service), KIND_FWMARK),
    value("scheduler", 's', Opt::Scheduler),
    value("persistent", 'p', Opt::Persistent),
    value("netmask", 'M', Opt::Netmask),
    value("real-server", 'r', Opt::Server),
    with_kind(flag("masquerading", 'm', Opt::Forward), 0),
    with_kind(flag("ipip", 'i', Opt::Forward), 2),
    with_kind(flag("gatewaying", 'g', Opt::Forward), 3),
    value("weight", 'w', Opt::Weight),
    value("u-threshold", 'x', Opt::UThreshold),
    value("l-threshold", 'y', Opt::LThreshold),
    flag("numeric", 'n', Opt::Numeric),
    flag("connection", 'c', Opt::Connection),
    value("mcast-interface", NO_SHORT, Opt::McastInterface),
    value("syncid", NO_SHORT, Opt::SyncId),
    value("sync-maxlen", NO_SHORT, Opt::SyncMaxlen),
    value("mcast-group", NO_SHORT, Opt::McastGroup),
    value("mcast-port", NO_SHORT, Opt::McastPort),
    value("mcast-ttl", NO_SHORT, Opt::McastTtl),
    flag("timeout", NO_SHORT, Opt::Timeout),
    flag("daemon", NO_SHORT, Opt::Daemon),
    flag("stats", NO_SHORT, Opt::Stats),
    flag("rate", NO_SHORT, Opt::Rate),
    flag("thresholds", NO_SHORT, Opt::Thresholds),
    flag("persistent-conn", NO_SHORT, Opt::PersistentConn),
    flag("nosort", NO_SHORT, Opt::NoSort),
    flag("sort", NO_SHORT, Opt::Sort),
    flag("exact", 'X', Opt::Exact),
    flag("ipv6", '6', Opt::Ipv6),
    flag("ops", 'o', Opt::OnePacket),
    value("pe", NO_SHORT, Opt::PersistenceEngine),
    value("sched-flags", 'b', Opt::SchedFlags),
    flag("tun-info", NO_SHORT, Opt::TunInfo),
    value("tun-type", NO_SHORT, Opt::TunType),
    value("tun-port", NO_SHORT, Opt::TunPort),
    flag("tun-nocsum", NO_SHORT, Opt::TunNoCsum),
    flag("tun-csum", NO_SHORT, Opt::TunCsum),
    flag("tun-remcsum", NO_SHORT, Opt::TunRemCsum),
    flag("json", NO_SHORT, Opt::Json),
    value("watch", NO_SHORT, Opt::Watch),
    flag("complete", NO_SHORT, Opt::Complete),
    flag("atomic", NO_SHORT, Opt::Atomic),
    value("client", NO_SHORT, Opt::Client),
    value("state", NO_SHORT, Opt::State),
    flag("end", NO_SHORT, Opt::End),
    value("dataplane", NO_SHORT, Opt::DataPlane),
];

//! Arguments to what is wanted, with ipvsadm's messages where they make no sense.

use std::net::IpAddr;

use evenkeel_core::ipvs::{
    Change, Dest, FwdMethod, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED1, Service, ServiceId, SyncDaemon, SyncRole,
    TUNNEL_FLAG_CSUM, TUNNEL_FLAG_REMCSUM, TUNNEL_TYPE_GRE, TUNNEL_TYPE_GUE, TUNNEL_TYPE_IPIP, Timeouts,
};
use evenkeel_core::model::Protocol;
use evenkeel_core::schedulers::Scheduler;
use evenkeel_sys::resolver;

use super::options::{Command, KIND_FWMARK, Opt};
use super::popt::{GivenOption, OptionReader};

/// Exit status of what ipvsadm itself does not understand.
const EXIT_USAGE: u8 = 2;
/// Exit status of what popt does not understand, and of what the kernel refuses.
pub const EXIT_FAILED: u8 = 255;
/// What popt's errors and a missing command end with.
const USAGE_HINT: &str = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
/// 31 days, seconds (MAX_TIMEOUT).
const MAX_TIMEOUT: u64 = 86400 * 31;

/// Why arguments were refused: what is printed, and the exit status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandError(pub String, pub u8);

type Result<T> = std::result::Result<T, CommandError>;

fn usage_error<T>(why: impl Into<String>) -> Result<T> {
    Err(CommandError(why.into(), EXIT_USAGE))
}

/// Which data plane was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataPlaneChoice {
    /// Ours if it is loaded, else the kernel's.
    #[default]
    Auto,
    /// Ours.
    Xdp,
    /// The kernel's.
    Ipvs,
}

/// In which order things are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SortOrder {
    /// ipvsadm's: addresses by a signed subtraction.
    #[default]
    Ipvsadm,
    /// By address, as one reads them.
    Correct,
    /// As they stand in the table.
    None,
}

/// Which table of services.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Columns {
    #[default]
    Default,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
}

/// What is to be listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ListTarget {
    #[default]
    Services,
    Service(ServiceId),
    Connections,
    Timeouts,
    Daemons,
}

/// A listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListOptions {
    pub target: ListTarget,
    pub columns: Columns,
    pub numeric: bool,
    pub exact: bool,
    /// `--persistent-conn`, which connections have as well as services.
    pub persistence_engines: bool,
    pub sort_order: SortOrder,
    pub json: bool,
    /// Again and again, seconds apart.
    pub watch_s: Option<u32>,
    /// Connections of this client only.
    pub client: Option<IpAddr>,
    /// Connections in this state only.
    pub state: Option<String>,
    /// They are not listed but ended.
    pub end: bool,
}

/// What the arguments ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Help,
    Version,
    List(ListOptions),
    Save { numeric: bool, complete: bool },
    Restore { atomic: bool },
    Change(Change),
}

/// Reads arguments. `nested`: they are a line of what is restored, which cannot restore.
pub fn parse(args: &[String], nested: bool) -> Result<(Action, DataPlaneChoice)> {
    let mut all = ParsedOptions::default();
    if args.is_empty() {
        return Ok((Action::List(ListOptions::default()), DataPlaneChoice::Auto));
    }
    let mut words = OptionReader::new(args);
    let mut command = None;
    while let Some(word) = words.next() {
        // `--dataplane`, which ipvsadm does not have, may stand before the command.
        if let Ok(w) = &word
            && w.spec.option == Opt::DataPlane
        {
            all.set_data_plane(w.value)?;
            continue;
        }
        match (command, word) {
            (None, Ok(w)) => match Command::from_option(w.spec.option) {
                Some(Command::Restore) if nested => return Err(CommandError(USAGE_HINT.into(), EXIT_FAILED)),
                Some(c) => {
                    if matches!(c, Command::StartDaemon | Command::StopDaemon) {
                        all.set_sync_role(c, w.value)?;
                    }
                    command = Some(c);
                }
                None => return Err(CommandError(USAGE_HINT.into(), EXIT_FAILED)),
            },
            (None, Err(_)) => return Err(CommandError(USAGE_HINT.into(), EXIT_FAILED)),
            (Some(_), Ok(w)) => all.set_option(&w)?,
            (Some(_), Err(e)) => return Err(CommandError(e, EXIT_FAILED)),
        }
    }
    let rest = words.positional;
    let Some(command) = command else {
        // Without any option ipvsadm lists; with a word alone it does not know what to do.
        if rest.is_empty() {
            return Ok((Action::List(ListOptions::default()), all.plane));
        }
        return Err(CommandError(USAGE_HINT.into(), EXIT_FAILED));
    };
    if matches!(command, Command::Help | Command::Version) {
        return Ok((if command == Command::Help { Action::Help } else { Action::Version }, all.plane));
    }
    let rest = if command == Command::Set { all.set_timeouts(&rest)? } else { rest.first().copied() };
    if let Some(word) = rest {
        return usage_error(format!("unexpected argument {word}"));
    }
    command.check_options(&all.given).map_err(|e| CommandError(e, EXIT_USAGE))?;
    Ok((all.to_action(command)?, all.plane))
}

/// What was given so far.
#[derive(Default)]
struct ParsedOptions {
    given: Vec<Opt>,
    plane: DataPlaneChoice,
    service: Option<ServiceId>,
    scheduler: Option<String>,
    sched_flags: Option<String>,
    persistent_s: Option<u32>,
    netmask: Option<String>,
    persistence_engine: String,
    server: Option<(IpAddr, Option<u16>)>,
    method: Option<FwdMethod>,
    weight: Option<i32>,
    u_threshold: u32,
    l_threshold: u32,
    tunnel: u8,
    tunnel_port: u16,
    timeouts: Option<Timeouts>,
    role: Option<SyncRole>,
    interface: Option<String>,
    syncid: u32,
    maxlen: Option<u16>,
    group: Option<IpAddr>,
    port: Option<u16>,
    ttl: Option<u8>,
    sort_correct: bool,
    watch_s: u32,
    client: Option<IpAddr>,
    state: Option<String>,
}

/// A number in a range, in decimal.
fn parse_number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    digits.parse().ok().filter(|n| range.contains(n))
}

impl ParsedOptions {
    fn set_data_plane(&mut self, value: &str) -> Result<()> {
        self.plane = match value {
            "auto" => DataPlaneChoice::Auto,
            "xdp" => DataPlaneChoice::Xdp,
            "ipvs" => DataPlaneChoice::Ipvs,
            other => return usage_error(format!("invalid data plane `{other}' specified: auto, xdp or ipvs")),
        };
        Ok(())
    }

    fn set_sync_role(&mut self, command: Command, value: &str) -> Result<()> {
        self.role = Some(match value {
            "master" => SyncRole::Master,
            "backup" => SyncRole::Backup,
            // The second is ipvsadm's own slip.
            _ if command == Command::StartDaemon => return usage_error("illegal start-daemon parameter specified"),
            _ => return usage_error("illegal start_daemon specified"),
        });
        Ok(())
    }

    fn set_option(&mut self, word: &GivenOption<'_>) -> Result<()> {
        let (option, value) = (word.spec.option, word.value);
        match option {
            Opt::Command(_) => return usage_error(format!("invalid option `{}'", word.written)),
            Opt::Ipv6 => return self.set_ipv6(),
            Opt::Sort => {
                self.sort_correct = match value {
                    "" => false,
                    "correct" => true,
                    other => {
                        return usage_error(format!("invalid order `{other}' specified: --sort or --sort=correct"));
                    }
                };
                return Ok(());
            }
            _ if self.given.contains(&option) => {
                return usage_error(format!("multiple '{}' options specified", option.name()));
            }
            _ => self.given.push(option),
        }
        let ranged = |range, what: &str| {
            parse_number(value, range).map_or_else(|| usage_error(format!("illegal {what} specified")), Ok)
        };
        let timeout = |range| {
            parse_number(value, range)
                .map_or_else(|| usage_error(format!("invalid timeout value `{value}' specified")), Ok)
        };
        match option {
            Opt::Service if word.spec.kind == KIND_FWMARK => {
                let mark = parse_number(value, 1..=u32::MAX.into());
                let Some(mark) = mark else { return usage_error(format!("invalid fwmark value `{value}' specified")) };
                self.service = Some(ServiceId::Fwmark { mark: mark as u32, ipv6: false });
            }
            Opt::Service => {
                let protocol = Protocol::from_number(word.spec.kind).unwrap_or(Protocol::Tcp);
                let at = resolver::parse_endpoint(value, protocol.lowercase_name());
                let Some((addr, port)) = at else {
                    return usage_error("illegal virtual server address[:port] specified");
                };
                self.service = Some(ServiceId::Address { protocol, addr, port: port.unwrap_or(0) });
            }
            Opt::Server => {
                let protocol = match self.service {
                    Some(ServiceId::Address { protocol, .. }) => protocol,
                    _ => Protocol::Tcp,
                };
                self.server = resolver::parse_endpoint(value, protocol.lowercase_name());
                if self.server.is_none() {
                    return usage_error("illegal real server address[:port] specified");
                }
            }
            // IP_VS_SCHEDNAME_MAXLEN: what is longer is cut, as libipvs does.
            Opt::Scheduler => self.scheduler = Some(value.chars().take(15).collect()),
            Opt::SchedFlags => self.sched_flags = Some(value.to_owned()),
            Opt::Persistent => self.persistent_s = Some(timeout(1..=MAX_TIMEOUT)? as u32),
            Opt::Netmask => self.netmask = Some(value.to_owned()),
            Opt::PersistenceEngine => self.persistence_engine = value.to_owned(),
            Opt::Forward => self.method = Some(FwdMethod::from_number(word.spec.kind.into())),
            Opt::Weight => self.weight = Some(ranged(0..=i32::MAX as u64, "weight")? as i32),
            Opt::UThreshold => self.u_threshold = ranged(0..=i32::MAX as u64, "u_threshold")? as u32,
            Opt::LThreshold => self.l_threshold = ranged(0..=i32::MAX as u64, "l_threshold")? as u32,
            Opt::TunType => {
                self.tunnel = match value {
                    "ipip" => TUNNEL_TYPE_IPIP,
                    "gue" => TUNNEL_TYPE_GUE,
                    "gre" => TUNNEL_TYPE_GRE,
                    _ => return usage_error("illegal tunnel type specified"),
                }
            }
            Opt::TunPort => self.tunnel_port = ranged(1..=65535, "tunnel port")? as u16,
            Opt::McastInterface => self.interface = Some(value.to_owned()),
            Opt::SyncId => self.syncid = ranged(0..=255, "syncid")? as u32,
            Opt::SyncMaxlen => self.maxlen = Some(ranged(1..=65507, "sync-maxlen")? as u16),
            Opt::McastGroup => {
                let Ok(group) = value.parse::<IpAddr>() else {
                    return usage_error(format!("invalid mcast-group `{value}'"));
                };
                if !group.is_multicast() {
                    let family = if group.is_ipv6() { "IPv6" } else { "IPv4" };
                    return usage_error(format!("invalid {family} mcast-group `{value}'"));
                }
                self.group = Some(group);
            }
            Opt::McastPort => self.port = Some(ranged(1..=65535, "mcast-port")? as u16),
            Opt::McastTtl => self.ttl = Some(ranged(1..=255, "mcast-ttl")? as u8),
            Opt::Watch => self.watch_s = ranged(1..=86400, "interval")? as u32,
            Opt::Client => match value.parse() {
                Ok(client) => self.client = Some(client),
                Err(_) => return usage_error(format!("illegal client address `{value}' specified")),
            },
            Opt::State => self.state = Some(value.to_ascii_uppercase()),
            _ => {}
        }
        Ok(())
    }

    fn set_ipv6(&mut self) -> Result<()> {
        match &mut self.service {
            Some(ServiceId::Fwmark { ipv6, .. }) => {
                *ipv6 = true;
                Ok(())
            }
            _ => usage_error("-6 used before -f\n"),
        }
    }

    /// The three values of `--set`. Returns what is too much.
    fn set_timeouts<'a>(&mut self, rest: &[&'a str]) -> Result<Option<&'a str>> {
        let [tcp, tcpfin, udp, more @ ..] = rest else { return usage_error("--set option requires 3 timeout values") };
        let value = |text: &&str| match parse_number(text, 0..=MAX_TIMEOUT) {
            Some(n) => Ok(n as u32),
            None => usage_error(format!("invalid timeout value `{text}' specified")),
        };
        self.timeouts = Some(Timeouts { tcp_s: value(tcp)?, tcpfin_s: value(tcpfin)?, udp_s: value(udp)? });
        Ok(more.first().copied())
    }

    fn is_given(&self, option: Opt) -> bool {
        self.given.contains(&option)
    }

    fn to_action(&self, command: Command) -> Result<Action> {
        // Their presence was checked.
        let nothing = ServiceId::Fwmark { mark: 0, ipv6: false };
        let id = self.service.unwrap_or(nothing);
        Ok(match command {
            Command::List => Action::List(self.list_options()?),
            Command::Save => {
                Action::Save { numeric: self.is_given(Opt::Numeric), complete: self.is_given(Opt::Complete) }
            }
            Command::Restore => Action::Restore { atomic: self.is_given(Opt::Atomic) },
            Command::AddService => Action::Change(Change::AddService(self.service_spec(id)?)),
            Command::EditService => Action::Change(Change::EditService(self.service_spec(id)?)),
            Command::DeleteService => Action::Change(Change::RemoveService(id)),
            Command::AddServer => Action::Change(Change::AddDest(id, self.dest_spec(id)?)),
            Command::EditServer => Action::Change(Change::EditDest(id, self.dest_spec(id)?)),
            Command::DeleteServer => {
                let (addr, port) = self.server.unwrap_or((IpAddr::from([0; 4]), None));
                Action::Change(Change::RemoveDest(id, Dest::new(addr, port.unwrap_or(id.port()))))
            }
            Command::Flush => Action::Change(Change::Flush),
            Command::Zero => Action::Change(Change::Zero(self.service)),
            Command::Set => {
                let t = self.timeouts.unwrap_or(Timeouts { tcp_s: 0, tcpfin_s: 0, udp_s: 0 });
                Action::Change(Change::SetTimeouts(t))
            }
            Command::StartDaemon => Action::Change(Change::StartDaemon(self.sync_daemon("eth0"))),
            Command::StopDaemon => Action::Change(Change::StopDaemon(self.sync_daemon(""))),
            Command::Help => Action::Help,
            Command::Version => Action::Version,
        })
    }

    fn sync_daemon(&self, interface: &str) -> SyncDaemon {
        SyncDaemon {
            role: self.role.unwrap_or(SyncRole::Master),
            interface: self.interface.clone().unwrap_or_else(|| interface.to_owned()),
            syncid: self.syncid,
            maxlen: self.maxlen,
            group: self.group,
            port: self.port,
            ttl: self.ttl,
        }
    }

    fn list_options(&self) -> Result<ListOptions> {
        let special = [Opt::Connection, Opt::Service, Opt::Timeout, Opt::Daemon];
        let connections = self.is_given(Opt::Connection);
        let columns = [
            (Opt::Stats, Columns::Stats),
            (Opt::Rate, Columns::Rate),
            (Opt::Thresholds, Columns::Thresholds),
            (Opt::PersistentConn, Columns::PersistentConn),
            (Opt::TunInfo, Columns::TunInfo),
        ];
        let mut chosen = columns.iter().filter(|(o, _)| self.is_given(*o));
        let columns = chosen.next().map_or(Columns::Default, |(_, c)| *c);
        let no_table = connections || self.is_given(Opt::Timeout) || self.is_given(Opt::Daemon);
        let engines = self.is_given(Opt::PersistentConn);
        if chosen.next().is_some() || no_table && columns != Columns::Default && !(connections && engines) {
            return usage_error("options conflicts in the list command");
        }
        let mut given = special.iter().filter(|o| self.is_given(**o));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return usage_error(format!(
                "The option '{}' conflicts with the '{}' option in the 'list' command",
                second.name(),
                first.name()
            ));
        }
        if !connections && (self.client.is_some() || self.state.is_some() || self.is_given(Opt::End)) {
            return usage_error("--client, --state and --end are of connections: they need -c");
        }
        if self.is_given(Opt::End) && self.client.is_none() && self.state.is_none() {
            return usage_error("--end needs to know which connections: --client or --state");
        }
        let what = match self.service {
            Some(id) => ListTarget::Service(id),
            None if connections => ListTarget::Connections,
            None if self.is_given(Opt::Timeout) => ListTarget::Timeouts,
            None if self.is_given(Opt::Daemon) => ListTarget::Daemons,
            None => ListTarget::Services,
        };
        let sorting = match (self.is_given(Opt::NoSort), self.sort_correct) {
            (true, _) => SortOrder::None,
            (false, true) => SortOrder::Correct,
            (false, false) => SortOrder::Ipvsadm,
        };
        Ok(ListOptions {
            target: what,
            columns,
            numeric: self.is_given(Opt::Numeric),
            exact: self.is_given(Opt::Exact),
            persistence_engines: engines,
            sort_order: sorting,
            json: self.is_given(Opt::Json),
            watch_s: self.is_given(Opt::Watch).then_some(self.watch_s),
            client: self.client,
            state: self.state.clone(),
            end: self.is_given(Opt::End),
        })
    }

    fn service_spec(&self, id: ServiceId) -> Result<Service> {
        let scheduler = self.scheduler.as_deref().unwrap_or("wlc");
        let mut s = Service { persistence_engine: self.persistence_engine.clone(), ..Service::new(id, scheduler) };
        if self.is_given(Opt::OnePacket) {
            if let ServiceId::Address { protocol: Protocol::Tcp | Protocol::Sctp, .. } = id {
                return usage_error("One-Packet Scheduling is only for UDP virtual services");
            }
            s.flags |= SVC_F_ONEPACKET;
        }
        if let Some(flags) = &self.sched_flags {
            s.flags |= parse_scheduler_flags(scheduler, flags)?;
        }
        if let Some(t) = self.persistent_s {
            s.flags |= SVC_F_PERSISTENT;
            s.timeout_s = t;
        }
        if let Some(text) = &self.netmask {
            let mask = if id.is_ipv6() {
                parse_number(text, 1..=128).map(|n| n as u32)
            } else {
                text.parse::<std::net::Ipv4Addr>().ok().map(u32::from)
            };
            let Some(mask) = mask else {
                let what = if id.is_ipv6() { "ipv6 netmask" } else { "virtual server persistent mask" };
                return usage_error(format!("illegal {what} specified"));
            };
            s.netmask = mask;
        }
        if matches!(id, ServiceId::Address { port: 0, .. }) && !s.has_flag(SVC_F_PERSISTENT) {
            return usage_error("Zero port specified for non-persistent service");
        }
        Ok(s)
    }

    fn dest_spec(&self, id: ServiceId) -> Result<Dest> {
        let (addr, port) = self.server.unwrap_or((IpAddr::from([0; 4]), None));
        let method = self.method.unwrap_or(FwdMethod::Route);
        let tunnelled = self.given.iter().any(|o| o.is_tunnel());
        if tunnelled && method != FwdMethod::Tunnel {
            return usage_error("Tunnel options conflict with forward method");
        }
        if addr.is_ipv6() != id.is_ipv6() && method != FwdMethod::Tunnel {
            return usage_error("Different address family is allowed only for tunneling servers");
        }
        if method == FwdMethod::Tunnel {
            self.check_tunnel_options()?;
        }
        // Only NAT can map ports.
        let port = match port {
            Some(port) if method == FwdMethod::Masq => port,
            _ => id.port(),
        };
        let flags = match (self.is_given(Opt::TunCsum), self.is_given(Opt::TunRemCsum)) {
            (true, _) => TUNNEL_FLAG_CSUM,
            (_, true) => TUNNEL_FLAG_REMCSUM,
            _ => 0,
        };
        Ok(Dest {
            addr,
            port,
            method,
            weight: self.weight.unwrap_or(1),
            tunnel_type: self.tunnel,
            tunnel_port: self.tunnel_port,
            tunnel_flags: flags,
            u_threshold: self.u_threshold,
            l_threshold: self.l_threshold,
        })
    }

    fn check_tunnel_options(&self) -> Result<()> {
        let (name, allowed): (_, &[Opt]) = match self.tunnel {
            TUNNEL_TYPE_GUE => ("gue", &[Opt::TunPort, Opt::TunNoCsum, Opt::TunCsum, Opt::TunRemCsum]),
            TUNNEL_TYPE_GRE => ("gre", &[Opt::TunNoCsum, Opt::TunCsum]),
            _ => ("ipip", &[]),
        };
        if self.tunnel == TUNNEL_TYPE_GUE && !self.is_given(Opt::TunPort) {
            return usage_error("You need to supply the 'tun-port' option for the 'gue' tunnel type");
        }
        let given =
            [Opt::TunPort, Opt::TunNoCsum, Opt::TunCsum, Opt::TunRemCsum].into_iter().filter(|o| self.is_given(*o));
        let mut sums = Vec::new();
        for o in given {
            if !allowed.contains(&o) {
                return usage_error(format!("Illegal '{}' option with the '{name}' tunnel type", o.name()));
            }
            if o != Opt::TunPort {
                sums.push(o);
            }
        }
        if let [first, second, ..] = sums.as_slice() {
            let (first, second) = (first.name(), second.name());
            return usage_error(format!(
                "The option '{second}' conflicts with the '{first}' option in the '{name}' tunnel type"
            ));
        }
        Ok(())
    }
}

/// The flags of `-b`: `sh-fallback`, `sh-port`, `mh-fallback`, `mh-port`, and `flag-1` to `flag-3` for any scheduler.
fn parse_scheduler_flags(scheduler: &str, text: &str) -> Result<u32> {
    let mut flags = 0;
    for word in text.split(',').filter(|w| !w.is_empty()) {
        let Some((owner, bit)) = Scheduler::find_flag(word) else {
            return usage_error(format!("invalid scheduler flag `{word}'"));
        };
        if owner.is_some_and(|s| s.name() != scheduler) {
            return usage_error(format!("incompatible scheduler flag `{word}'"));
        }
        flags |= SVC_F_SCHED1 << bit;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::super::options::OPTION_SPECS;
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn wanted(line: &str) -> Action {
        parse(&words(line), false).unwrap_or_else(|e| panic!("{line}: {e:?}")).0
    }

    #[test]
    fn options_may_be_bundled_glued_and_long() {
        let list = |line| match wanted(line) {
            Action::List(l) => l,
            other => panic!("{line}: {other:?}"),
        };
        let connections = ListOptions { target: ListTarget::Connections, numeric: true, ..ListOptions::default() };
        assert_eq!(list("-Lnc"), connections);
        assert_eq!(list("--list --numeric --connection"), connections);
        assert_eq!(list(""), ListOptions::default());
        assert!(matches!(list("-Lnt 10.0.0.1:80").target, ListTarget::Service(ServiceId::Address { port: 80, .. })));
        for line in [
            "-a -t 10.0.0.1:80 -r 10.0.0.2 -w4 -m",
            "-at10.0.0.1:80 -r10.0.0.2 -mw 4",
            "-a --tcp-service=10.0.0.1:80 --real-server 10.0.0.2 --weight=4 --masquerading",
        ] {
            let Action::Change(Change::AddDest(_, d)) = wanted(line) else { panic!("{line}") };
            assert_eq!((d.weight, d.method, d.port), (4, FwdMethod::Masq, 80), "{line}");
        }
    }

    #[test]
    fn persistence_without_a_time_has_ipvsadms() {
        for (line, time) in
            [("-A -t 10.0.0.1:80 -p", 360), ("-A -t 10.0.0.1:80 -p -s rr", 360), ("-A -t 10.0.0.1:80 -p60", 60)]
        {
            let Action::Change(Change::AddService(s)) = wanted(line) else { panic!("{line}") };
            assert_eq!((s.timeout_s, s.has_flag(SVC_F_PERSISTENT)), (time, true), "{line}");
        }
    }

    /// What people and programs write, put together in every order: an answer or a message, and no end of the program.
    #[test]
    fn words_in_any_order_are_refused_or_understood() {
        let mut all: Vec<String> = OPTION_SPECS.iter().map(|s| format!("--{}", s.long)).collect();
        all.extend(OPTION_SPECS.iter().filter(|s| s.short != '\0').map(|s| format!("-{}", s.short)));
        all.extend(
            [
                "-Lnc",
                "-",
                "--",
                "-w=",
                "--weight=",
                "--x",
                "-é",
                "10.0.0.1:80",
                "[::1]:80",
                "[",
                "]:",
                ":",
                "0",
                "-1",
                "99999999999999999999",
                "rr",
                "",
                "=",
                "-t10.0.0.1:80",
                "ipip",
                "sh-port,",
                "master",
            ]
            .map(str::to_owned),
        );
        let mut seed = 7u64;
        let mut roll = |sides: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as usize % sides
        };
        let mut understood = 0;
        for _ in 0..20_000 {
            let args: Vec<String> = (0..roll(9)).map(|_| all[roll(all.len())].clone()).collect();
            match parse(&args, roll(2) == 0) {
                Ok(_) => understood += 1,
                Err(CommandError(text, code)) => assert!(!text.is_empty() && matches!(code, 2 | 255), "{args:?}"),
            }
        }
        assert!(understood > 100, "{understood}");
    }
}

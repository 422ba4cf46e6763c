//! Arguments to what is wanted, with ipvsadm's messages where they make no sense.

use std::net::IpAddr;

use evenkeel_core::ipvs::{
    Change, Dest, GRE, GUE, IPIP, Method, ONE_PACKET, PERSISTENT, SCHED1, SCHED2, SCHED3, Service, ServiceId,
    SyncDaemon, SyncRole, TUNNEL_CSUM, TUNNEL_REMCSUM, Timeouts,
};
use evenkeel_core::model::Protocol;
use evenkeel_sys::names;

use super::options::{Command, MARK, Opt};
use super::words::{Word, Words};

/// Exit status of what ipvsadm itself does not understand.
const USAGE: u8 = 2;
/// Exit status of what popt does not understand, and of what the kernel refuses.
pub const FAILED: u8 = 255;
/// What popt's errors and a missing command end with.
const TRY: &str = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
/// 31 days, seconds (MAX_TIMEOUT).
const MAX_TIMEOUT: u64 = 86400 * 31;

/// Why arguments were refused: what is printed, and the exit status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(pub String, pub u8);

type Result<T> = std::result::Result<T, Refused>;

fn fail<T>(why: impl Into<String>) -> Result<T> {
    Err(Refused(why.into(), USAGE))
}

/// Which data plane was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Plane {
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
pub enum Sorting {
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
    Usual,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
}

/// What is to be listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum What {
    #[default]
    Services,
    Service(ServiceId),
    Connections,
    Timeouts,
    Daemons,
}

/// A listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    pub what: What,
    pub columns: Columns,
    pub numeric: bool,
    pub exact: bool,
    /// `--persistent-conn`, which connections have as well as services.
    pub engines: bool,
    pub sorting: Sorting,
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
pub enum Wanted {
    Help,
    Version,
    List(List),
    Save { numeric: bool, complete: bool },
    Restore { atomic: bool },
    Change(Change),
}

/// Reads arguments. `nested`: they are a line of what is restored, which cannot restore.
pub fn parse(args: &[String], nested: bool) -> Result<(Wanted, Plane)> {
    let mut all = Given::default();
    if args.is_empty() {
        return Ok((Wanted::List(List::default()), Plane::Auto));
    }
    let mut words = Words::new(args);
    let mut command = None;
    while let Some(word) = words.next() {
        // `--dataplane`, which ipvsadm does not have, may stand before the command.
        if let Ok(w) = &word
            && w.spelling.option == Opt::DataPlane
        {
            all.plane(w.value)?;
            continue;
        }
        match (command, word) {
            (None, Ok(w)) => match Command::of(w.spelling.option) {
                Some(Command::Restore) if nested => return Err(Refused(TRY.into(), FAILED)),
                Some(c) => {
                    if matches!(c, Command::StartDaemon | Command::StopDaemon) {
                        all.role(c, w.value)?;
                    }
                    command = Some(c);
                }
                None => return Err(Refused(TRY.into(), FAILED)),
            },
            (None, Err(_)) => return Err(Refused(TRY.into(), FAILED)),
            (Some(_), Ok(w)) => all.option(&w)?,
            (Some(_), Err(e)) => return Err(Refused(e, FAILED)),
        }
    }
    let rest = words.rest;
    let Some(command) = command else {
        // Without any option ipvsadm lists; with a word alone it does not know what to do.
        if rest.is_empty() {
            return Ok((Wanted::List(List::default()), all.plane));
        }
        return Err(Refused(TRY.into(), FAILED));
    };
    if matches!(command, Command::Help | Command::Version) {
        return Ok((if command == Command::Help { Wanted::Help } else { Wanted::Version }, all.plane));
    }
    let rest = if command == Command::Set { all.timeouts(&rest)? } else { rest.first().copied() };
    if let Some(word) = rest {
        return fail(format!("unexpected argument {word}"));
    }
    command.check(&all.given).map_err(|e| Refused(e, USAGE))?;
    Ok((all.wanted(command)?, all.plane))
}

/// What was given so far.
#[derive(Default)]
struct Given {
    given: Vec<Opt>,
    plane: Plane,
    service: Option<ServiceId>,
    scheduler: Option<String>,
    sched_flags: Option<String>,
    persistent_s: Option<u32>,
    netmask: Option<String>,
    engine: String,
    server: Option<(IpAddr, Option<u16>)>,
    method: Option<Method>,
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
    correct: bool,
    watch_s: u32,
    client: Option<IpAddr>,
    state: Option<String>,
}

/// A number in a range, in decimal.
fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    digits.parse().ok().filter(|n| range.contains(n))
}

impl Given {
    fn plane(&mut self, value: &str) -> Result<()> {
        self.plane = match value {
            "auto" => Plane::Auto,
            "xdp" => Plane::Xdp,
            "ipvs" => Plane::Ipvs,
            other => return fail(format!("invalid data plane `{other}' specified: auto, xdp or ipvs")),
        };
        Ok(())
    }

    fn role(&mut self, command: Command, value: &str) -> Result<()> {
        self.role = Some(match value {
            "master" => SyncRole::Master,
            "backup" => SyncRole::Backup,
            // The second is ipvsadm's own slip.
            _ if command == Command::StartDaemon => return fail("illegal start-daemon parameter specified"),
            _ => return fail("illegal start_daemon specified"),
        });
        Ok(())
    }

    fn option(&mut self, word: &Word<'_>) -> Result<()> {
        let (option, value) = (word.spelling.option, word.value);
        match option {
            Opt::Command(_) => return fail(format!("invalid option `{}'", word.written)),
            Opt::Ipv6 => return self.ipv6(),
            Opt::Sort => {
                self.correct = match value {
                    "" => false,
                    "correct" => true,
                    other => return fail(format!("invalid order `{other}' specified: --sort or --sort=correct")),
                };
                return Ok(());
            }
            _ if self.given.contains(&option) => {
                return fail(format!("multiple '{}' options specified", option.name()));
            }
            _ => self.given.push(option),
        }
        let ranged =
            |range, what: &str| number(value, range).map_or_else(|| fail(format!("illegal {what} specified")), Ok);
        let timeout =
            |range| number(value, range).map_or_else(|| fail(format!("invalid timeout value `{value}' specified")), Ok);
        match option {
            Opt::Service if word.spelling.kind == MARK => {
                let mark = number(value, 1..=u32::MAX.into());
                let Some(mark) = mark else { return fail(format!("invalid fwmark value `{value}' specified")) };
                self.service = Some(ServiceId::Mark { mark: mark as u32, ipv6: false });
            }
            Opt::Service => {
                let protocol = Protocol::from_number(word.spelling.kind).unwrap_or(Protocol::Tcp);
                let at = names::endpoint(value, protocol.service_database());
                let Some((addr, port)) = at else { return fail("illegal virtual server address[:port] specified") };
                self.service = Some(ServiceId::At { protocol, addr, port: port.unwrap_or(0) });
            }
            Opt::Server => {
                let protocol = match self.service {
                    Some(ServiceId::At { protocol, .. }) => protocol,
                    _ => Protocol::Tcp,
                };
                self.server = names::endpoint(value, protocol.service_database());
                if self.server.is_none() {
                    return fail("illegal real server address[:port] specified");
                }
            }
            // IP_VS_SCHEDNAME_MAXLEN: what is longer is cut, as libipvs does.
            Opt::Scheduler => self.scheduler = Some(value.chars().take(15).collect()),
            Opt::SchedFlags => self.sched_flags = Some(value.to_owned()),
            Opt::Persistent => self.persistent_s = Some(timeout(1..=MAX_TIMEOUT)? as u32),
            Opt::Netmask => self.netmask = Some(value.to_owned()),
            Opt::Engine => self.engine = value.to_owned(),
            Opt::Forward => self.method = Some(Method::from_number(word.spelling.kind.into())),
            Opt::Weight => self.weight = Some(ranged(0..=i32::MAX as u64, "weight")? as i32),
            Opt::UThreshold => self.u_threshold = ranged(0..=i32::MAX as u64, "u_threshold")? as u32,
            Opt::LThreshold => self.l_threshold = ranged(0..=i32::MAX as u64, "l_threshold")? as u32,
            Opt::TunType => {
                self.tunnel = match value {
                    "ipip" => IPIP,
                    "gue" => GUE,
                    "gre" => GRE,
                    _ => return fail("illegal tunnel type specified"),
                }
            }
            Opt::TunPort => self.tunnel_port = ranged(1..=65535, "tunnel port")? as u16,
            Opt::McastInterface => self.interface = Some(value.to_owned()),
            Opt::SyncId => self.syncid = ranged(0..=255, "syncid")? as u32,
            Opt::SyncMaxlen => self.maxlen = Some(ranged(1..=65507, "sync-maxlen")? as u16),
            Opt::McastGroup => {
                let Ok(group) = value.parse::<IpAddr>() else { return fail(format!("invalid mcast-group `{value}'")) };
                if !group.is_multicast() {
                    let family = if group.is_ipv6() { "IPv6" } else { "IPv4" };
                    return fail(format!("invalid {family} mcast-group `{value}'"));
                }
                self.group = Some(group);
            }
            Opt::McastPort => self.port = Some(ranged(1..=65535, "mcast-port")? as u16),
            Opt::McastTtl => self.ttl = Some(ranged(1..=255, "mcast-ttl")? as u8),
            Opt::Watch => self.watch_s = ranged(1..=86400, "interval")? as u32,
            Opt::Client => match value.parse() {
                Ok(client) => self.client = Some(client),
                Err(_) => return fail(format!("illegal client address `{value}' specified")),
            },
            Opt::State => self.state = Some(value.to_ascii_uppercase()),
            _ => {}
        }
        Ok(())
    }

    fn ipv6(&mut self) -> Result<()> {
        match &mut self.service {
            Some(ServiceId::Mark { ipv6, .. }) => {
                *ipv6 = true;
                Ok(())
            }
            _ => fail("-6 used before -f\n"),
        }
    }

    /// The three values of `--set`. Returns what is too much.
    fn timeouts<'a>(&mut self, rest: &[&'a str]) -> Result<Option<&'a str>> {
        let [tcp, tcpfin, udp, more @ ..] = rest else { return fail("--set option requires 3 timeout values") };
        let value = |text: &&str| match number(text, 0..=MAX_TIMEOUT) {
            Some(n) => Ok(n as u32),
            None => fail(format!("invalid timeout value `{text}' specified")),
        };
        self.timeouts = Some(Timeouts { tcp_s: value(tcp)?, tcpfin_s: value(tcpfin)?, udp_s: value(udp)? });
        Ok(more.first().copied())
    }

    fn has(&self, option: Opt) -> bool {
        self.given.contains(&option)
    }

    fn wanted(&self, command: Command) -> Result<Wanted> {
        // Their presence was checked.
        let nothing = ServiceId::Mark { mark: 0, ipv6: false };
        let id = self.service.unwrap_or(nothing);
        Ok(match command {
            Command::List => Wanted::List(self.list()?),
            Command::Save => Wanted::Save { numeric: self.has(Opt::Numeric), complete: self.has(Opt::Complete) },
            Command::Restore => Wanted::Restore { atomic: self.has(Opt::Atomic) },
            Command::AddService => Wanted::Change(Change::AddService(self.service(id)?)),
            Command::EditService => Wanted::Change(Change::EditService(self.service(id)?)),
            Command::DeleteService => Wanted::Change(Change::RemoveService(id)),
            Command::AddServer => Wanted::Change(Change::AddDest(id, self.dest(id)?)),
            Command::EditServer => Wanted::Change(Change::EditDest(id, self.dest(id)?)),
            Command::DeleteServer => {
                let (addr, port) = self.server.unwrap_or((IpAddr::from([0; 4]), None));
                Wanted::Change(Change::RemoveDest(id, Dest::of(addr, port.unwrap_or(id.port()))))
            }
            Command::Flush => Wanted::Change(Change::Flush),
            Command::Zero => Wanted::Change(Change::Zero(self.service)),
            Command::Set => {
                let t = self.timeouts.unwrap_or(Timeouts { tcp_s: 0, tcpfin_s: 0, udp_s: 0 });
                Wanted::Change(Change::SetTimeouts(t))
            }
            Command::StartDaemon => Wanted::Change(Change::StartDaemon(self.daemon("eth0"))),
            Command::StopDaemon => Wanted::Change(Change::StopDaemon(self.daemon(""))),
            Command::Help => Wanted::Help,
            Command::Version => Wanted::Version,
        })
    }

    fn daemon(&self, interface: &str) -> SyncDaemon {
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

    fn list(&self) -> Result<List> {
        let special = [Opt::Connection, Opt::Service, Opt::Timeout, Opt::Daemon];
        let connections = self.has(Opt::Connection);
        let columns = [
            (Opt::Stats, Columns::Stats),
            (Opt::Rate, Columns::Rate),
            (Opt::Thresholds, Columns::Thresholds),
            (Opt::PersistentConn, Columns::PersistentConn),
            (Opt::TunInfo, Columns::TunInfo),
        ];
        let mut chosen = columns.iter().filter(|(o, _)| self.has(*o));
        let columns = chosen.next().map_or(Columns::Usual, |(_, c)| *c);
        let no_table = connections || self.has(Opt::Timeout) || self.has(Opt::Daemon);
        let engines = self.has(Opt::PersistentConn);
        if chosen.next().is_some() || no_table && columns != Columns::Usual && !(connections && engines) {
            return fail("options conflicts in the list command");
        }
        let mut given = special.iter().filter(|o| self.has(**o));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return fail(format!(
                "The option '{}' conflicts with the '{}' option in the 'list' command",
                second.name(),
                first.name()
            ));
        }
        if !connections && (self.client.is_some() || self.state.is_some() || self.has(Opt::End)) {
            return fail("--client, --state and --end are of connections: they need -c");
        }
        if self.has(Opt::End) && self.client.is_none() && self.state.is_none() {
            return fail("--end needs to know which connections: --client or --state");
        }
        let what = match self.service {
            Some(id) => What::Service(id),
            None if connections => What::Connections,
            None if self.has(Opt::Timeout) => What::Timeouts,
            None if self.has(Opt::Daemon) => What::Daemons,
            None => What::Services,
        };
        let sorting = match (self.has(Opt::NoSort), self.correct) {
            (true, _) => Sorting::None,
            (false, true) => Sorting::Correct,
            (false, false) => Sorting::Ipvsadm,
        };
        Ok(List {
            what,
            columns,
            numeric: self.has(Opt::Numeric),
            exact: self.has(Opt::Exact),
            engines,
            sorting,
            json: self.has(Opt::Json),
            watch_s: self.has(Opt::Watch).then_some(self.watch_s),
            client: self.client,
            state: self.state.clone(),
            end: self.has(Opt::End),
        })
    }

    fn service(&self, id: ServiceId) -> Result<Service> {
        let scheduler = self.scheduler.as_deref().unwrap_or("wlc");
        let mut s = Service { engine: self.engine.clone(), ..Service::of(id, scheduler) };
        if self.has(Opt::OnePacket) {
            if let ServiceId::At { protocol: Protocol::Tcp | Protocol::Sctp, .. } = id {
                return fail("One-Packet Scheduling is only for UDP virtual services");
            }
            s.flags |= ONE_PACKET;
        }
        if let Some(flags) = &self.sched_flags {
            s.flags |= scheduler_flags(scheduler, flags)?;
        }
        if let Some(t) = self.persistent_s {
            s.flags |= PERSISTENT;
            s.timeout_s = t;
        }
        if let Some(text) = &self.netmask {
            let mask = if id.is_ipv6() {
                number(text, 1..=128).map(|n| n as u32)
            } else {
                text.parse::<std::net::Ipv4Addr>().ok().map(u32::from)
            };
            let Some(mask) = mask else {
                let what = if id.is_ipv6() { "ipv6 netmask" } else { "virtual server persistent mask" };
                return fail(format!("illegal {what} specified"));
            };
            s.netmask = mask;
        }
        if matches!(id, ServiceId::At { port: 0, .. }) && !s.has(PERSISTENT) {
            return fail("Zero port specified for non-persistent service");
        }
        Ok(s)
    }

    fn dest(&self, id: ServiceId) -> Result<Dest> {
        let (addr, port) = self.server.unwrap_or((IpAddr::from([0; 4]), None));
        let method = self.method.unwrap_or(Method::Route);
        let tunnelled = self.given.iter().any(|o| o.is_tunnel());
        if tunnelled && method != Method::Tunnel {
            return fail("Tunnel options conflict with forward method");
        }
        if addr.is_ipv6() != id.is_ipv6() && method != Method::Tunnel {
            return fail("Different address family is allowed only for tunneling servers");
        }
        if method == Method::Tunnel {
            self.check_tunnel()?;
        }
        // Only NAT can map ports.
        let port = match port {
            Some(port) if method == Method::Masq => port,
            _ => id.port(),
        };
        let flags = match (self.has(Opt::TunCsum), self.has(Opt::TunRemCsum)) {
            (true, _) => TUNNEL_CSUM,
            (_, true) => TUNNEL_REMCSUM,
            _ => 0,
        };
        Ok(Dest {
            addr,
            port,
            method,
            weight: self.weight.unwrap_or(1),
            tunnel: self.tunnel,
            tunnel_port: self.tunnel_port,
            tunnel_flags: flags,
            u_threshold: self.u_threshold,
            l_threshold: self.l_threshold,
        })
    }

    fn check_tunnel(&self) -> Result<()> {
        let (name, allowed): (_, &[Opt]) = match self.tunnel {
            GUE => ("gue", &[Opt::TunPort, Opt::TunNoCsum, Opt::TunCsum, Opt::TunRemCsum]),
            GRE => ("gre", &[Opt::TunNoCsum, Opt::TunCsum]),
            _ => ("ipip", &[]),
        };
        if self.tunnel == GUE && !self.has(Opt::TunPort) {
            return fail("You need to supply the 'tun-port' option for the 'gue' tunnel type");
        }
        let given = [Opt::TunPort, Opt::TunNoCsum, Opt::TunCsum, Opt::TunRemCsum].into_iter().filter(|o| self.has(*o));
        let mut sums = Vec::new();
        for o in given {
            if !allowed.contains(&o) {
                return fail(format!("Illegal '{}' option with the '{name}' tunnel type", o.name()));
            }
            if o != Opt::TunPort {
                sums.push(o);
            }
        }
        if let [first, second, ..] = sums.as_slice() {
            let (first, second) = (first.name(), second.name());
            return fail(format!(
                "The option '{second}' conflicts with the '{first}' option in the '{name}' tunnel type"
            ));
        }
        Ok(())
    }
}

/// `sh-fallback,sh-port`, `mh-*`, `flag-1` to `flag-3`.
fn scheduler_flags(scheduler: &str, text: &str) -> Result<u32> {
    const NAMES: [(&str, &str, u32); 7] = [
        ("sh", "sh-fallback", SCHED1),
        ("sh", "sh-port", SCHED2),
        ("mh", "mh-fallback", SCHED1),
        ("mh", "mh-port", SCHED2),
        ("", "flag-1", SCHED1),
        ("", "flag-2", SCHED2),
        ("", "flag-3", SCHED3),
    ];
    let mut flags = 0;
    for word in text.split(',').filter(|w| !w.is_empty()) {
        let Some((of, _, flag)) = NAMES.iter().find(|(_, name, _)| *name == word) else {
            return fail(format!("invalid scheduler flag `{word}'"));
        };
        if !of.is_empty() && *of != scheduler {
            return fail(format!("incompatible scheduler flag `{word}'"));
        }
        flags |= flag;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::super::options::SPELLINGS;
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn wanted(line: &str) -> Wanted {
        parse(&words(line), false).unwrap_or_else(|e| panic!("{line}: {e:?}")).0
    }

    #[test]
    fn options_may_be_bundled_glued_and_long() {
        let list = |line| match wanted(line) {
            Wanted::List(l) => l,
            other => panic!("{line}: {other:?}"),
        };
        let connections = List { what: What::Connections, numeric: true, ..List::default() };
        assert_eq!(list("-Lnc"), connections);
        assert_eq!(list("--list --numeric --connection"), connections);
        assert_eq!(list(""), List::default());
        assert!(matches!(list("-Lnt 10.0.0.1:80").what, What::Service(ServiceId::At { port: 80, .. })));
        for line in [
            "-a -t 10.0.0.1:80 -r 10.0.0.2 -w4 -m",
            "-at10.0.0.1:80 -r10.0.0.2 -mw 4",
            "-a --tcp-service=10.0.0.1:80 --real-server 10.0.0.2 --weight=4 --masquerading",
        ] {
            let Wanted::Change(Change::AddDest(_, d)) = wanted(line) else { panic!("{line}") };
            assert_eq!((d.weight, d.method, d.port), (4, Method::Masq, 80), "{line}");
        }
    }

    #[test]
    fn persistence_without_a_time_has_ipvsadms() {
        for (line, time) in
            [("-A -t 10.0.0.1:80 -p", 360), ("-A -t 10.0.0.1:80 -p -s rr", 360), ("-A -t 10.0.0.1:80 -p60", 60)]
        {
            let Wanted::Change(Change::AddService(s)) = wanted(line) else { panic!("{line}") };
            assert_eq!((s.timeout_s, s.has(PERSISTENT)), (time, true), "{line}");
        }
    }

    /// What people and programs write, put together in every order: an answer or a message, and no end of the program.
    #[test]
    fn words_in_any_order_are_refused_or_understood() {
        let mut all: Vec<String> = SPELLINGS.iter().map(|s| format!("--{}", s.long)).collect();
        all.extend(SPELLINGS.iter().filter(|s| s.short != '\0').map(|s| format!("-{}", s.short)));
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
                Err(Refused(text, code)) => assert!(!text.is_empty() && matches!(code, 2 | 255), "{args:?}"),
            }
        }
        assert!(understood > 100, "{understood}");
    }
}

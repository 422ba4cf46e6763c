//! The options that were given become an action; checks of options that depend on each other.

use std::net::IpAddr;

use evenkeel_core::ipvs::{
    Change, Dest, FwdMethod, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED1, Service, ServiceId, SyncDaemon, SyncRole,
    TUNNEL_FLAG_CSUM, TUNNEL_FLAG_REMCSUM, TUNNEL_TYPE_GRE, TUNNEL_TYPE_GUE, Timeouts,
};
use evenkeel_core::model::Protocol;
use evenkeel_core::schedulers::Scheduler;

use super::super::action::{Action, Columns, ListOptions, ListTarget, SortOrder};
use super::super::options::{Command, Opt};
use super::given_options::GivenOptions;
use super::{Result, parse_number, usage_error};

impl GivenOptions {
    pub(super) fn to_action(&self, command: Command) -> Result<Action> {
        // `Command::check_options` has checked that it is there.
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
        let targets = [Opt::Connection, Opt::Service, Opt::Timeout, Opt::Daemon];
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
        let no_services = connections || self.is_given(Opt::Timeout) || self.is_given(Opt::Daemon);
        let engines = self.is_given(Opt::PersistentConn);
        if chosen.next().is_some() || no_services && columns != Columns::Default && !(connections && engines) {
            return usage_error("options conflicts in the list command");
        }
        let mut given = targets.iter().filter(|o| self.is_given(**o));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return usage_error(format!(
                "The option '{}' conflicts with the '{}' option in the 'list' command",
                second.name(),
                first.name()
            ));
        }
        if !connections && (self.client.is_some() || self.state.is_some() || self.is_given(Opt::End)) {
            return usage_error("--client, --state and --end apply to connections: they need -c");
        }
        if self.is_given(Opt::End) && self.client.is_none() && self.state.is_none() {
            return usage_error("--end needs a filter: --client or --state");
        }
        let target = match self.service {
            Some(id) => ListTarget::Service(id),
            None if connections => ListTarget::Connections,
            None if self.is_given(Opt::Timeout) => ListTarget::Timeouts,
            None if self.is_given(Opt::Daemon) => ListTarget::Daemons,
            None => ListTarget::Services,
        };
        let sort_order = match (self.is_given(Opt::NoSort), self.sort_correct) {
            (true, _) => SortOrder::None,
            (false, true) => SortOrder::Correct,
            (false, false) => SortOrder::Ipvsadm,
        };
        Ok(ListOptions {
            target,
            columns,
            numeric: self.is_given(Opt::Numeric),
            exact: self.is_given(Opt::Exact),
            persistence_engines: engines,
            sort_order,
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
                let name = if id.is_ipv6() { "ipv6 netmask" } else { "virtual server persistent mask" };
                return usage_error(format!("illegal {name} specified"));
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
        let tunnelled = self.options.iter().any(|o| o.is_tunnel());
        if tunnelled && method != FwdMethod::Tunnel {
            return usage_error("Tunnel options conflict with forward method");
        }
        if addr.is_ipv6() != id.is_ipv6() && method != FwdMethod::Tunnel {
            return usage_error("Different address family is allowed only for tunneling servers");
        }
        if method == FwdMethod::Tunnel {
            self.check_tunnel_options()?;
        }
        // Only NAT changes ports.
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
        let mut checksums = Vec::new();
        for o in given {
            if !allowed.contains(&o) {
                return usage_error(format!("Illegal '{}' option with the '{name}' tunnel type", o.name()));
            }
            if o != Opt::TunPort {
                checksums.push(o);
            }
        }
        if let [first, second, ..] = checksums.as_slice() {
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

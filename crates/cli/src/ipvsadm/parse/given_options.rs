//! The options that were given, with their values checked one by one as ipvsadm does it.

use std::net::IpAddr;

use evenkeel_core::ipvs::{
    FwdMethod, ServiceId, SyncRole, TUNNEL_TYPE_GRE, TUNNEL_TYPE_GUE, TUNNEL_TYPE_IPIP, Timeouts,
};
use evenkeel_core::model::Protocol;
use evenkeel_sys::resolver;

use super::super::action::DataPlaneChoice;
use super::super::options::{Command, KIND_FWMARK, Opt};
use super::super::popt::GivenOption;
use super::{Result, parse_number, usage_error};

/// 31 days in seconds (MAX_TIMEOUT of ipvsadm).
const MAX_TIMEOUT: u64 = 86400 * 31;

/// The options that were given so far, and their values.
#[derive(Default)]
pub struct GivenOptions {
    pub(super) options: Vec<Opt>,
    pub(super) plane: DataPlaneChoice,
    pub(super) service: Option<ServiceId>,
    pub(super) scheduler: Option<String>,
    pub(super) sched_flags: Option<String>,
    pub(super) persistent_s: Option<u32>,
    pub(super) netmask: Option<String>,
    pub(super) persistence_engine: String,
    pub(super) server: Option<(IpAddr, Option<u16>)>,
    pub(super) method: Option<FwdMethod>,
    pub(super) weight: Option<i32>,
    pub(super) u_threshold: u32,
    pub(super) l_threshold: u32,
    pub(super) tunnel: u8,
    pub(super) tunnel_port: u16,
    pub(super) timeouts: Option<Timeouts>,
    pub(super) role: Option<SyncRole>,
    pub(super) interface: Option<String>,
    pub(super) syncid: u32,
    pub(super) maxlen: Option<u16>,
    pub(super) group: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) ttl: Option<u8>,
    pub(super) sort_correct: bool,
    pub(super) watch_s: u32,
    pub(super) client: Option<IpAddr>,
    pub(super) state: Option<String>,
}

impl GivenOptions {
    pub(super) fn set_data_plane(&mut self, value: &str) -> Result<()> {
        self.plane = match value {
            "auto" => DataPlaneChoice::Auto,
            "xdp" => DataPlaneChoice::Xdp,
            "ipvs" => DataPlaneChoice::Ipvs,
            other => return usage_error(format!("invalid data plane `{other}' specified: auto, xdp or ipvs")),
        };
        Ok(())
    }

    pub(super) fn set_sync_role(&mut self, command: Command, value: &str) -> Result<()> {
        self.role = Some(match value {
            "master" => SyncRole::Master,
            "backup" => SyncRole::Backup,
            // ipvsadm's text for --stop-daemon has this typing error.
            _ if command == Command::StartDaemon => return usage_error("illegal start-daemon parameter specified"),
            _ => return usage_error("illegal start_daemon specified"),
        });
        Ok(())
    }

    pub(super) fn set_option(&mut self, o: &GivenOption<'_>) -> Result<()> {
        let (option, value) = (o.spec.option, o.value);
        match option {
            Opt::Command(_) => return usage_error(format!("invalid option `{}'", o.written)),
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
            _ if self.options.contains(&option) => {
                return usage_error(format!("multiple '{}' options specified", option.name()));
            }
            _ => self.options.push(option),
        }
        let ranged = |range, what: &str| {
            parse_number(value, range).map_or_else(|| usage_error(format!("illegal {what} specified")), Ok)
        };
        let timeout = |range| {
            parse_number(value, range)
                .map_or_else(|| usage_error(format!("invalid timeout value `{value}' specified")), Ok)
        };
        match option {
            Opt::Service if o.spec.kind == KIND_FWMARK => {
                let mark = parse_number(value, 1..=u32::MAX.into());
                let Some(mark) = mark else { return usage_error(format!("invalid fwmark value `{value}' specified")) };
                self.service = Some(ServiceId::Fwmark { mark: mark as u32, ipv6: false });
            }
            Opt::Service => {
                let protocol = Protocol::from_number(o.spec.kind).unwrap_or(Protocol::Tcp);
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
            // libipvs truncates a longer name (IP_VS_SCHEDNAME_MAXLEN).
            Opt::Scheduler => self.scheduler = Some(value.chars().take(15).collect()),
            Opt::SchedFlags => self.sched_flags = Some(value.to_owned()),
            Opt::Persistent => self.persistent_s = Some(timeout(1..=MAX_TIMEOUT)? as u32),
            Opt::Netmask => self.netmask = Some(value.to_owned()),
            Opt::PersistenceEngine => self.persistence_engine = value.to_owned(),
            Opt::Forward => self.method = Some(FwdMethod::from_number(o.spec.kind.into())),
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

    /// Sets the three values of `--set`. Returns the first argument after them.
    pub(super) fn set_timeouts<'a>(&mut self, rest: &[&'a str]) -> Result<Option<&'a str>> {
        let [tcp, tcpfin, udp, more @ ..] = rest else { return usage_error("--set option requires 3 timeout values") };
        let value = |text: &&str| match parse_number(text, 0..=MAX_TIMEOUT) {
            Some(n) => Ok(n as u32),
            None => usage_error(format!("invalid timeout value `{text}' specified")),
        };
        self.timeouts = Some(Timeouts { tcp_s: value(tcp)?, tcpfin_s: value(tcpfin)?, udp_s: value(udp)? });
        Ok(more.first().copied())
    }

    pub(super) fn is_given(&self, option: Opt) -> bool {
        self.options.contains(&option)
    }
}

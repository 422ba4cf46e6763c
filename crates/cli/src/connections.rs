//! `evenkeel connections`: lists the connection table, filtered, or ends connections. It needs no daemon: it reads the
//! maps of the packet path, or the kernel's IPVS.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use evenkeel_core::ipvs::Connection;

use crate::{Format, ipvsadm, output};

/// Options of the command. A connection must match all filters that are given.
#[derive(Args)]
#[command(after_help = "Exit status: 0 success, 1 failure.\n\n\
                        Examples:\n  evenkeel connections --service 192.0.2.1:80 --state SYN_RECV\n  \
                        evenkeel connections --client 198.51.100.0/24 --end")]
pub struct Options {
    /// Connections of clients in this network: ADDRESS or ADDRESS/PREFIX-LENGTH, as 192.0.2.0/24 or 2001:db8::1
    #[arg(long, value_name = "NETWORK")]
    client: Option<Network>,
    #[arg(
        long,
        value_name = "ADDRESS[:PORT]",
        help = "Connections to this virtual service: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT"
    )]
    service: Option<Endpoint>,
    #[arg(
        long,
        value_name = "ADDRESS[:PORT]",
        help = "Connections to this real server: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT"
    )]
    server: Option<Endpoint>,
    /// Connections in this state, with its name in `ipvsadm -Lc`, as ESTABLISHED
    #[arg(long)]
    state: Option<String>,
    /// End the connections: their entries are removed, so that a further packet belongs to no connection. Persistence
    /// templates stay. Needs a filter
    #[arg(long)]
    end: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// An address with an optional port.
#[derive(Clone, Copy, Debug)]
struct Endpoint(IpAddr, Option<u16>);

impl std::str::FromStr for Endpoint {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if let Ok(addr) = s.parse::<SocketAddr>() {
            return Ok(Endpoint(addr.ip(), Some(addr.port())));
        }
        let bare = s.trim_start_matches('[').trim_end_matches(']');
        bare.parse()
            .map(|a| Endpoint(a, None))
            .map_err(|_| "expected ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT".to_owned())
    }
}

impl Endpoint {
    fn matches_endpoint(self, other: (IpAddr, u16)) -> bool {
        self.0 == other.0 && self.1.is_none_or(|port| port == other.1)
    }
}

/// A network prefix.
#[derive(Clone, Copy, Debug)]
struct Network(IpAddr, u8);

impl std::str::FromStr for Network {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let (addr, len) = s.split_once('/').map_or((s, None), |(a, l)| (a, Some(l)));
        let addr: IpAddr = addr.parse().map_err(|_| "expected ADDRESS or ADDRESS/PREFIX-LENGTH".to_owned())?;
        let max_len = if addr.is_ipv6() { 128 } else { 32 };
        let len = len.map_or(Ok(max_len), str::parse).ok().filter(|l| *l <= max_len);
        Ok(Network(addr, len.ok_or_else(|| format!("expected a prefix length of 0 to {max_len}"))?))
    }
}

impl Network {
    fn contains_address(self, a: IpAddr) -> bool {
        let same_prefix =
            |x: u128, y: u128, bits: u8, len: u8| (x ^ y).checked_shr(u32::from(bits - len)).unwrap_or(0) == 0;
        match (self.0, a) {
            (IpAddr::V4(n), IpAddr::V4(a)) => same_prefix(u32::from(n).into(), u32::from(a).into(), 32, self.1),
            (IpAddr::V6(n), IpAddr::V6(a)) => same_prefix(n.into(), a.into(), 128, self.1),
            _ => false,
        }
    }
}

impl Options {
    fn matches_filter(&self, c: &Connection) -> bool {
        self.client.is_none_or(|n| n.contains_address(c.client.0))
            && self.service.is_none_or(|s| s.matches_endpoint(c.service))
            && self.server.is_none_or(|s| s.matches_endpoint(c.dest))
            && self.state.as_ref().is_none_or(|s| s.eq_ignore_ascii_case(&c.state))
    }

    fn is_unfiltered(&self) -> bool {
        self.client.is_none() && self.service.is_none() && self.server.is_none() && self.state.is_none()
    }
}

/// Lists or ends the connections that match.
pub fn run(instance: &str, options: &Options) -> Result<ExitCode> {
    let mut table = ipvsadm::open_table(instance, options.end)
        .context("neither the packet path nor the kernel's IPVS can be read")?;
    if options.end {
        if options.is_unfiltered() {
            bail!("--end needs a filter: --client, --service, --server or --state");
        }
        let ended = table.end_connections(&|c| options.matches_filter(c))?;
        output::print(&format!("{ended} connections ended\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let all: Vec<Connection> = table.connections()?.into_iter().filter(|c| options.matches_filter(c)).collect();
    output::print(&if options.output == Format::Json { format_json(&all)? } else { format_text(&all) });
    Ok(ExitCode::SUCCESS)
}

fn format_endpoint((addr, port): (IpAddr, u16)) -> String {
    SocketAddr::new(addr, port).to_string()
}

fn format_text(all: &[Connection]) -> String {
    let mut t =
        format!("{:<5} {:<12} {:>8}  {:<26} {:<26} {}\n", "", "state", "expires", "client", "service", "real server");
    for c in all {
        t += &format!(
            "{:<5} {:<12} {:>6} s  {:<26} {:<26} {}{}\n",
            c.protocol,
            if c.is_template() { "template" } else { &c.state },
            c.expires_s,
            format_endpoint(c.client),
            format_endpoint(c.service),
            format_endpoint(c.dest),
            c.controls.map_or_else(String::new, |n| format!(", controls {n}"))
        );
    }
    t + &format!("{} connections\n", all.len())
}

fn format_json(all: &[Connection]) -> Result<String> {
    let one = |c: &Connection| {
        serde_json::json!({"protocol": c.protocol, "state": c.state, "template": c.is_template(),
            "expires_s": c.expires_s, "client": format_endpoint(c.client), "service": format_endpoint(c.service), "server": format_endpoint(c.dest),
            "controls": c.controls.unwrap_or(0)})
    };
    Ok(serde_json::to_string_pretty(&all.iter().map(one).collect::<Vec<_>>())? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_endpoints_are_parsed_and_compared() {
        let net = |s: &str, a: &str| {
            s.parse::<Network>().expect("a network").contains_address(a.parse().expect("an address"))
        };
        assert!(net("10.1.0.0/16", "10.1.255.3") && !net("10.1.0.0/16", "10.2.0.1"));
        assert!(net("0.0.0.0/0", "10.2.0.1") && !net("0.0.0.0/0", "::1") && net("::/0", "::1"));
        assert!(net("2001:db8::1", "2001:db8::1") && !net("2001:db8::1", "2001:db8::2"));
        for bad in ["10.0.0.0/33", "10.0.0/8", "10.0.0.0/x", ""] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let endpoint = |s: &str| s.parse::<Endpoint>().expect("an endpoint");
        let addr = ("2001:db8::1".parse().expect("an address"), 80);
        assert!(
            endpoint("[2001:db8::1]:80").matches_endpoint(addr)
                && endpoint("2001:db8::1").matches_endpoint(addr)
                && endpoint("[2001:db8::1]").matches_endpoint(addr)
        );
        assert!(!endpoint("[2001:db8::1]:81").matches_endpoint(addr) && "here".parse::<Endpoint>().is_err());
    }
}

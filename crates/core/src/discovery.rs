//! Real servers by name: what the system resolver has said lies over the file, as orders do.
//!
//! A name that cannot be looked up keeps the addresses that it had last: a resolver that fails takes no server out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Config, ForwardingMethod, NamedServer, Quorum, RealServer, ServerKey, VirtualServer, Weight};

/// So many servers a name may have; more are left out.
pub const MAX_SERVERS_PER_NAME: usize = 256;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct NameQuery {
    /// The name.
    pub name: String,
    /// By its SRV records (RFC 2782), else by its addresses.
    pub srv: bool,
}

/// A server that a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ResolvedServer {
    /// Its address.
    pub addr: IpAddr,
    /// Its port, of a SRV record.
    pub port: Option<u16>,
    /// Its share, of a SRV record; 0 counts as 1: such a server is there, if for little.
    pub weight: Option<u16>,
}

/// What names stand for, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Discovery {
    resolved: BTreeMap<NameQuery, Vec<ResolvedServer>>,
    /// Why the last look-up of a name failed.
    errors: BTreeMap<NameQuery, String>,
}

impl Discovery {
    /// What an earlier daemon knew.
    pub fn from_snapshot(found: Vec<(NameQuery, Vec<ResolvedServer>)>) -> Discovery {
        Discovery { resolved: found.into_iter().collect(), errors: BTreeMap::new() }
    }

    /// For the next one.
    pub fn snapshot(&self) -> Vec<(NameQuery, Vec<ResolvedServer>)> {
        self.resolved.iter().map(|(a, f)| (a.clone(), f.clone())).collect()
    }

    /// A look-up has ended. True if the name stands for others than before.
    pub fn update(&mut self, asked: NameQuery, result: Result<Vec<ResolvedServer>, String>) -> bool {
        match result {
            Ok(mut found) => {
                self.errors.remove(&asked);
                found.sort_unstable();
                found.dedup_by_key(|f| (f.addr, f.port));
                found.truncate(MAX_SERVERS_PER_NAME);
                let news = self.resolved.get(&asked) != Some(&found);
                self.resolved.insert(asked, found);
                news
            }
            Err(why) => {
                self.errors.insert(asked, why);
                false
            }
        }
    }

    /// What went wrong, in words.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.errors.iter().map(|(asked, why)| match self.resolved.get(asked).map(Vec::len) {
            None => format!("{} has never been looked up: {why}", asked.name),
            Some(n) => format!("{} cannot be looked up, its {n} last servers stay: {why}", asked.name),
        })
    }

    /// Forgets names that the configuration has no more.
    pub fn retain_configured(&mut self, config: &Config) {
        let asked = name_queries(config);
        self.resolved.retain(|a, _| asked.contains(a));
        self.errors.retain(|a, _| asked.contains(a));
    }

    /// The configuration with a real server for each address of each name.
    pub fn apply(&self, file: &Config) -> Config {
        let mut config = file.clone();
        for v in config.virtual_servers.iter_mut().filter(|v| v.named_servers.is_some()) {
            let Some(named) = v.named_servers.clone() else { continue };
            for n in &named.servers {
                for f in self.resolved.get(&n.query).into_iter().flatten() {
                    if let Some(server) = resolved_real_server(v, n, f)
                        && !v.servers.iter().any(|r| r.key == server.key)
                    {
                        v.servers.push(server);
                    }
                }
            }
            v.quorum = reachable_quorum(named.configured_quorum, &v.servers);
        }
        config
    }
}

/// Every name in a configuration, each once.
pub fn name_queries(config: &Config) -> Vec<NameQuery> {
    let named = config.virtual_servers.iter().filter_map(|v| v.named_servers.as_ref()).flat_map(|n| &n.servers);
    let mut all: Vec<NameQuery> = named.map(|n| n.query.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// A quorum that cannot be reached is the sum of the weights, as keepalived has it.
pub fn reachable_quorum(written: Quorum, servers: &[RealServer]) -> Quorum {
    let sum = servers.iter().fold(0u32, |sum, r| sum.saturating_add(r.weight.get()));
    // Of a name that stands for nobody yet one server is waited for.
    let weight = written.weight.min(sum.max(1));
    Quorum { weight, hysteresis: written.hysteresis.min(weight.saturating_sub(1)) }
}

/// An address of a name as a real server; `None` if it is of a family that cannot be reached.
fn resolved_real_server(v: &VirtualServer, n: &NamedServer, f: &ResolvedServer) -> Option<RealServer> {
    let method = n.prototype.method;
    if f.addr.is_ipv6() != v.key.addr.is_ipv6() && !matches!(method, ForwardingMethod::Tun(_)) {
        return None;
    }
    let port = f.port.or(n.port);
    let key_port = if method.may_map_ports() { port.unwrap_or(v.key.port) } else { v.key.port };
    let mut like = n.prototype.clone();
    if let Some(share) = f.weight {
        like.weight = Weight::new(like.weight.get().saturating_mul(u32::from(share).max(1))).unwrap_or(like.weight);
    }
    if let Some(port) = f.port {
        for c in &mut like.checks {
            c.connect.connect_port.get_or_insert(port);
        }
    }
    Some(RealServer { key: ServerKey { addr: f.addr, port: key_port }, name: Some(n.query.name.clone()), ..like })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    fn file_config(more: &str) -> Config {
        let text = format!(
            "virtual_server 192.0.2.1 80 {{\nlvs_sched wrr\nlvs_method NAT\nprotocol TCP\nquorum 3\n{more}\n\
             real_server app.example.org 8080 {{\nweight 2\nTCP_CHECK {{\n}}\n}}\n\
             real_server srv _http._tcp.example.org {{\nTCP_CHECK {{\n}}\n}}\n}}\n"
        );
        let parsed = parse_text("t", &text);
        parsed.valid_config().unwrap_or_else(|| panic!("{}", parsed.render(false))).clone()
    }

    fn resolved_server(n: u8) -> ResolvedServer {
        ResolvedServer { addr: [10, 0, 0, n].into(), port: None, weight: None }
    }

    fn server_summary(config: &Config) -> Vec<(String, u32)> {
        config.virtual_servers[0].servers.iter().map(|r| (r.key.to_string(), r.weight.get())).collect()
    }

    #[test]
    fn a_name_stands_for_all_its_addresses_and_keeps_them_while_lookups_fail() {
        let file = file_config("");
        let app = NameQuery { name: "app.example.org".into(), srv: false };
        let mut names = Discovery::default();
        assert_eq!(names.apply(&file).virtual_servers[0].servers, []);
        assert_eq!(names.apply(&file).virtual_servers[0].quorum.weight, 1, "nobody is there: it is down");
        assert!(names.update(
            app.clone(),
            Ok(vec![
                resolved_server(2),
                resolved_server(1),
                "2001:db8::1".parse().map(|addr| ResolvedServer { addr, ..resolved_server(0) }).expect("an address")
            ])
        ));
        assert!(!names.update(
            app.clone(),
            Ok(vec![
                resolved_server(1),
                "2001:db8::1".parse().map(|addr| ResolvedServer { addr, ..resolved_server(0) }).expect("an address"),
                resolved_server(2)
            ])
        ));
        let config = names.apply(&file);
        assert_eq!(server_summary(&config), [("10.0.0.1:8080".into(), 2), ("10.0.0.2:8080".into(), 2)]);
        assert_eq!(config.virtual_servers[0].quorum.weight, 3);
        assert_eq!(config.virtual_servers[0].servers[0].name.as_deref(), Some("app.example.org"));
        assert!(!names.update(app.clone(), Err("no answer".into())));
        assert_eq!(names.apply(&file), config);
        assert_eq!(names.warnings().collect::<Vec<_>>().len(), 1);
        assert!(names.update(app, Ok(vec![resolved_server(3)])));
        assert_eq!(server_summary(&names.apply(&file)), [("10.0.0.3:8080".into(), 2)]);
        assert_eq!(names.warnings().count(), 0);
        assert_eq!(Discovery::from_snapshot(names.snapshot()), names);
    }

    #[test]
    fn srv_records_set_port_and_weight() {
        let file = file_config("");
        let srv = NameQuery { name: "_http._tcp.example.org".into(), srv: true };
        assert_eq!(name_queries(&file).len(), 2);
        let mut names = Discovery::default();
        let found = |n, port, weight| ResolvedServer { port: Some(port), weight: Some(weight), ..resolved_server(n) };
        names.update(srv, Ok(vec![found(1, 81, 5), found(2, 82, 0)]));
        let config = names.apply(&file);
        assert_eq!(server_summary(&config), [("10.0.0.1:81".into(), 5), ("10.0.0.2:82".into(), 1)]);
        assert_eq!(config.virtual_servers[0].servers[1].checks[0].connect.connect_port, Some(82));
        names.retain_configured(&Config::default());
        assert_eq!(names, Discovery::default());
    }
}

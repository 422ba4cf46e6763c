//! Discovery: real servers by name. Each real server in the file that has a name is replaced by one real server for each
//! address that the system resolver returns; overrides are applied on top of the result.
//!
//! A name whose lookup fails keeps the addresses of its last successful lookup: a failing resolver removes no server.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::model::NameQuery;
use crate::model::{Config, ForwardingMethod, NamedServer, Quorum, RealServer, ServerKey, VirtualServer, Weight};

/// The maximum number of servers of a name. Further addresses are ignored.
pub const MAX_SERVERS_PER_NAME: usize = 256;

/// A server that a lookup has returned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ResolvedServer {
    /// The server's address.
    pub addr: IpAddr,
    /// The port of the SRV record.
    pub port: Option<u16>,
    /// The weight of the SRV record. 0 counts as 1, because RFC 2782 gives such a server a small share and not none.
    pub weight: Option<u16>,
}

/// The results of the lookups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Discovery {
    resolved: BTreeMap<NameQuery, Vec<ResolvedServer>>,
    /// The errors of the names whose last lookup failed.
    errors: BTreeMap<NameQuery, String>,
}

impl Discovery {
    /// Restores the results that an earlier daemon has saved.
    pub fn from_snapshot(resolved: Vec<(NameQuery, Vec<ResolvedServer>)>) -> Discovery {
        Discovery { resolved: resolved.into_iter().collect(), errors: BTreeMap::new() }
    }

    /// The results, to be saved for the next daemon.
    pub fn snapshot(&self) -> Vec<(NameQuery, Vec<ResolvedServer>)> {
        self.resolved.iter().map(|(query, servers)| (query.clone(), servers.clone())).collect()
    }

    /// Processes the result of a lookup. Returns whether the servers of the name have changed.
    pub fn update(&mut self, query: NameQuery, result: Result<Vec<ResolvedServer>, String>) -> bool {
        match result {
            Ok(mut servers) => {
                self.errors.remove(&query);
                servers.sort_unstable();
                servers.dedup_by_key(|s| (s.addr, s.port));
                servers.truncate(MAX_SERVERS_PER_NAME);
                let is_changed = self.resolved.get(&query) != Some(&servers);
                self.resolved.insert(query, servers);
                is_changed
            }
            Err(error) => {
                self.errors.insert(query, error);
                false
            }
        }
    }

    /// A message for each name whose last lookup failed.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.errors.iter().map(|(query, error)| match self.resolved.get(query).map(Vec::len) {
            None => format!("lookup of {} failed, and it has no servers yet: {error}", query.name),
            Some(n) => format!("lookup of {} failed, its {n} last servers are kept: {error}", query.name),
        })
    }

    /// Removes the results of names that are no longer in the configuration.
    pub fn retain_configured(&mut self, config: &Config) {
        let queries = name_queries(config);
        self.resolved.retain(|query, _| queries.contains(query));
        self.errors.retain(|query, _| queries.contains(query));
    }

    /// The configuration in which each named server is replaced by its resolved servers.
    pub fn apply(&self, file: &Config) -> Config {
        let mut config = file.clone();
        for v in config.virtual_servers.iter_mut().filter(|v| v.named_servers.is_some()) {
            let Some(named) = v.named_servers.clone() else { continue };
            for n in &named.servers {
                for resolved in self.resolved.get(&n.query).into_iter().flatten() {
                    if let Some(server) = resolved_real_server(v, n, resolved)
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

/// The lookups that a configuration needs, each once.
pub fn name_queries(config: &Config) -> Vec<NameQuery> {
    let named = config.virtual_servers.iter().filter_map(|v| v.named_servers.as_ref()).flat_map(|n| &n.servers);
    let mut all: Vec<NameQuery> = named.map(|n| n.query.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// A quorum that the weights of these servers can reach: keepalived reduces one that is too large to the sum of the
/// weights.
pub fn reachable_quorum(configured: Quorum, servers: &[RealServer]) -> Quorum {
    let sum = servers.iter().fold(0u32, |sum, r| sum.saturating_add(r.weight.get()));
    // While a name has no servers yet, the quorum waits for one.
    let weight = configured.weight.min(sum.max(1));
    Quorum { weight, hysteresis: configured.hysteresis.min(weight.saturating_sub(1)) }
}

/// The real server for a resolved server; `None` if its address family differs from the service's and the forwarding method
/// does not permit that.
fn resolved_real_server(v: &VirtualServer, named: &NamedServer, resolved: &ResolvedServer) -> Option<RealServer> {
    let method = named.prototype.method;
    if resolved.addr.is_ipv6() != v.key.addr.is_ipv6() && !matches!(method, ForwardingMethod::Tun(_)) {
        return None;
    }
    let port = resolved.port.or(named.port);
    let key_port = if method.may_map_ports() { port.unwrap_or(v.key.port) } else { v.key.port };
    let mut server = named.prototype.clone();
    if let Some(factor) = resolved.weight {
        let weight = server.weight.get().saturating_mul(u32::from(factor).max(1));
        server.weight = Weight::new(weight).unwrap_or(server.weight);
    }
    if let Some(port) = resolved.port {
        for c in &mut server.checks {
            c.connect.connect_port.get_or_insert(port);
        }
    }
    let key = ServerKey { addr: resolved.addr, port: key_port };
    Some(RealServer { key, name: Some(named.query.name.clone()), ..server })
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
        let mut discovery = Discovery::default();
        assert_eq!(discovery.apply(&file).virtual_servers[0].servers, []);
        assert_eq!(discovery.apply(&file).virtual_servers[0].quorum.weight, 1, "no server yet: the service is down");
        assert!(discovery.update(
            app.clone(),
            Ok(vec![
                resolved_server(2),
                resolved_server(1),
                "2001:db8::1".parse().map(|addr| ResolvedServer { addr, ..resolved_server(0) }).expect("an address")
            ])
        ));
        assert!(!discovery.update(
            app.clone(),
            Ok(vec![
                resolved_server(1),
                "2001:db8::1".parse().map(|addr| ResolvedServer { addr, ..resolved_server(0) }).expect("an address"),
                resolved_server(2)
            ])
        ));
        let config = discovery.apply(&file);
        assert_eq!(server_summary(&config), [("10.0.0.1:8080".into(), 2), ("10.0.0.2:8080".into(), 2)]);
        assert_eq!(config.virtual_servers[0].quorum.weight, 3);
        assert_eq!(config.virtual_servers[0].servers[0].name.as_deref(), Some("app.example.org"));
        assert!(!discovery.update(app.clone(), Err("no answer".into())));
        assert_eq!(discovery.apply(&file), config);
        assert_eq!(discovery.warnings().collect::<Vec<_>>().len(), 1);
        assert!(discovery.update(app, Ok(vec![resolved_server(3)])));
        assert_eq!(server_summary(&discovery.apply(&file)), [("10.0.0.3:8080".into(), 2)]);
        assert_eq!(discovery.warnings().count(), 0);
        assert_eq!(Discovery::from_snapshot(discovery.snapshot()), discovery);
    }

    #[test]
    fn srv_records_set_port_and_weight() {
        let file = file_config("");
        let srv = NameQuery { name: "_http._tcp.example.org".into(), srv: true };
        assert_eq!(name_queries(&file).len(), 2);
        let mut discovery = Discovery::default();
        let found = |n, port, weight| ResolvedServer { port: Some(port), weight: Some(weight), ..resolved_server(n) };
        discovery.update(srv, Ok(vec![found(1, 81, 5), found(2, 82, 0)]));
        let config = discovery.apply(&file);
        assert_eq!(server_summary(&config), [("10.0.0.1:81".into(), 5), ("10.0.0.2:82".into(), 1)]);
        assert_eq!(config.virtual_servers[0].servers[1].checks[0].connect.connect_port, Some(82));
        discovery.retain_configured(&Config::default());
        assert_eq!(discovery, Discovery::default());
    }
}

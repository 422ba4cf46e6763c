//! What an operator has changed by hand, without touching the file: servers added, removed, drained, weighed.
//!
//! [`Orders`] lie over the configuration: [`Orders::apply`] makes of the file's the one that is in force. So whatever
//! follows from a configuration follows from them, and a reload keeps or forgets them as they say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::{Config, RealServer, ServerKey, ServiceKey, VirtualServer, Weight};

/// Which virtual servers are meant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceSelector {
    /// All that have the real server; or, to add one, none.
    All,
    /// Those with this address and port, of either protocol.
    Address(IpAddr, u16),
    /// The addresses of this `virtual_server_group`.
    Group(String),
}

impl ServiceSelector {
    fn matches(&self, v: &VirtualServer) -> bool {
        match self {
            ServiceSelector::All => true,
            ServiceSelector::Address(addr, port) => v.key.addr == *addr && v.key.port == *port,
            ServiceSelector::Group(name) => v.group.as_ref().is_some_and(|(g, _)| g == name),
        }
    }
}

impl fmt::Display for ServiceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceSelector::All => f.write_str("every virtual server"),
            ServiceSelector::Address(addr, port) => SocketAddr::new(*addr, *port).fmt(f),
            ServiceSelector::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// What is to be done with a real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideAction {
    /// It joins, with the checks of those that are there, once they pass.
    Add {
        /// Its weight; the first server's if none.
        weight: Option<u32>,
    },
    /// It leaves.
    Remove,
    /// Its weight.
    SetWeight(u32),
    /// No new connections; whatever its checks or its weight say.
    Drain,
    /// As the file has it again: what was ordered of it is taken back.
    Revert,
}

/// One order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Override {
    /// Where.
    pub services: ServiceSelector,
    /// The real server.
    pub server: IpAddr,
    /// Its port, where checks go to another than the service's.
    pub port: Option<u16>,
    /// What.
    pub action: OverrideAction,
    /// A reload of the file forgets it.
    pub until_reload: bool,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, which) = (self.server, &self.services);
        match self.action {
            OverrideAction::Add { weight: None } => write!(f, "{server} added to {which}")?,
            OverrideAction::Add { weight: Some(w) } => write!(f, "{server} added to {which} with weight {w}")?,
            OverrideAction::Remove => write!(f, "{server} removed from {which}")?,
            OverrideAction::SetWeight(w) => write!(f, "{server} of {which} has weight {w}")?,
            OverrideAction::Drain => write!(f, "{server} of {which} is drained")?,
            OverrideAction::Revert => write!(f, "{server} of {which} is as the file has it")?,
        }
        f.write_str(if self.until_reload { ", until the next reload" } else { "" })
    }
}

/// All orders that hold, in the order in which they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overrides(Vec<Override>);

impl Overrides {
    /// Takes an order. Refused, in words, if it names nothing in this configuration (the file's) or could not hold.
    pub fn add(&mut self, file: &Config, order: Override) -> Result<(), String> {
        let now = self.apply(file);
        let named: Vec<&VirtualServer> = now.virtual_servers.iter().filter(|v| order.services.matches(v)).collect();
        if named.is_empty() {
            return Err(format!("there is no virtual server {}", order.services));
        }
        let has = |v: &&&VirtualServer| v.servers.iter().any(|r| r.key.addr == order.server);
        let weight = match order.action {
            OverrideAction::SetWeight(w) | OverrideAction::Add { weight: Some(w) } => Some(w),
            _ => None,
        };
        if let Some(w) = weight.filter(|w| Weight::new(*w).is_none()) {
            return Err(format!("a weight of {w} is too large; 0 to {} are possible", i32::MAX));
        }
        match order.action {
            OverrideAction::Add { .. } if order.services == ServiceSelector::All => {
                return Err("name the virtual server that it is to be added to".to_owned());
            }
            OverrideAction::Add { .. } => {
                if let Some(v) = named.iter().find(|v| has(v)) {
                    return Err(format!("{} has {} already", v.key, order.server));
                }
            }
            OverrideAction::Revert => {
                let before = self.0.len();
                self.0.retain(|o| !o.targets_same_server(&order));
                if self.0.len() == before {
                    return Err(format!("nothing was ordered of {} in {}", order.server, order.services));
                }
                return Ok(());
            }
            _ if !named.iter().any(|v| has(&v)) => {
                return Err(format!("{} has no real server {}", order.services, order.server));
            }
            _ => {}
        }
        // What it takes back, or says anew, need not be remembered.
        self.0.retain(|o| !o.is_replaced_by(&order));
        let was_added = |o: &Override| {
            o.targets_same_server(&order)
                && matches!(o.action, OverrideAction::Add { .. })
                && o.services == order.services
        };
        if order.action == OverrideAction::Remove && self.0.iter().any(was_added) {
            self.0.retain(|o| !was_added(o));
            return Ok(());
        }
        self.0.push(order);
        Ok(())
    }

    /// Forgets what holds until a reload only.
    pub fn drop_until_reload(&mut self) {
        self.0.retain(|o| !o.until_reload);
    }

    /// Nothing was ordered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In words.
    pub fn descriptions(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The configuration in force. An order that names nothing in it does nothing.
    pub fn apply(&self, file: &Config) -> Config {
        let mut config = file.clone();
        for o in &self.0 {
            for v in config.virtual_servers.iter_mut().filter(|v| o.services.matches(v)) {
                o.apply_to(v);
            }
        }
        config
    }
}

impl Override {
    fn targets_same_server(&self, other: &Override) -> bool {
        self.server == other.server && (self.services == other.services || other.services == ServiceSelector::All)
    }

    fn is_replaced_by(&self, new: &Override) -> bool {
        let same = self.server == new.server && self.services == new.services;
        same && !matches!(self.action, OverrideAction::Add { .. })
            && match new.action {
                OverrideAction::SetWeight(_) => matches!(self.action, OverrideAction::SetWeight(_)),
                OverrideAction::Drain => self.action == OverrideAction::Drain,
                _ => true,
            }
    }

    fn apply_to(&self, v: &mut VirtualServer) {
        let of = |r: &RealServer| r.key.addr == self.server;
        match self.action {
            OverrideAction::Add { weight } => {
                if !v.servers.iter().any(of) {
                    let server = self.added_server(v.key, v.servers.first(), weight);
                    v.servers.push(server);
                }
            }
            OverrideAction::Remove => v.servers.retain(|r| !of(r)),
            OverrideAction::SetWeight(w) => {
                let weight = Weight::new(w).unwrap_or(Weight::DEFAULT);
                v.servers.iter_mut().filter(|r| of(r)).for_each(|r| r.weight = weight);
            }
            OverrideAction::Drain => v.servers.iter_mut().filter(|r| of(r)).for_each(|r| r.drained = true),
            OverrideAction::Revert => {}
        }
    }

    /// A server like the first one. It is dead until its checks have passed once: nobody has seen it alive.
    fn added_server(&self, service: ServiceKey, like: Option<&RealServer>, weight: Option<u32>) -> RealServer {
        let method = like.map_or(crate::model::ForwardingMethod::Dr, |r| r.method);
        // NAT sends to the port that is named, or to that of the others; the other methods cannot change it.
        let port = if method.may_map_ports() { self.port.or(like.map(|r| r.key.port)) } else { None };
        let key = ServerKey { addr: self.server, port: port.unwrap_or(service.port) };
        let weight = weight.and_then(Weight::new).or(like.map(|r| r.weight)).unwrap_or(Weight::DEFAULT);
        let mut checks = like.map_or_else(Vec::new, |r| r.checks.clone());
        for c in &mut checks {
            (c.alpha, c.connect.connect_ip) = (Some(true), None);
            if self.port.is_some() {
                c.connect.connect_port = self.port;
            }
        }
        RealServer {
            key,
            name: None,
            weight,
            method,
            u_threshold: like.map_or(0, |r| r.u_threshold),
            l_threshold: like.map_or(0, |r| r.l_threshold),
            inhibit_on_failure: like.is_some_and(|r| r.inhibit_on_failure),
            alpha: true,
            drained: false,
            // They may name the server that they were written for.
            notify_up: None,
            notify_down: None,
            mail: like.is_some_and(|r| r.mail),
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    fn file_config() -> Config {
        let one = |port: u16| {
            format!(
                "virtual_server 192.0.2.1 {port} {{\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n\
                 real_server 10.0.0.1 {port} {{\nweight 4\nTCP_CHECK {{\nconnect_port 99\n}}\n}}\n\
                 real_server 10.0.0.2 {port} {{\n}}\n}}\n"
            )
        };
        let parsed = parse_text("t", &(one(80) + &one(81)));
        parsed.valid_config().unwrap_or_else(|| panic!("{}", parsed.render(false))).clone()
    }

    fn new_override(which: ServiceSelector, server: u8, what: OverrideAction) -> Override {
        Override {
            services: which,
            server: IpAddr::from([10, 0, 0, server]),
            port: None,
            action: what,
            until_reload: false,
        }
    }

    fn service_at(port: u16) -> ServiceSelector {
        ServiceSelector::Address(IpAddr::from([192, 0, 2, 1]), port)
    }

    /// Last byte, weight, drained of each server, by service.
    fn server_summary(config: &Config) -> Vec<Vec<(u8, u32, bool)>> {
        let server = |r: &RealServer| (crate::model::last_octet(r.key.addr), r.weight.get(), r.drained);
        config.virtual_servers.iter().map(|v| v.servers.iter().map(server).collect()).collect()
    }

    #[test]
    fn overrides_apply_on_top_of_the_file() {
        let file = file_config();
        let mut orders = Overrides::default();
        orders.add(&file, new_override(service_at(80), 3, OverrideAction::Add { weight: None })).expect("new");
        orders.add(&file, new_override(service_at(80), 1, OverrideAction::SetWeight(9))).expect("there");
        orders.add(&file, new_override(ServiceSelector::All, 2, OverrideAction::Drain)).expect("there");
        let config = orders.apply(&file);
        assert_eq!(
            server_summary(&config),
            [vec![(1, 9, false), (2, 1, true), (3, 4, false)], vec![(1, 4, false), (2, 1, true)]]
        );
        let new = &config.virtual_servers[0].servers[2];
        assert!(new.alpha && new.checks[0].connect.connect_port == Some(99), "checked as the first is");
        orders.add(&file, new_override(service_at(80), 3, OverrideAction::Remove)).expect("it was added");
        orders.add(&file, new_override(ServiceSelector::All, 2, OverrideAction::Revert)).expect("it was drained");
        orders.add(&file, new_override(service_at(80), 1, OverrideAction::SetWeight(8))).expect("again");
        assert_eq!(orders.descriptions(), ["10.0.0.1 of 192.0.2.1:80 has weight 8"]);
        orders
            .add(&file, Override { until_reload: true, ..new_override(service_at(81), 1, OverrideAction::Remove) })
            .expect("there");
        assert_eq!(server_summary(&orders.apply(&file))[1], [(2, 1, false)]);
        orders.drop_until_reload();
        assert_eq!(
            server_summary(&orders.apply(&file)),
            [vec![(1, 8, false), (2, 1, false)], vec![(1, 4, false), (2, 1, false)]]
        );
        orders.add(&file, new_override(service_at(80), 1, OverrideAction::Revert)).expect("weighed");
        assert!(orders.is_empty() && orders.apply(&file) == file);
    }

    #[test]
    fn an_override_that_matches_nothing_is_rejected() {
        let file = file_config();
        let mut orders = Overrides::default();
        for (bad, why) in [
            (new_override(service_at(82), 1, OverrideAction::Drain), "no virtual server 192.0.2.1:82"),
            (new_override(service_at(80), 9, OverrideAction::Drain), "has no real server 10.0.0.9"),
            (new_override(service_at(80), 1, OverrideAction::Add { weight: None }), "has 10.0.0.1 already"),
            (new_override(ServiceSelector::All, 9, OverrideAction::Add { weight: None }), "name the virtual server"),
            (new_override(service_at(80), 1, OverrideAction::SetWeight(1 << 31)), "too large"),
            (new_override(service_at(80), 1, OverrideAction::Revert), "nothing was ordered"),
            (new_override(ServiceSelector::Group("g".into()), 1, OverrideAction::Drain), "no virtual server group g"),
        ] {
            let said = orders.add(&file, bad).expect_err(why);
            assert!(said.contains(why), "{said}");
        }
        assert!(orders.is_empty());
        // The file may have changed since: what it names no more does nothing.
        orders.add(&file, new_override(service_at(80), 2, OverrideAction::Drain)).expect("there");
        assert_eq!(orders.apply(&Config::default()), Config::default());
    }
}

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
pub enum Which {
    /// All that have the real server; or, to add one, none.
    Everywhere,
    /// Those with this address and port, of either protocol.
    At(IpAddr, u16),
    /// The addresses of this `virtual_server_group`.
    Group(String),
}

impl Which {
    fn names(&self, v: &VirtualServer) -> bool {
        match self {
            Which::Everywhere => true,
            Which::At(addr, port) => v.key.addr == *addr && v.key.port == *port,
            Which::Group(name) => v.group.as_ref().is_some_and(|(g, _)| g == name),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Everywhere => f.write_str("every virtual server"),
            Which::At(addr, port) => SocketAddr::new(*addr, *port).fmt(f),
            Which::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// What is to be done with a real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It joins, with the checks of those that are there, once they pass.
    Add {
        /// Its weight; the first server's if none.
        weight: Option<u32>,
    },
    /// It leaves.
    Remove,
    /// Its weight.
    Weight(u32),
    /// No new connections; whatever its checks or its weight say.
    Drain,
    /// As the file has it again: what was ordered of it is taken back.
    Undo,
}

/// One order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Where.
    pub which: Which,
    /// The real server.
    pub server: IpAddr,
    /// Its port, where checks go to another than the service's.
    pub port: Option<u16>,
    /// What.
    pub what: What,
    /// A reload of the file forgets it.
    pub until_reload: bool,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, which) = (self.server, &self.which);
        match self.what {
            What::Add { weight: None } => write!(f, "{server} added to {which}")?,
            What::Add { weight: Some(w) } => write!(f, "{server} added to {which} with weight {w}")?,
            What::Remove => write!(f, "{server} removed from {which}")?,
            What::Weight(w) => write!(f, "{server} of {which} has weight {w}")?,
            What::Drain => write!(f, "{server} of {which} is drained")?,
            What::Undo => write!(f, "{server} of {which} is as the file has it")?,
        }
        f.write_str(if self.until_reload { ", until the next reload" } else { "" })
    }
}

/// All orders that hold, in the order in which they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Orders(Vec<Order>);

impl Orders {
    /// Takes an order. Refused, in words, if it names nothing in this configuration (the file's) or could not hold.
    pub fn give(&mut self, file: &Config, order: Order) -> Result<(), String> {
        let now = self.apply(file);
        let named: Vec<&VirtualServer> = now.virtual_servers.iter().filter(|v| order.which.names(v)).collect();
        if named.is_empty() {
            return Err(format!("there is no virtual server {}", order.which));
        }
        let has = |v: &&&VirtualServer| v.servers.iter().any(|r| r.key.addr == order.server);
        let weight = match order.what {
            What::Weight(w) | What::Add { weight: Some(w) } => Some(w),
            _ => None,
        };
        if let Some(w) = weight.filter(|w| Weight::new(*w).is_none()) {
            return Err(format!("a weight of {w} is too large; 0 to {} are possible", i32::MAX));
        }
        match order.what {
            What::Add { .. } if order.which == Which::Everywhere => {
                return Err("name the virtual server that it is to be added to".to_owned());
            }
            What::Add { .. } => {
                if let Some(v) = named.iter().find(|v| has(v)) {
                    return Err(format!("{} has {} already", v.key, order.server));
                }
            }
            What::Undo => {
                let before = self.0.len();
                self.0.retain(|o| !o.concerns(&order));
                if self.0.len() == before {
                    return Err(format!("nothing was ordered of {} in {}", order.server, order.which));
                }
                return Ok(());
            }
            _ if !named.iter().any(|v| has(&v)) => {
                return Err(format!("{} has no real server {}", order.which, order.server));
            }
            _ => {}
        }
        // What it takes back, or says anew, need not be remembered.
        self.0.retain(|o| !o.gives_way(&order));
        let was_added = |o: &Order| o.concerns(&order) && matches!(o.what, What::Add { .. }) && o.which == order.which;
        if order.what == What::Remove && self.0.iter().any(was_added) {
            self.0.retain(|o| !was_added(o));
            return Ok(());
        }
        self.0.push(order);
        Ok(())
    }

    /// Forgets what holds until a reload only.
    pub fn reloaded(&mut self) {
        self.0.retain(|o| !o.until_reload);
    }

    /// Nothing was ordered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In words.
    pub fn words(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The configuration in force. An order that names nothing in it does nothing.
    pub fn apply(&self, file: &Config) -> Config {
        let mut config = file.clone();
        for o in &self.0 {
            for v in config.virtual_servers.iter_mut().filter(|v| o.which.names(v)) {
                o.apply(v);
            }
        }
        config
    }
}

impl Order {
    fn concerns(&self, other: &Order) -> bool {
        self.server == other.server && (self.which == other.which || other.which == Which::Everywhere)
    }

    fn gives_way(&self, new: &Order) -> bool {
        let same = self.server == new.server && self.which == new.which;
        same && !matches!(self.what, What::Add { .. })
            && match new.what {
                What::Weight(_) => matches!(self.what, What::Weight(_)),
                What::Drain => self.what == What::Drain,
                _ => true,
            }
    }

    fn apply(&self, v: &mut VirtualServer) {
        let of = |r: &RealServer| r.key.addr == self.server;
        match self.what {
            What::Add { weight } => {
                if !v.servers.iter().any(of) {
                    let server = self.newcomer(v.key, v.servers.first(), weight);
                    v.servers.push(server);
                }
            }
            What::Remove => v.servers.retain(|r| !of(r)),
            What::Weight(w) => {
                let weight = Weight::new(w).unwrap_or(Weight::DEFAULT);
                v.servers.iter_mut().filter(|r| of(r)).for_each(|r| r.weight = weight);
            }
            What::Drain => v.servers.iter_mut().filter(|r| of(r)).for_each(|r| r.drained = true),
            What::Undo => {}
        }
    }

    /// A server like the first one. It is dead until its checks have passed once: nobody has seen it alive.
    fn newcomer(&self, service: ServiceKey, like: Option<&RealServer>, weight: Option<u32>) -> RealServer {
        let method = like.map_or(crate::model::ForwardingMethod::Dr, |r| r.method);
        // NAT sends to the port that is named, or to that of the others; the other methods cannot change it.
        let port = if method.maps_ports() { self.port.or(like.map(|r| r.key.port)) } else { None };
        let key = ServerKey { addr: self.server, port: port.unwrap_or(service.port) };
        let weight = weight.and_then(Weight::new).or(like.map(|r| r.weight)).unwrap_or(Weight::DEFAULT);
        let mut checks = like.map_or_else(Vec::new, |r| r.checks.clone());
        for c in &mut checks {
            (c.alpha, c.path.connect_ip) = (Some(true), None);
            if self.port.is_some() {
                c.path.connect_port = self.port;
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
    use crate::config::parse_file;

    fn file() -> Config {
        let one = |port: u16| {
            format!(
                "virtual_server 192.0.2.1 {port} {{\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n\
                 real_server 10.0.0.1 {port} {{\nweight 4\nTCP_CHECK {{\nconnect_port 99\n}}\n}}\n\
                 real_server 10.0.0.2 {port} {{\n}}\n}}\n"
            )
        };
        let parsed = parse_file("t", &(one(80) + &one(81)));
        parsed.clean().unwrap_or_else(|| panic!("{}", parsed.render(false))).clone()
    }

    fn order(which: Which, server: u8, what: What) -> Order {
        Order { which, server: IpAddr::from([10, 0, 0, server]), port: None, what, until_reload: false }
    }

    fn at(port: u16) -> Which {
        Which::At(IpAddr::from([192, 0, 2, 1]), port)
    }

    /// Last byte, weight, drained of each server, by service.
    fn seen(config: &Config) -> Vec<Vec<(u8, u32, bool)>> {
        let server = |r: &RealServer| (crate::model::last_number(r.key.addr), r.weight.get(), r.drained);
        config.virtual_servers.iter().map(|v| v.servers.iter().map(server).collect()).collect()
    }

    #[test]
    fn orders_lie_over_the_file() {
        let file = file();
        let mut orders = Orders::default();
        orders.give(&file, order(at(80), 3, What::Add { weight: None })).expect("new");
        orders.give(&file, order(at(80), 1, What::Weight(9))).expect("there");
        orders.give(&file, order(Which::Everywhere, 2, What::Drain)).expect("there");
        let config = orders.apply(&file);
        assert_eq!(
            seen(&config),
            [vec![(1, 9, false), (2, 1, true), (3, 4, false)], vec![(1, 4, false), (2, 1, true)]]
        );
        let new = &config.virtual_servers[0].servers[2];
        assert!(new.alpha && new.checks[0].path.connect_port == Some(99), "checked as the first is");
        orders.give(&file, order(at(80), 3, What::Remove)).expect("it was added");
        orders.give(&file, order(Which::Everywhere, 2, What::Undo)).expect("it was drained");
        orders.give(&file, order(at(80), 1, What::Weight(8))).expect("again");
        assert_eq!(orders.words(), ["10.0.0.1 of 192.0.2.1:80 has weight 8"]);
        orders.give(&file, Order { until_reload: true, ..order(at(81), 1, What::Remove) }).expect("there");
        assert_eq!(seen(&orders.apply(&file))[1], [(2, 1, false)]);
        orders.reloaded();
        assert_eq!(
            seen(&orders.apply(&file)),
            [vec![(1, 8, false), (2, 1, false)], vec![(1, 4, false), (2, 1, false)]]
        );
        orders.give(&file, order(at(80), 1, What::Undo)).expect("weighed");
        assert!(orders.is_empty() && orders.apply(&file) == file);
    }

    #[test]
    fn an_order_that_names_nothing_is_refused() {
        let file = file();
        let mut orders = Orders::default();
        for (bad, why) in [
            (order(at(82), 1, What::Drain), "no virtual server 192.0.2.1:82"),
            (order(at(80), 9, What::Drain), "has no real server 10.0.0.9"),
            (order(at(80), 1, What::Add { weight: None }), "has 10.0.0.1 already"),
            (order(Which::Everywhere, 9, What::Add { weight: None }), "name the virtual server"),
            (order(at(80), 1, What::Weight(1 << 31)), "too large"),
            (order(at(80), 1, What::Undo), "nothing was ordered"),
            (order(Which::Group("g".into()), 1, What::Drain), "no virtual server group g"),
        ] {
            let said = orders.give(&file, bad).expect_err(why);
            assert!(said.contains(why), "{said}");
        }
        assert!(orders.is_empty());
        // The file may have changed since: what it names no more does nothing.
        orders.give(&file, order(at(80), 2, What::Drain)).expect("there");
        assert_eq!(orders.apply(&Config::default()), Config::default());
    }
}

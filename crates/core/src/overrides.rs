//! Overrides: changes of real servers that an operator makes at run time (`evenkeel server`), without editing the file.
//!
//! [`Overrides::apply`] makes the configuration in force from the configuration of the file. Everything that follows from a
//! configuration therefore also follows from the overrides. A reload keeps them, unless they end at a reload.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::{Config, RealServer, ServerKey, ServiceKey, VirtualServer, Weight};

/// The virtual servers that an override applies to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceSelector {
    /// All virtual servers that have the real server. Not for [`OverrideAction::Add`].
    All,
    /// The virtual servers with this address and port, of any protocol.
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

/// What an override does with its real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideAction {
    /// The server is added, with the checks of the first server. It gets connections once the checks pass.
    Add {
        /// The weight; that of the first server if `None`.
        weight: Option<u32>,
    },
    /// The server is removed.
    Remove,
    /// The server gets this weight.
    SetWeight(u32),
    /// The server gets no new connection, whatever its checks and its weight are.
    Drain,
    /// Earlier overrides of the server are removed.
    Revert,
}

/// One override.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Override {
    /// The virtual servers.
    pub services: ServiceSelector,
    /// The address of the real server.
    pub server: IpAddr,
    /// The port of the real server; `None`: the port of the service, or of the other servers.
    pub port: Option<u16>,
    /// What is done with the server.
    pub action: OverrideAction,
    /// The override ends at the next reload of the file.
    pub until_reload: bool,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, services) = (self.server, &self.services);
        match self.action {
            OverrideAction::Add { weight: None } => write!(f, "{server} added to {services}")?,
            OverrideAction::Add { weight: Some(w) } => write!(f, "{server} added to {services} with weight {w}")?,
            OverrideAction::Remove => write!(f, "{server} removed from {services}")?,
            OverrideAction::SetWeight(w) => write!(f, "{server} of {services} has weight {w}")?,
            OverrideAction::Drain => write!(f, "{server} of {services} is drained")?,
            OverrideAction::Revert => write!(f, "{server} of {services} is as in the file")?,
        }
        f.write_str(if self.until_reload { ", until the next reload" } else { "" })
    }
}

/// The overrides in force, in the order in which they were added.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overrides(Vec<Override>);

impl Overrides {
    /// Adds an override. `file` is the configuration of the file.
    ///
    /// # Errors
    ///
    /// A message, if the override matches nothing in the configuration in force or is not possible.
    pub fn add(&mut self, file: &Config, new: Override) -> Result<(), String> {
        self.validate(file, &new)?;
        if new.action == OverrideAction::Revert {
            self.0.retain(|o| !o.targets_same_server(&new));
            return Ok(());
        }
        // An override that the new one undoes or repeats has no effect any more.
        self.0.retain(|o| !o.is_replaced_by(&new));
        let added_server = |o: &Override| {
            o.targets_same_server(&new) && matches!(o.action, OverrideAction::Add { .. }) && o.services == new.services
        };
        if new.action == OverrideAction::Remove && self.0.iter().any(added_server) {
            self.0.retain(|o| !added_server(o));
            return Ok(());
        }
        self.0.push(new);
        Ok(())
    }

    fn validate(&self, file: &Config, new: &Override) -> Result<(), String> {
        let in_force = self.apply(file);
        let matched: Vec<&VirtualServer> =
            in_force.virtual_servers.iter().filter(|v| new.services.matches(v)).collect();
        if matched.is_empty() {
            return Err(format!("there is no virtual server {}", new.services));
        }
        let has_server = |v: &&&VirtualServer| v.servers.iter().any(|r| r.key.addr == new.server);
        if let OverrideAction::SetWeight(w) | OverrideAction::Add { weight: Some(w) } = new.action
            && Weight::new(w).is_none()
        {
            return Err(format!("weight {w} is too large, the maximum is {}", i32::MAX));
        }
        match new.action {
            OverrideAction::Add { .. } if new.services == ServiceSelector::All => {
                Err("to add a real server, name one virtual server or one group".to_owned())
            }
            OverrideAction::Add { .. } => match matched.iter().find(has_server) {
                Some(v) => Err(format!("{} already has real server {}", v.key, new.server)),
                None => Ok(()),
            },
            OverrideAction::Revert if !self.0.iter().any(|o| o.targets_same_server(new)) => {
                Err(format!("there is no override of {} in {}", new.server, new.services))
            }
            OverrideAction::Revert => Ok(()),
            OverrideAction::Remove | OverrideAction::SetWeight(_) | OverrideAction::Drain => {
                match matched.iter().any(|v| has_server(&v)) {
                    true => Ok(()),
                    false => Err(format!("{} has no real server {}", new.services, new.server)),
                }
            }
        }
    }

    /// Removes the overrides that end at a reload.
    pub fn drop_until_reload(&mut self) {
        self.0.retain(|o| !o.until_reload);
    }

    /// Whether there are no overrides.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A sentence for each override.
    pub fn descriptions(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The configuration in force. An override that matches nothing in `file` has no effect.
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
        let is_same_target = self.server == new.server && self.services == new.services;
        is_same_target
            && !matches!(self.action, OverrideAction::Add { .. })
            && match new.action {
                OverrideAction::SetWeight(_) => matches!(self.action, OverrideAction::SetWeight(_)),
                OverrideAction::Drain => self.action == OverrideAction::Drain,
                _ => true,
            }
    }

    fn apply_to(&self, v: &mut VirtualServer) {
        let is_target = |r: &RealServer| r.key.addr == self.server;
        match self.action {
            OverrideAction::Add { weight } => {
                if !v.servers.iter().any(is_target) {
                    let server = self.added_server(v.key, v.servers.first(), weight);
                    v.servers.push(server);
                }
            }
            OverrideAction::Remove => v.servers.retain(|r| !is_target(r)),
            OverrideAction::SetWeight(w) => {
                let weight = Weight::new(w).unwrap_or(Weight::DEFAULT);
                v.servers.iter_mut().filter(|r| is_target(r)).for_each(|r| r.weight = weight);
            }
            OverrideAction::Drain => v.servers.iter_mut().filter(|r| is_target(r)).for_each(|r| r.drained = true),
            OverrideAction::Revert => {}
        }
    }

    /// A server with the settings of the first one. It counts as down until its checks have passed once, because its state
    /// is not known.
    fn added_server(&self, service: ServiceKey, first: Option<&RealServer>, weight: Option<u32>) -> RealServer {
        let method = first.map_or(crate::model::ForwardingMethod::Dr, |r| r.method);
        // NAT uses the port of the override, or that of the other servers. The other methods cannot map ports.
        let port = if method.may_map_ports() { self.port.or(first.map(|r| r.key.port)) } else { None };
        let key = ServerKey { addr: self.server, port: port.unwrap_or(service.port) };
        let weight = weight.and_then(Weight::new).or(first.map(|r| r.weight)).unwrap_or(Weight::DEFAULT);
        let mut checks = first.map_or_else(Vec::new, |r| r.checks.clone());
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
            u_threshold: first.map_or(0, |r| r.u_threshold),
            l_threshold: first.map_or(0, |r| r.l_threshold),
            inhibit_on_failure: first.is_some_and(|r| r.inhibit_on_failure),
            alpha: true,
            drained: false,
            // The scripts of the first server may name that server.
            notify_up: None,
            notify_down: None,
            mail: first.is_some_and(|r| r.mail),
            checks,
        }
    }
}

#[cfg(test)]
mod tests;

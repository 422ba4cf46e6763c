//! Activation: which services this host serves at the moment.
//!
//! IPVS balances what the kernel's routing delivers to this host (`ip_vs_in` at NF_INET_LOCAL_IN). The packet path runs
//! before routing, so the daemon says which addresses are to be served:
//!
//! | the address | is served |
//! | --- | --- |
//! | belongs to a VRRP instance | while the instance's device has it, which is while the instance is master |
//! | belongs to none | while the kernel delivers packets for it locally, by an address, a local route or a rule |
//! | any, with `serve_any_address` | always |
//!
//! All other packets are the kernel's. So a backup that has the address on `lo`, because it is also a real server, is
//! a real server and nothing else: what the master sends to it is delivered, and never balanced again. Services on firewall
//! marks have no address, and are always served.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::{Config, ServiceKey};

/// Why a service is not served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InactiveReason {
    /// The address belongs to an instance, which does not hold it now.
    NotMaster {
        /// The instance's name.
        instance: String,
    },
    /// The kernel does not deliver packets for the address to this host.
    NotLocal(IpAddr),
}

impl fmt::Display for InactiveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InactiveReason::NotMaster { instance } => write!(f, "{instance} is not master here"),
            InactiveReason::NotLocal(addr) => write!(f, "{addr} is not an address of this host"),
        }
    }
}

/// The activation of each service: `None` if it is active.
pub type Activation = BTreeMap<ServiceKey, Option<InactiveReason>>;

/// Computes the activation of `services`. `addresses` has the addresses of this host with the names of their devices;
/// `is_local` asks the kernel whether it delivers packets for another address locally.
pub fn activation(
    config: &Config,
    services: impl IntoIterator<Item = ServiceKey>,
    addresses: &BTreeSet<(IpAddr, String)>,
    mut is_local: impl FnMut(IpAddr) -> bool,
) -> Activation {
    let mut instances: BTreeMap<IpAddr, Vec<(&str, &str)>> = BTreeMap::new();
    for i in &config.instances {
        for vip in i.all_vips() {
            instances.entry(vip.addr).or_default().push((&i.name, &vip.dev));
        }
    }
    let mut known: BTreeMap<IpAddr, Option<InactiveReason>> = BTreeMap::new();
    let mut reason_of = |addr: IpAddr| match instances.get(&addr) {
        Some(of) => {
            let is_held = of.iter().any(|(_, dev)| addresses.contains(&(addr, (*dev).to_owned())));
            let instance = of.first().map_or_else(String::new, |(name, _)| (*name).to_owned());
            (!is_held).then_some(InactiveReason::NotMaster { instance })
        }
        None => {
            let is_own = addresses.range((addr, String::new())..).next().is_some_and(|(a, _)| *a == addr);
            (!is_own && !is_local(addr)).then_some(InactiveReason::NotLocal(addr))
        }
    };
    let reason = |key: ServiceKey| {
        if key.fwmark != 0 || config.global.serve_any_address {
            return (key, None);
        }
        (key, known.entry(key.addr).or_insert_with(|| reason_of(key.addr)).clone())
    };
    services.into_iter().map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    const FILE: &str = "vrrp_instance V {\n interface eth0\n virtual_router_id 5\n virtual_ipaddress {\n 192.0.2.100/24\n }\n}\n\
        virtual_server 192.0.2.100 80 {\n protocol TCP\n real_server 192.0.2.11 80 {\n }\n}\n\
        virtual_server 192.0.2.200 80 {\n protocol TCP\n real_server 192.0.2.11 80 {\n }\n}\n\
        virtual_server fwmark 5 {\n real_server 192.0.2.11 80 {\n }\n}\n";

    fn computed(file: &str, addresses: &[(&str, &str)], local: &[&str]) -> Vec<String> {
        let config = parse_text("test.conf", file).config;
        let addresses = addresses.iter().map(|(a, d)| (a.parse().expect("an address"), (*d).to_owned())).collect();
        let services: Vec<ServiceKey> = config.virtual_servers.iter().map(|v| v.key).collect();
        let all = activation(&config, services, &addresses, |a| local.contains(&a.to_string().as_str()));
        all.into_values().flatten().map(|r| r.to_string()).collect()
    }

    #[test]
    fn a_master_serves_its_address_and_a_backup_does_not_even_if_it_is_a_real_server() {
        let own = ("192.0.2.200", "lo");
        assert_eq!(computed(FILE, &[("192.0.2.100", "eth0"), own], &[]), [""; 0]);
        assert_eq!(computed(FILE, &[("192.0.2.100", "lo"), own], &[]), ["V is not master here"]);
        assert_eq!(computed(FILE, &[own], &["192.0.2.100"]), ["V is not master here"]);
    }

    #[test]
    fn an_address_without_an_instance_is_served_while_it_is_local() {
        let held = ("192.0.2.100", "eth0");
        assert_eq!(computed(FILE, &[held], &[]), ["192.0.2.200 is not an address of this host"]);
        assert_eq!(computed(FILE, &[held], &["192.0.2.200"]), [""; 0], "by a local route");
        let any = format!("global_defs {{\n serve_any_address\n}}\n{FILE}");
        assert_eq!(computed(&any, &[], &[]), [""; 0]);
    }
}

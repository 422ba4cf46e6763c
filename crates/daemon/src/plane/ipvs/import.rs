//! Import of connections into IPVS, as messages of connection synchronisation: IPVS takes them as if another director
//! had sent them.

use std::collections::BTreeMap;

use evenkeel_core::ipvs::sync::SyncEntry;
use evenkeel_core::ipvs::{Connection, FwdMethod};
use evenkeel_core::model::ServiceKey;
use evenkeel_sys::Result;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;

/// Imports connections; returns how many could not be imported.
pub fn import_connections(ipvs: &mut Ipvs, connections: &[Connection]) -> Result<usize> {
    // A message carries the forwarding method of the destination, which a connection does not know.
    let mut methods = BTreeMap::new();
    for (s, dests) in ipvs.services_with_dests()? {
        for d in dests {
            methods.insert((s.service.id.service_key(), d.dest.addr), d.dest.method);
        }
    }
    let method = |c: &Connection| -> Option<FwdMethod> {
        if c.fwmark != 0 {
            return methods.get(&(ServiceKey::from_fwmark(c.fwmark, c.client.0.is_ipv6()), c.dest.0)).copied();
        }
        let protocol = c.protocol()?;
        let service = |port| ServiceKey::new(protocol, c.service.0, port);
        c.candidate_service_ports().into_iter().find_map(|p| methods.get(&(service(p), c.dest.0))).copied()
    };
    let entries = connections.iter().filter_map(|c| SyncEntry::from_connection(c, method(c)?));
    let entries: Vec<SyncEntry> = entries.collect();
    Ok(connections.len() - entries.len() + ipvs.export_connections(&entries)?)
}

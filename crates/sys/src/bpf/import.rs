//! The import of connections from the kernel's IPVS into the connection table.

use std::collections::HashMap;
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use evenkeel_core::ipvs::{Connection, is_active, state_number};
use evenkeel_core::model::{Protocol, ServiceKey};

use super::abi::*;
use super::address::{family_number, from_wire_addr, to_wire_addr};
use super::encoding::service_key;
use super::maps::Maps;
use super::packet_path::PacketPath;
use crate::Result;

/// The result of an import.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ImportResult {
    /// Connections that are in the table now, or were there already.
    pub imported: usize,
    /// Connections whose service, real server or state does not exist here.
    pub unknown: usize,
    /// Connections that found no free entry.
    pub table_full: usize,
}

/// The key of an entry: key_make() of bpf/conn/conn_key.h.
type ConnKey = [u64; 5];

/// The argument of the program `evenkeel_import`: `struct new_conn` of bpf/conn/conn_key.h.
struct ImportEntry {
    key: ConnKey,
    dest: u32,
    status: u32,
    control: u32,
    timeout: u32,
}

impl ImportEntry {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out: Vec<u8> = self.key.iter().flat_map(|w| w.to_ne_bytes()).collect();
        out.extend([self.dest, self.status, self.control, self.timeout].iter().flat_map(|w| w.to_ne_bytes()));
        // The frame of a test run must not be shorter.
        out.resize(64, 0);
        out
    }
}

fn conn_key(client: (IpAddr, u16), service: (IpAddr, u16), protocol: u8, kind: u32) -> ConnKey {
    let (c, v) = (to_wire_addr(client.0), to_wire_addr(service.0));
    let pair = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
    let ports = u64::from(client.1.to_be()) | u64::from(service.1.to_be()) << 16;
    let key1 = ports | u64::from(protocol) << 32 | u64::from(kind) << 40;
    if client.0.is_ipv6() {
        [pair(c[0], c[1]), pair(c[2], c[3]), pair(v[0], v[1]), pair(v[2], v[3]), key1 | 1 << 47]
    } else {
        [pair(c[0], v[0]), 0, 0, 0, key1]
    }
}

/// A firewall mark as the service address of a template: template_key() of bpf/conn/persistence.h.
fn mark_as_address(mark: u32, ipv6: bool) -> IpAddr {
    from_wire_addr(if ipv6 { 6 } else { 4 }, [mark.to_be(), 0, 0, 0])
}

/// A service of the maps.
struct ImportService {
    index: u32,
    persistent: bool,
    mask: [u32; 4],
    mark: u32,
}

/// The services and destinations of the maps, and the templates that have been imported.
struct Importer<'m> {
    maps: &'m Maps,
    services: HashMap<ServiceKey, ImportService>,
    /// Destination indices by service index, address and port.
    dests: HashMap<(u32, IpAddr, u16), u32>,
    /// Entry handles by key.
    templates: HashMap<ConnKey, u32>,
}

/// Where a connection of IPVS belongs: the service, the port that it is found under, and the destination's index.
type Target<'s> = (&'s ImportService, u16, u32);

impl Importer<'_> {
    fn new(maps: &Maps) -> Importer<'_> {
        let (mut services, mut dests) = (HashMap::new(), HashMap::new());
        for (index, s) in maps.live_services() {
            let Some(key) = service_key(&s) else { continue };
            for id in maps.active_dests(&s) {
                if let Some(d) = maps.dest_key(id) {
                    dests.insert((index, d.addr, d.port), id);
                }
            }
            let persistent = s.flags & SERVICE_PERSISTENT != 0;
            services.insert(key, ImportService { index, persistent, mask: s.persist_mask, mark: s.mark });
        }
        Importer { maps, services, dests, templates: HashMap::new() }
    }

    fn find_dest(&self, service: &ImportService, addr: IpAddr, ports: &[u16]) -> Option<u32> {
        ports.iter().find_map(|p| self.dests.get(&(service.index, addr, *p))).copied()
    }

    /// The service that a connection belongs to by its address. Tried are the connection's port, then port 21 for FTP's
    /// data connections, then port 0; the last two for persistent services only.
    fn find_by_address(&self, c: &Connection, protocol: Protocol) -> Option<Target<'_>> {
        c.candidate_service_ports().into_iter().enumerate().find_map(|(n, port)| {
            let service = self.services.get(&ServiceKey::new(protocol, c.service.0, port))?;
            let dest = self.find_dest(service, c.dest.0, &[c.dest.1, 0, port])?;
            (n == 0 || service.persistent).then_some((service, port, dest))
        })
    }

    /// The service on a firewall mark that a connection belongs to: by the mark in the connection, or by the mark that
    /// its packets get here, or any that has the connection's real server.
    fn find_by_mark(&self, c: &Connection, protocol: Protocol) -> Option<Target<'_>> {
        let ipv6 = c.client.0.is_ipv6();
        let mark = match (c.fwmark, c.protocol.as_str()) {
            // A template of a mark has the mark as its service's address.
            (0, "IP") => match c.service.0 {
                IpAddr::V4(a) => u32::from(a),
                IpAddr::V6(a) => (u128::from(a) >> 96) as u32,
            },
            (0, _) => self.maps.lookup_mark(c.service.0, protocol, c.service.1),
            (mark, _) => mark,
        };
        let target = |s| Some((s, 0, self.find_dest(s, c.dest.0, &[c.dest.1, 0])?));
        if mark != 0 {
            return self.services.get(&ServiceKey::from_fwmark(mark, ipv6)).and_then(target);
        }
        let marked = self.services.iter().filter(|(k, _)| k.fwmark != 0 && k.addr.is_ipv6() == ipv6);
        marked.into_iter().find_map(|(_, s)| target(s))
    }

    /// The entry for a connection or template; `None` if it belongs to no service here.
    fn import_entry(&self, c: &Connection) -> Option<ImportEntry> {
        let is_mark_template = c.is_template() && c.protocol == "IP";
        let protocol = if is_mark_template { Protocol::Tcp } else { c.protocol()? };
        let number = if is_mark_template { 0 } else { protocol.number() };
        let (service, port, dest) = self.find_by_address(c, protocol).or_else(|| self.find_by_mark(c, protocol))?;
        let timeout = self.maps.seconds_to_jiffies(u32::try_from(c.expires_s).unwrap_or(u32::MAX).max(1));
        if c.is_template() {
            let flags = CONN_TEMPLATE | if c.state == "ASSURED" { CONN_ASSURED } else { 0 };
            let key = conn_key(c.client, c.service, number, KIND_TEMPLATE);
            return Some(ImportEntry { key, dest, status: flags << 8, control: 0, timeout });
        }
        let state = state_number(protocol, &c.state)?;
        let mut flags = if is_active(protocol, state) { 0 } else { CONN_INACTIVE };
        if u32::from(self.maps.dests.read(dest as usize).method) != FORWARD_NAT {
            flags |= CONN_NO_OUTPUT;
        }
        let control = if service.persistent { self.template_of(c, service, port, number) } else { 0 };
        let key = conn_key(c.client, c.service, number, KIND_CONN);
        Some(ImportEntry { key, dest, status: state | flags << 8, control, timeout })
    }

    /// The handle of the imported template that controls a connection; 0 if there is none.
    fn template_of(&self, c: &Connection, service: &ImportService, port: u16, protocol: u8) -> u32 {
        let port = if port == 21 { 0 } else { port };
        let client = to_wire_addr(c.client.0);
        let net: [u32; 4] = std::array::from_fn(|i| client[i] & service.mask[i]);
        let net = from_wire_addr(family_number(c.client.0), net);
        let key = match service.mark {
            0 => conn_key((net, 0), (c.service.0, port), protocol, KIND_TEMPLATE),
            mark => conn_key((net, 0), (mark_as_address(mark, net.is_ipv6()), 0), 0, KIND_TEMPLATE),
        };
        self.templates.get(&key).copied().unwrap_or(0)
    }
}

impl PacketPath {
    /// Turns standby on or off. In standby the program handles the packets of connections that it knows, and passes all
    /// other packets to the kernel, so that IPVS creates new connections.
    pub fn set_standby(&self, on: bool) {
        let tuning = self.maps.settings.atomic_u32(0, offset_of!(settings, tuning));
        if on {
            tuning.fetch_or(STANDBY, Ordering::AcqRel);
        } else {
            tuning.fetch_and(!STANDBY, Ordering::AcqRel);
        }
    }

    /// Imports connections and templates. Templates are imported first, so that connections can refer to them.
    pub fn import_connections(&self, all: &[Connection]) -> Result<ImportResult> {
        let mut result = ImportResult::default();
        let mut importer = Importer::new(&self.maps);
        let (templates, others): (Vec<&Connection>, Vec<&Connection>) = all.iter().partition(|c| c.is_template());
        for c in templates.into_iter().chain(others) {
            let Some(entry) = importer.import_entry(c) else {
                result.unknown += 1;
                continue;
            };
            let (_, out) = self.test_run("evenkeel_import", &entry.to_bytes())?;
            let handle = out.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes) as u32;
            if handle == 0 {
                result.table_full += 1;
                continue;
            }
            result.imported += 1;
            if c.is_template() {
                importer.templates.insert(entry.key, handle);
            }
        }
        Ok(result)
    }
}

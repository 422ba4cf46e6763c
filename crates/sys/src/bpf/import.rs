//! Connections of the kernel's IPVS, taken over into our table as they stand.

use std::collections::HashMap;
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use evenkeel_core::ipvs::{Connection, is_active, state_number};
use evenkeel_core::model::{Protocol, ServiceKey};

use super::abi::*;
use super::packet_path::PacketPath;
use super::reader::active_half;
use super::service_table::to_wire_addr;
use crate::Result;

/// What became of connections that were to be taken over.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ImportResult {
    /// Taken over, or there already.
    pub imported: usize,
    /// Of no service or server that is known here, or in a state that is not.
    pub unknown: usize,
    /// There was no room.
    pub table_full: usize,
}

/// struct fresh of bpf/conn/conn_table.h, as bytes.
struct ImportEntry {
    key: [u64; 5],
    dest: u32,
    life: u32,
    control: u32,
    timeout: u32,
}

impl ImportEntry {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out: Vec<u8> = self.key.iter().flat_map(|w| w.to_ne_bytes()).collect();
        out.extend([self.dest, self.life, self.control, self.timeout].iter().flat_map(|w| w.to_ne_bytes()));
        // The least that a frame of a test run has.
        out.resize(64, 0);
        out
    }
}

/// What an entry is found by: key_make() of bpf/conn/conn_table.h.
fn conn_key(client: (IpAddr, u16), service: (IpAddr, u16), protocol: u8, kind: u32) -> [u64; 5] {
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

/// Destinations by service, address and port.
type Dests = HashMap<(u32, IpAddr, u16), u32>;

/// A service as far as it matters here.
struct ImportService {
    index: u32,
    persistent: bool,
    mask: [u32; 4],
    mark: u32,
}

/// A firewall mark in an address's place: template_key() of bpf/conn/persistence.h.
fn mark_as_address(mark: u32, ipv6: bool) -> IpAddr {
    super::service_table::from_wire_addr(if ipv6 { 6 } else { 4 }, [mark.to_be(), 0, 0, 0])
}

impl PacketPath {
    /// While it stands by, the program passes everything to the kernel that is of no connection it knows: others begin
    /// them.
    pub fn set_standby(&self, yes: bool) {
        let tuning = self.maps.settings.atomic_u32(0, offset_of!(settings, tuning));
        if yes {
            tuning.fetch_or(STANDBY, Ordering::AcqRel);
        } else {
            tuning.fetch_and(!STANDBY, Ordering::AcqRel);
        }
    }

    /// Takes connections and templates over. Templates come first, so that what they hold is held by them here too.
    pub fn import_connections(&self, all: &[Connection]) -> Result<ImportResult> {
        let mut done = ImportResult::default();
        let (services, dests) = self.index_services();
        let mut templates: HashMap<[u64; 5], u32> = HashMap::new();
        let (first, then): (Vec<&Connection>, Vec<&Connection>) = all.iter().partition(|c| c.is_template());
        for c in first.into_iter().chain(then) {
            let Some(mut fresh) = self.import_entry(c, &services, &dests, &templates) else {
                done.unknown += 1;
                continue;
            };
            fresh.timeout = self.maps.seconds_to_jiffies(u32::try_from(c.expires_s).unwrap_or(u32::MAX).max(1));
            let (_, out) = self.test_run("evenkeel_import", &fresh.to_bytes())?;
            let number = out.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes) as u32;
            if number == 0 {
                done.table_full += 1;
                continue;
            }
            done.imported += 1;
            if c.is_template() {
                templates.insert(fresh.key, number);
            }
        }
        Ok(done)
    }

    /// Services by their names, and destinations by service and name.
    fn index_services(&self) -> (HashMap<ServiceKey, ImportService>, Dests) {
        let (mut services, mut dests) = (HashMap::new(), Dests::new());
        for (index, s) in self.maps.live_services() {
            let Some(key) = super::reader::service_key(&s) else { continue };
            let half = active_half(&s);
            for id in self.maps.read_list(half.list_base, half.list_len) {
                if let Some(d) = self.maps.dest_key(id) {
                    dests.insert((index, d.addr, d.port), id);
                }
            }
            let persistent = s.flags & SERVICE_PERSISTENT != 0;
            services.insert(key, ImportService { index, persistent, mask: s.persist_mask, mark: s.mark });
        }
        (services, dests)
    }

    /// The service on a firewall mark that a connection is of: of the mark that it came by, or that its packets have here,
    /// or of one that has its server.
    fn find_marked_service<'k>(
        &self,
        c: &Connection,
        protocol: Protocol,
        services: &'k HashMap<ServiceKey, ImportService>,
        dests: &Dests,
    ) -> Option<(&'k ImportService, u16, u32)> {
        let v6 = c.client.0.is_ipv6();
        let by_address = |(addr, _): (IpAddr, u16)| match addr {
            IpAddr::V4(a) => u32::from(a),
            IpAddr::V6(a) => (u128::from(a) >> 96) as u32,
        };
        let mark = match (c.fwmark, c.protocol.as_str()) {
            (0, "IP") => by_address(c.service),
            (0, _) => self.maps.lookup_mark(c.service.0, protocol, c.service.1),
            (mark, _) => mark,
        };
        let of = |s: &'k ImportService| {
            let dest = [c.dest.1, 0].iter().find_map(|p| dests.get(&(s.index, c.dest.0, *p)))?;
            Some((s, 0, *dest))
        };
        let known = services.get(&ServiceKey::from_fwmark(mark, v6));
        let any = || services.iter().filter(|(k, _)| k.fwmark != 0 && k.addr.is_ipv6() == v6).find_map(|(_, s)| of(s));
        if mark != 0 { known.and_then(of) } else { any() }
    }

    fn import_entry(
        &self,
        c: &Connection,
        services: &HashMap<ServiceKey, ImportService>,
        dests: &Dests,
        templates: &HashMap<[u64; 5], u32>,
    ) -> Option<ImportEntry> {
        let template_of_mark = c.is_template() && c.protocol == "IP";
        let protocol = if template_of_mark { Protocol::Tcp } else { c.protocol()? };
        let number = if template_of_mark { 0 } else { protocol.number() };
        // The service's own port; that of FTP for its data connections; every port.
        let at = |port| services.get(&ServiceKey::new(protocol, c.service.0, port));
        let ports = c.candidate_service_ports();
        let found = ports.iter().enumerate().filter_map(|(n, port)| {
            let service = at(*port)?;
            let dest = [c.dest.1, 0, *port].iter().find_map(|p| dests.get(&(service.index, c.dest.0, *p)))?;
            (n == 0 || service.persistent).then_some((service, *port, *dest))
        });
        let (service, port, dest) =
            found.into_iter().next().or_else(|| self.find_marked_service(c, protocol, services, dests))?;
        let one_way = u32::from(self.maps.dests.read(dest as usize).method) != FORWARD_NAT;
        if c.is_template() {
            let flags = CONN_TEMPLATE | if c.state == "ASSURED" { CONN_ASSURED } else { 0 };
            let key = conn_key(c.client, c.service, number, KIND_TEMPLATE);
            return Some(ImportEntry { key, dest, life: flags << 8, control: 0, timeout: 0 });
        }
        let state = state_number(protocol, &c.state)?;
        let mut flags = if is_active(protocol, state) { 0 } else { CONN_INACTIVE };
        flags |= if one_way { CONN_NO_OUTPUT } else { 0 };
        let control = if service.persistent {
            let port = if port == 21 { 0 } else { port };
            let client = to_wire_addr(c.client.0);
            let net: [u32; 4] = std::array::from_fn(|i| client[i] & service.mask[i]);
            let net = super::service_table::from_wire_addr(super::service_table::family_number(c.client.0), net);
            let held_by = match service.mark {
                0 => conn_key((net, 0), (c.service.0, port), number, KIND_TEMPLATE),
                mark => conn_key((net, 0), (mark_as_address(mark, net.is_ipv6()), 0), 0, KIND_TEMPLATE),
            };
            templates.get(&held_by).copied().unwrap_or(0)
        } else {
            0
        };
        let key = conn_key(c.client, c.service, number, KIND_CONN);
        Some(ImportEntry { key, dest, life: state | flags << 8, control, timeout: 0 })
    }
}

//! The protocol of connection synchronisation, version 1: the datagrams that IPVS's master sync daemon sends to its backups
//! (`ip_vs_sync.c`, "The master mulitcasts messages"; version 1 since Linux 2.6.39). evenkeel imports connections into IPVS
//! by sending these datagrams.

use std::net::IpAddr;

use super::{Connection, FwdMethod, is_active, state_number};
use crate::model::Protocol;

/// IP_VS_CONN_F_NOOUTPUT: replies do not pass the director.
const CONN_F_NOOUTPUT: u32 = 0x80;
/// IP_VS_CONN_F_INACTIVE: the connection counts as inactive.
const CONN_F_INACTIVE: u32 = 0x100;
/// IP_VS_CONN_F_TEMPLATE: the entry is a persistence template.
const CONN_F_TEMPLATE: u32 = 0x1000;
/// IP_VS_CTPL_S_ASSURED: the state of a template after one of its connections has been established.
const CTPL_S_ASSURED: u16 = 1;
/// The length of a datagram's header in bytes.
const HEADER_LEN: usize = 8;
/// The length of an entry without addresses and options, in bytes.
const ENTRY_LEN: usize = 24;
/// IPVS_OPT_PE_DATA, IPVS_OPT_PE_NAME
const OPTION_PE_DATA: u8 = 2;
const OPTION_PE_NAME: u8 = 3;

/// An entry of a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncEntry {
    /// The IP protocol number; 0 for the template of a firewall mark.
    pub protocol: u8,
    /// IP_VS_CONN_F_*, with the forwarding method in the lowest three bits.
    pub flags: u32,
    /// The number of the state.
    pub state: u16,
    /// The client.
    pub client: (IpAddr, u16),
    /// The virtual address.
    pub service: (IpAddr, u16),
    /// The real server, of the same family.
    pub dest: (IpAddr, u16),
    /// The firewall mark of the service, or 0.
    pub fwmark: u32,
    /// The timeout in seconds.
    pub timeout_s: u32,
    /// The name of the persistence engine and its data.
    pub persistence_engine: Option<(String, String)>,
}

impl SyncEntry {
    /// The entry for a connection or a template whose packets reach the server by this method. `None` if the protocol
    /// cannot express it: an unknown state, or a server of another family.
    pub fn from_connection(c: &Connection, method: FwdMethod) -> Option<SyncEntry> {
        let template_of_mark = c.is_template() && c.protocol == "IP";
        let protocol = if template_of_mark { Protocol::Tcp } else { c.protocol()? };
        let family = c.client.0.is_ipv6();
        if c.service.0.is_ipv6() != family || c.dest.0.is_ipv6() != family {
            return None;
        }
        let mut flags = method.number();
        if method != FwdMethod::Masq {
            flags |= CONN_F_NOOUTPUT;
        }
        let state = if c.is_template() {
            flags |= CONN_F_TEMPLATE | CONN_F_INACTIVE;
            if c.state == "ASSURED" { CTPL_S_ASSURED } else { 0 }
        } else {
            let state = state_number(protocol, &c.state)?;
            if !is_active(protocol, state) {
                flags |= CONN_F_INACTIVE;
            }
            state as u16
        };
        Some(SyncEntry {
            protocol: if template_of_mark { 0 } else { protocol.number() },
            flags,
            state,
            client: c.client,
            service: c.service,
            dest: c.dest,
            fwmark: c.fwmark,
            timeout_s: u32::try_from(c.expires_s).unwrap_or(u32::MAX).max(1),
            persistence_engine: c.persistence_engine.clone(),
        })
    }

    /// An entry that ends a connection: it moves the connection to its own virtual address, as a closed connection to the
    /// director itself. The next packet then reaches the director's own stack, which answers TCP with a RST; a SYN creates
    /// a new connection. `None` for templates and for UDP, which has no closed state: this cannot end them.
    pub fn closing(c: &Connection) -> Option<SyncEntry> {
        let local = SyncEntry::from_connection(
            &Connection { state: closed_state(c)?.to_owned(), dest: c.service, ..c.clone() },
            FwdMethod::Local,
        );
        // ip_vs_proc_conn() takes an inactive entry with another server for the expiration of a connection that was
        // already replaced, and ignores it.
        local.map(|e| SyncEntry { flags: e.flags & !CONN_F_INACTIVE, timeout_s: 1, ..e })
    }

    fn encode(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend([u8::from(self.client.0.is_ipv6()), self.protocol, 0, 0]);
        to.extend(self.flags.to_be_bytes());
        to.extend(self.state.to_be_bytes());
        for (_, port) in [self.client, self.service, self.dest] {
            to.extend(port.to_be_bytes());
        }
        to.extend(self.fwmark.to_be_bytes());
        to.extend(self.timeout_s.to_be_bytes());
        debug_assert_eq!(to.len() - start, ENTRY_LEN);
        for (addr, _) in [self.client, self.service, self.dest] {
            match addr {
                IpAddr::V4(a) => to.extend(a.octets()),
                IpAddr::V6(a) => to.extend(a.octets()),
            }
        }
        if let Some((name, data)) = &self.persistence_engine {
            for (kind, text) in [(OPTION_PE_DATA, data), (OPTION_PE_NAME, name)] {
                let text = text.as_bytes().get(..usize::from(u8::MAX)).unwrap_or(text.as_bytes());
                to.extend([kind, text.len() as u8]);
                to.extend(text);
            }
        }
        // The length of the entry has 12 bits and does not include the padding to four bytes.
        let size = ((to.len() - start) as u16).to_be_bytes();
        if let Some(length) = to.get_mut(start + 2..start + 4) {
            length.copy_from_slice(&size);
        }
    }
}

/// The state of a closed connection.
fn closed_state(c: &Connection) -> Option<&'static str> {
    match c.protocol()? {
        _ if c.is_template() => None,
        Protocol::Tcp => Some("CLOSE"),
        Protocol::Sctp => Some("CLOSED"),
        Protocol::Udp => None,
    }
}

/// Puts entries into datagrams of at most `maxlen` bytes, as many entries as possible into each.
pub fn build_datagrams(entries: &[SyncEntry], syncid: u8, maxlen: usize) -> Vec<Vec<u8>> {
    let header = || vec![0, syncid, 0, 0, 0, 1, 0, 0];
    let mut all: Vec<Vec<u8>> = Vec::new();
    let (mut message, mut count) = (header(), 0u8);
    let mut entry = Vec::new();
    for e in entries {
        entry.clear();
        e.encode(&mut entry);
        let padded = message.len().next_multiple_of(4);
        if count > 0 && (padded + entry.len() > maxlen || count == u8::MAX) {
            all.push(finish_datagram(std::mem::replace(&mut message, header()), count));
            count = 0;
        }
        message.resize(message.len().next_multiple_of(4), 0);
        message.extend(&entry);
        count += 1;
    }
    if count > 0 {
        all.push(finish_datagram(message, count));
    }
    all
}

/// Writes size and number of entries into the header of a datagram.
fn finish_datagram(mut message: Vec<u8>, count: u8) -> Vec<u8> {
    let size = (message.len() as u16).to_be_bytes();
    debug_assert!(message.len() > HEADER_LEN);
    if let Some(header) = message.get_mut(2..5) {
        header.copy_from_slice(&[size[0], size[1], count]);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    fn connection(protocol: &str, ends: [(&str, u16); 3], state: &str, expires_s: u64) -> Connection {
        let [client, service, dest] = ends.map(|(a, p)| (a.parse().expect("an address"), p));
        Connection {
            protocol: protocol.into(),
            client,
            service,
            dest,
            state: state.into(),
            expires_s,
            persistence_engine: None,
            fwmark: 0,
            controls: None,
        }
    }

    /// The first datagram of a recording of Linux 6.1: TCP of both families, a template, and a template of SIP.
    #[test]
    fn a_datagram_is_the_kernel_s_to_the_byte() {
        let four = |cport| [("10.1.1.1", cport), ("10.2.0.100", 80), ("10.2.0.11", 80)];
        let six = [("fd00:1:1::1", 41001), ("fd00:2::100", 80), ("fd00:2::11", 80)];
        let mut sip = connection("UDP", [("10.1.1.3", 0), ("10.2.0.100", 80), ("10.2.0.11", 80)], "NONE", 60);
        sip.persistence_engine = Some(("sip".into(), "call-1@example.test".into()));
        let all = [
            connection("TCP", four(41001), "ESTABLISHED", 900),
            connection("TCP", four(41001), "FIN_WAIT", 120),
            connection("TCP", six, "ESTABLISHED", 900),
            connection("TCP", six, "FIN_WAIT", 120),
            connection("TCP", [("10.1.1.2", 0), ("10.2.0.100", 81), ("10.2.0.11", 81)], "NONE", 120),
            sip,
        ];
        let entries: Vec<SyncEntry> =
            all.iter().filter_map(|c| SyncEntry::from_connection(c, FwdMethod::Route)).collect();
        let recorded = bytes(
            "000701420601000000060024000000830001a0290050005000000000000003840a0101010a0200640a02000b0006002400000183\
             0004a0290050005000000000000000780a0101010a0200640a02000b01060048000000830001a029005000500000000000000384\
             fd000001000100000000000000000001fd000002000000000000000000000100fd000002000000000000000000000011\
             01060048000001830004a029005000500000000000000078fd000001000100000000000000000001\
             fd000002000000000000000000000100fd0000020000000000000000000000110006002400001183000000000051005100000000\
             000000780a0101020a0200640a02000b0011003e000011830000000000500050000000000000003c0a0101030a0200640a02000b\
             021363616c6c2d31406578616d706c652e746573740303736970",
        );
        assert_eq!(build_datagrams(&entries, 7, 1472), [recorded]);
    }

    #[test]
    fn a_datagram_is_no_longer_than_it_may_be() {
        let c = connection("TCP", [("10.1.1.1", 4000), ("10.2.0.100", 80), ("10.2.0.11", 80)], "ESTABLISHED", 900);
        let entries: Vec<SyncEntry> =
            (0..1000).filter_map(|_| SyncEntry::from_connection(&c, FwdMethod::Masq)).collect();
        let all = build_datagrams(&entries, 0, 1472);
        assert!(all.iter().all(|d| d.len() <= 1472));
        let count: usize = all.iter().map(|d| usize::from(d[4])).sum();
        assert_eq!((count, all.len()), (1000, 25));
    }
}

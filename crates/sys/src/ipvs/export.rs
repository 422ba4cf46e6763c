//! The export of connections into the kernel's IPVS.
//!
//! IPVS accepts connections only by connection synchronisation, from another director. So a backup sync daemon is
//! started for a moment, and the connections are sent to it. The datagrams do not leave this host.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use evenkeel_core::ipvs::sync::{SyncEntry, build_datagrams};
use evenkeel_core::ipvs::{Change, Connection, SYNC_GROUP, SYNC_PORT, SyncDaemon, SyncRole};
use socket2::{Domain, Protocol, Socket, Type};

use super::Ipvs;
use crate::ipvs_backend::IpvsBackend;
use crate::netlink::Netlink;
use crate::sockopt::set_option;
use crate::{Context, Error, Result, netns};

/// A UDP port and a sync ID that no other director uses, so that datagrams of other directors are ignored meanwhile.
const EXPORT_PORT: u16 = 18848;
const EXPORT_SYNC_ID: u32 = 254;
/// The size of the datagrams that IPVS sends on a link with an MTU of 1500.
const MAX_DATAGRAM_BYTES: usize = 1472;
/// The number of datagrams that are sent before a pause, in which the kernel's thread empties its socket. The socket's
/// buffer has room for some ninety.
const BURST: usize = 24;
const BURST_PAUSE: Duration = Duration::from_millis(5);
/// The number of times that connections are sent until they are in the table.
const MAX_ROUNDS: u32 = 8;

const OPERATION: &str = "export connections to IPVS";

/// What identifies a connection in the table: the protocol, and the client, service and real server.
type Key = (u8, [(IpAddr, u16); 3]);

fn entry_key(e: &SyncEntry) -> Key {
    (e.protocol, [e.client, e.service, e.dest])
}

/// `None` for the template of a firewall mark, which cannot be exported.
fn connection_key(c: &Connection) -> Option<Key> {
    Some((c.protocol()?.number(), [c.client, c.service, c.dest]))
}

impl Ipvs {
    /// Adds connections to IPVS's table. Their services and real servers must exist there. Returns the number of
    /// connections that are not in the table afterwards.
    pub fn export_connections(&mut self, entries: &[SyncEntry]) -> Result<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        // A backup daemon that runs already is used.
        let running = self.sync_daemons()?.into_iter().find(|d| d.role == SyncRole::Backup);
        let (ifindex, name) = self.sync_device(running.as_ref().map(|d| d.interface.as_str()))?;
        let daemon = running.clone().unwrap_or(SyncDaemon {
            role: SyncRole::Backup,
            interface: name,
            syncid: EXPORT_SYNC_ID,
            maxlen: None,
            group: None,
            port: Some(EXPORT_PORT),
            ttl: None,
        });
        if running.is_none() {
            self.apply_change(&Change::StartDaemon(daemon.clone()))?;
        }
        let missing = self.send_entries(entries, &daemon, ifindex);
        if running.is_none() {
            self.apply_change(&Change::StopDaemon(daemon))?;
        }
        missing
    }

    /// The device with this name, or any device that is up and has an IPv4 address.
    fn sync_device(&self, name: Option<&str>) -> Result<(u32, String)> {
        netns::run_in(self.namespace.as_deref(), || {
            let mut netlink = Netlink::new()?;
            let links = netlink.links()?;
            let addressed: HashSet<u32> =
                netlink.addresses()?.iter().filter(|a| a.addr.is_ipv4()).map(|a| a.ifindex).collect();
            let usable = |l: &&crate::netlink::Link| match name {
                Some(name) => l.name == name,
                None => !l.loopback && l.running && addressed.contains(&l.index),
            };
            let link = links.iter().find(usable);
            let link = link.ok_or_else(|| Error::new(OPERATION, "no device is up and has an IPv4 address"))?;
            Ok((link.index, link.name.clone()))
        })
    }

    /// Sends connections until all are in the table. Returns the number of missing connections.
    fn send_entries(&mut self, entries: &[SyncEntry], daemon: &SyncDaemon, ifindex: u32) -> Result<usize> {
        let operation = || OPERATION.to_owned();
        let group = match daemon.group {
            Some(IpAddr::V4(a)) => a,
            None => SYNC_GROUP,
            Some(IpAddr::V6(_)) => {
                let reason = "the running backup sync daemon uses an IPv6 group; stop it for the change";
                return Err(Error::new(OPERATION, reason));
            }
        };
        let to = SocketAddr::V4(SocketAddrV4::new(group, daemon.port.unwrap_or(SYNC_PORT)));
        let socket = netns::run_in(self.namespace.as_deref(), || open_sync_socket(ifindex).context(operation))?;
        let syncid = u8::try_from(daemon.syncid).unwrap_or(0);
        let mut missing: Vec<SyncEntry> = entries.to_vec();
        for _ in 0..MAX_ROUNDS {
            for (n, datagram) in build_datagrams(&missing, syncid, MAX_DATAGRAM_BYTES).iter().enumerate() {
                socket.send_to(datagram, &to.into()).context(operation)?;
                if n % BURST == BURST - 1 {
                    std::thread::sleep(BURST_PAUSE);
                }
            }
            std::thread::sleep(BURST_PAUSE * 4);
            let present: HashSet<Key> = self.connections()?.iter().filter_map(connection_key).collect();
            missing.retain(|e| !present.contains(&entry_key(e)));
            if missing.is_empty() {
                break;
            }
        }
        Ok(missing.len())
    }
}

/// A socket whose multicast datagrams are looped back to this host, and not sent on the link because their TTL is 0.
fn open_sync_socket(ifindex: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).into())?;
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: ifindex.cast_signed(),
    };
    set_option(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(0)?;
    Ok(socket)
}

//! Connections put into the kernel's IPVS. It takes them in one way only: from another director, by connection
//! synchronisation. So for a moment it listens, and is told; what is said does not leave this machine.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use evenkeel_core::ipvs::sync::{SyncEntry, build_datagrams};
use evenkeel_core::ipvs::{Change, Connection, SYNC_GROUP, SYNC_PORT, SyncDaemon, SyncRole};
use socket2::{Domain, Protocol, Socket, Type};

use super::Ipvs;
use crate::ipvs_backend::IpvsBackend;
use crate::netlink::Netlink;
use crate::{Context, Error, Result, netns};

/// A port and an id that nobody else uses: no director of the network is heard meanwhile.
const EXPORT_PORT: u16 = 18848;
const EXPORT_SYNC_ID: u32 = 254;
/// As IPVS fills them on a link with an MTU of 1500.
const MAX_DATAGRAM_BYTES: usize = 1472;
/// So many datagrams at a time; the kernel's thread empties its socket meanwhile (of some ninety).
const BURST: usize = 24;
const BURST_PAUSE: Duration = Duration::from_millis(5);
/// What has not arrived is told again, so often.
const MAX_ROUNDS: u32 = 8;

/// What must be in the table afterwards.
type Key = (u8, [(IpAddr, u16); 3]);

fn entry_key(e: &SyncEntry) -> Key {
    (e.protocol, [e.client, e.service, e.dest])
}

/// `None` of the template of a mark, which nobody can put in.
fn connection_key(c: &Connection) -> Option<Key> {
    Some((c.protocol()?.number(), [c.client, c.service, c.dest]))
}

impl Ipvs {
    /// Puts connections into the table; their services and servers must be there. Returns how many did not arrive.
    pub fn export_connections(&mut self, entries: &[SyncEntry]) -> Result<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        // Somebody may listen already.
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
        let left = self.send_entries(entries, &daemon, ifindex);
        if running.is_none() {
            self.apply_change(&Change::StopDaemon(daemon))?;
        }
        left
    }

    /// The device of this name; else one that takes multicast.
    fn sync_device(&self, name: Option<&str>) -> Result<(u32, String)> {
        let what = "hand connections to IPVS";
        netns::run_in(self.namespace.as_deref(), || {
            let mut netlink = Netlink::new()?;
            let links = netlink.links()?;
            let addressed: HashSet<u32> =
                netlink.addresses()?.iter().filter(|a| a.addr.is_ipv4()).map(|a| a.ifindex).collect();
            let good = |l: &&crate::netlink::Link| match name {
                Some(name) => l.name == name,
                None => !l.loopback && l.running && addressed.contains(&l.index),
            };
            let link = links.iter().find(good);
            let link = link.ok_or_else(|| Error::new(what, "no device is up and has an IPv4 address"))?;
            Ok((link.index, link.name.clone()))
        })
    }

    fn send_entries(&mut self, entries: &[SyncEntry], daemon: &SyncDaemon, ifindex: u32) -> Result<usize> {
        let what = || "hand connections to IPVS".to_owned();
        let group = match daemon.group {
            Some(IpAddr::V4(a)) => a,
            None => SYNC_GROUP,
            Some(IpAddr::V6(_)) => {
                return Err(Error::new(what(), "its backup daemon listens to an IPv6 group; stop it for the change"));
            }
        };
        let to = SocketAddr::V4(SocketAddrV4::new(group, daemon.port.unwrap_or(SYNC_PORT)));
        let socket = netns::run_in(self.namespace.as_deref(), || open_sync_socket(ifindex).context(what))?;
        let mut left: Vec<SyncEntry> = entries.to_vec();
        for _ in 0..MAX_ROUNDS {
            let syncid = u8::try_from(daemon.syncid).unwrap_or(0);
            for (n, datagram) in build_datagrams(&left, syncid, MAX_DATAGRAM_BYTES).iter().enumerate() {
                socket.send_to(datagram, &to.into()).context(what)?;
                if n % BURST == BURST - 1 {
                    std::thread::sleep(BURST_PAUSE);
                }
            }
            std::thread::sleep(BURST_PAUSE * 4);
            let there: HashSet<Key> = self.connections()?.iter().filter_map(connection_key).collect();
            left.retain(|e| !there.contains(&entry_key(e)));
            if left.is_empty() {
                break;
            }
        }
        Ok(left.len())
    }
}

/// Multicast of a time to live of 0 comes back to this machine and goes nowhere else.
fn open_sync_socket(ifindex: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).into())?;
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: ifindex.cast_signed(),
    };
    // SAFETY: a valid socket and a structure of its true length.
    let ret = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_IF,
            (&raw const request).cast(),
            size_of_val(&request) as libc::socklen_t,
        )
    };
    if ret != 0 {
        return Err(std::io::Error::last_os_error());
    }
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(0)?;
    Ok(socket)
}

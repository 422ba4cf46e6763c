//! The monitor: events of rtnetlink about changed links, addresses, routes and neighbours.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::Netlink;
use super::deletions::{Deletion, parse_deletion};
use crate::netlink_socket::messages;
use crate::{Context, Result};

/// Multicast groups of rtnetlink.h, as bits.
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_NEIGH: u32 = 0x4;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV4_ROUTE: u32 = 0x40;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTMGRP_IPV6_ROUTE: u32 = 0x400;

/// Message types of rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// The kinds of objects that have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkChanges {
    /// Devices.
    pub links: bool,
    /// Addresses.
    pub addresses: bool,
    /// Routes.
    pub routes: bool,
    /// Routes or neighbours.
    pub routes_or_neighbours: bool,
}

impl NetworkChanges {
    /// The kinds that have changed in either of the two.
    pub fn merge(self, more: NetworkChanges) -> NetworkChanges {
        NetworkChanges {
            links: self.links || more.links,
            addresses: self.addresses || more.addresses,
            routes: self.routes || more.routes,
            routes_or_neighbours: self.routes_or_neighbours || more.routes_or_neighbours,
        }
    }
}

/// A socket that receives events about this thread's network namespace.
pub struct Monitor {
    pub(super) socket: Socket,
    /// The deletions that have been read since [`Monitor::take_deletions`].
    deletions: Vec<Deletion>,
    /// Deletions by this port ID are ignored.
    own_port: u32,
}

impl Monitor {
    /// Subscribes to links and addresses, and on request to routes and neighbours.
    pub fn new(routes_and_neighbours: bool) -> Result<Self> {
        let mut groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        if routes_and_neighbours {
            groups |= RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
        }
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, groups))?;
            socket.set_non_blocking(true)?;
            let _ = socket.set_rx_buf_sz(1u32 << 20);
            Ok::<_, io::Error>(socket)
        };
        let socket = open().context(|| "subscribe to rtnetlink events".into())?;
        Ok(Monitor { socket, deletions: Vec::new(), own_port: 0 })
    }

    /// Ignores routes and rules that are deleted through this socket.
    pub fn ignore_changes_of(&mut self, netlink: &Netlink) {
        self.own_port = netlink.port_id();
    }

    /// The routes and rules that other programs have deleted, as far as the events have been read since the last call.
    /// The events arrive only if a [`super::DeletionSubscription`] is enabled.
    pub fn take_deletions(&mut self) -> Vec<Deletion> {
        std::mem::take(&mut self.deletions)
    }

    /// Waits for an event.
    pub fn wait(&self) -> Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let done = poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        match done {
            Err(nix::errno::Errno::EINTR) => Ok(()),
            other => other.map(|_| ()).context(|| "wait for rtnetlink events".into()),
        }
    }

    /// Reads all events that have arrived. Returns the kinds of objects that have changed: all kinds if events were
    /// lost.
    pub fn read_events(&mut self) -> NetworkChanges {
        let mut changes = NetworkChanges::default();
        let mut buf = [0u8; 32 * 1024];
        loop {
            match self.socket.recv(&mut &mut buf[..], 0) {
                Ok(n) => {
                    for message in messages(&buf[..n]) {
                        self.deletions.extend(parse_deletion(message.bytes, message.kind, self.own_port));
                        match message.kind {
                            RTM_NEWLINK | RTM_DELLINK => changes.links = true,
                            RTM_NEWADDR | RTM_DELADDR => changes.addresses = true,
                            RTM_NEWROUTE | RTM_DELROUTE => {
                                (changes.routes, changes.routes_or_neighbours) = (true, true)
                            }
                            _ => changes.routes_or_neighbours = true,
                        }
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes = NetworkChanges { links: true, addresses: true, routes: true, routes_or_neighbours: true };
                    self.deletions.push(Deletion::EventsLost);
                }
                Err(_) => return changes,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: The socket lives at least as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

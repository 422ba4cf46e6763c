//! Sockets for packets that ordinary sockets do not carry.
//!
//! - [`VrrpSocket`]: adverts; `filter`: which packets a socket receives
//! - [`FrameSocket`]: gratuitous ARP and neighbour advertisements
//! - [`Sniffer`]: all received frames
//! - [`ServerPath`]: packets to a virtual address, sent to one real server; [`nat_source`], [`tunnel_source`]: where from
//! - [`BfdListener`], [`BfdSender`]: BFD

mod bfd;
mod filter;
mod frame_socket;
mod link_address;
mod probe_source;
mod server_path;
mod sniffer;
mod vrrp;

pub use bfd::{BfdListener, BfdSender};
pub use frame_socket::FrameSocket;
pub use probe_source::{NatSource, nat_source, tunnel_source};
pub use server_path::{ProbeSockets, ServerPath};
pub use sniffer::Sniffer;
pub use vrrp::VrrpSocket;

/// TC_PRIO_CONTROL: the packets go ahead of others in the device's queue. Priorities above 6 need CAP_NET_ADMIN.
const PRIORITY_CONTROL: libc::c_int = 7;
/// The traffic class of routing protocols: Internetwork Control (RFC 791).
const TRAFFIC_CLASS: u32 = 0xc0;

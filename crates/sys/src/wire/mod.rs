//! Frames that no ordinary socket sends: VRRP adverts and gratuitous ARP.

mod arp;
mod vrrp;

pub use arp::ArpSocket;
pub use vrrp::VrrpSocket;

//! Frames that no ordinary socket sends: VRRP adverts and gratuitous ARP; and a look at those that come in.

mod arp;
mod sniff;
mod vrrp;

pub use arp::ArpSocket;
pub use sniff::Sniffer;
pub use vrrp::VrrpSocket;

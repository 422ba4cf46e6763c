//! Frames that no ordinary socket sends: VRRP adverts, gratuitous ARP, neighbour advertisements; and a look at those that
//! come in.

mod announce;
mod sniff;
mod vrrp;

pub use announce::FrameSocket;
pub use sniff::Sniffer;
pub use vrrp::VrrpSocket;

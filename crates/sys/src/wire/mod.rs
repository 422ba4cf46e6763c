//! Frames that no ordinary socket sends: VRRP adverts, gratuitous ARP, neighbour advertisements; and a look at those that
//! come in; packets for a virtual address that go to one real server. And the sockets of BFD.

mod announce;
mod bfd;
mod filter;
mod sniff;
mod through;
mod vrrp;

pub use announce::FrameSocket;
pub use bfd::{BfdListener, BfdSender};
pub use sniff::Sniffer;
pub use through::Through;
pub use vrrp::VrrpSocket;

//! Frames that no ordinary socket sends: VRRP adverts, gratuitous ARP, neighbour advertisements; and a look at those that
//! come in; packets for a virtual address that go to one real server. And the sockets of BFD.

mod bfd;
mod filter;
mod frame_socket;
mod server_path;
mod sniffer;
mod vrrp;

pub use bfd::{BfdListener, BfdSender};
pub use frame_socket::FrameSocket;
pub use server_path::ServerPath;
pub use sniffer::Sniffer;
pub use vrrp::VrrpSocket;

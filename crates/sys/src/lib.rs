//! evenkeel's Linux: the only crate with `unsafe`. It knows sockets, netlink, BPF and namespaces, and no protocol.
//!
//! Every error says which operation on which object failed, and what the kernel said.

pub mod async_fd;
pub mod bpf;
pub mod clock;
pub mod environment;
mod error;
pub mod fifo;
pub mod fsutil;
pub mod ipvs;
pub mod ipvs_backend;
pub mod last_will;
pub mod mastership_record;
pub mod netlink;
mod netlink_socket;
pub mod netns;
pub mod nexthop;
pub mod paths;
pub mod process;
pub mod resolver;
pub mod sched;
pub mod signals;
mod sockopt;
pub mod sysctl;
pub mod user;
pub mod wire;

pub use error::{Context, Error, Result};

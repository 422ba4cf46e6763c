//! The interface to Linux: sockets, netlink, BPF, namespaces, processes, clocks. It contains no protocol logic, and is
//! the only crate with `unsafe`.
//!
//! Every error names the operation, its object, and the kernel's error number and extended ACK.

pub mod async_fd;
pub mod bpf;
pub mod cgroup;
pub mod clock;
pub mod environment;
mod error;
pub mod fifo;
pub mod fsutil;
pub mod ipvs;
pub mod ipvs_backend;
pub mod last_will;
pub mod limits;
pub mod mastership_record;
pub mod netlink;
mod netlink_socket;
pub mod netns;
pub mod nexthop;
pub mod packet_filter;
pub mod paths;
pub mod process;
pub mod resolver;
pub mod sched;
pub mod signals;
mod sockopt;
pub mod sysctl;
pub mod topology;
pub mod trusted_path;
pub mod user;
pub mod wire;

pub use error::{Context, Error, Result};

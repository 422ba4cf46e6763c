//! The packet path, seen from user space: loading and adopting ([`load`]), hooks ([`hook`]), services and servers
//! ([`XdpPlane`]), the connection table ([`conns`]).
//!
//! The maps are the only truth: nothing about services is remembered here that is not in them, so that the next daemon,
//! or a tool without any daemon, sees what this one saw.

#[allow(missing_docs, non_camel_case_types, dead_code, clippy::all)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/evenkeel.skel.rs"));
}
/// Constants of bpf/abi.h.
#[allow(missing_docs, dead_code)]
pub mod abi {
    include!(concat!(env!("OUT_DIR"), "/consts.rs"));
    pub use super::skel::types::{
        block, block_refs, conn, conn_line, counters, dest, device, endpoint, flow_cache_line, mark_rule, next_hop,
        service, service_half, settings,
    };
}

pub mod attach;
mod backend;
mod btf_layout;
pub mod conn_table;
pub mod decap;
mod import;
mod marks;
mod migrate;
mod mmap;
pub mod object;
pub mod packet_path;
mod plane;
mod ranges;
mod reader;
mod schedulers;
mod service_table;
mod writer;

pub use attach::{AttachMode, Attachments};
pub use backend::XdpBackend;
pub use import::ImportResult;
pub use packet_path::{Maps, PacketPath};
pub use plane::XdpPlane;
pub use reader::{DestRecord, NextHop, ServiceRecord};
pub use writer::{DestPath, MapWriter};

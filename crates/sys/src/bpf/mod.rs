//! The packet path as user space sees it.
//!
//! - loading: [`object`] (programs and maps), `migrate` (the maps of an older program), [`packet_path`], `settings`
//! - [`attach`]: attachments to devices; `attach_check`: what became of them; `bpf_link`; `devices`: what the XDP program knows of devices
//! - services and destinations: `writer` (plan steps into the maps), `reader`, `encoding`, `marks`
//! - activation: `serve_all` (what the router thread sets), [`MapWriter::set_active_services`]
//! - connections: [`conn_table`], `flow_cache`, `import`
//! - [`XdpPlane`]: the daemon's data plane; [`XdpBackend`]: ipvsadm's backend
//!
//! The maps are the only state: nothing about services is kept in this process that is not in the maps. So the next
//! daemon, or a tool without a daemon, sees the same state.

#[allow(missing_docs, non_camel_case_types, dead_code, clippy::all)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/evenkeel.skel.rs"));
}
/// The structures and constants of bpf/abi.h.
#[allow(missing_docs, dead_code)]
pub mod abi {
    include!(concat!(env!("OUT_DIR"), "/consts.rs"));
    pub use super::skel::types::{
        block, block_refs, conn, conn_line, counters, dest, device, endpoint, flow_cache_line, mark_rule, next_hop,
        service, service_half, settings,
    };
}

mod address;
pub mod attach;
mod attach_check;
mod backend;
mod bpf_link;
mod btf_layout;
pub mod conn_table;
mod counters;
pub mod decap;
mod devices;
mod encoding;
pub mod ethtool;
mod flow_cache;
mod import;
mod libbpf;
mod local_clients;
mod maps;
mod marks;
mod migrate;
mod mmap;
pub mod object;
pub mod packet_path;
mod pins;
mod plane;
mod ranges;
mod reader;
mod schedulers;
mod serve_all;
mod service_table;
mod settings;
mod test_support;
mod writer;

pub use attach::{AttachMode, Attachments, prefers_native_xdp};
pub use attach_check::AttachmentFault;
pub use backend::XdpBackend;
pub use import::ImportResult;
pub use local_clients::{LocalClients, detach_local_clients};
pub use maps::Maps;
pub use packet_path::PacketPath;
pub use plane::XdpPlane;
pub use reader::{DestRecord, NextHop, ServiceRecord};
pub use serve_all::ServeAll;
pub use writer::{DestPath, MapWriter};

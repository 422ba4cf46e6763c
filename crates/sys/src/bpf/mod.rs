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
        block, conn, conn_line, counters, dest, device, member, next_hop, place, recent_line, service, service_half,
        settings, slot,
    };
}

mod adopt;
pub mod conns;
pub mod decap;
mod edit;
mod heritage;
pub mod hook;
mod layout;
mod lists;
pub mod load;
mod members;
mod mmap;
mod plane;
pub mod program;
mod slots;
mod table;
mod view;

pub use adopt::Adopted;
pub use edit::{Editor, Path};
pub use hook::{Hook, Hooks};
pub use load::{Loaded, Maps};
pub use plane::XdpPlane;
pub use table::XdpTable;
pub use view::{DestView, NextHop, ServiceView};

//! What evenkeel's tests, its benchmarks and its demo are built with: networks of namespaces as Rust values ([`lan`],
//! [`office`]), web servers and clients in them ([`http`]), streams of known bytes ([`bulk`]), VRRP clusters in virtual time ([`sim`]), frames
//! ([`frames`]), recordings of the kernel's IPVS ([`sequences`]), another kernel ([`uml`]), choices that a seed repeats
//! ([`dice`]).

pub mod control;
pub mod demo_network;
pub mod frame_counter;
pub mod frames;
pub mod http;
pub mod ipvs_recording;
pub mod lan;
pub mod recordings;
pub mod rng;
pub mod routed_namespace;
pub mod sim;
pub mod stream;
pub mod uml;

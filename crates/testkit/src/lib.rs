//! What evenkeel's tests, its benchmarks and its demo are built with: networks of namespaces as Rust values ([`lan`]),
//! VRRP clusters in virtual time ([`sim`]), frames ([`frames`]), recordings of the kernel's IPVS ([`sequences`]).

pub mod frames;
pub mod sequences;

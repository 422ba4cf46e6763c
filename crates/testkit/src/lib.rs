//! What evenkeel's tests, its benchmarks and its demo are built with: networks of namespaces as Rust values ([`lan`],
//! [`office`]), web servers and clients in them ([`http`]), streams of known bytes ([`bulk`]), VRRP clusters in virtual time ([`sim`]), frames
//! ([`frames`]), recordings of the kernel's IPVS ([`sequences`]), another kernel ([`uml`]), choices that a seed repeats
//! ([`dice`]).

pub mod bulk;
pub mod control;
pub mod dice;
pub mod frames;
pub mod http;
pub mod lan;
pub mod office;
pub mod sequences;
pub mod sim;
pub mod uml;
pub mod watch;
pub mod ways;

//! Tools of evenkeel's tests, benchmarks and demo.
//!
//! - [`lan`]: network namespaces with links and processes; [`demo_network`]: the network of the demo and of most tests, with an
//!   HTTP load; [`routed_namespace`]: a namespace for packets that never leave.
//! - [`http`], [`stream`]: servers and clients; [`frame_counter`]: counts frames that arrive at a host.
//! - [`frames`]: builds and parses frames; [`ipvs_recording`]: recordings of the kernel's IPVS; [`recordings`]: selection of
//!   recordings by name.
//! - [`sim`]: VRRP clusters in virtual time; [`rng`]: random numbers from a seed.
//! - [`uml`]: another kernel as a process; [`control`]: requests to a daemon.

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

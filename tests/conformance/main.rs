//! Conformance with recordings of the real IPVS: every choice of its schedulers, persistence, connection reuse, TCP
//! states and timeouts. Each is run through the program in the kernel (as root), the schedulers also through their
//! plain-Rust twins (as anybody). And what the forwarding methods make of a frame, byte for byte.

mod blocks;
mod changes;
mod cost;
mod emulate;
mod flow_cache;
mod fuzz;
mod ipsec;
mod listing;
mod marks;
mod methods;
mod migration;
mod oracle;
mod plane;
mod removal;
mod scheduling;
mod settings;
mod stateless;
mod states;
mod table;
mod vlan;

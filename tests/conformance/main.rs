//! Conformance with recordings of the real IPVS: every choice of its schedulers, persistence, connection reuse, TCP
//! states and timeouts. Each is run through the program in the kernel (as root), the schedulers also through their
//! plain-Rust twins (as anybody). And what the forwarding methods make of a frame, byte for byte.

mod blocks;
mod changes;
mod cost;
mod crowded;
mod dump;
mod emulate;
mod fuzz;
mod heritage;
mod ipsec;
mod marks;
mod methods;
mod plane;
mod recent;
mod removal;
mod scheduling;
mod settings;
mod states;
mod table;
mod twin;
mod vlan;

//! Tests of the packet path: conformance with recordings of the kernel's IPVS (the choices of its schedulers,
//! persistence, connection reuse, TCP states and timeouts), the forwarding methods byte for byte, the connection
//! table, and migration.
//!
//! Every packet is run through the program in the kernel, which needs root; without root these tests are skipped. The
//! schedulers' reference models in Rust are tested with the same recordings.

mod activation;
mod answered;
mod blocks;
mod changes;
mod cost;
mod emulate;
mod flow_cache;
mod fuzz;
mod header;
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
mod siblings;
mod stateless;
mod states;
mod table;
mod validation;
mod vlan;

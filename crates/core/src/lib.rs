//! The core of evenkeel, without I/O.
//!
//! It has no sockets, no clock, no randomness of its own and no `unsafe`: everything is a value, or a function of its
//! arguments. So one test can run a whole cluster for a million virtual seconds. `evenkeel-sys` has what touches Linux,
//! and `evenkeel-daemon` connects the two.
//!
//! The control path in order: [`config`] (text to configuration), [`vrrp`] and [`health`] (which director owns an
//! address, which real servers are available), [`plan`] (desired state, difference, steps).
#![forbid(unsafe_code)]

pub mod activation;
pub mod answers;
pub mod attachments;
pub mod bfd;
mod checksum;
pub mod config;
pub mod discovery;
pub mod dump;
pub mod firewall;
pub mod health;
pub mod ipc;
pub mod ipvs;
pub mod model;
pub mod oracle;
pub mod overrides;
pub mod packet_filter;
pub mod plan;
pub mod reload_time;
pub mod schedulers;
pub mod time;
pub mod vrrp;

//! evenkeel's pure core.
//!
//! No sockets, no clock, no randomness of its own, no `unsafe`: everything here is a value or a function of its
//! arguments, so that a whole cluster can be run for a million virtual seconds inside one test. What touches Linux is in
//! `evenkeel-sys`; what wires the two together is in `evenkeel-daemon`.
//!
//! The control path reads down this list: [`config`] (text to typed configuration), [`vrrp`] and [`health`] (who owns the
//! address, which real servers live), [`plan`] (desired state, difference, steps).
#![forbid(unsafe_code)]

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
pub mod plan;
pub mod reload_time;
pub mod schedulers;
pub mod time;
pub mod vrrp;

//! Virtual servers: `virtual_server`, `virtual_server_group`, `real_server` and checkers to
//! [`crate::model::VirtualServer`].

mod checkers;
mod inherit;
mod real_servers;
mod server_groups;
mod service_options;
mod services;

//! Tests with real packets between network namespaces. Each test builds a network of its own and removes it.

mod activation;
mod answers;
mod attachments;
mod auth_hmac;
mod bfd;
mod demo;
mod disturbances;
mod edge;
mod failover;
mod forwarding;
mod health;
mod links;
mod local_clients;
mod methods;
mod notifications;
mod overrides;
mod process_environment;
mod reload;
mod robustness;
mod supervisor;
mod through_nat;
mod vmac;

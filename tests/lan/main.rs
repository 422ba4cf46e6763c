//! Real packets between network namespaces. Each test builds its own network and removes it.

mod bfd;
mod demo;
mod edge;
mod failover;
mod forwarding;
mod guard;
mod health;
mod links;
mod methods;
mod orders;
mod reload;
mod rough;
mod signed;
mod surroundings;
mod tell;
mod vmac;

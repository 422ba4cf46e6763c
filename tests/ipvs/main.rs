//! The kernel's IPVS: what is said to it, and `ipvsadm` on it and on our own packet path.

mod both;
mod compare;
mod daemon;
mod extras;
mod golden;
mod messages;
mod stage;

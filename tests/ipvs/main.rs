//! The kernel's IPVS: what is said to it, and `ipvsadm` on it and on our own packet path.

mod compare;
mod daemon;
mod data_planes;
mod extensions;
mod golden;
mod messages;
mod network;

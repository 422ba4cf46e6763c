//! Conformance with recordings of the real IPVS: every choice of rr, wrr and wlc, persistence, connection reuse, TCP
//! states and timeouts. Each is run through the program in the kernel (as root), rr, wrr and wlc also through the
//! plain-Rust twin (as anybody).

mod dump;
mod plane;
mod scheduling;
mod states;
mod table;

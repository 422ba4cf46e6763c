//! Health checks against keepalived's recorded runs, and against real servers that fail in every way that can be staged.

mod peers;
mod recorded;
mod replay;
mod servers;

//! The data plane: evenkeel's packet path ([`xdp`]) or the kernel's IPVS ([`ipvs`]), behind one trait.
//!
//! | file | content |
//! | --- | --- |
//! | `data_plane` | the trait [`DataPlane`] |
//! | `open` | which kind a configuration gets, and what an earlier daemon left |
//! | `switch` | from one kind to the other without losing a connection |
//! | `xdp`, `attachments` | the packet path; what the decision about its attachments needs and leaves undone |
//! | `local_clients` | the packet path's programs for processes of this host |
//! | `ipvs/` | the kernel's IPVS |

mod attachments;
mod data_plane;
mod ipvs;
mod local_clients;
mod open;
mod switch;
mod xdp;

pub use data_plane::{DataPlane, PlaneKind, PlanePaths, UpdateReason};
pub use open::{has_leftovers, has_manual_services, is_suitable, open, open_leftover_plane};
pub use switch::switch_plane;

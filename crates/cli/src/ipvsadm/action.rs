//! What ipvsadm's arguments ask for: the action, the options of a listing, and the error with its exit status.

use std::net::IpAddr;

use evenkeel_core::ipvs::{Change, ServiceId};

/// Exit status if ipvsadm rejects the arguments.
pub const EXIT_USAGE: u8 = 2;
/// Exit status if popt rejects the arguments, or the kernel rejects the change.
pub const EXIT_FAILED: u8 = 255;

/// An error of a command: the text to print, and the exit status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandError(pub String, pub u8);

/// The data plane to work on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataPlaneChoice {
    /// The packet path if it is loaded, else the kernel's IPVS.
    #[default]
    Auto,
    /// The packet path.
    Xdp,
    /// The kernel's IPVS.
    Ipvs,
}

/// The order of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SortOrder {
    /// ipvsadm's order, in which addresses are compared by a signed subtraction.
    #[default]
    Ipvsadm,
    /// By the value of the address.
    Correct,
    /// As in the table.
    None,
}

/// The columns of a listing of services.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Columns {
    #[default]
    Default,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
}

/// What is listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ListTarget {
    #[default]
    Services,
    Service(ServiceId),
    Connections,
    Timeouts,
    Daemons,
}

/// The options of `-L`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListOptions {
    pub target: ListTarget,
    pub columns: Columns,
    pub numeric: bool,
    pub exact: bool,
    /// `--persistent-conn`, which applies to connections as well as to services.
    pub persistence_engines: bool,
    pub sort_order: SortOrder,
    pub json: bool,
    /// Repeat the listing after so many seconds.
    pub watch_s: Option<u32>,
    /// Only connections of this client.
    pub client: Option<IpAddr>,
    /// Only connections in this state.
    pub state: Option<String>,
    /// End the connections instead of listing them.
    pub end: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Help,
    Version,
    List(ListOptions),
    Save { numeric: bool, complete: bool },
    Restore { atomic: bool },
    Change(Change),
}

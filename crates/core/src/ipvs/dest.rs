//! A destination in IPVS's terms.

use std::net::IpAddr;

use serde::Serialize;

use super::{Rates, Stats};

/// How packets reach a destination (IP_VS_CONN_F_FWD_MASK).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FwdMethod {
    /// Network address translation.
    Masq,
    /// The destination is the director itself.
    Local,
    /// Tunnelling.
    Tunnel,
    /// Direct routing.
    Route,
    /// To the packet's own destination (transparent caches).
    Bypass,
    /// A method of a later kernel.
    Unknown(u32),
}

impl FwdMethod {
    /// IPVS's number.
    pub const fn number(self) -> u32 {
        match self {
            FwdMethod::Masq => 0,
            FwdMethod::Local => 1,
            FwdMethod::Tunnel => 2,
            FwdMethod::Route => 3,
            FwdMethod::Bypass => 4,
            FwdMethod::Unknown(n) => n,
        }
    }

    /// The method with IPVS's number. Bits above the number, which are other flags, are ignored.
    pub const fn from_number(n: u32) -> FwdMethod {
        match n & 7 {
            0 => FwdMethod::Masq,
            1 => FwdMethod::Local,
            2 => FwdMethod::Tunnel,
            3 => FwdMethod::Route,
            4 => FwdMethod::Bypass,
            n => FwdMethod::Unknown(n),
        }
    }
}

/// IP_VS_CONN_F_TUNNEL_TYPE_IPIP
pub const TUNNEL_TYPE_IPIP: u8 = 0;
/// IP_VS_CONN_F_TUNNEL_TYPE_GUE
pub const TUNNEL_TYPE_GUE: u8 = 1;
/// IP_VS_CONN_F_TUNNEL_TYPE_GRE
pub const TUNNEL_TYPE_GRE: u8 = 2;
/// IP_VS_TUNNEL_ENCAP_FLAG_CSUM
pub const TUNNEL_FLAG_CSUM: u16 = 1;
/// IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM
pub const TUNNEL_FLAG_REMCSUM: u16 = 2;

/// A destination: a real server of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Dest {
    /// The address. Only a tunnelled destination may have another family than its service.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
    /// How packets reach the destination.
    pub method: FwdMethod,
    /// The weight. The kernel rejects a negative one.
    pub weight: i32,
    /// [`TUNNEL_TYPE_IPIP`], [`TUNNEL_TYPE_GUE`] or [`TUNNEL_TYPE_GRE`].
    pub tunnel_type: u8,
    /// The port of GUE.
    pub tunnel_port: u16,
    /// [`TUNNEL_FLAG_CSUM`] and [`TUNNEL_FLAG_REMCSUM`].
    pub tunnel_flags: u16,
    /// The upper threshold of connections; 0: none.
    pub u_threshold: u32,
    /// The lower threshold; 0: three quarters of the upper threshold.
    pub l_threshold: u32,
}

impl Dest {
    /// A destination by direct routing with weight 1.
    pub fn new(addr: IpAddr, port: u16) -> Dest {
        Dest {
            addr,
            port,
            method: FwdMethod::Route,
            weight: 1,
            tunnel_type: TUNNEL_TYPE_IPIP,
            tunnel_port: 0,
            tunnel_flags: 0,
            u_threshold: 0,
            l_threshold: 0,
        }
    }
}

/// A destination in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DestEntry {
    /// The destination.
    #[serde(flatten)]
    pub dest: Dest,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    /// Statistics.
    pub stats: Stats,
    /// Rates.
    pub rates: Rates,
}

//! VRRP instances and sync groups as configured.

mod addresses;
mod adverts;
mod announce;
mod auth;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use addresses::{Statics, VipSpec, Vmac, VmacKind, VmacUse};
pub use adverts::{AdvertDestination, OldUnicastChecksum, ReleaseIntervals, Transport, UnicastConfig, UnicastPeer};
pub use announce::{AnnounceIntervals, GarpGroup, GarpTiming};
pub use auth::{Auth, AuthPass, HmacKey, Signing, SigningMode};

use super::{NotifyConfig, RouteSpec, RuleSpec, Track, TrackedObject};

/// A virtual router ID, 1 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Vrid(u8);

impl Vrid {
    /// `None` for 0, which is not a valid VRID (RFC 9568, 5.2.3).
    pub const fn new(n: u8) -> Option<Self> {
        if n == 0 { None } else { Some(Vrid(n)) }
    }

    /// The ID as a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The version of VRRP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum VrrpVersion {
    /// RFC 3768: intervals in seconds, an authentication field.
    V2,
    /// RFC 5798, RFC 9568: intervals in centiseconds.
    V3,
}

impl VrrpVersion {
    /// 2 or 3.
    pub const fn number(self) -> u8 {
        match self {
            VrrpVersion::V2 => 2,
            VrrpVersion::V3 => 3,
        }
    }
}

/// The keyword `state`: the state that the operator expects after the start. Only an address owner (priority 255) starts as
/// master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitialState {
    /// `state MASTER`
    Master,
    /// `state BACKUP`, the default
    Backup,
}

/// The IP version of an instance's adverts, and of the addresses in them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn from_addr(a: IpAddr) -> Self {
        if a.is_ipv6() { Family::V6 } else { Family::V4 }
    }
}

/// A `vrrp_instance`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VrrpInstance {
    /// The instance's name.
    pub name: String,
    /// The interface on which adverts are sent and received.
    pub interface: String,
    /// The virtual router ID.
    pub vrid: Vrid,
    /// `state`.
    pub initial_state: InitialState,
    /// The base priority, 1 to 255; 255 is the address owner's.
    pub priority: u8,
    /// The advertisement interval: whole seconds in version 2, centiseconds in version 3.
    pub advert_int: Duration,
    /// The protocol version.
    pub version: VrrpVersion,
    /// The address family of adverts.
    pub family: Family,
    /// The authentication of version 2.
    pub auth: Auth,
    /// `auth_hmac`
    pub signing: Option<Signing>,
    /// Take over from a master of lower priority.
    pub preempt: bool,
    /// Wait this long before such a take-over.
    pub preempt_delay: Duration,
    /// How many adverts may be missed before the master counts as down (3 in the RFCs).
    pub down_timer_adverts: u8,
    /// How soon backups may take over when the instance resigns.
    pub release_intervals: ReleaseIntervals,
    /// With `nopreempt`: a master that was suspended for so long that a backup of this priority has taken over becomes
    /// backup.
    pub timer_expired_backup: Option<u8>,
    /// Where adverts are sent.
    pub advert_destination: AdvertDestination,
    /// The source address of adverts, if it is not the interface's first address (`mcast_src_ip`, `unicast_src_ip`).
    pub source_address: Option<IpAddr>,
    /// Checksums of version 3 over IPv4 leave out the pseudo-header.
    pub v3_checksum_as_v2: bool,
    /// Which unicast peers get the checksum of keepalived up to 1.3.6.
    pub old_unicast_checksum: OldUnicastChecksum,
    /// A master does not answer an advert of lower priority.
    pub lower_prio_no_advert: bool,
    /// A master sends one advert before it yields to a higher priority.
    pub higher_prio_send_advert: bool,
    /// The timing of gratuitous ARPs.
    pub garp: GarpTiming,
    /// The addresses in adverts.
    pub vips: Vec<VipSpec>,
    /// Addresses that a master has but that are not in adverts.
    pub vips_excluded: Vec<VipSpec>,
    /// Routes that a master has.
    pub routes: Vec<RouteSpec>,
    /// Rules that a master has.
    pub rules: Vec<RuleSpec>,
    /// Tracked objects.
    pub tracks: Vec<Track>,
    /// Do not go to FAULT when the interface is down.
    pub dont_track_primary: bool,
    /// The BFD session with the master; when it goes down, the instance takes over at once (an extension of evenkeel).
    pub bfd_takeover_session: Option<String>,
    /// FAULT while the configured source address is missing.
    pub track_source: bool,
    /// An address owner (priority 255) ignores adverts.
    pub owner_ignores_adverts: bool,
    /// The addresses in adverts are checked only when the master changes.
    pub skip_check_addresses: bool,
    /// Unicast without a peer means FAULT.
    pub fault_without_peer: bool,
    /// Take part in the election only this long after the start.
    pub startup_delay: Duration,
    /// The instance's own interface for its addresses (`use_vmac`).
    pub vmac: Option<VmacUse>,
    /// A master that does not own the addresses accepts packets to them (RFC 9568, 6.1, Accept_Mode).
    pub accept_mode: bool,
    /// Strict compliance with the RFCs (`strict_mode`). The other fields already have the values that follow from it.
    pub strict_mode: bool,
    /// Take part in the election only this long after the boot of the host (`vrrp_delay_after_boot`).
    pub boot_delay: Duration,
    /// After the start, and after the link has come up, take part in the election only when a frame has been received, or
    /// after this time; zero: at once (an extension of evenkeel).
    pub hold_until_frame: Duration,
    /// A master announces [`VrrpInstance::garp_extra_if_vips`] at this interval; zero: never (`garp_extra_if`).
    pub garp_extra_if_interval: Duration,
    /// Devices and addresses to announce at that interval.
    pub garp_extra_if_vips: Vec<(String, IpAddr)>,
    /// The kernel keeps the secondary addresses of an interface when the primary one is removed (`promote_secondaries`).
    pub promote_secondaries: bool,
    /// Notifications of transitions.
    pub notify: NotifyConfig,
    /// The sync group of the instance.
    pub sync_group: Option<String>,
}

impl VrrpInstance {
    /// The instance's interface as a tracked object. It is tracked unless [`VrrpInstance::dont_track_primary`] is set;
    /// keepalived ignores it in `track_interface`.
    pub fn tracked_interface(&self) -> TrackedObject {
        TrackedObject::Interface(self.interface.clone())
    }

    /// Every address that a master has, in the order of the configuration.
    pub fn all_vips(&self) -> impl Iterator<Item = &VipSpec> {
        self.vips.iter().chain(&self.vips_excluded)
    }

    /// The device that sends adverts, if it is not the instance's interface. Unicast adverts take the route of the kernel.
    pub fn transmit_device(&self) -> Option<&str> {
        let is_multicast = matches!(self.advert_destination, AdvertDestination::Multicast(_));
        self.vmac.as_ref().filter(|v| is_multicast && !v.xmit_base).map(|v| v.name.as_str())
    }

    /// The device that receives adverts. With a [`Vmac`] it is the same device that sends them: frames from its MAC address
    /// arrive on no other device (macvlan_handle_frame() of the kernel).
    pub fn receive_device(&self) -> &str {
        self.transmit_device().unwrap_or(&self.interface)
    }

    /// How adverts are encapsulated.
    pub fn transport(&self) -> Transport {
        match (self.family, self.auth) {
            (Family::V6, _) => Transport::Ipv6,
            (Family::V4, Auth::Ah(_)) => Transport::Ipv4Ah,
            (Family::V4, _) => Transport::Ipv4,
        }
    }

    /// What identifies an instance across a reload: interface, family and VRID, as in keepalived.
    pub fn identity(&self) -> (&str, Family, Vrid) {
        (&self.interface, self.family, self.vrid)
    }
}

/// A `vrrp_sync_group` that has members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncGroup {
    /// The group's name.
    pub name: String,
    /// Notifications of the group's transitions.
    pub notify: NotifyConfig,
}

//! VRRP instances, as configured.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RouteSpec, RuleSpec, Track, TrackedObject};

/// A virtual router's number, 1 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Vrid(u8);

impl Vrid {
    /// `None` for 0, which no router has (RFC 9568, 5.2.3).
    pub const fn new(n: u8) -> Option<Self> {
        if n == 0 { None } else { Some(Vrid(n)) }
    }

    /// As a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The protocol's version on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum VrrpVersion {
    /// RFC 3768: whole seconds, authentication field.
    V2,
    /// RFC 5798, RFC 9568: centiseconds.
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

/// The keyword `state`: what the operator expects at start. Only an address owner (priority 255) begins as master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitialState {
    /// `state MASTER`
    Master,
    /// `state BACKUP`, or nothing
    Backup,
}

/// VRRPv2 simple password: eight bytes, padded with zeros (RFC 2338, 5.3.6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthPass(pub [u8; 8]);

impl fmt::Debug for AuthPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthPass(…)")
    }
}

/// Version 2's authentication; version 3 has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    /// Anybody on the link is believed.
    None,
    /// A password that anybody on the link can read.
    Pass(AuthPass),
    /// An authentication header made with the password (RFC 2402).
    Ah(AuthPass),
}

impl Auth {
    /// As the message has it (RFC 2338, 5.3.6).
    pub const fn number(self) -> u8 {
        match self {
            Auth::None => 0,
            Auth::Pass(_) => 1,
            Auth::Ah(_) => 2,
        }
    }
}

/// A key of `auth_hmac`.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacKey {
    /// Its number, by which a signature names it.
    pub id: u8,
    /// 32 to 64 bytes.
    pub secret: Vec<u8>,
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HmacKey({}, …)", self.id)
    }
}

/// What is made of adverts without a signature, and whether ours have one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SigningMode {
    /// They are refused.
    Enforce,
    /// They are taken.
    Permissive,
    /// They are taken, and ours have none.
    ReceiveOnly,
}

/// `auth_hmac`: adverts are signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signing {
    /// Each with another number.
    pub keys: Vec<HmacKey>,
    /// The number of the one that signs ours.
    pub active: u8,
    /// A signature may be older or younger by so much than our time of day; `None`: it only has to be younger than the last
    /// one of the same sender (`anti_replay monotonic`).
    pub window: Option<Duration>,
    /// As written.
    pub mode: SigningMode,
}

impl Signing {
    /// Whether an advert without a signature is one.
    pub fn accepts_unsigned(&self) -> bool {
        self.mode != SigningMode::Enforce
    }

    /// The key that ours are signed with.
    pub fn signing_key(&self) -> Option<&HmacKey> {
        self.keys.iter().find(|k| k.id == self.active && self.mode != SigningMode::ReceiveOnly)
    }
}

/// `old_unicast_checksum`: the form of checksum that keepalived up to 1.3.6 gave unicast adverts of version 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldUnicastChecksum {
    /// Sent to those that send it.
    Detected,
    /// Sent to everybody.
    Always,
    /// Neither sent nor accepted.
    Never,
}

/// The IP version that an instance speaks, whose addresses its adverts name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// That of an address.
    pub const fn from_addr(a: IpAddr) -> Self {
        if a.is_ipv6() { Family::V6 } else { Family::V4 }
    }
}

/// How adverts travel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// IP protocol 112 over IPv4.
    Ipv4,
    /// Over IPv4 behind an authentication header, IP protocol 51.
    Ipv4Ah,
    /// IP protocol 112 over IPv6.
    Ipv6,
}

/// How gratuitous ARPs are sent; keepalived's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GarpTiming {
    /// Second block this long after becoming master; zero: none.
    pub master_delay: Duration,
    /// Rounds over all addresses in each block.
    pub master_repeat: u32,
    /// Repeated this often while master; zero: never.
    pub master_refresh: Duration,
    /// Rounds of each such repetition.
    pub master_refresh_repeat: u32,
    /// Second block this long after an advert of lower priority; zero: none.
    pub lower_prio_delay: Duration,
    /// Rounds in each block after an advert of lower priority; 0: none.
    pub lower_prio_repeat: u32,
}

/// How far apart announcements are at least; zero: back to back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnnounceIntervals {
    /// Between gratuitous ARPs on an interface (`vrrp_garp_interval`).
    pub garp: Duration,
    /// Between unsolicited neighbour advertisements on an interface (`vrrp_gna_interval`).
    pub gna: Duration,
    /// Interfaces that share their gaps.
    pub groups: Vec<GarpGroup>,
}

/// A `garp_group`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GarpGroup {
    /// Who is in it.
    pub interfaces: Vec<String>,
    /// Between gratuitous ARPs.
    pub garp: Duration,
    /// Between unsolicited neighbour advertisements.
    pub gna: Duration,
}

/// An address that a master holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VipSpec {
    /// The virtual IP address.
    pub addr: IpAddr,
    /// Its prefix length; that of a single address if none is written.
    pub prefix: u8,
    /// The device that it is put on.
    pub dev: String,
    /// Its label, as `ip addr add … label`.
    pub label: Option<String>,
    /// Its broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Its scope, as the kernel numbers them (0 global, 253 link, 254 host).
    pub scope: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Seconds for which the host makes connections from it; `u32::MAX`: forever. 0 for an IPv6 address that stands alone,
    /// if nothing is written.
    pub preferred: Option<u32>,
    /// IFA_F_… of if_addr.h: `home`, `mngtmpaddr`, `noprefixroute`, `autojoin`.
    pub flags: u32,
    /// Whoever takes it away from a master may (`no_track`).
    pub no_track: bool,
}

impl VipSpec {
    /// An address on a device, and nothing else of it.
    pub fn new(addr: IpAddr, prefix: u8, dev: String) -> Self {
        let (label, broadcast, peer, preferred) = (None, None, None, None);
        VipSpec { addr, prefix, dev, label, broadcast, scope: 0, peer, preferred, flags: 0, no_track: false }
    }
}

impl fmt::Display for VipSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} dev {}", self.addr, self.prefix, self.dev)?;
        if let Some(label) = &self.label {
            write!(f, " label {label}")?;
        }
        Ok(())
    }
}

/// Where an instance's adverts go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdvertDestination {
    /// To this group, with TTL 255 (RFC 9568, 5.1.1.2 and 5.1.1.3).
    Multicast(IpAddr),
    /// To each peer by itself, as clouds without multicast need it (`unicast_peer`).
    Unicast(UnicastConfig),
}

/// `unicast_peer` and what goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnicastConfig {
    /// In the order of the configuration.
    pub peers: Vec<UnicastPeer>,
    /// TTL of what is sent.
    pub ttl: u8,
    /// Hear nobody else?
    pub known_peers_only: bool,
}

/// A peer in `unicast_peer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnicastPeer {
    /// Its address.
    pub addr: IpAddr,
    /// The least TTL that its adverts may arrive with.
    pub min_ttl: u8,
    /// The greatest.
    pub max_ttl: u8,
}

/// A program and its arguments, and who runs it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ScriptCommand {
    /// Program first; never through a shell.
    pub argv: Vec<String>,
    /// User and group names, if configured.
    pub user: Option<(String, Option<String>)>,
    /// The user's other groups come along (`set_supplementary_groups`).
    pub groups: bool,
}

/// Who is told of an instance's transitions (`notify…`). Programs run as they are configured, `any` and `deleted` with
/// what it is, its name, its state and its priority as further arguments (keepalived.conf(5), "notify").
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotifyConfig {
    /// It becomes master.
    pub master: Option<ScriptCommand>,
    /// It becomes backup.
    pub backup: Option<ScriptCommand>,
    /// It goes into FAULT.
    pub fault: Option<ScriptCommand>,
    /// The daemon stops.
    pub stop: Option<ScriptCommand>,
    /// Any of these.
    pub any: Option<ScriptCommand>,
    /// A reload removes it, which is then told as DELETED and not FAULT; by a program, if one is named.
    pub deleted: Option<Option<ScriptCommand>>,
    /// As master it hears an advert of lower priority.
    pub lower_priority: Option<ScriptCommand>,
    /// FIFOs are told of changed priorities.
    pub priority_changes: bool,
    /// Mail is sent.
    pub mail: bool,
}

/// An interface that a virtual router's addresses are on and nothing else: a macvlan in private mode with the virtual
/// router's MAC address (RFC 9568, 7.3), or an ipvlan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vmac {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: VmacKind,
    /// The device that its frames go through.
    pub base: String,
    /// The group of devices that it is put into, as `ip link` numbers them.
    pub group: u32,
    /// IPv6 addresses are put on it.
    pub ipv6: bool,
}

/// The two kinds of interfaces that an instance can have for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmacKind {
    /// A macvlan with this MAC address (`use_vmac`).
    Macvlan([u8; 6]),
    /// An ipvlan in mode L2, which has the MAC address of the device underneath (`use_ipvlan`).
    Ipvlan {
        /// IFLA_IPVLAN_FLAGS of if_link.h: 0 bridge, 1 private, 2 vepa.
        flags: u16,
        /// The address that adverts come from, and its prefix length; it is on the interface always.
        address: Option<(IpAddr, u8)>,
    },
}

impl Vmac {
    /// Its MAC address, if it has one of its own.
    pub fn mac(&self) -> Option<[u8; 6]> {
        if let VmacKind::Macvlan(mac) = self.kind { Some(mac) } else { None }
    }
}

/// How an instance uses its [`Vmac`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmacUse {
    /// Its name.
    pub name: String,
    /// Adverts go through the interface underneath, with that one's MAC address (`vmac_xmit_base`).
    pub xmit_base: bool,
}

/// A `vrrp_instance`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VrrpInstance {
    /// Its name.
    pub name: String,
    /// Where adverts are sent and heard.
    pub interface: String,
    /// Virtual router number.
    pub vrid: Vrid,
    /// `state`.
    pub initial_state: InitialState,
    /// Base priority, 1 to 255; 255 owns the addresses.
    pub priority: u8,
    /// Whole seconds in v2, centiseconds in v3.
    pub advert_int: Duration,
    /// On the wire.
    pub version: VrrpVersion,
    /// Over IPv4 or IPv6.
    pub family: Family,
    /// Version 2.
    pub auth: Auth,
    /// `auth_hmac`
    pub signing: Option<Signing>,
    /// Take over from a living master of lower priority?
    pub preempt: bool,
    /// Wait this long before doing so.
    pub preempt_delay: Duration,
    /// Adverts missed before the master counts as gone (3).
    pub down_timer_adverts: u8,
    /// How soon others may take over when it gives up.
    pub release_intervals: ReleaseIntervals,
    /// With `nopreempt`: a master that stood still for so long that a backup of this priority has taken over steps down.
    pub timer_expired_backup: Option<u8>,
    /// Where adverts go.
    pub advert_destination: AdvertDestination,
    /// Source address of adverts, if not the interface's first (`mcast_src_ip`, `unicast_src_ip`).
    pub source_address: Option<IpAddr>,
    /// A v3 checksum over IPv4 without the pseudo-header.
    pub v3_checksum_as_v2: bool,
    /// The form of checksum that unicast peers of old send.
    pub old_unicast_checksum: OldUnicastChecksum,
    /// As master, do not answer an advert of lower priority.
    pub lower_prio_no_advert: bool,
    /// As master, send one advert before yielding to a higher priority.
    pub higher_prio_send_advert: bool,
    /// Gratuitous ARP.
    pub garp: GarpTiming,
    /// Addresses that adverts name.
    pub vips: Vec<VipSpec>,
    /// Addresses that a master holds but adverts do not name.
    pub vips_excluded: Vec<VipSpec>,
    /// Routes that a master has.
    pub routes: Vec<RouteSpec>,
    /// Rules that a master has.
    pub rules: Vec<RuleSpec>,
    /// What it tracks.
    pub tracks: Vec<Track>,
    /// Go on although the interface is down?
    pub dont_track_primary: bool,
    /// The BFD session whose loss starts a take-over from the master that it is with (an addition of ours).
    pub bfd_takeover_session: Option<String>,
    /// FAULT while the configured source address is not there.
    pub track_source: bool,
    /// An owner (priority 255) hears nobody.
    pub owner_ignores_adverts: bool,
    /// The addresses of an advert are not looked at again while it comes from the same master.
    pub skip_check_addresses: bool,
    /// Unicast without a peer means FAULT.
    pub fault_without_peer: bool,
    /// Stand still for so long after the start.
    pub startup_delay: Duration,
    /// The interface of its own that its addresses are on (`use_vmac`).
    pub vmac: Option<VmacUse>,
    /// Packets to its addresses are taken in although it does not own them (RFC 9568, 6.1, Accept_Mode).
    pub accept_mode: bool,
    /// It keeps to the RFCs (`strict_mode`); what follows from it stands in the other fields.
    pub strict_mode: bool,
    /// Stand still for so long after the machine's start (`vrrp_delay_after_boot`).
    pub boot_delay: Duration,
    /// Stand still until a frame is heard, for so long at most, at the start and when the link comes back; zero: do not
    /// (an addition of ours).
    pub hold_until_frame: Duration,
    /// Announce [`VrrpInstance::vips_elsewhere`] this often while master; zero: never (`garp_extra_if`).
    pub garp_extra_if_interval: Duration,
    /// Those of its addresses that this is for.
    pub garp_extra_if_vips: Vec<(String, IpAddr)>,
    /// The kernel keeps an interface's other addresses when its first goes (`promote_secondaries`).
    pub promote_secondaries: bool,
    /// Who is told of its transitions.
    pub notify: NotifyConfig,
    /// The sync group that it is in.
    pub sync_group: Option<String>,
}

/// What a master says right before priority 0, so that backups wait for less than their skew time. An addition of ours.
///
/// In version 3 it is an advert of this interval: backups make it theirs, and so their skew time is no longer than it
/// (RFC 9568, 6.4.2 (430) and 6.1). In version 2, where intervals are whole seconds and have to agree, it is priority 0
/// itself: who hears it twice knows that it was not said for a pause, and an evenkeel then waits for its share of
/// [`Release::SHORT`], whatever is configured; others wait as they would have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReleaseIntervals {
    /// When it is stopped, or has a fault.
    pub on_stop: Option<Duration>,
    /// When its process dies and the parent speaks for it.
    pub on_crash: Option<Duration>,
}

impl ReleaseIntervals {
    /// Without `release_interval`. No byte of an orderly stop differs from keepalived's unless it is asked for; a process
    /// that dies is another matter, since keepalived's says nothing at all then.
    pub const DEFAULT: ReleaseIntervals = ReleaseIntervals { on_stop: None, on_crash: Some(ReleaseIntervals::SHORT) };

    /// Short enough for any priority, and two backups whose priorities differ by ten are still 2 ms apart.
    pub const SHORT: Duration = Duration::from_millis(50);
}

/// What is there whoever is master: `static_ipaddress`, `static_routes`, `static_rules`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statics {
    /// Addresses.
    pub addresses: Vec<VipSpec>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// Rules.
    pub rules: Vec<RuleSpec>,
}

/// A `vrrp_sync_group` that has members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncGroup {
    /// Its name.
    pub name: String,
    /// Who is told of its transitions.
    pub notify: NotifyConfig,
}

impl VrrpInstance {
    /// Its interface, which it tracks in any case unless [`VrrpInstance::dont_track_primary`] is set; keepalived ignores
    /// `track_interface` of it.
    pub fn tracked_interface(&self) -> TrackedObject {
        TrackedObject::Interface(self.interface.clone())
    }

    /// Every address that a master holds, in the order of the configuration.
    pub fn all_vips(&self) -> impl Iterator<Item = &VipSpec> {
        self.vips.iter().chain(&self.vips_excluded)
    }

    /// The device whose MAC address its adverts come from, if that is not its interface's. What goes to one peer takes
    /// the way that the kernel finds.
    pub fn transmit_device(&self) -> Option<&str> {
        let multicast = matches!(self.advert_destination, AdvertDestination::Multicast(_));
        self.vmac.as_ref().filter(|v| multicast && !v.xmit_base).map(|v| v.name.as_str())
    }

    /// The device that its adverts are heard on. With a [`Vmac`] that is the one that they come from: what comes from the
    /// same MAC address is seen nowhere else (macvlan_handle_frame() of the kernel).
    pub fn receive_device(&self) -> &str {
        self.transmit_device().unwrap_or(&self.interface)
    }

    /// How its adverts travel.
    pub fn transport(&self) -> Transport {
        match (self.family, self.auth) {
            (Family::V6, _) => Transport::Ipv6,
            (Family::V4, Auth::Ah(_)) => Transport::Ipv4Ah,
            (Family::V4, _) => Transport::Ipv4,
        }
    }

    /// What tells instances apart over a reload: the virtual router on its link (keepalived: VRID, family, interface).
    pub fn identity(&self) -> (&str, Family, Vrid) {
        (&self.interface, self.family, self.vrid)
    }
}

//! The `vrrp_instance` of a simulated router.

use std::net::Ipv4Addr;
use std::time::Duration;

use evenkeel_core::model::{
    AdvertDestination, Auth, Family, GarpTiming, InitialState, NotifyConfig, OldUnicastChecksum, ReleaseIntervals,
    VipSpec, Vrid, VrrpInstance, VrrpVersion,
};
use evenkeel_core::vrrp::packet::MULTICAST_GROUP;

/// An instance with keepalived's defaults, VRID 51 and the address 10.0.0.100.
pub fn instance(priority: u8, version: VrrpVersion, advert_int: Duration) -> VrrpInstance {
    let vip = VipSpec::new(Ipv4Addr::new(10, 0, 0, 100).into(), 24, "e".into());
    VrrpInstance {
        name: "V".into(),
        interface: "e".into(),
        vrid: Vrid::new(51).unwrap_or_else(|| unreachable!()),
        initial_state: InitialState::Backup,
        priority,
        advert_int,
        version,
        family: Family::V4,
        auth: Auth::None,
        signing: None,
        preempt: true,
        preempt_delay: Duration::ZERO,
        down_timer_adverts: 3,
        release_intervals: ReleaseIntervals::DEFAULT,
        timer_expired_backup: None,
        advert_destination: AdvertDestination::Multicast(MULTICAST_GROUP.into()),
        source_address: None,
        v3_checksum_as_v2: false,
        old_unicast_checksum: OldUnicastChecksum::Detected,
        lower_prio_no_advert: false,
        higher_prio_send_advert: false,
        garp: GarpTiming {
            master_delay: Duration::from_secs(5),
            master_repeat: 5,
            master_refresh: Duration::ZERO,
            master_refresh_repeat: 1,
            lower_prio_delay: Duration::from_secs(5),
            lower_prio_repeat: 5,
        },
        vips: vec![vip],
        vips_excluded: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        tracks: Vec::new(),
        dont_track_primary: false,
        track_source: false,
        owner_ignores_adverts: false,
        skip_check_addresses: false,
        fault_without_peer: false,
        startup_delay: Duration::ZERO,
        notify: NotifyConfig::default(),
        bfd_takeover_session: None,
        boot_delay: Duration::ZERO,
        hold_until_frame: Duration::ZERO,
        garp_extra_if_interval: Duration::ZERO,
        garp_extra_if_vips: Vec::new(),
        promote_secondaries: false,
        vmac: None,
        accept_mode: true,
        strict_mode: false,
        sync_group: None,
    }
}

//! What a network does to a daemon: malformed and foreign packets, an address shared with another master.

use std::net::Ipv4Addr;

use evenkeel_core::model::{Vrid, VrrpVersion};
use evenkeel_core::vrrp::State;
use evenkeel_core::vrrp::packet::{Advert, GROUP, V3Checksum};
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::wire::VrrpSocket;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SOON, vrrp};

#[test]
fn malformed_and_foreign_packets_are_counted_and_harmless() {
    let Some(net) = Net::new("rough") else { return };
    net.start("d1", &vrrp(100, "authentication {\nauth_type PASS\nauth_pass 1111\n}"));
    net.wait_state("d1", "V", State::Master);
    let good = Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: 200,
        interval: std::time::Duration::from_secs(1),
        addresses: vec![Ipv4Addr::new(192, 168, 1, 100)],
        auth: None,
    };
    let src = Ipv4Addr::new(192, 168, 1, 11);
    let unauthenticated = good.encode(VrrpVersion::V2, V3Checksum::PseudoHeader, src, GROUP);
    let mut broken = unauthenticated.clone();
    broken[9] ^= 0xff;
    let v3 = good.encode(VrrpVersion::V3, V3Checksum::PseudoHeader, src, GROUP);
    let foreign = Advert { vrid: Vrid::new(77).expect("a VRID"), ..good }.encode(
        VrrpVersion::V2,
        V3Checksum::PseudoHeader,
        src,
        GROUP,
    );
    let sent = net.lan.within("r1", || {
        let link = Netlink::new()?.link("eth0")?.expect("eth0");
        let socket = VrrpSocket::new("eth0", link.index, GROUP)?;
        let mut n = 0;
        for _ in 0..50 {
            for m in [&unauthenticated[..], &broken, &v3, &foreign, &[0x21], &[], &[0xff; 1400]] {
                n += u64::from(socket.send(src, m).is_ok());
            }
        }
        Ok::<_, evenkeel_sys::Error>(n)
    });
    assert!(sent.expect("entered").expect("sent") >= 300);
    let i = eventually("they were counted", SOON, || {
        let i = net.instance("d1", "V")?;
        (i.counters.refused.len() >= 3).then_some(i)
    });
    assert_eq!(i.state, State::Master, "none of them moved it: {:?}", i.counters);
    let told = net.lan.log("d1").lines().filter(|l| l.contains("was refused")).count();
    assert!((1..=8).contains(&told), "each cause is told once, not {told} times");
}

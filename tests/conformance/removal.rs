//! What becomes of connections whose real server is removed or quiesced, and the sysctls that say so.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_core::model::{OnRemoval, Protocol, Scheduler, ServiceKey, Tuning};
use evenkeel_core::plan::{ServiceSpec, Step};
use evenkeel_testkit::frames::End;

use crate::plane::{Fate, TestPlane, test_plane};

const VIP: End = (IpAddr::V4(Ipv4Addr::new(10, 2, 0, 100)), 80);
const CLIENT: End = (IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)), 40_000);
const R1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 21));
const R2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 22));

/// TCP and UDP services with two servers; the connections of a client at the first one, which then goes.
fn orphaned(on_removal: OnRemoval, tuning: Tuning) -> Option<TestPlane> {
    let mut plane = test_plane(4096)?;
    plane.plane.tune(&tuning);
    for (protocol, option) in [(Protocol::Tcp, "-t"), (Protocol::Udp, "-u")] {
        let key = ServiceKey::at(protocol, VIP.0, VIP.1);
        let spec = ServiceSpec { on_removal, ..ServiceSpec::of(Scheduler::Rr) };
        plane.apply(&[Step::AddService(key, spec)]);
        plane.ipvsadm(&[&format!("-a {option} 10.2.0.100:80 -r 10.2.0.21:80 -g")]);
    }
    assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Sent(R1));
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Sent(R1));
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Sent(R1));
    for option in ["-t", "-u"] {
        let add = format!("-a {option} 10.2.0.100:80 -r 10.2.0.22:80 -g");
        let gone = format!("-d {option} 10.2.0.100:80 -r 10.2.0.21:80");
        plane.ipvsadm(&[&add, &gone]);
    }
    Some(plane)
}

#[test]
fn by_default_their_packets_are_dropped_as_ipvs_does() {
    let Some(plane) = orphaned(OnRemoval::Drop, Tuning::default()) else { return };
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Dropped);
    assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Dropped, "an established connection's");
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Dropped);
}

#[test]
fn with_expire_nodest_conn_they_end_and_may_begin_anew() {
    let tuning = Tuning { expire_nodest_conn: true, ..Tuning::default() };
    let Some(mut plane) = orphaned(OnRemoval::Drop, tuning) else { return };
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Kernel, "the director's stack answers RST");
    assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Sent(R2));
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Sent(R2));
    // A quiesced server keeps what it has, but for who begins anew.
    plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g", "-e -t 10.2.0.100:80 -r 10.2.0.22:80 -g -w 0"]);
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Sent(R2));
    assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Sent(R1));
}

#[test]
fn drained_they_go_on_until_the_time_is_up() {
    let Some(plane) = orphaned(OnRemoval::Drain(60), Tuning::default()) else { return };
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Sent(R1));
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Sent(R1));
    assert_eq!(plane.tcp((CLIENT.0, 40_001), VIP, "S"), Fate::Sent(R2), "who is new goes elsewhere");
    assert_eq!(plane.reason("drained"), 2);
    let Some(plane) = orphaned(OnRemoval::Drain(1), Tuning::default()) else { return };
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Reset);
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Refused(3, 3));
}

#[test]
fn rejected_their_clients_are_told() {
    let Some(plane) = orphaned(OnRemoval::Reject, Tuning::default()) else { return };
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Reset);
    assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Sent(R2), "then it may begin anew");
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Refused(3, 3));
    assert_eq!(plane.reason("rejected"), 2);
}

#[test]
fn rescheduled_they_begin_anew_where_they_can() {
    let Some(plane) = orphaned(OnRemoval::Reschedule, Tuning::default()) else { return };
    assert_eq!(plane.udp(CLIENT, VIP), Fate::Sent(R2));
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Reset, "another server knows nothing of it");
    let Some(plane) = orphaned(OnRemoval::Reschedule, Tuning::default()) else { return };
    assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Sent(R2));
}

#[test]
fn a_quiesced_server_keeps_its_persistent_clients_unless_told_otherwise() {
    for (expire, expected) in [(false, R1), (true, R2)] {
        let Some(mut plane) = test_plane(4096) else { return };
        plane.plane.tune(&Tuning { expire_quiescent_template: expire, ..Tuning::default() });
        let add = "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g";
        plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr -p 60", add]);
        assert_eq!(plane.tcp(CLIENT, VIP, "S"), Fate::Sent(R1));
        let quiesce = "-e -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 0";
        plane.ipvsadm(&["-a -t 10.2.0.100:80 -r 10.2.0.22:80 -g", quiesce]);
        assert_eq!(plane.tcp((CLIENT.0, 40_001), VIP, "S"), Fate::Sent(expected));
        assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Sent(R1), "what is there goes on");
    }
}

#[test]
fn sloppy_a_segment_in_the_middle_begins_a_connection() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g"]);
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Kernel);
    plane.plane.tune(&Tuning { sloppy_tcp: true, ..Tuning::default() });
    assert_eq!(plane.tcp(CLIENT, VIP, "R"), Fate::Kernel);
    assert_eq!(plane.tcp(CLIENT, VIP, "A"), Fate::Sent(R1));
}

#[test]
fn timeouts_are_what_they_are_set_to() {
    let Some(mut plane) = test_plane(4096) else { return };
    plane.ipvsadm(&["-A -u 10.2.0.100:80 -s rr", "-a -u 10.2.0.100:80 -r 10.2.0.21:80 -g"]);
    plane.plane.tune(&Tuning { udp_s: 7, ..Tuning::default() });
    plane.udp(CLIENT, VIP);
    let left = plane.plane.maps().connections()[0].expires_s;
    assert!((5..=7).contains(&left), "{left}");
}

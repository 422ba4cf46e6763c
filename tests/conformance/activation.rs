//! Inactive services: their packets are the kernel's, unless a router that becomes master has all services served.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use evenkeel_core::model::{Protocol, Scheduler, ServiceKey};
use evenkeel_core::plan::{ServiceSpec, Step};
use evenkeel_sys::bpf::ServeAll;
use evenkeel_testkit::frames::{Endpoint, TcpFlags, icmp_error, tcp, udp};

use crate::methods::{endpoint, families};
use crate::plane::{TestPlane, XDP_PASS, XDP_TX, test_plane_with_tc};

fn set_active(plane: &mut TestPlane, key: ServiceKey, active: bool) -> Vec<(ServiceKey, bool)> {
    plane.plane.set_active_services(&BTreeMap::from([(key, active)])).expect("changed")
}

/// The actions of XDP and tc for a packet of a connection, twice: the second one may take the fast path.
fn actions(plane: &TestPlane, frame: &[u8]) -> [u32; 4] {
    [plane.run(frame).0, plane.run(frame).0, plane.run_tc(frame).0, plane.run_tc(frame).0]
}

fn service(plane: &mut TestPlane, client: &str, vip: &str, server: &str) -> (Endpoint, Endpoint, ServiceKey) {
    plane.ipvsadm(&[&format!("-A -t {vip} -s rr"), &format!("-a -t {vip} -r {server} -g")]);
    let [client, vip] = [client, vip].map(endpoint);
    (client, vip, ServiceKey::new(Protocol::Tcp, vip.0, vip.1))
}

#[test]
fn an_inactive_service_is_the_kernels_and_an_active_one_keeps_its_connections() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    for [client, vip, server] in families() {
        let server = server.replace("8080", "80");
        let (client, vip, key) = service(&mut plane, client, vip, &server);
        let syn = tcp(client, vip, TcpFlags::parse("S"), 64, b"");
        let ack = tcp(client, vip, TcpFlags::parse("A"), 64, b"");
        for frame in [&syn, &ack] {
            assert_eq!(actions(&plane, frame), [XDP_TX; 4]);
        }
        let about: Vec<u8> = tcp(vip, client, TcpFlags::parse("A"), 64, b"")[14..].to_vec();
        let kind = if vip.0.is_ipv6() { (2, 0) } else { (3, 4) };
        let router: IpAddr = if vip.0.is_ipv6() { "fd00::1" } else { "10.9.9.9" }.parse().expect("an address");
        let error = icmp_error(router, vip.0, kind, 1400, &about);
        assert_eq!(actions(&plane, &error), [XDP_TX; 4], "an ICMP error about the connection");

        assert_eq!(set_active(&mut plane, key, false), [(key, false)]);
        assert_eq!(set_active(&mut plane, key, false), []);
        assert!(!plane.plane.maps().service_record(key).expect("it is still listed").active);
        for frame in [&syn, &ack, &error] {
            assert_eq!(actions(&plane, frame), [XDP_PASS; 4]);
        }
        assert_eq!(set_active(&mut plane, key, true), [(key, true)]);
        for frame in [&ack, &error] {
            assert_eq!(actions(&plane, frame), [XDP_TX; 4]);
        }
    }
}

#[test]
fn a_change_of_the_service_leaves_it_inactive_and_a_new_one_is_active() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let [client, vip, server] = families()[0];
    let (from, to, key) = service(&mut plane, client, vip, server);
    set_active(&mut plane, key, false);
    plane.apply(&[Step::EditService(key, ServiceSpec::with_scheduler(Scheduler::Wlc))]);
    let syn = tcp(from, to, TcpFlags::parse("S"), 64, b"");
    assert_eq!(actions(&plane, &syn), [XDP_PASS; 4]);
    plane.apply(&[Step::RemoveService(key)]);
    plane.ipvsadm(&[&format!("-A -t {vip} -s rr"), &format!("-a -t {vip} -r {server} -g")]);
    assert_eq!(actions(&plane, &syn), [XDP_TX; 4]);
}

#[test]
fn while_a_router_becomes_master_inactive_services_are_served() {
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let [client, vip, server] = families()[0];
    let (from, to, key) = service(&mut plane, client, vip, server);
    let any_port = "10.2.0.101:0";
    plane.ipvsadm(&[&format!("-A -u {any_port} -s rr -p 60"), &format!("-a -u {any_port} -r 10.2.0.21:0 -g")]);
    let wildcard = ServiceKey::new(Protocol::Udp, endpoint(any_port).0, 0);
    let syn = tcp(from, to, TcpFlags::parse("S"), 64, b"");
    let datagram = udp(from, (endpoint(any_port).0, 5000), 64, b"x");
    set_active(&mut plane, key, false);
    set_active(&mut plane, wildcard, false);
    let serve_all = ServeAll::default();
    serve_all.set_maps(Some(Arc::clone(&plane.plane.packet_path.maps)));
    for frame in [&syn, &datagram] {
        assert_eq!(actions(&plane, frame), [XDP_PASS; 4]);
    }
    assert!(serve_all.look().is_none(), "there is nothing to clear");

    serve_all.begin();
    for frame in [&syn, &datagram] {
        assert_eq!(actions(&plane, frame), [XDP_TX; 4]);
    }
    assert!(serve_all.look().is_none(), "the addresses are being added");
    serve_all.end();
    let seen = serve_all.look().expect("to be cleared");
    // Another router begins before the word is cleared: it stays.
    serve_all.begin();
    serve_all.end();
    serve_all.clear(seen);
    assert_eq!(actions(&plane, &syn), [XDP_TX; 4]);
    serve_all.clear(serve_all.look().expect("to be cleared"));
    assert_eq!(actions(&plane, &syn), [XDP_PASS; 4]);
}

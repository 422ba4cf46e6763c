//! The counts of answered and retried connections (bpf/conn/answered.h).

use evenkeel_core::answers::AnswerCounts;
use evenkeel_testkit::frames::{Endpoint, TcpFlags, tcp};

use crate::methods::{endpoint, families};
use crate::plane::{TestPlane, test_plane_with_tc};

fn counts(plane: &TestPlane) -> (u32, u32, u32) {
    let all = plane.plane.maps().answer_counts();
    let [(_, AnswerCounts { new, answered, retried })] = all[..] else { panic!("one server: {all:?}") };
    (new, answered, retried)
}

fn send(plane: &TestPlane, from: Endpoint, to: Endpoint, flags: &str) {
    let frame = tcp(from, to, TcpFlags::parse(flags), 64, b"");
    plane.run(&frame);
}

#[test]
fn the_clients_next_packet_answers_for_direct_routing() {
    for [client, vip, server] in families() {
        let Some(mut plane) = test_plane_with_tc(4096) else { return };
        plane.ipvsadm(&[&format!("-A -t {vip} -s rr"), &format!("-a -t {vip} -r {} -g", server.replace("8080", "80"))]);
        let [client, vip] = [client, vip].map(endpoint);
        send(&plane, client, vip, "S");
        assert_eq!(counts(&plane), (1, 0, 0));
        send(&plane, client, vip, "S");
        send(&plane, client, vip, "S");
        assert_eq!(counts(&plane), (1, 0, 1), "a connection is retried once");
        send(&plane, client, vip, "A");
        send(&plane, client, vip, "A");
        send(&plane, client, vip, "FA");
        assert_eq!(counts(&plane), (1, 1, 1), "and answered once");
        // A scanner rejects the answer of the server.
        send(&plane, (client.0, 41_000), vip, "S");
        send(&plane, (client.0, 41_000), vip, "R");
        assert_eq!(counts(&plane), (2, 2, 1));
        // A flood from forged addresses sends each SYN once.
        for port in 50_000..50_100 {
            send(&plane, (client.0, port), vip, "S");
        }
        assert_eq!(counts(&plane), (102, 2, 1));
    }
}

#[test]
fn the_servers_packet_answers_for_nat() {
    for [client, vip, server] in families() {
        let Some(mut plane) = test_plane_with_tc(4096) else { return };
        plane.ipvsadm(&[&format!("-A -t {vip} -s rr"), &format!("-a -t {vip} -r {server} -m")]);
        let [client, vip, server] = [client, vip, server].map(endpoint);
        send(&plane, client, vip, "S");
        send(&plane, client, vip, "S");
        assert_eq!(counts(&plane), (1, 0, 1));
        send(&plane, server, client, "SA");
        assert_eq!(counts(&plane), (1, 1, 1), "the server answers, whatever becomes of its answer");
        send(&plane, client, vip, "A");
        assert_eq!(counts(&plane), (1, 1, 1));
    }
}

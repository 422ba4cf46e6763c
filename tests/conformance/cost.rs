//! The cost of a packet, in numbers that do not depend on the machine: a change that makes the packet path longer
//! fails here.

use std::time::Duration;

use evenkeel_sys::bpf::abi::settings;
use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::emulate::{Cost, emulate, emulate_tc};
use crate::methods::{endpoint, families, with_client_route};
use crate::plane::{TestPlane, XDP_PASS, can_load, test_plane, test_plane_with_tc};

/// A path, and the highest cost of its packet: instructions, map lookups, helper calls, lines of the connection
/// table; of a flow that is in the flow cache, and of one that is not.
struct PathCost {
    name: &'static str,
    service: &'static str,
    client: &'static str,
    option: &'static str,
    server: &'static str,
    max_cached: (u32, u32, u32, usize),
    max_uncached: (u32, u32, u32, usize),
}

const PATHS: &[PathCost] = &[
    PathCost {
        name: "DR",
        service: "10.2.0.100:80",
        client: "10.1.1.1:40000",
        option: "-t",
        server: "10.2.0.21:80 -g",
        max_cached: (260, 5, 0, 0),
        max_uncached: (375, 6, 0, 1),
    },
    PathCost {
        name: "DR, UDP",
        service: "10.2.0.100:53",
        client: "10.1.1.1:40000",
        option: "-u",
        server: "10.2.0.21:53 -g",
        max_cached: (260, 5, 0, 0),
        max_uncached: (375, 6, 0, 1),
    },
    PathCost {
        name: "DR, IPv6",
        service: "[fd00:2::100]:80",
        client: "[fd00:1:1::1]:40000",
        option: "-t",
        server: "[fd00:2::21]:80 -g",
        max_cached: (340, 5, 0, 1),
        max_uncached: (340, 5, 0, 1),
    },
    PathCost {
        name: "NAT",
        service: "10.2.0.101:80",
        client: "10.1.1.1:40000",
        option: "-t",
        server: "10.2.0.21:8080 -m",
        max_cached: (375, 7, 0, 0),
        max_uncached: (470, 7, 0, 1),
    },
    PathCost {
        name: "NAT, IPv6",
        service: "[fd00:2::101]:80",
        client: "[fd00:1:1::1]:40000",
        option: "-t",
        server: "[fd00:2::22]:8080 -m",
        max_cached: (420, 6, 0, 1),
        max_uncached: (420, 6, 0, 1),
    },
    PathCost {
        name: "ipip",
        service: "10.2.0.102:80",
        client: "10.1.1.1:40000",
        option: "-t",
        server: "10.2.0.21:80 -i",
        max_cached: (395, 6, 1, 0),
        max_uncached: (475, 6, 1, 1),
    },
    PathCost {
        name: "ipip, IPv6",
        service: "[fd00:2::102]:80",
        client: "[fd00:1:1::1]:40000",
        option: "-t",
        server: "[fd00:2::21]:80 -i",
        max_cached: (415, 5, 1, 1),
        max_uncached: (415, 5, 1, 1),
    },
];

fn path_frame(p: &PathCost, flags: &str) -> Vec<u8> {
    let (from, to) = (endpoint(p.client), endpoint(p.service));
    match p.option {
        "-t" => frames::tcp(from, to, TcpFlags::parse(flags), 64, b"hello, and more"),
        _ => frames::udp(from, to, 64, b"hello, and more"),
    }
}

fn measure(plane: &TestPlane, frame: &[u8]) -> Cost {
    // The interpreter runs first: it does not change the kernel's maps, and the kernel's result must be the same.
    let (verdict, out, cost) = emulate(plane, frame, 1);
    assert_eq!(plane.run(frame), (verdict, out), "the kernel's result differs");
    cost
}

/// Waits for the next epoch of the flow cache, if this one ends soon: cached flows end with it.
fn wait_for_epoch(plane: &TestPlane) {
    let maps = plane.plane.maps();
    let epoch = 1 << maps.settings.read(0).epoch_shift;
    let left = epoch - maps.jiffies() % epoch;
    if left < epoch / 2 {
        std::thread::sleep(Duration::from_millis(u64::from(left) * 1000 / u64::from(maps.hz()) + 20));
    }
}

#[test]
fn a_packet_takes_no_more_than_it_should() {
    let Some(mut plane) = test_plane(4096) else { return };
    for p in PATHS {
        let steps = [
            format!("-A {} {} -s rr", p.option, p.service),
            format!("-a {} {} -r {} -w 1", p.option, p.service, p.server),
        ];
        plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
    }
    let mut wrong = Vec::new();
    for p in PATHS {
        let new = measure(&plane, &path_frame(p, "S"));
        plane.run(&path_frame(p, "A"));
        plane.plane.maps().shift_time(10); // another epoch
        wait_for_epoch(&plane);
        let uncached = measure(&plane, &path_frame(p, "A"));
        plane.run(&path_frame(p, "A"));
        plane.run(&path_frame(p, "A"));
        let cached = measure(&plane, &path_frame(p, "A"));
        let seen = [
            (p.name.to_owned(), &cached),
            (format!("{}, uncached", p.name), &uncached),
            (format!("{}, new", p.name), &new),
        ];
        for (name, cost) in seen {
            let lookups: u32 = cost.lookups.values().sum();
            println!(
                "{name}: {} instructions, {lookups} lookups, {} helpers, {} lines",
                cost.instructions, cost.helpers, cost.conn_lines
            );
        }
        for (cost, max) in [(&cached, p.max_cached), (&uncached, p.max_uncached)] {
            let seen = (cost.instructions, cost.lookups.values().sum::<u32>(), cost.helpers, cost.conn_lines);
            if seen.0 > max.0 || seen.1 > max.1 || seen.2 > max.2 || seen.3 > max.3 {
                wrong.push(format!("{}: {seen:?} of at most {max:?}; lookups {:?}", p.name, cost.lookups));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reply_takes_no_more_than_it_should() {
    with_client_route(|| {
        let Some(mut plane) = test_plane(4096) else { return };
        // No second passes, after which reply routes would be looked up again.
        let maps = plane.plane.maps();
        maps.settings.write(0, settings { second_shift: 25, ..maps.settings.read(0) });
        // Instructions, map lookups, helper calls (one redirects), lines.
        for ([client, service, server], max) in families().into_iter().zip([(455, 7, 1, 0), (490, 7, 1, 1)]) {
            let steps = [format!("-A -t {service} -s rr"), format!("-a -t {service} -r {server} -m -w 1")];
            plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
            let segment = |from, to, flags| {
                frames::tcp(endpoint(from), endpoint(to), TcpFlags::parse(flags), 64, b"hello, and more")
            };
            for (from, to, flags) in [(client, service, "S"), (server, client, "SA"), (client, service, "A")] {
                plane.run(&segment(from, to, flags));
            }
            let reply = segment(server, client, "A");
            wait_for_epoch(&plane);
            // The first one looks up the reply route, a later one inserts the flow into the flow cache.
            plane.run(&reply);
            plane.run(&reply);
            plane.run(&reply);
            let cost = measure(&plane, &reply);
            let seen = (cost.instructions, cost.lookups.values().sum::<u32>(), cost.helpers, cost.conn_lines);
            println!("reply to {client}: {seen:?}");
            assert!(seen.0 <= max.0 && seen.1 <= max.1 && seen.2 <= max.2 && seen.3 <= max.3, "{seen:?} of {max:?}");
        }
    });
}

/// The mean number of instructions of an established packet, over a sample of `count` services: of a client that uses
/// another port for each service, and of one that uses the same port, of whose flows only the first one is in the
/// flow cache.
fn mean_cost_with_services(count: u32) -> [f64; 2] {
    let mut plane = test_plane(4096).expect("root");
    let service = |n: u32| format!("10.3.{}.{}:80", n / 250, n % 250 + 1);
    let mut steps = Vec::new();
    for n in 0..count {
        let at = service(n);
        for line in [format!("-A -t {at} -s rr"), format!("-a -t {at} -r 10.2.0.21:80 -g -w 1")] {
            steps.push(parse_ipvsadm_command(&line).expect("a step"));
        }
    }
    plane.apply(&steps);
    let each = (count / 200).max(1) as usize;
    let some: Vec<u32> = (0..count).step_by(each).collect();
    let cost = |n: u32, port: u32| {
        let client = endpoint(&format!("10.1.1.1:{port}"));
        let frame = |flags| frames::tcp(client, endpoint(&service(n)), TcpFlags::parse(flags), 64, b"hello");
        wait_for_epoch(&plane);
        for flags in ["S", "A", "A", "A"] {
            plane.run(&frame(flags));
        }
        f64::from(measure(&plane, &frame("A")).instructions)
    };
    let mean = |all: Vec<f64>| all.iter().sum::<f64>() / all.len() as f64;
    let cached = some.iter().map(|&n| cost(n, 10_000 + n)).collect();
    cost(0, 9000);
    let uncached = some.iter().skip(1).map(|&n| cost(n, 9000)).collect();
    [cached, uncached].map(mean)
}

#[test]
fn a_packet_costs_the_same_among_ten_services_and_among_ten_thousand() {
    if !can_load() {
        return;
    }
    let (few, many) = (mean_cost_with_services(10), mean_cost_with_services(10_000));
    for (few, many) in few.into_iter().zip(many) {
        println!("{few:.0} instructions among 10 services, {many:.0} among 10,000");
        assert!(many <= few * 1.1, "{few} instructions among 10 services, {many} among 10,000");
    }
}

/// Packets to no service: what an attachment costs on a device where nothing for us arrives. Instructions and map
/// lookups, by XDP and by tc; with DR only, and with NAT, where each packet may be a reply.
#[test]
fn a_packet_to_no_service_takes_no_more_than_it_should() {
    const TC_ACT_UNSPEC: u32 = u32::MAX;
    let Some(mut plane) = test_plane_with_tc(4096) else { return };
    let packets = |plane: &TestPlane, max: [(u32, u32); 2]| {
        for (from, to) in [("10.1.1.1:40000", "10.9.9.9:443"), ("[fd00:1:1::1]:40000", "[fd00:9::9]:443")] {
            let at = to;
            let (from, to) = (endpoint(from), endpoint(to));
            let tcp = frames::tcp(from, to, TcpFlags::parse("A"), 64, b"hello, and more");
            let mut arp = tcp.clone();
            arp[12..14].copy_from_slice(&[8, 6]);
            for (name, frame) in [("TCP", tcp), ("UDP", frames::udp(from, to, 64, b"hello")), ("ARP", arp)] {
                let by_xdp = emulate(plane, &frame, 1);
                let by_tc = emulate_tc(plane, &frame, 1);
                assert_eq!((by_xdp.0, by_tc.0), (XDP_PASS, TC_ACT_UNSPEC), "{name} to {at}");
                assert!(by_xdp.1 == frame && by_tc.1 == frame, "{name} to {at} is not changed");
                assert_eq!((plane.run(&frame).0, plane.run_tc(&frame).0), (XDP_PASS, XDP_PASS));
                for (program, cost, max) in [("XDP", by_xdp.2, max[0]), ("tc", by_tc.2, max[1])] {
                    let seen = (cost.instructions, cost.lookups.values().sum::<u32>());
                    println!("{name} to {at} of no service, {program}: {} instructions, {} lookups", seen.0, seen.1);
                    assert!(seen.0 <= max.0 && seen.1 <= max.1, "{name}, {program}: {seen:?} of {max:?}");
                }
            }
        }
    };
    plane.ipvsadm(&["-A -t 10.2.0.100:80 -s rr", "-a -t 10.2.0.100:80 -r 10.2.0.21:80 -g -w 1"]);
    packets(&plane, [(275, 2), (255, 1)]);
    plane.ipvsadm(&["-A -t 10.2.0.101:80 -s rr", "-a -t 10.2.0.101:80 -r 10.2.0.22:80 -m -w 1"]);
    packets(&plane, [(485, 3), (400, 3)]);
}

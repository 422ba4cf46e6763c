//! What a packet costs, by what does not depend on the machine that counts: a change that makes the path longer is seen here.

use std::time::Duration;

use evenkeel_sys::bpf::abi::settings;
use evenkeel_testkit::frames::{self, TcpFlags};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;

use crate::emulate::{Cost, emulate};
use crate::methods::{endpoint, families, with_client_route};
use crate::plane::{TestPlane, can_load, test_plane};

/// A path, and what its packet may take at most: instructions, look-ups, helpers, lines of the connection table; once as a
/// flow that is known of late, and once as one that comes seldom.
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
    // The interpreter first: it leaves the kernel's maps as they are, and the kernel has to come to the same.
    let (verdict, out, cost) = emulate(plane, frame, 1);
    assert_eq!(plane.run(frame), (verdict, out), "the kernel comes to something else");
    cost
}

/// Waits until a spell of `recent` has just begun, if this one is soon over: what is known of late would be so no more.
fn wait_for_epoch(plane: &TestPlane) {
    let maps = plane.plane.maps();
    let spell = 1 << maps.settings.read(0).epoch_shift;
    let left = spell - maps.jiffies() % spell;
    if left < spell / 2 {
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
        let begins = measure(&plane, &path_frame(p, "S"));
        plane.run(&path_frame(p, "A"));
        plane.plane.maps().shift_time(10); // another spell
        wait_for_epoch(&plane);
        let seldom = measure(&plane, &path_frame(p, "A"));
        plane.run(&path_frame(p, "A"));
        plane.run(&path_frame(p, "A"));
        let known = measure(&plane, &path_frame(p, "A"));
        let seen = [
            (p.name.to_owned(), &known),
            (format!("{}, seldom", p.name), &seldom),
            (format!("{}, new", p.name), &begins),
        ];
        for (name, cost) in seen {
            let lookups: u32 = cost.lookups.values().sum();
            println!(
                "{name}: {} instructions, {lookups} look-ups, {} helpers, {} lines",
                cost.instructions, cost.helpers, cost.conn_lines
            );
        }
        for (cost, most) in [(&known, p.max_cached), (&seldom, p.max_uncached)] {
            let seen = (cost.instructions, cost.lookups.values().sum::<u32>(), cost.helpers, cost.conn_lines);
            if seen.0 > most.0 || seen.1 > most.1 || seen.2 > most.2 || seen.3 > most.3 {
                wrong.push(format!("{}: {seen:?} of at most {most:?}; look-ups {:?}", p.name, cost.lookups));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reply_takes_no_more_than_it_should() {
    with_client_route(|| {
        let Some(mut plane) = test_plane(4096) else { return };
        // No second begins, in which ways would be looked up again.
        let maps = plane.plane.maps();
        maps.settings.write(0, settings { second_shift: 25, ..maps.settings.read(0) });
        // Instructions, look-ups, helpers (one sends), lines.
        for ([client, service, server], most) in families().into_iter().zip([(455, 7, 1, 0), (490, 7, 1, 1)]) {
            let steps = [format!("-A -t {service} -s rr"), format!("-a -t {service} -r {server} -m -w 1")];
            plane.apply(&steps.map(|s| parse_ipvsadm_command(&s).expect("a step")));
            let segment = |from, to, flags| {
                frames::tcp(endpoint(from), endpoint(to), TcpFlags::parse(flags), 64, b"hello, and more")
            };
            for (from, to, flags) in [(client, service, "S"), (server, client, "SA"), (client, service, "A")] {
                plane.run(&segment(from, to, flags));
            }
            let answer = segment(server, client, "A");
            wait_for_epoch(&plane);
            // Its way is known now, and then the flow.
            plane.run(&answer);
            plane.run(&answer);
            plane.run(&answer);
            let cost = measure(&plane, &answer);
            let seen = (cost.instructions, cost.lookups.values().sum::<u32>(), cost.helpers, cost.conn_lines);
            println!("answer to {client}: {seen:?}");
            assert!(
                seen.0 <= most.0 && seen.1 <= most.1 && seen.2 <= most.2 && seen.3 <= most.3,
                "{seen:?} of {most:?}"
            );
        }
    });
}

/// Instructions of an established packet, on the average over some of so many services: of a client who asks each from another
/// port, and of one who asks all of them from one, so that only his first flow is known of late.
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
    let known = some.iter().map(|&n| cost(n, 10_000 + n)).collect();
    cost(0, 9000);
    let others = some.iter().skip(1).map(|&n| cost(n, 9000)).collect();
    [known, others].map(mean)
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

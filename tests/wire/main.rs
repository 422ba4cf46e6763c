//! What goes on the wire, beside what keepalived 2.2.7 and 2.4.3 sent with the same configuration: every advert,
//! gratuitous ARP and neighbour advertisement from start to stop, byte for byte and in its order.
//!
//! `recorded/SCENARIO.conf` is the configuration, `recorded/VERSION/SCENARIO.frames` has a line for each frame: ms since
//! the recording began, and its bytes. The engine runs in virtual time and is stopped when keepalived was.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::config::parse_text;
use evenkeel_core::model::{AnnounceIntervals, Family, Vmac, VrrpInstance};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::announce::announcement_frame;
use evenkeel_core::vrrp::packet::multicast_frame;
use evenkeel_core::vrrp::{AnnounceQueue, Input, Output, PreviousState, Router, State};

const MAC: [u8; 6] = [2, 0, 0, 0, 0xa, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0xc, 1];

/// Where keepalived's frames are not ours, and why.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    ("2.2.7/auth_hmac", "2.2.7 does not know the block, and loses what follows it"),
    ("2.2.7/v3_csum_as_v2", "2.2.7 does not know the keyword"),
    ("2.2.7/garp_delay", "it loses the last announcement of a block with gaps; 2.4.3 does not, nor do we"),
];

struct Frame {
    at: Duration,
    bytes: Vec<u8>,
}

fn recordings_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/recorded")
}

fn read_recording(path: &Path) -> Vec<Frame> {
    let text = std::fs::read_to_string(path).expect("readable");
    let frame = |line: &str| {
        let (ms, hex) = line.split_once(' ').expect("two columns");
        let at = Duration::from_secs_f64(ms.parse::<f64>().expect("ms") / 1000.0);
        let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
        Frame { at, bytes: (0..hex.len()).step_by(2).map(byte).collect() }
    };
    // ARP that asks for a peer is the kernel's.
    let gratuitous = |f: &Frame| f.bytes[12..14] != [8, 6] || f.bytes[28..32] == f.bytes[38..42];
    text.lines().map(frame).filter(gratuitous).collect()
}

fn is_advert(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x00] => true,
        [0x86, 0xdd] => frame[20] == 112,
        _ => false,
    }
}

/// The frame around what a raw socket is given, as the kernel makes it.
fn ethernet_frame(mac: [u8; 6], source: IpAddr, to: IpAddr, ttl: u8, packet: &[u8]) -> Vec<u8> {
    if let Some(frame) = multicast_frame(mac, source, to, ttl, packet) {
        return frame;
    }
    let mut f = [PEER_MAC, MAC].concat();
    if let (IpAddr::V6(src), IpAddr::V6(dst)) = (source, to) {
        f.extend([0x86, 0xdd, 0x6c, 0, 0, 0, 0, packet.len() as u8, 112, ttl]);
        f.extend(src.octets());
        f.extend(dst.octets());
    } else {
        f.extend([8, 0]);
    }
    f.extend(packet);
    f
}

/// Everything that an instance sends if it is stopped so long after its advert of this number.
fn simulate_instance(
    cfg: VrrpInstance,
    vmacs: &[Vmac],
    gaps: AnnounceIntervals,
    count: usize,
    rest: Duration,
) -> Vec<Frame> {
    let mac = |dev: &str| vmacs.iter().find(|v| v.name == dev).and_then(Vmac::mac).unwrap_or(MAC);
    let address: IpAddr = match (cfg.source_address, cfg.family) {
        (Some(source), _) => source,
        (None, Family::V4) => IpAddr::from([10, 99, 0, 1]),
        (None, Family::V6) => "fe80::ff:fe00:a01".parse().expect("an address"),
    };
    let start = Instant::default();
    let mut r = Router::new(cfg.clone(), start);
    let mut announcer = AnnounceQueue::default();
    announcer.configure(gaps);
    let (mut now, mut frames, mut sent, mut end) = (start, Vec::new(), 0, None);
    r.handle(now, Input::Link(true));
    r.handle(now, Input::SourceAddress(Some(address)));
    r.handle(now, Input::Start(PreviousState::Unknown));
    loop {
        while let Some(o) = r.poll_output() {
            match o {
                Output::Send { to, ttl, packet, .. } => {
                    let from = cfg.transmit_device().map_or(MAC, mac);
                    sent += 1;
                    end = (sent == count).then_some(now + rest).or(end);
                    frames.push(Frame {
                        at: now.duration_since(start),
                        bytes: ethernet_frame(from, address, to, ttl, &packet),
                    });
                }
                Output::Announce(rounds) => {
                    announcer.push(0, cfg.all_vips().map(|v| (v.dev.clone(), v.addr)), rounds);
                }
                Output::RemoveVips => announcer.cancel(0),
                _ => {}
            }
        }
        while let Some((dev, addr)) = announcer.pop_due(now) {
            frames.push(Frame { at: now.duration_since(start), bytes: announcement_frame(mac(&dev), addr, false) });
        }
        if r.state() == State::Init {
            return frames;
        }
        let next = r.next_deadline().into_iter().chain(announcer.next_deadline()).min();
        let next = next.expect("a backup or master waits for something");
        match end.filter(|e| *e < next) {
            Some(e) => {
                now = e;
                r.handle(now, Input::Stop);
            }
            None => {
                now = next;
                r.handle_deadline(now);
            }
        }
    }
}

/// Without what the kernel draws by lot, IPv6's flow label, and without the time and the MAC of a signature, which
/// keepalived takes over bytes that are not known here.
fn normalize_frame(frame: &[u8]) -> Vec<u8> {
    let mut f = frame.to_vec();
    let signed = |f: &[u8]| f.len() == 14 + 20 + 8 + 4 * usize::from(f[14 + 20 + 3]) + 8 + 28;
    if f[12..14] == [0x08, 0x00] && f[23] == 112 && signed(&f) {
        let end = f.len();
        f[end - 24..].fill(0);
    }
    if f[12..14] == [0x86, 0xdd] {
        f[15] &= 0xf0;
        f[16..18].fill(0);
    }
    f
}

fn compare_scenario(scenario: &Path, frames: &Path) -> Option<String> {
    let text = std::fs::read_to_string(scenario).expect("readable");
    let parsed = parse_text("recorded", &text);
    let config = &parsed.config;
    let theirs = read_recording(frames);
    let adverts: Vec<&Frame> = theirs.iter().filter(|f| is_advert(&f.bytes)).collect();
    let [first, .., before, last] = adverts[..] else { return Some("it sent nothing".into()) };
    let gaps = config.announce_intervals.clone();
    let ours = simulate_instance(
        config.instances.first()?.clone(),
        &config.vmacs,
        gaps,
        adverts.len() - 1,
        last.at - before.at,
    );
    // Which of two timers of one moment fires first is not compared, hence adverts and announcements each by themselves.
    for kind in [true, false] {
        let of_kind = |all: &[Frame]| -> Vec<Vec<u8>> {
            let all = all.iter().filter(|f| is_advert(&f.bytes) == kind);
            all.map(|f| normalize_frame(&f.bytes)).collect()
        };
        let (a, b) = (of_kind(&theirs), of_kind(&ours));
        if let Some(i) = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i)) {
            let hex = |f: Option<&Vec<u8>>| f.map(|f| f.iter().map(|b| format!("{b:02x}")).collect::<String>());
            return Some(format!("frame {i}:\n  keepalived {:?}\n  ours       {:?}", hex(a.get(i)), hex(b.get(i))));
        }
    }
    // Its timers run late now and then, never early.
    let begin = ours.first()?.at;
    for kind in [true, false] {
        let of_kind = |f: &&Frame| is_advert(&f.bytes) == kind;
        for (a, b) in theirs.iter().filter(of_kind).zip(ours.iter().filter(of_kind)) {
            let (a, b) = (a.at - first.at, b.at - begin);
            if a + Duration::from_millis(5) < b || a > b + Duration::from_millis(500) {
                return Some(format!("advert: {kind}, ours {b:?} after the first one, keepalived's {a:?}"));
            }
        }
    }
    None
}

#[test]
fn every_frame_equals_keepaliveds() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for version in ["2.2.7", "2.4.3"] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(recordings_dir().join(version))
            .expect("recordings")
            .map(|f| f.expect("a file").path())
            .collect();
        files.sort();
        for frames in files {
            let name = frames.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
            let id = format!("{version}/{name}");
            let found = compare_scenario(&recordings_dir().join(format!("{name}.conf")), &frames);
            match (KNOWN_DIFFERENCES.iter().find(|(d, _)| *d == id), found) {
                (None, Some(d)) => wrong.push(format!("{id}: {d}")),
                (Some((_, why)), None) => wrong.push(format!("{id} is the same now; it was not because {why}")),
                (known, _) => compared += usize::from(known.is_none()),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 30, "only {compared} recordings");
}

//! VRRP on the wire: the frames of keepalived 2.2.7 and 2.4.3, recorded, and ours for the same configuration. Every
//! advert, gratuitous ARP and neighbour advertisement from start to stop must be the same, byte for byte and in the
//! same order.
//!
//! `recorded/SCENARIO.conf` is the configuration. `recorded/VERSION/SCENARIO.frames` has one line for each frame: ms
//! since the start of the recording, and the bytes in hex. Our router runs in virtual time, and is stopped when
//! keepalived was. `EVENKEEL_RECORDING=PART` selects recordings whose VERSION/SCENARIO contains PART.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::config::parse_text;
use evenkeel_core::model::{AnnounceIntervals, Family, Vmac, VrrpInstance};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::packet::announce::announcement_frame;
use evenkeel_core::vrrp::packet::multicast_frame;
use evenkeel_core::vrrp::{AnnounceQueue, Input, Output, PreviousState, Router, State};
use evenkeel_testkit::recordings::is_selected;

const MAC: [u8; 6] = [2, 0, 0, 0, 0xa, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0xc, 1];
/// keepalived's timers are never early, and at most this late.
const MAX_LATENESS: Duration = Duration::from_millis(500);
/// The precision of recorded times.
const PRECISION: Duration = Duration::from_millis(5);

/// Recordings whose frames differ from ours, and why.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    ("2.2.7/auth_hmac", "2.2.7 does not know the block, and ignores what follows it"),
    ("2.2.7/v3_csum_as_v2", "2.2.7 does not know the keyword"),
    ("2.2.7/garp_delay", "2.2.7 omits the last announcement of a block with intervals; 2.4.3 does not, nor do we"),
];

/// A frame, and when it was sent.
struct Frame {
    at: Duration,
    bytes: Vec<u8>,
}

impl Frame {
    fn is_advert(&self) -> bool {
        match self.bytes[12..14] {
            [0x08, 0x00] => true,
            [0x86, 0xdd] => self.bytes[20] == 112,
            _ => false,
        }
    }
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
    // Other ARP requests than gratuitous ones are the kernel's.
    let is_keepalived_s = |f: &Frame| f.bytes[12..14] != [8, 6] || f.bytes[28..32] == f.bytes[38..42];
    text.lines().map(frame).filter(is_keepalived_s).collect()
}

/// The frame of a packet that is passed to a raw socket, as the kernel builds it.
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

/// The frames of an instance that is stopped `rest` after its advert number `count`.
fn simulate_instance(
    cfg: VrrpInstance,
    vmacs: &[Vmac],
    intervals: AnnounceIntervals,
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
    let mut announcements = AnnounceQueue::default();
    announcements.configure(intervals);
    let (mut now, mut frames, mut sent, mut end) = (start, Vec::new(), 0, None);
    r.handle(now, Input::Link(true));
    r.handle(now, Input::SourceAddress(Some(address)));
    r.handle(now, Input::Start(PreviousState::Unknown));
    loop {
        let at = now.duration_since(start);
        while let Some(output) = r.poll_output() {
            match output {
                Output::Send { to, ttl, packet, .. } => {
                    let from = cfg.transmit_device().map_or(MAC, mac);
                    sent += 1;
                    end = (sent == count).then_some(now + rest).or(end);
                    frames.push(Frame { at, bytes: ethernet_frame(from, address, to, ttl, &packet) });
                }
                Output::Announce(rounds) => {
                    announcements.push(0, cfg.all_vips().map(|v| (v.dev.clone(), v.addr)), rounds);
                }
                Output::RemoveVips => announcements.cancel(0),
                _ => {}
            }
        }
        while let Some((dev, addr)) = announcements.pop_due(now) {
            frames.push(Frame { at, bytes: announcement_frame(mac(&dev), addr, false) });
        }
        if r.state() == State::Init {
            return frames;
        }
        let next = r.next_deadline().into_iter().chain(announcements.next_deadline()).min();
        let next = next.expect("a backup or a master has a deadline");
        match end.filter(|e| *e < next) {
            Some(end) => {
                now = end;
                r.handle(now, Input::Stop);
            }
            None => {
                now = next;
                r.handle_deadline(now);
            }
        }
    }
}

/// A frame without the fields that cannot be compared: the IPv6 flow label, which the kernel chooses at random, and
/// time and MAC of a signature. Which bytes keepalived's MAC covers is not known here.
fn normalize_frame(frame: &[u8]) -> Vec<u8> {
    let mut f = frame.to_vec();
    let is_signed = |f: &[u8]| f.len() == 14 + 20 + 8 + 4 * usize::from(f[14 + 20 + 3]) + 8 + 28;
    if f[12..14] == [0x08, 0x00] && f[23] == 112 && is_signed(&f) {
        let end = f.len();
        f[end - 24..].fill(0);
    }
    if f[12..14] == [0x86, 0xdd] {
        f[15] &= 0xf0;
        f[16..18].fill(0);
    }
    f
}

/// The first difference between a recording and our frames.
fn compare_scenario(conf: &Path, frames: &Path) -> Option<String> {
    let text = std::fs::read_to_string(conf).expect("readable");
    let config = parse_text("recorded", &text).config;
    let theirs = read_recording(frames);
    let adverts: Vec<&Frame> = theirs.iter().filter(|f| f.is_advert()).collect();
    let [.., before, last] = adverts[..] else { return Some("keepalived sent nothing".into()) };
    let instance = config.instances.first()?.clone();
    let (intervals, rest) = (config.announce_intervals.clone(), last.at - before.at);
    let ours = simulate_instance(instance, &config.vmacs, intervals, adverts.len() - 1, rest);
    compare_bytes(&theirs, &ours).or_else(|| compare_times(&theirs, &ours))
}

/// Compares bytes and order. Which of two timers of the same moment expires first is not defined, so that adverts and
/// announcements are compared separately.
fn compare_bytes(theirs: &[Frame], ours: &[Frame]) -> Option<String> {
    for adverts in [true, false] {
        let normalized = |all: &[Frame]| -> Vec<Vec<u8>> {
            all.iter().filter(|f| f.is_advert() == adverts).map(|f| normalize_frame(&f.bytes)).collect()
        };
        let (a, b) = (normalized(theirs), normalized(ours));
        if let Some(i) = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i)) {
            let hex = |f: Option<&Vec<u8>>| f.map(|f| f.iter().map(|b| format!("{b:02x}")).collect::<String>());
            return Some(format!("frame {i}:\n  keepalived {:?}\n  ours       {:?}", hex(a.get(i)), hex(b.get(i))));
        }
    }
    None
}

/// Compares times, each since the first advert.
fn compare_times(theirs: &[Frame], ours: &[Frame]) -> Option<String> {
    let (their_start, our_start) = (theirs.iter().find(|f| f.is_advert())?.at, ours.first()?.at);
    for adverts in [true, false] {
        let is_compared = |f: &&Frame| f.is_advert() == adverts;
        for (a, b) in theirs.iter().filter(is_compared).zip(ours.iter().filter(is_compared)) {
            let (a, b) = (a.at - their_start, b.at - our_start);
            if a + PRECISION < b || a > b + MAX_LATENESS {
                let kind = if adverts { "an advert" } else { "an announcement" };
                return Some(format!("{kind}: ours {b:?} after the first advert, keepalived's {a:?}"));
            }
        }
    }
    None
}

#[test]
fn every_recorded_frame_equals_ours() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for version in ["2.2.7", "2.4.3"] {
        let files = std::fs::read_dir(recordings_dir().join(version)).expect("recordings");
        let mut files: Vec<PathBuf> = files.map(|f| f.expect("a file").path()).collect();
        files.sort();
        for frames in files {
            let name = frames.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
            let id = format!("{version}/{name}");
            if !is_selected(&id) {
                continue;
            }
            let difference = compare_scenario(&recordings_dir().join(format!("{name}.conf")), &frames);
            match (KNOWN_DIFFERENCES.iter().find(|(known, _)| *known == id), difference) {
                (None, Some(d)) => wrong.push(format!("{id}: {d}")),
                (Some((_, why)), None) => {
                    wrong.push(format!("{id}: no difference any more; there was one because {why}"))
                }
                (known, _) => compared += usize::from(known.is_none()),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let is_selection = std::env::var_os("EVENKEEL_RECORDING").is_some();
    assert!(is_selection || compared >= 30, "only {compared} recordings");
}

//! Tests of the router, each file a part of the protocol.

mod auth_hmac;
mod election;
mod groups;
mod packets;
mod resignation;
mod startup;
mod tracking;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::packet::{
    Advert, AdvertAuth, ChecksumForm, IPPROTO_VRRP, IpHeader, MULTICAST_GROUP, RejectReason, split_ipv4,
};
use super::track::{ScriptState, TrackEffect, track_effect};
use super::*;
use crate::config::parse_text;
use crate::model::*;
use crate::time::Instant;

const ME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const ALL: IpAddr = IpAddr::V4(MULTICAST_GROUP);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at_ms(n: u64) -> Instant {
    Instant::from_nanos(n * 1_000_000)
}

/// A router that was started at 0 ms; its outputs are still in it.
fn start_router(cfg: VrrpInstance, source: IpAddr, previous: PreviousState) -> Router {
    let mut r = Router::new(cfg, at_ms(0));
    r.handle(at_ms(0), Input::Link(true));
    r.handle(at_ms(0), Input::SourceAddress(Some(source)));
    r.handle(at_ms(0), Input::Start(previous));
    r
}

/// An instance with these lines of configuration. `WEIGHT n` as the first line tracks a script with that weight.
fn config(lines: &str) -> VrrpInstance {
    let (track, lines) = match lines.strip_prefix("WEIGHT ") {
        Some(rest) => {
            let (weight, rest) = rest.split_once('\n').unwrap_or((rest, ""));
            (format!("track_script {{\ns weight {weight}\n}}"), rest)
        }
        None => (String::new(), lines),
    };
    let text = format!(
        "vrrp_script s {{\nscript /bin/true\n}}\nvrrp_instance V {{\ninterface e\nvirtual_router_id 51\n\
         virtual_ipaddress {{\n10.0.0.100\n}}\n{track}\n{lines}\n}}\n"
    );
    let parsed = parse_text("t", &text);
    let Some(config) = parsed.valid_config() else { panic!("{}", parsed.render(false)) };
    config.instances[0].clone()
}

fn started_router(lines: &str) -> Router {
    let mut r = start_router(config(lines), ME, PreviousState::Unknown);
    drain_outputs(&mut r);
    r
}

fn drain_outputs(r: &mut Router) -> Vec<Output> {
    std::iter::from_fn(|| r.poll_output()).collect()
}

fn advert(priority: u8, interval: Duration) -> Advert {
    Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority,
        interval,
        addresses: vec![Ipv4Addr::new(10, 0, 0, 100).into()],
    }
}

fn ip_header(src: IpAddr, dst: IpAddr, ttl: u8) -> IpHeader {
    IpHeader { src, dst, ttl, protocol: IPPROTO_VRRP, id: 0 }
}

fn receive(r: &mut Router, now: Instant, priority: u8) -> Vec<Output> {
    receive_with_form(r, now, priority, ChecksumForm::PseudoHeader)
}

fn receive_with_form(r: &mut Router, now: Instant, priority: u8, form: ChecksumForm) -> Vec<Output> {
    let m = advert(priority, r.config().advert_int).encode_message(r.config().version, Auth::None, form, PEER, ALL);
    r.handle(now, Input::Packet { ip: ip_header(PEER, ALL, 255), payload: &m });
    drain_outputs(r)
}

fn first_rejection(out: &[Output]) -> Option<RejectReason> {
    out.iter().find_map(|o| if let Output::PacketRejected { reason, .. } = o { Some(*reason) } else { None })
}

fn sent_priorities(out: &[Output]) -> Vec<u8> {
    out.iter().filter_map(|o| if let Output::Send { packet, .. } = o { Some(packet[22]) } else { None }).collect()
}

//! keepalived.data: the section on VRRP, with the lines that describe an instance.
//!
//! Lines about keepalived's internals (descriptors, buffers, global settings without effect here) are omitted.

use std::fmt::Write;

use super::InstanceView;
use crate::model::{AdvertDestination, Auth, Family, SigningMode};

/// The VRRP section.
pub fn format_data(instances: &[InstanceView<'_>]) -> String {
    let mut t = "------< VRRP Topology >------\n".to_owned();
    for i in instances {
        write_instance(&mut t, i);
    }
    t
}

fn enabled_word(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

fn write_instance(t: &mut String, i: &InstanceView<'_>) {
    let (cfg, status) = (i.config, i.status);
    let _ = writeln!(t, " VRRP Instance = {}", cfg.name);
    let garp = cfg.garp;
    let unicast = matches!(cfg.advert_destination, AdvertDestination::Unicast(_));
    let mut lines = vec![format!("VRRP Version = {}", cfg.version.number())];
    if cfg.family == Family::V6 {
        lines.push("Using Native IPv6".into());
    }
    lines.push(format!("State = {}", status.state));
    // `nopreempt` is a flag of keepalived, but it writes no line for it.
    lines.push(if unicast || !cfg.preempt { "Flags:".into() } else { "Flags: none".into() });
    if unicast {
        lines.push("  Using unicast".into());
    }
    let at = i.last_transition();
    lines.push(format!("Wantstate = {}", status.state));
    lines.push(format!("Last transition = {}.{:06}", at.as_secs(), at.subsec_micros()));
    lines.push(format!("Master down timer = {} usecs", i.master_down_us()));
    match &cfg.vmac {
        Some(v) => {
            let up = status.state != crate::vrrp::State::Fault;
            lines.push(format!("Use VMAC, i/f name {}, is_up = {up}, xmit_base = {}", v.name, v.xmit_base));
            lines.push(format!("Interface = {}, vmac on {}", v.name, cfg.interface));
        }
        None => lines.push(format!("Interface = {}", cfg.interface)),
    }
    if cfg.strict_mode {
        lines.push("Enforcing strict VRRP compliance".into());
    }
    if let Some(src) = status.source_address {
        let from = if cfg.source_address.is_some() { " (from configuration)" } else { "" };
        lines.push(format!("Using src_ip = {src}{from}"));
    }
    if let AdvertDestination::Multicast(group) = &cfg.advert_destination {
        lines.push(format!("Multicast address {group}"));
    }
    lines.push(format!("Gratuitous ARP delay = {}", garp.master_delay.as_secs()));
    lines.push(format!("Gratuitous ARP repeat = {}", garp.master_repeat));
    lines.push(format!("Gratuitous ARP refresh = {}", garp.master_refresh.as_secs()));
    lines.push(format!("Gratuitous ARP refresh repeat = {}", garp.master_refresh_repeat));
    lines.push(format!("Gratuitous ARP lower priority delay = {}", garp.lower_prio_delay.as_secs()));
    lines.push(format!("Gratuitous ARP lower priority repeat = {}", garp.lower_prio_repeat));
    lines.push(format!("Down timer adverts = {}", cfg.down_timer_adverts));
    lines.push(format!("Send advert after receive lower priority advert = {}", !cfg.lower_prio_no_advert));
    lines.push(format!("Send advert after receive higher priority advert = {}", cfg.higher_prio_send_advert));
    lines.push(format!("Virtual Router ID = {}", cfg.vrid));
    lines.push(format!("Priority = {}", cfg.priority));
    lines.push(format!("Effective priority = {}", status.priority));
    lines.push(format!("Total priority = {}", status.priority));
    let ms = cfg.advert_int.as_millis();
    lines.push(match cfg.version.number() {
        2 => format!("Advert interval = {} sec", ms / 1000),
        _ => format!("Advert interval = {ms} milli-sec"),
    });
    lines.push(format!("Accept = {}", enabled_word(cfg.accept_mode)));
    lines.push(format!("Preempt = {}", enabled_word(cfg.preempt)));
    if !cfg.preempt_delay.is_zero() {
        lines.push(format!("Preempt delay = {} secs", cfg.preempt_delay.as_secs()));
    }
    if cfg.version.number() == 2 {
        let kind = match cfg.auth {
            Auth::None => "none",
            Auth::Pass(_) => "SIMPLE_PASSWORD",
            Auth::Ah(_) => "IPSEC_AH",
        };
        lines.push(format!("Authentication type = {kind}"));
    }
    if let Some(s) = &cfg.signing {
        lines.push("Authentication extension = HMAC-SHA256-128".into());
        lines.push(format!("  Keys = {}, active key id = {}", s.keys.len(), s.active));
        let mode = match s.mode {
            SigningMode::Enforce => "enforce",
            SigningMode::Permissive => "permissive",
            SigningMode::ReceiveOnly => "receive-only",
        };
        lines.push(format!("  Mode = {mode}"));
        lines.push(match s.window {
            Some(window) => format!("  Anti replay = time, window = {} sec", window.as_secs()),
            None => "  Anti replay = monotonic".into(),
        });
    }
    lines.push(format!("Virtual IP ({}):", cfg.vips.len()));
    lines.extend(i.vip_lines(&cfg.vips).map(|v| format!("  {v}")));
    if !cfg.vips_excluded.is_empty() {
        lines.push("Virtual IP Excluded :".into());
        lines.extend(i.vip_lines(&cfg.vips_excluded).map(|v| format!("  {v}")));
    }
    if let AdvertDestination::Unicast(u) = &cfg.advert_destination {
        lines.push(format!("Check unicast src : {}", if u.known_peers_only { "yes" } else { "no" }));
        lines.push("Unicast Peer :".into());
        let peer = |p: &crate::model::UnicastPeer| format!("  {} min_ttl {} max_ttl {}", p.addr, p.min_ttl, p.max_ttl);
        lines.extend(u.peers.iter().map(peer));
    }
    let notify = &cfg.notify;
    lines.push(format!("Notify deleted = {}", if notify.deleted.is_some() { "Deleted" } else { "Fault" }));
    lines.push(format!("Notify priority changes = {}", notify.priority_changes));
    for l in lines {
        let _ = writeln!(t, "   {l}");
    }
}

//! Lints: what keepalived accepts without a message although it is probably a mistake.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::value::{Entry, Line, LvsMethod, Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, address_lines};
use crate::model::{AttachOverride, AttachOverrides};

pub(super) fn check(c: &mut CheckContext<'_>) {
    check_addresses(c);
    check_script_timeouts(c);
    check_link_delays(c);
    check_unused_scripts(c);
    check_held_addresses(c);
    check_devices_left_alone(c);
    check_links_of_real_servers(c);
    check_mail(c);
}

/// The included and excluded virtual addresses of an instance.
fn virtual_addresses(i: &Section) -> impl Iterator<Item = (Span, &super::super::value::AddressLine)> {
    address_lines(i, "virtual_ipaddress").chain(address_lines(i, "virtual_ipaddress_excluded"))
}

/// Addresses in two instances, and addresses without a prefix length.
fn check_addresses(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut seen: HashMap<(IpAddr, &str), (Span, &str)> = HashMap::new();
    let mut without_prefix = None;
    for i in root.sections("vrrp_instance") {
        let interface = i.text("interface").unwrap_or("");
        for (span, a) in virtual_addresses(i) {
            if !a.prefix_given && a.addr.is_ipv4() {
                without_prefix.get_or_insert((span, a.addr));
            }
            let key = (a.addr, a.dev.as_deref().unwrap_or(interface));
            match seen.get(&key) {
                Some(&(first, other)) => c.report(
                    Diagnostic::lint("duplicate-vip", span, format!("{} is configured twice", a.addr))
                        .label("second time")
                        .note(first, format!("first time, in `{other}`"))
                        .help("remove one of them: two masters could hold the address at the same time"),
                ),
                None => {
                    seen.insert(key, (span, i.name()));
                }
            }
        }
    }
    if let Some((span, addr)) = without_prefix {
        c.report(
            Diagnostic::lint("vip-prefix", span, format!("{addr} has no prefix length")).label("added as /32").help(
                format!(
                    "write `{addr}/24` with the prefix length of its network, or `{addr}/32` if that is intended \
                     (reported once)"
                ),
            ),
        );
    }
}

/// A password that would be sent in clear text, and a mail relay without recipients.
fn check_mail(c: &mut CheckContext<'_>) {
    for g in c.root.sections("global_defs") {
        let tls = c.global_setting(|g| g.text("smtp_tls")).unwrap_or("off");
        if g.has("smtp_login") && tls == "off" {
            let message = "`smtp_login` requires an encrypted connection";
            c.report(
                Diagnostic::lint("mail-login", g.args_span("smtp_login"), message)
                    .label("no effect")
                    .help("write `smtp_tls starttls` or `smtp_tls on`"),
            );
        }
        if g.has("smtp_server") && c.root.sections("global_defs").all(|g| !g.has("notification_email")) {
            let message = "a mail relay is configured, but no recipient";
            c.report(
                Diagnostic::lint("mail-nobody", g.args_span("smtp_server"), message)
                    .label("no mail is sent")
                    .help("add `notification_email { ADDRESS }`"),
            );
        }
    }
}

fn check_script_timeouts(c: &mut CheckContext<'_>) {
    for s in c.root.sections("vrrp_script") {
        if let (Some(timeout), Some(interval)) = (s.time("timeout"), s.time("interval"))
            && timeout > interval
        {
            let message = "the timeout of the script is longer than its interval";
            c.report(
                Diagnostic::lint("script-timeout", s.args_span("timeout"), message)
                    .label(format!("longer than {} s", interval.as_secs_f64()))
                    .help("write a shorter timeout: a run that is still active delays the next one")
                    .note(s.args_span("interval"), "its interval"),
            );
        }
    }
}

/// `interface_up_down_delays` that hide a link failure for longer than the backup waits for adverts.
fn check_link_delays(c: &mut CheckContext<'_>) {
    let root = c.root;
    for i in root.sections("vrrp_instance") {
        let Some(interface) = i.text("interface") else { continue };
        let adverts = i
            .uint("down_timer_adverts")
            .or_else(|| c.global_setting(|g| g.uint("vrrp_down_timer_adverts")))
            .unwrap_or(3);
        let advert_int = i.time("advert_int").map_or(1.0, |t| t.as_secs_f64());
        let limit = (adverts as f64 - 1.0) * advert_int;
        for (span, line) in root.lines("interface_up_down_delays") {
            let Line::Options(o) = line else { continue };
            let (name, down) = (o.first().map(|(n, _)| n.as_str()), o.get(1).and_then(|(_, v)| v.as_deref()));
            let down: Option<f64> = down.and_then(|d| d.parse().ok());
            if name == Some(interface) && down.is_some_and(|d| d >= limit) {
                let message = format!("the down delay of `{interface}` is longer than the backup waits for adverts");
                c.report(
                    Diagnostic::lint("down-delay", *span, message)
                        .label(format!("expected less than {limit} s"))
                        .help("write a shorter delay: two directors would be MASTER when the interface comes up again")
                        .note(i.args_span("interface"), format!("the interface of `{}`", i.name())),
                );
            }
        }
    }
}

fn check_unused_scripts(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut tracked = HashSet::new();
    for s in root.sections("vrrp_instance").chain(root.sections("vrrp_sync_group")) {
        tracked.extend(s.lines("track_script").filter_map(|(_, l)| match l {
            Line::Track(n, _) => Some(n.as_str()),
            _ => None,
        }));
    }
    for s in root.sections("vrrp_script").filter(|s| !tracked.contains(s.name())) {
        let message = format!("no instance tracks the script `{}`", s.name());
        c.report(Diagnostic::lint("unused-script", s.span, message).label("it does not run"));
    }
}

/// A file with thousands of services would get thousands of equal diagnostics.
const MAX_SAME_DIAGNOSTICS: usize = 20;

/// Services whose address no instance holds.
fn check_held_addresses(c: &mut CheckContext<'_>) {
    let root = c.root;
    if root.sections("vrrp_instance").next().is_none() {
        return;
    }
    let mut held: HashSet<IpAddr> =
        root.sections("vrrp_instance").flat_map(virtual_addresses).map(|(_, a)| a.addr).collect();
    held.extend(address_lines(root, "static_ipaddress").map(|(_, a)| a.addr));
    let missing = root.sections("virtual_server").filter_map(|s| match s.name {
        Value::Endpoint(addr, _) if !held.contains(&addr) => Some((s, addr)),
        _ => None,
    });
    for (s, addr) in missing.take(MAX_SAME_DIAGNOSTICS) {
        c.report(
            Diagnostic::lint("vip-not-held", s.span, format!("no vrrp_instance has the address {addr}"))
                .label("its packets do not reach this director")
                .help("add it to a `virtual_ipaddress`, or correct one of the two addresses"),
        );
    }
}

/// `dataplane_interface … off` for a device that gets virtual addresses, or that leads to a real server behind NAT. The
/// addresses of a virtual MAC interface are on another device.
fn check_devices_left_alone(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut overrides = AttachOverrides::default();
    for e in root.sections("global_defs").flat_map(|g| g.get_all("dataplane_interface")) {
        if let Value::Words(words) = &e.value
            && let [device, mode] = words.as_slice()
            && let Ok(mode) = mode.parse()
        {
            overrides.insert(device, mode);
        }
    }
    if !overrides.has_off() || root.sections("virtual_server").next().is_none() {
        return;
    }
    let is_off = |device: &str| overrides.find(device) == Some(AttachOverride::Off);
    for i in root.sections("vrrp_instance").filter(|i| !i.has("use_vmac") && !i.has("use_ipvlan")) {
        let interface = i.text("interface").unwrap_or("");
        let mut devices = virtual_addresses(i).map(|(span, a)| (span, a.dev.as_deref().unwrap_or(interface)));
        if let Some((span, device)) = devices.find(|(_, d)| is_off(d)) {
            let message = format!("the packet path is not attached to `{device}`");
            c.report(
                Diagnostic::lint("vip-device-off", span, message)
                    .label("clients that come in by it are not balanced")
                    .help(format!("remove `dataplane_interface {device} off`, or use another interface")),
            );
        }
    }
    let mut checked = HashSet::new();
    for (r, addr, _) in servers_by_method(root).filter(|(_, _, method)| **method == LvsMethod::Nat) {
        if !checked.insert(addr) || checked.len() > MAX_SAME_DIAGNOSTICS {
            continue;
        }
        if let Some(device) = c.environment.route_interface(addr).filter(|d| is_off(d)) {
            let message = format!("the packet path is not attached to `{device}`, which leads to {addr}");
            c.report(
                Diagnostic::lint("nat-device-off", r.span, message)
                    .label("its replies are not translated back")
                    .help(format!("remove `dataplane_interface {device} off`, or use another `lvs_method`")),
            );
        }
    }
}

/// Real servers with their addresses and forwarding methods.
fn servers_by_method(root: &Section) -> impl Iterator<Item = (&Section, IpAddr, &LvsMethod)> {
    root.sections("virtual_server").flat_map(|s| {
        s.sections("real_server").filter_map(|r| match (&r.name, r.get("lvs_method").or(s.get("lvs_method"))?) {
            (Value::Endpoint(addr, _), Entry { value: Value::LvsMethod(m), .. }) => Some((r, *addr, &**m)),
            _ => None,
        })
    })
}

/// Real servers that direct routing cannot reach, each once.
fn check_links_of_real_servers(c: &mut CheckContext<'_>) {
    let mut reported = HashSet::new();
    for (r, addr, _) in servers_by_method(c.root).filter(|(_, _, method)| **method == LvsMethod::Dr) {
        if reported.len() < MAX_SAME_DIAGNOSTICS
            && c.environment.is_on_link(addr) == Some(false)
            && reported.insert(addr)
        {
            c.report(
                Diagnostic::lint("off-link", r.span, format!("{addr} is not on a link of this director"))
                    .label("direct routing requires a common link")
                    .help("add an address of its network to the director, or write `lvs_method TUN`"),
            );
        }
    }
}

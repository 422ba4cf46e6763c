//! What keepalived accepts in silence and operators wish it had told them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::value::{Line, LvsMethod, Section, Value};
use super::super::{Diagnostic, Span};
use super::CheckContext;

pub(super) fn check(c: &mut CheckContext<'_>) {
    check_addresses(c);
    check_timers(c);
    check_unused_scripts(c);
    check_services(c);
    check_mail(c);
}

fn address_lines<'s>(
    s: &'s Section,
    keyword: &'s str,
) -> impl Iterator<Item = (Span, IpAddr, &'s super::super::value::AddressLine)> {
    s.lines(keyword).filter_map(|(at, l)| match l {
        Line::Address(a) => Some((*at, a.addr, &**a)),
        _ => None,
    })
}

/// Addresses that two hold, and addresses without a prefix length.
fn check_addresses(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut seen: HashMap<(IpAddr, &str), (Span, &str)> = HashMap::new();
    let mut bare = None;
    for i in root.sections("vrrp_instance") {
        let own = i.text("interface").unwrap_or("");
        for (at, addr, a) in address_lines(i, "virtual_ipaddress").chain(address_lines(i, "virtual_ipaddress_excluded"))
        {
            if !a.prefix_given && addr.is_ipv4() {
                bare.get_or_insert((at, addr));
            }
            match seen.get(&(addr, a.dev.as_deref().unwrap_or(own))) {
                Some(&(first, other)) => c.push(
                    Diagnostic::lint("duplicate-vip", at, format!("{addr} is held twice"))
                        .label("second time")
                        .note(first, format!("first time, by `{other}`"))
                        .help("two masters of one address fight over it; remove one of them"),
                ),
                None => {
                    seen.insert((addr, a.dev.as_deref().unwrap_or(own)), (at, i.name()));
                }
            }
        }
    }
    if let Some((at, addr)) = bare {
        c.push(
            Diagnostic::lint("vip-prefix", at, format!("{addr} has no prefix length"))
                .label("taken for a /32")
                .help(format!(
                    "write `{addr}/24` to have it with its network's prefix, or `{addr}/32` if that is meant (told once)"
                )),
        );
    }
}

/// A password that would be readable on its way, and mail for nobody.
fn check_mail(c: &mut CheckContext<'_>) {
    for g in c.root.sections("global_defs") {
        let tls = c.global_setting(|g| g.text("smtp_tls")).unwrap_or("off");
        if g.has("smtp_login") && tls == "off" {
            c.push(
                Diagnostic::lint(
                    "mail-login",
                    g.args_span("smtp_login"),
                    "a password is sent over encrypted connections only",
                )
                .label("without effect")
                .help("write `smtp_tls starttls`, or `smtp_tls on`"),
            );
        }
        if g.has("smtp_server") && c.root.sections("global_defs").all(|g| !g.has("notification_email")) {
            c.push(
                Diagnostic::lint(
                    "mail-nobody",
                    g.args_span("smtp_server"),
                    "there is a mail relay, and nobody to write to",
                )
                .label("no mail is sent")
                .help("add `notification_email { ADDRESS }`"),
            );
        }
    }
}

fn check_timers(c: &mut CheckContext<'_>) {
    let root = c.root;
    for s in root.sections("vrrp_script") {
        if let (Some(timeout), Some(interval)) = (s.time("timeout"), s.time("interval"))
            && timeout > interval
        {
            c.push(
                Diagnostic::lint(
                    "script-timeout",
                    s.args_span("timeout"),
                    "the script may run longer than its interval",
                )
                .label(format!("more than {} s", interval.as_secs_f64()))
                .help("while it runs, no other run is started; write a shorter timeout")
                .note(s.args_span("interval"), "its interval"),
            );
        }
    }
    for i in root.sections("vrrp_instance") {
        let Some(interface) = i.text("interface") else { continue };
        let adverts = i
            .uint("down_timer_adverts")
            .or_else(|| c.global_setting(|g| g.uint("vrrp_down_timer_adverts")))
            .unwrap_or(3);
        let advert_int = i.time("advert_int").map_or(1.0, |t| t.as_secs_f64());
        let most = (adverts as f64 - 1.0) * advert_int;
        for (at, line) in root.lines("interface_up_down_delays") {
            let Line::Options(o) = line else { continue };
            let (name, down) = (o.first().map(|(n, _)| n.as_str()), o.get(1).and_then(|(_, v)| v.as_deref()));
            let down: Option<f64> = down.and_then(|d| d.parse().ok());
            if name == Some(interface) && down.is_some_and(|d| d >= most) {
                c.push(
                    Diagnostic::lint(
                        "down-delay",
                        *at,
                        format!("`{interface}` may be down for longer than the backup waits"),
                    )
                    .label(format!("expected less than {most} s"))
                    .help("else two directors are master for a moment when the interface comes back")
                    .note(i.args_span("interface"), format!("`{}` speaks on it", i.name())),
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
        c.push(
            Diagnostic::lint("unused-script", s.span, format!("no instance tracks the script `{}`", s.name()))
                .label("it will not be run"),
        );
    }
}

/// What holds of this many holds of thousands more, and is not told of each.
const MAX_SAME_DIAGNOSTICS: usize = 20;

/// Services whose address nobody here holds, and real servers that direct routing cannot reach.
fn check_services(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut held: HashSet<IpAddr> = HashSet::new();
    for i in root.sections("vrrp_instance") {
        held.extend(address_lines(i, "virtual_ipaddress").map(|(_, a, _)| a));
        held.extend(address_lines(i, "virtual_ipaddress_excluded").map(|(_, a, _)| a));
    }
    held.extend(address_lines(root, "static_ipaddress").map(|(_, a, _)| a));
    let alone = root.sections("vrrp_instance").next().is_none();
    let (mut not_held, mut off_link) = (0, HashSet::new());
    for s in root.sections("virtual_server") {
        if let Value::Endpoint(addr, _) = s.name
            && !alone
            && !held.contains(&addr)
            && not_held < MAX_SAME_DIAGNOSTICS
        {
            not_held += 1;
            c.push(
                Diagnostic::lint("vip-not-held", s.span, format!("no vrrp_instance holds {addr}"))
                    .label("packets for it will not come here")
                    .help("add it to a `virtual_ipaddress`, or see whether one of the two is misspelt"),
            );
        }
        for r in s.sections("real_server") {
            let Value::Endpoint(addr, _) = r.name else { continue };
            let method = r.get("lvs_method").or(s.get("lvs_method")).map(|e| &e.value);
            if matches!(method, Some(Value::LvsMethod(m)) if **m == LvsMethod::Dr)
                && off_link.len() < MAX_SAME_DIAGNOSTICS
                && c.environment.is_on_link(addr) == Some(false)
                && off_link.insert(addr)
            {
                c.push(
                    Diagnostic::lint("off-link", r.span, format!("{addr} is on no link of this director"))
                        .label("direct routing reaches only the same link")
                        .help("give the director an address in its network, or write `lvs_method TUN`"),
                );
            }
        }
    }
}

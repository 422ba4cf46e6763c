//! `evenkeel real-server check`: tests whether the host is prepared.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Result;
use evenkeel_core::model::Family;
use evenkeel_sys::bpf::decap;
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::sysctl;

use super::state::pin_dir;
use super::{ARP_SYSCTLS, Options, host_prefix_len};
use crate::output;

/// One line of the result.
struct Finding {
    text: String,
    /// How to fix it; `None` if nothing is wrong.
    fix: Option<String>,
}

impl Finding {
    fn ok(text: String) -> Finding {
        Finding { text, fix: None }
    }

    fn wrong(text: String, fix: String) -> Finding {
        Finding { text, fix: Some(fix) }
    }
}

pub fn run(instance: &str, options: &Options) -> Result<ExitCode> {
    let mut netlink = Netlink::new()?;
    let device = options.device(&mut netlink)?;
    let mut findings = check_addresses(&mut netlink, options)?;
    if options.has_ipv4() {
        findings.extend(check_arp_sysctls(&device));
    }
    if options.has_tunnels() {
        findings.extend(check_decapsulation(instance, options));
    }
    let mut text = String::new();
    for f in &findings {
        text += &format!("{} {}\n", if f.fix.is_none() { "ok   " } else { "wrong" }, f.text);
        if let Some(fix) = &f.fix {
            text += &format!("      {fix}\n");
        }
    }
    output::print(&text);
    let prepared = findings.iter().all(|f| f.fix.is_none());
    Ok(if prepared { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_addresses(netlink: &mut Netlink, options: &Options) -> Result<Vec<Finding>> {
    let held = netlink.addresses()?;
    let links = netlink.links()?;
    let device_name = |index: u32| links.iter().find(|l| l.index == index).map_or("?", |l| l.name.as_str());
    let check = |addr: &IpAddr| {
        let len = host_prefix_len(*addr);
        let Some(h) = held.iter().find(|h| h.addr == *addr) else {
            return Finding::wrong(
                format!("{addr} is not on this host"),
                format!("evenkeel real-server up {addr}, or: ip addr add {addr}/{len} dev lo"),
            );
        };
        let dev = device_name(h.ifindex);
        if addr.is_ipv6() && dev != "lo" {
            Finding::wrong(
                format!("{addr} is on {dev}, and this host answers neighbour solicitations for it"),
                format!("put it on lo: ip -6 addr del {addr}/{} dev {dev}", h.prefix_len),
            )
        } else if h.prefix_len != len {
            Finding::wrong(
                format!("{addr} is on {dev} with prefix length {}", h.prefix_len),
                format!("use /{len}: with a shorter one this host keeps packets to other addresses of that network"),
            )
        } else {
            Finding::ok(format!("{addr} is on {dev}"))
        }
    };
    Ok(options.addresses.iter().map(check).collect())
}

fn check_arp_sysctls(device: &Link) -> Vec<Finding> {
    let check = |(setting, least): (&str, i32)| {
        // The kernel uses the larger of the two.
        let value = |dev: &str| sysctl::get_conf(Family::V4, dev, setting).unwrap_or(0);
        let now = value("all").max(value(&device.name));
        let text = format!("{setting} is {now} on {}", device.name);
        if now >= least {
            return Finding::ok(text);
        }
        let consequence = if setting == "arp_ignore" {
            "this host would answer clients' ARP requests for the virtual address"
        } else {
            "this host would send ARP requests from the virtual address, and draw its packets"
        };
        Finding::wrong(format!("{text}: {consequence}"), format!("sysctl -w net.ipv4.conf.all.{setting}={least}"))
    };
    ARP_SYSCTLS.into_iter().map(check).collect()
}

fn check_decapsulation(instance: &str, options: &Options) -> Vec<Finding> {
    let Some((known, counts)) = decap::read_status(&pin_dir(instance), &options.addresses) else {
        return vec![Finding::wrong(
            "evenkeel does not decapsulate tunnels here".to_owned(),
            "evenkeel real-server up … --tunnel, unless a tunnel device of the kernel does it".to_owned(),
        )];
    };
    let missing = options.addresses.iter().filter(|a| !known.contains(a));
    let mut findings: Vec<Finding> = missing
        .map(|addr| {
            let fix = "run `evenkeel real-server up` with all addresses".to_owned();
            Finding::wrong(format!("tunnels for {addr} are not decapsulated"), fix)
        })
        .collect();
    findings.push(Finding::ok(format!(
        "{} packets decapsulated, {} for other addresses",
        counts.decapsulated, counts.not_ours
    )));
    if counts.failed > 0 {
        let text = format!("{} packets could not be decapsulated", counts.failed);
        findings.push(Finding::wrong(text, "IPv4 in IPv6 and IPv6 in IPv4 need Linux 6.3".to_owned()));
    }
    findings
}

//! `evenkeel real-server up` and `down`: changes the host, and undoes the changes.

use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use evenkeel_core::model::{Family, VipSpec};
use evenkeel_sys::bpf::decap;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::sysctl;

use super::state::{AppliedChanges, pin_dir, state_file};
use super::{ARP_SYSCTLS, Options, host_prefix_len};
use crate::output;

fn on_loopback(addr: IpAddr) -> VipSpec {
    VipSpec::new(addr, host_prefix_len(addr), "lo".to_owned())
}

/// Every change is recorded at once, so that `down` undoes those that were made before an error.
pub fn up(instance: &str, options: &Options) -> Result<ExitCode> {
    let mut netlink = Netlink::new()?;
    let mut changes = AppliedChanges::load(instance)?.unwrap_or_default();
    let lo = netlink.link_by_name("lo")?.context("there is no device lo")?;
    let device = options.device(&mut netlink)?;
    let mut report = String::new();
    // Before the addresses: one ARP reply for a virtual address draws the service's packets away from the director.
    if options.has_ipv4() {
        report += &set_arp_sysctls(instance, &mut changes)?;
    }
    for &addr in &options.addresses {
        if netlink.add_address(lo.index, &on_loopback(addr))? {
            changes.addresses.push(addr);
            changes.save(instance)?;
            report += &format!("{addr}/{} on lo\n", host_prefix_len(addr));
        }
    }
    if options.has_tunnels() {
        if let Some(before) = changes.decap_ifindex.filter(|i| *i != device.index) {
            decap::detach(&pin_dir(instance), before)?;
        }
        let mode = decap::attach(&pin_dir(instance), &device, &options.addresses, options.gue_port)?;
        changes.decap_ifindex = Some(device.index);
        changes.save(instance)?;
        report += &format!("tunnels are decapsulated on {} by {mode}\n", device.name);
    }
    output::print(if report.is_empty() { "nothing to change\n" } else { &report });
    Ok(ExitCode::SUCCESS)
}

fn set_arp_sysctls(instance: &str, changes: &mut AppliedChanges) -> Result<String> {
    let mut report = String::new();
    for (setting, least) in ARP_SYSCTLS {
        let before = sysctl::get_conf(Family::V4, "all", setting).unwrap_or(0);
        if before < least {
            sysctl::set_conf(Family::V4, "all", setting, least)?;
            if !changes.sysctls.iter().any(|(s, _)| s == setting) {
                changes.sysctls.push((setting.to_owned(), before));
            }
            changes.save(instance)?;
            report += &format!("net.ipv4.conf.all.{setting} = {least} (was {before})\n");
        }
    }
    Ok(report)
}

pub fn down(instance: &str) -> Result<ExitCode> {
    let Some(changes) = AppliedChanges::load(instance)? else {
        bail!("`evenkeel real-server up` has changed nothing here: there is no {}", state_file(instance).display());
    };
    let mut netlink = Netlink::new()?;
    let lo = netlink.link_by_name("lo")?.context("there is no device lo")?;
    // The sysctls come last: they must hold while an address is still there.
    for &addr in &changes.addresses {
        if netlink.remove_address(lo.index, &on_loopback(addr))? {
            output::print(&format!("{addr} removed from lo\n"));
        }
    }
    if let Some(device) = changes.decap_ifindex {
        decap::detach(&pin_dir(instance), device)?;
        output::print("tunnels are no longer decapsulated\n");
    }
    for (setting, before) in &changes.sysctls {
        let now = sysctl::get_conf(Family::V4, "all", setting);
        if now == ARP_SYSCTLS.iter().find(|(s, _)| s == setting).map(|(_, v)| *v) {
            sysctl::set_conf(Family::V4, "all", setting, *before)?;
            output::print(&format!("net.ipv4.conf.all.{setting} = {before}\n"));
        } else {
            output::print(&format!("net.ipv4.conf.all.{setting} was changed since; left as it is\n"));
        }
    }
    let file = state_file(instance);
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

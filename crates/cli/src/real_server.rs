//! `evenkeel real-server`: makes a host ready to be a real server for direct routing or tunnels, says whether it is, and
//! undoes it.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use evenkeel_core::model::{Family, VipSpec};
use evenkeel_sys::bpf::decap;
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::{paths, sysctl};
use serde::{Deserialize, Serialize};

use crate::output;

/// What `evenkeel real-server` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Hold the virtual addresses on `lo`, keep quiet about them, and unwrap tunnels if asked to
    Up(Options),
    /// Undo what `up` did, and nothing else
    Down,
    /// Is this host ready? Says what is wrong and how to mend it; exit status 1 if something is
    Check(Options),
}

/// What the host is to serve.
#[derive(Args)]
pub struct Options {
    /// The virtual addresses
    #[arg(required = true)]
    addresses: Vec<IpAddr>,
    /// Packets come through tunnels (ipip, GRE): unwrap them
    #[arg(long)]
    tunnel: bool,
    /// Packets come in GUE to this UDP port: unwrap them
    #[arg(long, value_name = "PORT")]
    gue_port: Option<u16>,
    /// The device that the directors' packets come in by [default: the one of the default route]
    #[arg(long)]
    dev: Option<String>,
}

impl Options {
    fn has_tunnels(&self) -> bool {
        self.tunnel || self.gue_port.is_some()
    }

    fn device(&self, netlink: &mut Netlink) -> Result<Link> {
        match &self.dev {
            Some(name) => netlink.link_by_name(name)?.with_context(|| format!("there is no device {name}")),
            None => {
                let far = if self.addresses.iter().all(IpAddr::is_ipv6) { "2000::" } else { "192.0.2.1" };
                let route = netlink
                    .lookup_route(far.parse()?)?
                    .context("there is no default route: name the device by --dev")?;
                let link = netlink.links()?.into_iter().find(|l| l.index == route.oif);
                link.context("the default route's device is gone")
            }
        }
    }
}

/// What `up` changed, for `down`.
#[derive(Default, Serialize, Deserialize)]
struct AppliedChanges {
    /// Put on `lo`.
    addresses: Vec<IpAddr>,
    /// (setting of all devices, its value before).
    sysctls: Vec<(String, i32)>,
    /// Tunnels are unwrapped on this device.
    decap_ifindex: Option<u32>,
}

/// What keeps a host quiet about addresses that are not the device's own (ip-sysctl.txt): it answers ARP only for those,
/// and asks in the name of none but those.
const ARP_SYSCTLS: [(&str, i32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];

fn state_file(instance: &str) -> PathBuf {
    paths::run_dir(instance).join("real-server.json")
}

fn pin_dir(instance: &str) -> PathBuf {
    paths::bpf_dir(&format!("{instance}-real-server"))
}

fn host_prefix_len(a: IpAddr) -> u8 {
    if a.is_ipv6() { 128 } else { 32 }
}

/// Runs one of them.
pub fn run(instance: &str, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Up(options) => up(instance, options),
        Command::Down => down(instance),
        Command::Check(options) => check(instance, options),
    }
}

fn save_state(instance: &str, changed: &AppliedChanges) -> Result<()> {
    let file = state_file(instance);
    fs::create_dir_all(paths::run_dir(instance)).context("make the directory of what was changed")?;
    fs::write(&file, serde_json::to_vec(changed)?).with_context(|| format!("write {}", file.display()))
}

fn load_state(instance: &str) -> Result<Option<AppliedChanges>> {
    let file = state_file(instance);
    match fs::read(&file) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("read {}", file.display())),
    }
}

fn up(instance: &str, options: &Options) -> Result<ExitCode> {
    let mut netlink = Netlink::new()?;
    let mut changed = load_state(instance)?.unwrap_or_default();
    let lo = netlink.link_by_name("lo")?.context("there is no device lo")?;
    let device = options.device(&mut netlink)?;
    let mut said = String::new();
    // Quiet first: an address that is answered for even once draws the service's packets away from the director.
    if options.addresses.iter().any(IpAddr::is_ipv4) {
        for (setting, want) in ARP_SYSCTLS {
            let had = sysctl::get_conf(Family::V4, "all", setting).unwrap_or(0);
            if had < want {
                sysctl::set_conf(Family::V4, "all", setting, want)?;
                if !changed.sysctls.iter().any(|(s, _)| s == setting) {
                    changed.sysctls.push((setting.to_owned(), had));
                }
                save_state(instance, &changed)?;
                said += &format!("net.ipv4.conf.all.{setting} = {want} (was {had})\n");
            }
        }
    }
    for &addr in &options.addresses {
        if netlink.add_address(lo.index, &VipSpec::new(addr, host_prefix_len(addr), "lo".to_owned()))? {
            changed.addresses.push(addr);
            save_state(instance, &changed)?;
            said += &format!("{addr}/{} on lo\n", host_prefix_len(addr));
        }
    }
    if options.has_tunnels() {
        if let Some(before) = changed.decap_ifindex.filter(|i| *i != device.index) {
            decap::detach(&pin_dir(instance), before)?;
        }
        let hook = decap::attach(&pin_dir(instance), &device, &options.addresses, options.gue_port)?;
        changed.decap_ifindex = Some(device.index);
        save_state(instance, &changed)?;
        said += &format!("tunnels are unwrapped on {} by {hook}\n", device.name);
    }
    output::print(if said.is_empty() { "nothing to do\n" } else { &said });
    Ok(ExitCode::SUCCESS)
}

fn down(instance: &str) -> Result<ExitCode> {
    let Some(changed) = load_state(instance)? else {
        bail!("nothing is known to have been set up here (there is no {})", state_file(instance).display());
    };
    let mut netlink = Netlink::new()?;
    let lo = netlink.link_by_name("lo")?.context("there is no device lo")?;
    // The addresses first, and only then may the host speak about what it has.
    for &addr in &changed.addresses {
        if netlink.remove_address(lo.index, &VipSpec::new(addr, host_prefix_len(addr), "lo".to_owned()))? {
            output::print(&format!("{addr} is off lo\n"));
        }
    }
    if let Some(device) = changed.decap_ifindex {
        decap::detach(&pin_dir(instance), device)?;
        output::print("tunnels are not unwrapped any more\n");
    }
    for (setting, had) in &changed.sysctls {
        let now = sysctl::get_conf(Family::V4, "all", setting);
        if now == ARP_SYSCTLS.iter().find(|(s, _)| s == setting).map(|(_, v)| *v) {
            sysctl::set_conf(Family::V4, "all", setting, *had)?;
            output::print(&format!("net.ipv4.conf.all.{setting} = {had}\n"));
        } else {
            output::print(&format!("net.ipv4.conf.all.{setting} was changed by somebody else: left alone\n"));
        }
    }
    fs::remove_file(state_file(instance)).context("forget what was changed")?;
    Ok(ExitCode::SUCCESS)
}

/// One line of a check.
struct Finding {
    text: String,
    /// Nothing if it is as it should be.
    fix: Option<String>,
}

fn check(instance: &str, options: &Options) -> Result<ExitCode> {
    let mut netlink = Netlink::new()?;
    let device = options.device(&mut netlink)?;
    let held = netlink.addresses()?;
    let links = netlink.links()?;
    let mut all = Vec::new();
    let mut find = |good: bool, what: String, mend: String| {
        all.push(Finding { text: what, fix: (!good).then_some(mend) });
    };
    for &addr in &options.addresses {
        let at = held.iter().find(|h| h.addr == addr);
        let name = |i: u32| links.iter().find(|l| l.index == i).map_or("?", |l| l.name.as_str());
        match at {
            None => find(
                false,
                format!("{addr} is not on this host"),
                format!("evenkeel real-server up {addr}, or: ip addr add {addr}/{} dev lo", host_prefix_len(addr)),
            ),
            Some(h) if addr.is_ipv6() && name(h.ifindex) != "lo" => find(
                false,
                format!("{addr} is on {}, where neighbour solicitations for it are answered", name(h.ifindex)),
                format!("put it on lo: ip -6 addr del {addr}/{} dev {}", h.prefix_len, name(h.ifindex)),
            ),
            Some(h) if h.prefix_len != host_prefix_len(addr) => find(
                false,
                format!("{addr} is on {} with a network of /{}", name(h.ifindex), h.prefix_len),
                format!("packets to its neighbours would stay here: use /{}", host_prefix_len(addr)),
            ),
            Some(h) => find(true, format!("{addr} is on {}", name(h.ifindex)), String::new()),
        }
    }
    if options.addresses.iter().any(IpAddr::is_ipv4) {
        for (setting, want) in ARP_SYSCTLS {
            // The kernel goes by the larger of the two.
            let value = |d: &str| sysctl::get_conf(Family::V4, d, setting).unwrap_or(0);
            let now = value("all").max(value(&device.name));
            let mend = format!("sysctl -w net.ipv4.conf.all.{setting}={want}");
            let consequence = if setting == "arp_ignore" {
                "clients' ARP for the virtual address would be answered by this host"
            } else {
                "this host would ask ARP in the name of the virtual address, and draw its packets"
            };
            let what = if now >= want {
                format!("{setting} is {now} on {}", device.name)
            } else {
                format!("{setting} is {now} on {}: {consequence}", device.name)
            };
            find(now >= want, what, mend);
        }
    }
    if options.has_tunnels() {
        match decap::read_status(&pin_dir(instance), &options.addresses) {
            None => find(
                false,
                "tunnels are not unwrapped by evenkeel here".to_owned(),
                "evenkeel real-server up … --tunnel, unless a tunnel device of the kernel's does it".to_owned(),
            ),
            Some((known, counts)) => {
                for addr in options.addresses.iter().filter(|a| !known.contains(a)) {
                    find(
                        false,
                        format!("tunnels are not unwrapped for {addr}"),
                        "run `up` with all addresses".to_owned(),
                    );
                }
                let what =
                    format!("{} packets unwrapped, {} not for a virtual address", counts.decapsulated, counts.not_ours);
                find(true, what, String::new());
                let failed = format!("{} packets could not be unwrapped", counts.failed);
                if counts.failed > 0 {
                    find(false, failed, "one family within the other needs Linux 6.3".to_owned());
                }
            }
        }
    }
    let mut text = String::new();
    for f in &all {
        text += &format!("{} {}\n", if f.fix.is_none() { "ok   " } else { "wrong" }, f.text);
        if let Some(mend) = &f.fix {
            text += &format!("      {mend}\n");
        }
    }
    output::print(&text);
    Ok(if all.iter().all(|f| f.fix.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

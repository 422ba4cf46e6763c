//! The packet filter of this network namespace: the rules of nftables, those of iptables-legacy as far as there are any,
//! and reverse path filtering. What they drop for a device must not become reachable because the packet path is attached
//! to it (`evenkeel_core::packet_filter`).

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use evenkeel_core::model::{Family, ServiceKey};
use evenkeel_core::packet_filter::{FilterVerdict, NewConnection, Ruleset, parse_nft_json};
use evenkeel_core::time::Instant;

use crate::netlink_socket::{self, HEADER_BYTES, find_attribute};
use crate::{clock, sysctl};

/// A program that does not answer within this time is given up.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The rules are read again after this time, those of nftables only if they have changed.
const MAX_AGE: Duration = Duration::from_secs(5);
/// The names of this program's tables begin so.
const OWN_TABLES: &str = "evenkeel_";
/// Where root's programs are, if PATH lacks it.
const ROOT_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The rules, as last read.
#[derive(Default)]
pub struct PacketFilter {
    rules: Rules,
    read: Option<Instant>,
    /// The generation of the rules of nftables: the kernel counts changes.
    generation: Option<u32>,
}

#[derive(Default, PartialEq)]
struct Rules {
    nftables: Ruleset,
    /// Rules that may drop packets, and which are not read in detail.
    unread: Option<String>,
    /// `rp_filter` of `all` and of each device, where it is not 0.
    rp_filter: BTreeMap<String, i32>,
}

impl PacketFilter {
    /// Reads the rules if they are old. Returns true if they have changed.
    pub fn refresh(&mut self) -> bool {
        let now = clock::now();
        if self.read.is_some_and(|read| now.duration_since(read) < MAX_AGE) {
            return false;
        }
        self.read = Some(now);
        let generation = read_generation();
        let is_unchanged = generation.is_some() && generation == self.generation;
        self.generation = generation;
        let rules = Rules::read(is_unchanged.then(|| std::mem::take(&mut self.rules.nftables)));
        let has_changed = !is_unchanged && rules.nftables != self.rules.nftables
            || rules.unread != self.rules.unread
            || rules.rp_filter != self.rules.rp_filter;
        self.rules = rules;
        has_changed
    }

    /// What the rules do with the new connections of services that come in by a device.
    pub fn verdict(&self, device: &str, service: ServiceKey) -> FilterVerdict {
        let connection = NewConnection { device, addr: service.addr, protocol: service.protocol, port: service.port };
        match self.rules.nftables.verdict(&connection) {
            FilterVerdict::Accept => self.rules.unread.clone().map_or(FilterVerdict::Accept, FilterVerdict::MayDrop),
            other => other,
        }
    }

    /// What an attachment to a device would open to clients of the services: a rule, or strict reverse path filtering,
    /// which drops packets whose source is not routed by the device (rp_filter=1 in ip-sysctl.rst). By a device with the
    /// default route any source may come.
    pub fn closes<'s>(
        &self,
        device: &str,
        has_default_route: bool,
        services: impl IntoIterator<Item = &'s ServiceKey>,
    ) -> Option<String> {
        let mut has_ipv4 = false;
        for service in services.into_iter().filter(|s| s.fwmark == 0) {
            has_ipv4 |= service.addr.is_ipv4();
            match self.verdict(device, *service) {
                FilterVerdict::Accept => {}
                FilterVerdict::Drop(rule) => return Some(format!("{rule}, which drops {service}")),
                FilterVerdict::MayDrop(rule) => return Some(format!("{rule}, which may drop {service}")),
            }
        }
        let rp_filter = |name: &str| self.rules.rp_filter.get(name).copied().unwrap_or(0);
        let is_strict = has_ipv4 && !has_default_route && rp_filter("all").max(rp_filter(device)) == 1;
        is_strict.then(|| format!("net.ipv4.conf.{device}.rp_filter=1"))
    }
}

impl Rules {
    /// Reads the rules; those of nftables unless they are `known`.
    fn read(known: Option<Ruleset>) -> Rules {
        let (unread, rp_filter) = (legacy_rules(), read_rp_filter());
        if let Some(nftables) = known {
            return Rules { nftables, unread, rp_filter };
        }
        let mut unread = unread;
        let nftables = match run("nft", &["-j", "list", "ruleset"]).map(|text| parse_nft_json(&text)) {
            Some(Ok(mut ruleset)) => {
                // Ours drop packets that the packet path has not taken (no_accept).
                ruleset
                    .chains
                    .retain(|(table, _), _| table.split(' ').nth(1).is_none_or(|t| !t.starts_with(OWN_TABLES)));
                ruleset
            }
            // Without nft there may be rules all the same, but somebody has to have loaded them.
            None => Ruleset::default(),
            Some(Err(e)) => {
                unread.get_or_insert_with(|| format!("the rules of nftables, which cannot be read ({e})"));
                Ruleset::default()
            }
        };
        Rules { nftables, unread, rp_filter }
    }
}

/// The generation of the rules of nftables (NFT_MSG_GETGEN); `None` if nftables is not there.
fn read_generation() -> Option<u32> {
    /// Of linux/netfilter/nfnetlink.h and nf_tables.h.
    const NETLINK_NETFILTER: isize = 12;
    const NFT_MSG_GETGEN: u16 = 10 << 8 | 16;
    const NFTA_GEN_ID: u16 = 1;
    const NFGENMSG_BYTES: usize = 4;
    const NLM_F_REQUEST: u16 = 1;
    let socket = netlink_socket::open(NETLINK_NETFILTER).ok()?;
    let mut request = [0u8; HEADER_BYTES + NFGENMSG_BYTES];
    let len = request.len() as u32;
    request[..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&NFT_MSG_GETGEN.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    socket.send(&request, 0).ok()?;
    let mut buf = [0u8; 4096];
    let n = socket.recv(&mut &mut buf[..], 0).ok()?;
    let message = netlink_socket::messages(buf.get(..n)?).next()?;
    let attribute = find_attribute(message.body.get(NFGENMSG_BYTES..)?, NFTA_GEN_ID)?;
    Some(u32::from_be_bytes(*attribute.first_chunk()?))
}

fn read_rp_filter() -> BTreeMap<String, i32> {
    let entries = fs::read_dir("/proc/sys/net/ipv4/conf").into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let value = |name: String| Some((sysctl::get_conf(Family::V4, &name, "rp_filter").filter(|v| *v != 0)?, name));
    names.filter_map(value).map(|(v, name)| (name, v)).collect()
}

/// Rules of iptables-legacy in the chains that packets to this host pass.
fn legacy_rules() -> Option<String> {
    for (names, save) in
        [("/proc/net/ip_tables_names", "iptables-legacy-save"), ("/proc/net/ip6_tables_names", "ip6tables-legacy-save")]
    {
        let tables = fs::read_to_string(names).unwrap_or_default();
        if tables.lines().all(|t| t.trim().is_empty() || t.trim() == "nat") {
            continue;
        }
        let Some(text) = run(save, &[]) else { return Some(format!("the rules that {save} would show")) };
        let may_drop = |line: &str| {
            let chain = line.strip_prefix("-A ").and_then(|l| l.split(' ').next());
            let is_rule = matches!(chain, Some("INPUT" | "PREROUTING"))
                && !["-j ACCEPT", "-j LOG", "-j RETURN", "-j MARK", "-j CT"].iter().any(|t| line.contains(t));
            is_rule || line.starts_with(":INPUT DROP") || line.starts_with(":PREROUTING DROP")
        };
        if let Some(rule) = text.lines().find(|l| may_drop(l)) {
            return Some(format!("`{rule}` of {save}"));
        }
    }
    None
}

/// The output of a program of root; `None` if it cannot be run, fails, or does not end in time.
fn run(program: &str, args: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(ROOT_DIRS.map(Into::into));
    let mut command = Command::new(program);
    command.args(args).env("PATH", std::env::join_paths(dirs).ok()?).stdin(Stdio::null()).stderr(Stdio::null());
    let (tx, rx) = channel();
    std::thread::spawn(move || drop(tx.send(command.output())));
    let out = rx.recv_timeout(TIMEOUT).ok()?.ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

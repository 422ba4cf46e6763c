//! The output of `nft -j list ruleset`: libnftables-json(5). What is not understood becomes a condition that may hold, or
//! an unknown verdict, and never an error.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::{Action, BaseChain, Chain, Match, Rule, Ruleset};
use crate::model::Protocol;

/// Statements that change neither the verdict nor the packet.
const HARMLESS: &[&str] = &["counter", "log", "notrack"];

/// The elements of named sets and maps, by table and name.
type Sets<'v> = BTreeMap<(String, String), &'v Value>;

/// Parses a ruleset; the error says what is wrong with the text.
pub fn parse_nft_json(text: &str) -> Result<Ruleset, String> {
    let all: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let objects = all.get("nftables").and_then(Value::as_array).ok_or("it has no member \"nftables\"")?;
    let of_kind = |kind: &'static str| objects.iter().filter_map(move |o| o.get(kind));
    let mut sets = Sets::new();
    for set in of_kind("set").chain(of_kind("map")) {
        if let Some(elements) = set.get("elem") {
            sets.insert((table(set), string(set, "name")), elements);
        }
    }
    let mut ruleset = Ruleset::default();
    for chain in of_kind("chain") {
        let devices = chain.get("dev").map(strings).unwrap_or_default();
        let base = |device: Option<&String>| {
            Some(BaseChain {
                hook: chain.get("hook")?.as_str()?.to_owned(),
                device: device.cloned(),
                priority: chain.get("prio").and_then(Value::as_i64).unwrap_or(0),
                drops: chain.get("policy").and_then(Value::as_str) == Some("drop"),
            })
        };
        let key = (table(chain), string(chain, "name"));
        ruleset.chains.insert(key, Chain { base: base(devices.first()), rules: Vec::new() });
    }
    for rule in of_kind("rule") {
        if let Some(chain) = ruleset.chains.get_mut(&(table(rule), string(rule, "chain"))) {
            chain.rules.push(parse_rule(rule, &sets));
        }
    }
    Ok(ruleset)
}

fn string(v: &Value, member: &str) -> String {
    v.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn table(v: &Value) -> String {
    format!("{} {}", string(v, "family"), string(v, "table"))
}

/// A string, or the strings of a list.
fn strings(v: &Value) -> Vec<String> {
    match v {
        Value::String(s) => vec![s.clone()],
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn parse_rule(rule: &Value, sets: &Sets<'_>) -> Rule {
    let mut out = Rule { handle: rule.get("handle").and_then(Value::as_u64).unwrap_or(0), ..Rule::default() };
    let statements = rule.get("expr").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let table = table(rule);
    for statement in statements.iter().filter_map(Value::as_object) {
        for (kind, value) in statement {
            match kind.as_str() {
                "match" => out.matches.push(parse_match(value, &table, sets)),
                "vmap" => out.action = parse_map(value, &table, sets),
                "mangle" => {}
                kind if HARMLESS.contains(&kind) => {}
                "xt" if string(value, "type") != "match" => out.action = Action::Unknown,
                "limit" | "quota" | "xt" | "connlimit" | "ct count" | "meter" | "set" => {
                    out.matches.push(Match::Unknown)
                }
                kind => out.action = parse_action(kind, value),
            }
        }
    }
    out
}

fn parse_action(kind: &str, value: &Value) -> Action {
    let target = || string(value, "target");
    match kind {
        "accept" => Action::Accept,
        "drop" | "reject" => Action::Drop,
        "return" => Action::Return,
        "continue" => Action::Continue,
        "jump" => Action::Jump(target()),
        "goto" => Action::Goto(target()),
        // They change addresses or hand the packet to a program: what becomes of it is not known.
        _ => Action::Unknown,
    }
}

/// `{ "key": EXPRESSION, "data": { "set": [[VALUE, { VERDICT: … }], …] } }`
fn parse_map(value: &Value, table: &str, sets: &Sets<'_>) -> Action {
    let (Some(key), Some(data)) = (value.get("key"), value.get("data")) else { return Action::Unknown };
    let elements = match data {
        Value::String(name) => sets.get(&(table.to_owned(), name.trim_start_matches('@').to_owned())).copied(),
        data => data.get("set"),
    };
    let Some(elements) = elements.and_then(Value::as_array) else { return Action::Unknown };
    let case = |element: &Value| {
        let [value, verdict] = element.as_array()?.as_slice() else { return None };
        let (kind, target) = verdict.as_object()?.iter().next()?;
        Some((condition(false, key, value, table, sets), parse_action(kind, target)))
    };
    Action::Map(elements.iter().map(|e| case(e).unwrap_or((Match::Unknown, Action::Unknown))).collect())
}

fn parse_match(value: &Value, table: &str, sets: &Sets<'_>) -> Match {
    let negated = match value.get("op").and_then(Value::as_str) {
        Some("==" | "in") => false,
        Some("!=") => true,
        _ => return Match::Unknown,
    };
    let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else { return Match::Unknown };
    condition(negated, left, right, table, sets)
}

/// The condition that an expression has a value, or one of a set.
fn condition(negated: bool, left: &Value, right: &Value, table: &str, sets: &Sets<'_>) -> Match {
    let right = match right.as_str().and_then(|s| s.strip_prefix('@')) {
        Some(name) => match sets.get(&(table.to_owned(), name.to_owned())) {
            Some(elements) => elements,
            None => return Match::Unknown, // empty, or filled by rules
        },
        None => right.get("set").unwrap_or(right),
    };
    let values: Vec<&Value> = right.as_array().map_or_else(|| vec![right], |all| all.iter().collect());
    let values: Vec<&Value> = values.into_iter().map(|v| v.pointer("/elem/val").unwrap_or(v)).collect();
    parsed_condition(negated, left, &values).unwrap_or(Match::Unknown)
}

/// `None` if the expression or one of the values is not understood.
fn parsed_condition(negated: bool, left: &Value, values: &[&Value]) -> Option<Match> {
    let words = || values.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>();
    if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        return match key {
            "iifname" | "iif" => Some(Match::Device(negated, words()?)),
            "l4proto" => Some(Match::Protocol(negated, protocols(values)?)),
            "nfproto" | "protocol" => match words()?.as_slice() {
                [only] if only == "ipv4" || only == "ip" => Some(Match::Family(negated, 4)),
                [only] if only == "ipv6" || only == "ip6" => Some(Match::Family(negated, 6)),
                _ => None,
            },
            _ => None,
        };
    }
    if left.pointer("/ct/key").and_then(Value::as_str) == Some("state") {
        return Some(Match::State(negated, words()?));
    }
    let payload = left.get("payload")?;
    let (protocol, field) = (payload.get("protocol")?.as_str()?, payload.get("field")?.as_str()?);
    match (protocol, field) {
        ("ip" | "ip6", "daddr") => {
            Some(Match::Destination(negated, values.iter().map(|v| addresses(v)).collect::<Option<_>>()?))
        }
        ("ip", "protocol") | ("ip6", "nexthdr") => Some(Match::Protocol(negated, protocols(values)?)),
        (_, "dport") => {
            let number = if protocol == "th" { None } else { Some(protocol_number(protocol)?) };
            Some(Match::Port(negated, number, values.iter().map(|v| ports(v)).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn protocol_number(name: &str) -> Option<u8> {
    Some(match name {
        "tcp" => Protocol::Tcp.number(),
        "udp" => Protocol::Udp.number(),
        "sctp" => Protocol::Sctp.number(),
        // Never that of a service.
        "icmp" => 1,
        "icmpv6" | "ipv6-icmp" => 58,
        "esp" => 50,
        "ah" => 51,
        "gre" => 47,
        "igmp" => 2,
        "dccp" => 33,
        "udplite" => 136,
        "comp" => 108,
        "vrrp" => 112,
        "ospf" => 89,
        _ => return None,
    })
}

fn protocols(values: &[&Value]) -> Option<Vec<u8>> {
    let one = |v: &&Value| v.as_u64().and_then(|n| u8::try_from(n).ok()).or_else(|| protocol_number(v.as_str()?));
    values.iter().map(one).collect()
}

fn ports(v: &Value) -> Option<(u16, u16)> {
    let port = |v: &Value| u16::try_from(v.as_u64()?).ok();
    match v.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((port(first)?, port(last)?)),
        _ => port(v).map(|p| (p, p)),
    }
}

/// An address, a prefix, or a range.
fn addresses(v: &Value) -> Option<(IpAddr, IpAddr)> {
    let addr = |v: &Value| v.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = v.get("prefix") {
        let len = u32::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return Some(match addr(prefix.get("addr")?)? {
            IpAddr::V4(a) => {
                let host = u32::MAX.checked_shr(len).unwrap_or(0);
                (IpAddr::V4((a.to_bits() & !host).into()), IpAddr::V4((a.to_bits() | host).into()))
            }
            IpAddr::V6(a) => {
                let host = u128::MAX.checked_shr(len).unwrap_or(0);
                (IpAddr::V6((a.to_bits() & !host).into()), IpAddr::V6((a.to_bits() | host).into()))
            }
        });
    }
    match v.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((addr(first)?, addr(last)?)),
        _ => addr(v).map(|a| (a, a)),
    }
}

//! The packet filter: what nftables (and iptables on top of it) does with a new connection to a virtual address that
//! comes in by a device.
//!
//! XDP and tc run before netfilter, so the packet path forwards what the filter would drop. [`Ruleset::verdict`] says
//! whether it would, for the hooks that a packet to this host passes: ingress of its device, prerouting, input. Matches that are not
//! understood may match or not, and so the verdict may be [`FilterVerdict::MayDrop`].
//!
//! - `nft_json`: the output of `nft -j list ruleset`

mod evaluate;
mod nft_json;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use nft_json::parse_nft_json;

use crate::model::Protocol;

/// All rules of a network namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ruleset {
    /// The chains, by table (`inet filter`) and name.
    pub chains: BTreeMap<(String, String), Chain>,
}

/// A chain of rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// Where the kernel runs it; `None` if only other chains jump to it.
    pub base: Option<BaseChain>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// The hook of a base chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseChain {
    /// `ingress`, `prerouting`, `input` and others.
    pub hook: String,
    /// The device, of an ingress hook.
    pub device: Option<String>,
    /// Chains of a hook run in this order.
    pub priority: i64,
    /// The policy is drop.
    pub drops: bool,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// The rule's handle, by which `nft -a list ruleset` shows it.
    pub handle: u64,
    /// Its conditions, all of which must hold.
    pub matches: Vec<Match>,
    /// What it does.
    pub action: Action,
}

/// What a rule does with a packet that it matches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Action {
    /// Nothing that matters here: the next rule follows.
    #[default]
    Continue,
    /// Ends this base chain.
    Accept,
    /// Drop or reject.
    Drop,
    /// Continue in another chain, and come back.
    Jump(String),
    /// Continue in another chain.
    Goto(String),
    /// Back to the chain that jumped here.
    Return,
    /// A verdict map: the action of the first value that matches.
    Map(Vec<(Match, Action)>),
    /// A verdict that is not understood.
    Unknown,
}

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match {
    /// The input device is one of these; a name may end in `*`.
    Device(bool, Vec<String>),
    /// The destination address is in one of these ranges.
    Destination(bool, Vec<(IpAddr, IpAddr)>),
    /// The protocol is one of these numbers.
    Protocol(bool, Vec<u8>),
    /// The destination port is in one of these ranges, of this protocol if one is given.
    Port(bool, Option<u8>, Vec<(u16, u16)>),
    /// The packet's family: 4 or 6.
    Family(bool, u8),
    /// The state of connection tracking is one of these.
    State(bool, Vec<String>),
    /// Not understood.
    Unknown,
}

/// A new connection to a virtual service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewConnection<'a> {
    /// The device that its first packet comes in by.
    pub device: &'a str,
    /// The virtual address.
    pub addr: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The virtual port; 0: any.
    pub port: u16,
}

/// What the rules do with a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FilterVerdict {
    /// They accept it.
    Accept,
    /// They may drop it, by this rule.
    MayDrop(String),
    /// They drop it, by this rule.
    Drop(String),
}

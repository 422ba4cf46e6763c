//! The typed configuration: every statement of a file with its value, implemented or not.
//!
//! `read` creates it, `check` and `lower` use it. It keeps the span of each statement for diagnostics. A file may have
//! half a million values, so [`Value`] is small: large variants are boxed.

use std::net::IpAddr;
use std::time::Duration;

use super::Span;
use super::keywords::{Block, Keyword};
use crate::model::MarkRule;

/// A program with its arguments, and the user that runs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// The program, then its arguments.
    pub argv: Vec<String>,
    /// User and group, if they are written.
    pub user: Option<(String, Option<String>)>,
}

/// A forwarding method as `lvs_method` writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LvsMethod {
    /// Network address translation.
    Nat,
    /// Direct routing.
    Dr,
    /// A tunnel: its kind (`ipip`, `gue`, `gre`), the port of GUE, the checksum option.
    Tun(&'static str, Option<u16>, Option<&'static str>),
}

/// A line of `virtual_ipaddress`, `virtual_ipaddress_excluded` or `static_ipaddress`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressLine {
    /// The address.
    pub addr: IpAddr,
    /// The prefix length; 32 or 128 if none is written.
    pub prefix: u8,
    /// Whether a prefix length is written.
    pub prefix_given: bool,
    /// `dev`
    pub dev: Option<String>,
    /// `label`
    pub label: Option<String>,
    /// `brd`
    pub broadcast: Broadcast,
    /// `scope`, by the kernel's number (rtnetlink(7), RT_SCOPE_…).
    pub scope: Option<u8>,
    /// `peer`
    pub peer: Option<IpAddr>,
    /// Other options with their values: `home`, `preferred_lft`, `no_track`…
    pub options: Vec<(String, Option<String>)>,
}

/// `brd`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broadcast {
    /// None.
    None,
    /// `+`: the address with all host bits set.
    Computed,
    /// This address.
    Given(IpAddr),
}

/// A line of a block of lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A name.
    Name(String),
    /// A name with options, each with its value if it has one: routes, rules, interfaces with delays, peers.
    Options(Vec<(String, Option<String>)>),
    /// An address of an interface.
    Address(Box<AddressLine>),
    /// A tracked object: its name, its weight, and whether `reverse` is written.
    Track(String, Option<(i64, bool)>),
    /// A range of virtual addresses, both ends included, and their port.
    Range(IpAddr, IpAddr, Option<u16>),
    /// A firewall mark, and its family if it is written.
    Fwmark(u32, Option<&'static str>),
}

/// The value of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// The keyword has no argument.
    Present,
    /// On or off.
    Bool(bool),
    /// An integer.
    Uint(u64),
    /// A signed integer.
    Int(i64),
    /// A time.
    Time(Duration),
    /// A word.
    Text(String),
    /// Words.
    Words(Vec<String>),
    /// An address.
    Address(IpAddr),
    /// An address, and its port if one is written.
    Endpoint(IpAddr, Option<u16>),
    /// A real server by name, with its port; `true`: by the name's SRV records instead of its addresses.
    Host(String, Option<u16>, bool),
    /// `virtual_server fwmark N`
    Fwmark(u32),
    /// `member RANGE [PROTOCOL [PORTS]]`
    FwmarkMember(Box<MarkRule>),
    /// `virtual_server group NAME`
    Group(String),
    /// A script.
    Script(Box<Script>),
    /// `USER [GROUP]`
    User(Box<(String, Option<String>)>),
    /// A weight, and whether `reverse` is written.
    Weight(i64, bool),
    /// A forwarding method.
    LvsMethod(Box<LvsMethod>),
    /// `persistence_granularity` as a netmask.
    Mask(IpAddr),
    /// `persistence_granularity` as an IPv6 prefix length.
    Prefix(u8),
    /// Ranges, both ends included.
    Ranges(Vec<(u16, u16)>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A block of keywords.
    Section(Box<Section>),
    /// A block of lines: its name, if it has one, and its lines.
    Lines(Box<(Option<String>, SpannedLines)>),
}

/// Lines with their spans. The spans do not matter for equality.
#[derive(Clone, Debug, Default)]
pub struct SpannedLines(pub Vec<(Span, Line)>);

impl PartialEq for SpannedLines {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|(_, l)| l).eq(other.0.iter().map(|(_, l)| l))
    }
}

impl Eq for SpannedLines {}

/// A valid statement.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its keyword.
    pub keyword: &'static Keyword,
    /// The span of the keyword.
    pub keyword_span: Span,
    /// The span of the arguments, or of the keyword if there are none.
    pub args_span: Span,
    /// The value of the arguments.
    pub value: Value,
}

/// A block of keywords.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its kind.
    pub block: &'static Block,
    /// What is between the keyword and the brace.
    pub name: Value,
    /// The span of the name.
    pub span: Span,
    /// Its valid statements, in the order of the file.
    pub entries: Vec<Entry>,
    /// The keywords of invalid statements, and those that a misspelt keyword probably means. Both have been reported.
    pub invalid: Vec<&'static str>,
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |(a, b): (&Entry, &Entry)| a.keyword.canonical_name() == b.keyword.canonical_name() && a.value == b.value;
        self.block.path == other.block.path
            && self.name == other.name
            && self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(same)
    }
}

impl Eq for Section {}

impl Section {
    /// The name as a word; empty if it is not a word.
    pub fn name(&self) -> &str {
        match &self.name {
            Value::Text(t) => t,
            _ => "",
        }
    }

    /// The last statement of a keyword, which overrides earlier ones.
    pub fn get(&self, keyword: &str) -> Option<&Entry> {
        debug_assert!(self.block.keyword(keyword).is_some(), "{} has no keyword {keyword}", self.block.path);
        self.entries.iter().rev().find(|e| e.keyword.canonical_name() == keyword)
    }

    /// All statements of a keyword.
    pub fn get_all<'s>(&'s self, keyword: &'s str) -> impl DoubleEndedIterator<Item = &'s Entry> {
        debug_assert!(self.block.keyword(keyword).is_some(), "{} has no keyword {keyword}", self.block.path);
        self.entries.iter().filter(move |e| e.keyword.canonical_name() == keyword)
    }

    /// Whether the block has a valid statement of a keyword.
    pub fn has(&self, keyword: &str) -> bool {
        self.get(keyword).is_some()
    }

    /// Whether the block has a statement of a keyword, valid or not.
    pub fn is_mentioned(&self, keyword: &str) -> bool {
        self.has(keyword) || self.invalid.contains(&keyword)
    }

    /// The span of the arguments of a keyword, or of the block if it does not have the keyword.
    pub fn args_span(&self, keyword: &str) -> Span {
        self.get(keyword).map_or(self.span, |e| e.args_span)
    }

    /// The value of a keyword that is a signed integer.
    pub fn int(&self, keyword: &str) -> Option<i64> {
        match self.get(keyword)?.value {
            Value::Int(n) => Some(n),
            _ => None,
        }
    }

    /// The value of a keyword that is an unsigned integer.
    pub fn uint(&self, keyword: &str) -> Option<u64> {
        match self.get(keyword)?.value {
            Value::Uint(n) => Some(n),
            _ => None,
        }
    }

    /// The value of a keyword that is a time.
    pub fn time(&self, keyword: &str) -> Option<Duration> {
        match self.get(keyword)?.value {
            Value::Time(t) => Some(t),
            _ => None,
        }
    }

    /// The value of a keyword that is an integer number of seconds.
    pub fn seconds(&self, keyword: &str) -> Option<Duration> {
        self.uint(keyword).map(Duration::from_secs)
    }

    /// The value of a keyword that is on or off; a flag is on.
    pub fn flag(&self, keyword: &str) -> Option<bool> {
        match self.get(keyword)?.value {
            Value::Bool(b) => Some(b),
            Value::Present => Some(true),
            _ => None,
        }
    }

    /// The value of a keyword that is a word.
    pub fn text(&self, keyword: &str) -> Option<&str> {
        match &self.get(keyword)?.value {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The value of a keyword that is an address.
    pub fn address(&self, keyword: &str) -> Option<IpAddr> {
        match self.get(keyword)?.value {
            Value::Address(a) => Some(a),
            _ => None,
        }
    }

    /// All blocks of a keyword.
    pub fn sections<'s>(&'s self, keyword: &'s str) -> impl Iterator<Item = &'s Section> {
        self.get_all(keyword).filter_map(|e| match &e.value {
            Value::Section(s) => Some(&**s),
            _ => None,
        })
    }

    /// All lines of all blocks of a keyword.
    pub fn lines<'s>(&'s self, keyword: &'s str) -> impl Iterator<Item = &'s (Span, Line)> {
        self.get_all(keyword).flat_map(|e| match &e.value {
            Value::Lines(lines) => lines.1.0.as_slice(),
            _ => &[],
        })
    }
}

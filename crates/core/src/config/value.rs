//! The typed configuration: every statement of a file with its value, whether something acts on it or not.

use std::net::IpAddr;
use std::time::Duration;

use super::Span;
use super::keywords::{Block, Keyword};
use crate::model::MarkRule;

/// A program, its arguments, and who runs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// Program first.
    pub argv: Vec<String>,
    /// User and group, as they stand behind it.
    pub user: Option<(String, Option<String>)>,
}

/// How packets reach a real server, as `lvs_method` says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LvsMethod {
    /// Masquerading.
    Nat,
    /// Direct routing.
    Dr,
    /// Tunnelling: the kind, the port of gue, the checksum option.
    Tun(&'static str, Option<u16>, Option<&'static str>),
}

/// An address of `virtual_ipaddress` and its like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressLine {
    /// The address.
    pub addr: IpAddr,
    /// Its prefix length; 32 or 128 if none is written.
    pub prefix: u8,
    /// Is it written?
    pub prefix_given: bool,
    /// `dev`
    pub dev: Option<String>,
    /// `label`
    pub label: Option<String>,
    /// `brd`
    pub broadcast: Broadcast,
    /// `scope`, as the kernel numbers it.
    pub scope: Option<u8>,
    /// `peer`
    pub peer: Option<IpAddr>,
    /// Other words with their values: `home`, `preferred_lft`, `no_track`…
    pub options: Vec<(String, Option<String>)>,
}

/// `brd`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broadcast {
    /// None, or `-`.
    None,
    /// `+`: all host bits set.
    Computed,
    /// This one.
    Given(IpAddr),
}

/// One line of a value block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A name.
    Name(String),
    /// A name with options, each with its value if it takes one: routes, rules, interfaces with delays, peers.
    Options(Vec<(String, Option<String>)>),
    /// An address of a device.
    Address(Box<AddressLine>),
    /// Something tracked: its name, its weight, `reverse`.
    Track(String, Option<(i64, bool)>),
    /// Virtual addresses from … to …, and their port.
    Range(IpAddr, IpAddr, Option<u16>),
    /// A firewall mark and its family.
    Fwmark(u32, Option<&'static str>),
}

/// The value of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// It is there, and that is all.
    Present,
    /// On or off.
    Bool(bool),
    /// A whole number.
    Uint(u64),
    /// A whole number that may be negative.
    Int(i64),
    /// A time.
    Time(Duration),
    /// A word.
    Text(String),
    /// Words.
    Words(Vec<String>),
    /// An address.
    Address(IpAddr),
    /// An address and its port, if one is written.
    Endpoint(IpAddr, Option<u16>),
    /// A name in an address's place, with its port: its addresses, or its SRV records.
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
    /// A weight, and `reverse`.
    Weight(i64, bool),
    /// A forwarding method.
    LvsMethod(Box<LvsMethod>),
    /// `persistence_granularity`: a netmask or a prefix length.
    Mask(IpAddr),
    /// A prefix length of IPv6.
    Prefix(u8),
    /// Ranges, both ends included.
    Ranges(Vec<(u16, u16)>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A block of keywords.
    Section(Box<Section>),
    /// A block of lines: its name, if it has one, and each line with its place.
    Lines(Box<(Option<String>, SpannedLines)>),
}

/// Lines with their places. Two lists are equal if their lines are, wherever they stand.
#[derive(Clone, Debug, Default)]
pub struct SpannedLines(pub Vec<(Span, Line)>);

impl PartialEq for SpannedLines {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|(_, l)| l).eq(other.0.iter().map(|(_, l)| l))
    }
}

impl Eq for SpannedLines {}

/// A statement that was read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its keyword.
    pub keyword: &'static Keyword,
    /// Where the keyword stands.
    pub keyword_span: Span,
    /// Where its arguments stand; the keyword's place if there are none.
    pub args_span: Span,
    /// What they say.
    pub value: Value,
}

/// A block of keywords that was read.
#[derive(Clone, Debug)]
pub struct Section {
    /// Which block.
    pub block: &'static Block,
    /// What stands between keyword and brace.
    pub name: Value,
    /// Where that stands.
    pub span: Span,
    /// Its statements that could be read, in the order of the file.
    pub entries: Vec<Entry>,
    /// Keywords that stood there with an argument that could not be read, or that were meant by a misspelt one.
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
    /// Its name as a word.
    pub fn name(&self) -> &str {
        match &self.name {
            Value::Text(t) => t,
            _ => "",
        }
    }

    /// The last statement of a keyword: later ones override earlier ones.
    pub fn get(&self, keyword: &str) -> Option<&Entry> {
        debug_assert!(self.block.keyword(keyword).is_some(), "{} has no keyword {keyword}", self.block.path);
        self.entries.iter().rev().find(|e| e.keyword.canonical_name() == keyword)
    }

    /// Every statement of a keyword.
    pub fn get_all<'s>(&'s self, keyword: &'s str) -> impl DoubleEndedIterator<Item = &'s Entry> {
        debug_assert!(self.block.keyword(keyword).is_some(), "{} has no keyword {keyword}", self.block.path);
        self.entries.iter().filter(move |e| e.keyword.canonical_name() == keyword)
    }

    /// Does it stand there?
    pub fn has(&self, keyword: &str) -> bool {
        self.get(keyword).is_some()
    }

    /// Does it stand there, right or wrong, or was it meant?
    pub fn is_mentioned(&self, keyword: &str) -> bool {
        self.has(keyword) || self.invalid.contains(&keyword)
    }

    /// Where it stands; the block's own place if it does not.
    pub fn args_span(&self, keyword: &str) -> Span {
        self.get(keyword).map_or(self.span, |e| e.args_span)
    }

    /// The last whole number of this keyword, which may be negative.
    pub fn int(&self, keyword: &str) -> Option<i64> {
        match self.get(keyword)?.value {
            Value::Int(n) => Some(n),
            _ => None,
        }
    }

    /// A whole number.
    pub fn uint(&self, keyword: &str) -> Option<u64> {
        match self.get(keyword)?.value {
            Value::Uint(n) => Some(n),
            _ => None,
        }
    }

    /// A time.
    pub fn time(&self, keyword: &str) -> Option<Duration> {
        match self.get(keyword)?.value {
            Value::Time(t) => Some(t),
            _ => None,
        }
    }

    /// Whole seconds as a time.
    pub fn seconds(&self, keyword: &str) -> Option<Duration> {
        self.uint(keyword).map(Duration::from_secs)
    }

    /// On or off; a flag is on.
    pub fn flag(&self, keyword: &str) -> Option<bool> {
        match self.get(keyword)?.value {
            Value::Bool(b) => Some(b),
            Value::Present => Some(true),
            _ => None,
        }
    }

    /// A word.
    pub fn text(&self, keyword: &str) -> Option<&str> {
        match &self.get(keyword)?.value {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    /// An address.
    pub fn address(&self, keyword: &str) -> Option<IpAddr> {
        match self.get(keyword)?.value {
            Value::Address(a) => Some(a),
            _ => None,
        }
    }

    /// The blocks of a keyword.
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

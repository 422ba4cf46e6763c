//! The types of the keyword registry: a block, a keyword, its arguments, and how far evenkeel supports it.

/// The largest `u32`.
pub const U32_MAX: u64 = u32::MAX as u64;
/// The largest `i32`.
pub const I32_MAX: u64 = i32::MAX as u64;
/// The longest timer of keepalived (`TIMER_MAX`), in microseconds.
pub const TIMER_MAX_US: u64 = 4_294_967_295;
/// The upper bound of timers that have none in keepalived, in microseconds.
pub const UNBOUNDED_US: u64 = 18_446_744_073_709_551_614;

/// The address family that an argument must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
    /// IPv4 or IPv6
    Any,
}

/// What stands between the keyword of a block and its opening brace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockName {
    /// Nothing.
    None,
    /// A name; further words are ignored with a warning.
    OneName,
    /// A name; further words are an error.
    OneNameStrict,
    /// `ADDRESS [PORT]`, `NAME [PORT]` or `srv NAME`
    Endpoint,
    /// `ADDRESS [PORT]`, `fwmark N` or `group NAME`
    Service,
}

/// The kind of object that an instance or a sync group tracks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackKind {
    /// Network interfaces.
    Interface,
    /// `vrrp_script`
    Script,
    /// `track_file`
    File,
    /// `vrrp_track_process`
    Process,
    /// `bfd_instance`
    Bfd,
}

/// The form of the lines in a block of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// Any number of names.
    Names,
    /// Any number of interfaces.
    Interfaces,
    /// `IF [MII|ETHTOOL|IOCTL]`
    LinkBeat,
    /// `IF DOWN [UP]`, in seconds.
    UpDown,
    /// `ADDRESS[/PREFIX] …`
    Address,
    /// `ADDRESS[/PREFIX] …`, which may name a `track_group`.
    StaticAddress,
    /// As `ip route`.
    Route,
    /// As `ip route`, and may name a `track_group`.
    StaticRoute,
    /// As `ip rule`.
    Rule,
    /// As `ip rule`, and may name a `track_group`.
    StaticRule,
    /// `NAME [weight N [reverse|noreverse]]`
    Track(TrackKind),
    /// `ADDRESS [min_ttl N] [max_ttl N]`
    Peer,
    /// `ADDRESS[-LAST|/PREFIX] [PORT]` or `fwmark N`
    GroupMember,
}

/// The arguments of a keyword.
#[derive(Clone, Copy, Debug)]
pub enum Args {
    /// None.
    Flag,
    /// An optional on, off, true, false, yes or no; without it on.
    Bool,
    /// An integer of this range.
    Uint(u64, u64),
    /// An optional integer of this range.
    OptUint(u64, u64),
    /// An optional offset in bytes; keepalived ignores a word that is not a number, without a message.
    Offset,
    /// A signed integer of this range.
    Int(i64, i64),
    /// An optional signed integer of this range.
    OptInt(i64, i64),
    /// Seconds with up to six decimals; the range is in microseconds.
    Seconds(u64, u64),
    /// Milliseconds with decimals; the range is in microseconds.
    Millis(u64, u64),
    /// A word.
    Text,
    /// An optional word.
    OptText,
    /// A number of words in this range.
    Words(usize, usize),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words, in any case.
    ChoiceAnyCase(&'static [&'static str]),
    /// Optionally one of these words.
    OptChoice(&'static [&'static str]),
    /// An IP address of either family.
    Address,
    /// A multicast address.
    Multicast(Family),
    /// The name of a network interface, which should exist.
    Interface,
    /// The name of a network interface; only its length is checked.
    InterfaceUnchecked,
    /// A path, or a quoted path with arguments; then optionally a user and a group.
    Script,
    /// An optional [`Args::Script`].
    OptScript,
    /// A [`Args::Script`] whose user must exist when the file is read.
    ParentScript,
    /// The name of a process: at most 15 characters.
    ProcessName,
    /// An absolute path; `true`: optional.
    AbsolutePath(bool),
    /// `USER [[:]GROUP]`
    User,
    /// `PATH [USER [GROUP]]`
    Fifo,
    /// `ADDRESS [PORT]`
    Endpoint,
    /// A scheduler of IPVS.
    Scheduler,
    /// `NAT|DR|TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]`
    LvsMethod,
    /// A netmask, or an IPv6 prefix length.
    Granularity,
    /// `N [reverse|noreverse]`, N of this range.
    Weight(i64, i64),
    /// `HOST [PORT]`
    SmtpServer,
    /// `[tcp N] [tcpfin N] [udp N]`
    LvsTimeouts,
    /// `drop`, `drain SECONDS`, `reject` or `reschedule`
    OnRemoval,
    /// `RANGE [tcp|udp|sctp|any [PORT[-PORT]]]`
    FwmarkMember,
    /// `IF [inst NAME] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`
    SyncDaemon,
    /// `[all] SECONDS`, with this minimum.
    ExtraIf(u64),
    /// CPU numbers.
    Cpus,
    /// `MTU|ADVERT|BYTES`
    RxBufs,
    /// A number, or names of mode bits joined by `|`.
    Umask,
    /// `[+|-]read|match|wildcard_match|brace_match`…
    IncludeCheck,
    /// `[VALUE] [overwrite]`
    InitFile,
    /// The name of a program and its arguments.
    Process,
    /// `[name] IFNAME [MAC] [netlink_notify_msg] [group N]`
    UseVmac,
    /// `[name] IFNAME [ADDRESS] [bridge|private|vepa] [group N]`
    UseIpvlan,
    /// `ID KEY`
    HmacKey,
    /// 32 hexadecimal digits.
    Digest,
    /// `N` and `N-M`…
    StatusCodes,
    /// A regular expression.
    Regex,
    /// Bytes in hexadecimal.
    Hex,
    /// Optional bytes in hexadecimal, with `X` for any digit.
    HexMask,
    /// A domain name.
    DnsName,
    /// `DEVICE [auto|xdp|tc|generic]`
    Attachment,
    /// A block of keywords.
    Block(&'static Block, BlockName),
    /// A block of lines.
    Lines(LineKind),
    /// A named block of lines.
    NamedLines(LineKind),
}

/// What keepalived does if the argument of a keyword is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissingArgument {
    /// It exits with status 2.
    Exits,
    /// It reports an error and continues.
    Reports,
    /// It accepts the line without a message.
    Accepts,
}

/// How far evenkeel implements a keyword.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Implemented, as in keepalived but for what `differs` says.
    Full,
    /// Accepted, not implemented yet.
    NotYet,
    /// Not implemented yet, and ignoring it would do harm, such as two masters. The file is rejected.
    Refused,
    /// Accepted without effect, on purpose; the reason.
    NoEffect(&'static str),
}

/// A keyword that keepalived has replaced or dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deprecation {
    /// The keyword that replaces it, if any.
    pub replacement: Option<&'static str>,
    /// Whether keepalived, and therefore evenkeel, reports its use.
    pub reported: bool,
}

/// A keyword of a block.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    /// The keyword as it is written in the file.
    pub name: &'static str,
    /// Its arguments.
    pub args: Args,
    /// What applies without the keyword; empty where that has no meaning.
    pub default: &'static str,
    /// The version of keepalived that introduced it; `evenkeel` for additions.
    pub since: &'static str,
    /// Its meaning, in a sentence or two.
    pub doc: &'static str,
    /// What keepalived does if its argument is missing.
    pub missing_argument: MissingArgument,
    /// How far evenkeel implements it.
    pub support: Support,
    /// Set for old keywords.
    pub deprecated: Option<Deprecation>,
    /// How it differs from keepalived although it is implemented; empty if it does not.
    pub differs: &'static str,
}

/// A block of keywords.
#[derive(Debug)]
pub struct Block {
    /// Its name after those of the enclosing blocks, as in `virtual_server/real_server`; `ROOT` is the top level.
    pub path: &'static str,
    /// Its keywords, in groups.
    pub keywords: &'static [&'static [Keyword]],
}

impl Block {
    /// The last part of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// All keywords of the block.
    pub fn keywords(&self) -> impl Iterator<Item = &'static Keyword> + use<> {
        self.keywords.iter().copied().flatten()
    }

    /// Finds a keyword by its name.
    pub fn keyword(&self, name: &str) -> Option<&'static Keyword> {
        self.keywords().find(|k| k.name == name)
    }
}

/// An implemented keyword for which keepalived requires the argument.
pub const fn kw(
    name: &'static str,
    args: Args,
    default: &'static str,
    since: &'static str,
    doc: &'static str,
) -> Keyword {
    Keyword {
        name,
        args,
        default,
        since,
        doc,
        missing_argument: MissingArgument::Exits,
        support: Support::Full,
        deprecated: None,
        differs: "",
    }
}

/// Builders for the exceptions, used behind [`kw`].
impl Keyword {
    /// Not implemented yet.
    pub(crate) const fn not_yet(mut self) -> Self {
        self.support = Support::NotYet;
        self
    }

    /// Not implemented yet, and harmful to ignore.
    pub(crate) const fn refused(mut self) -> Self {
        self.support = Support::Refused;
        self
    }

    /// Without effect, for this reason: a clause without a capital letter and a full stop.
    pub(crate) const fn no_effect(mut self, reason: &'static str) -> Self {
        self.support = Support::NoEffect(reason);
        self
    }

    /// Implemented, but not as in keepalived: a clause without a capital letter and a full stop.
    pub(crate) const fn differs(mut self, difference: &'static str) -> Self {
        self.differs = difference;
        self
    }

    /// keepalived does not exit if the argument is missing.
    pub(crate) const fn missing_argument(mut self, missing_argument: MissingArgument) -> Self {
        self.missing_argument = missing_argument;
        self
    }

    /// An old name of another keyword of the block.
    pub(crate) const fn replaced_by(mut self, new: &'static str) -> Self {
        self.deprecated = Some(Deprecation { replacement: Some(new), reported: false });
        self
    }

    /// An old keyword without a replacement.
    pub(crate) const fn obsolete(mut self) -> Self {
        self.deprecated = Some(Deprecation { replacement: None, reported: false });
        self
    }

    /// keepalived reports the use of this old keyword.
    pub(crate) const fn reported(mut self) -> Self {
        if let Some(deprecation) = &mut self.deprecated {
            deprecation.reported = true;
        }
        self
    }
}

impl Keyword {
    /// Whether it opens a block.
    pub fn opens_block(&self) -> bool {
        matches!(self.args, Args::Block(..) | Args::Lines(_) | Args::NamedLines(_))
    }

    /// The name under which [`super::super::value::Section`] finds its value: the replacement of an old name.
    pub fn canonical_name(&self) -> &'static str {
        match self.deprecated {
            Some(Deprecation { replacement: Some(new), .. }) => new,
            _ => self.name,
        }
    }
}

//! What an entry of the registry says: a keyword's arguments, default, meaning, origin and standing.

/// The largest `u32`.
pub const U32_MAX: u64 = u32::MAX as u64;
/// The largest `i32`.
pub const I32_MAX: u64 = i32::MAX as u64;
/// keepalived's longest timer, in microseconds.
pub const TIMER_MAX_US: u64 = 4_294_967_295;
/// A timer without an upper bound worth naming, in microseconds.
pub const UNBOUNDED_US: u64 = 18_446_744_073_709_551_614;

/// An address family, where only one will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
    /// Either.
    Any,
}

/// What stands between a block's keyword and its brace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockName {
    /// Nothing.
    None,
    /// A name.
    OneName,
    /// A name and nothing else.
    OneNameStrict,
    /// `ADDRESS [PORT]`
    Endpoint,
    /// `ADDRESS [PORT]`, `fwmark N` or `group NAME`
    Service,
}

/// What an instance or a sync group tracks.
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

/// What each line of a value block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// Any number of names on a line.
    Names,
    /// Any number of interfaces on a line.
    Interfaces,
    /// `IF [MII|ETHTOOL|IOCTL]`
    LinkBeat,
    /// `IF DOWN [UP]`
    UpDown,
    /// `ADDRESS[/PREFIX] …`
    Address,
    /// The same, kept at all times.
    StaticAddress,
    /// As `ip route`
    Route,
    /// The same, kept at all times.
    StaticRoute,
    /// As `ip rule`
    Rule,
    /// The same, kept at all times.
    StaticRule,
    /// `NAME [weight N [reverse|noreverse]]`
    Track(TrackKind),
    /// `ADDRESS [min_ttl N] [max_ttl N]`
    Peer,
    /// `ADDRESS[-LAST|/PREFIX] [PORT]` or `fwmark N`
    GroupMember,
}

/// What stands behind a keyword.
#[derive(Clone, Copy, Debug)]
pub enum Args {
    /// Nothing.
    Flag,
    /// Perhaps on, off, true, false, yes or no; nothing means on.
    Bool,
    /// A whole number from … to ….
    Uint(u64, u64),
    /// The same, or nothing.
    OptUint(u64, u64),
    /// A place in a page; what is no number is ignored by keepalived, in silence.
    Offset,
    /// A whole number that may be negative.
    Int(i64, i64),
    /// The same, or nothing.
    OptInt(i64, i64),
    /// Seconds with up to six decimals; the range is in microseconds.
    Seconds(u64, u64),
    /// Milliseconds with decimals; the range is in microseconds.
    Millis(u64, u64),
    /// A word.
    Text,
    /// A word, or nothing.
    OptText,
    /// At least and at most so many words.
    Words(usize, usize),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// The same, in capitals or not.
    ChoiceAnyCase(&'static [&'static str]),
    /// The same, or nothing.
    OptChoice(&'static [&'static str]),
    /// An address of either family.
    Address,
    /// A multicast address.
    Multicast(Family),
    /// The name of a network interface.
    Interface,
    /// The same, of which only the length is looked at.
    InterfaceUnchecked,
    /// A path, or a quoted path with arguments; perhaps a user and a group.
    Script,
    /// The same, or nothing.
    OptScript,
    /// The same for a script whose user must be there when the file is read.
    ParentScript,
    /// The name of a process: at most 15 characters.
    ProcessName,
    /// A path that begins with `/`; may it be missing?
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
    /// `N [reverse|noreverse]`
    Weight(i64, i64),
    /// `HOST [PORT]`
    SmtpServer,
    /// `[tcp N] [tcpfin N] [udp N]`
    LvsTimeouts,
    /// `drop`, `drain SECONDS`, `reject` or `reschedule`.
    OnRemoval,
    /// `RANGE [tcp|udp|sctp|any [PORT[-PORT]]]`
    FwmarkMember,
    /// `IF [inst NAME] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`
    SyncDaemon,
    /// `[all] SECONDS`; the lowest number that is accepted.
    ExtraIf(u64),
    /// Processor numbers.
    Cpus,
    /// `MTU|ADVERT|BYTES`
    RxBufs,
    /// A number, or names of mode bits joined by `|`.
    Umask,
    /// `[+|-]read|match|wildcard_match|brace_match`…
    IncludeCheck,
    /// `[VALUE] [overwrite]`
    InitFile,
    /// A program's name and parameters.
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
    /// The same, `X` for any digit; or nothing.
    HexMask,
    /// A domain name.
    DnsName,
    /// `DEVICE [auto|xdp|tc|generic]`
    Attachment,
    /// A block of keywords.
    Block(&'static Block, BlockName),
    /// A block of lines.
    Lines(LineKind),
    /// A block of lines with a name.
    NamedLines(LineKind),
}

/// What keepalived does if the argument is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissingArgument {
    /// It exits with status 2.
    Exits,
    /// It reports and goes on.
    Reports,
    /// It says nothing.
    Accepts,
}

/// Does evenkeel act on it?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// As keepalived does.
    Full,
    /// Accepted, not yet.
    NotYet,
    /// Not yet, and to go on without it would do harm: two masters, say. The file is refused.
    Refused,
    /// Accepted, and never: why.
    NoEffect(&'static str),
}

/// A keyword of a block.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    /// As it stands in the file.
    pub name: &'static str,
    /// What stands behind it.
    pub args: Args,
    /// What holds without it.
    pub default: &'static str,
    /// The keepalived that had it first; `evenkeel` for additions of ours.
    pub since: &'static str,
    /// Its meaning in a sentence.
    pub doc: &'static str,
    /// Without its argument.
    pub missing_argument: MissingArgument,
    /// Does evenkeel act on it?
    pub support: Support,
    /// For an old name: the new one (empty if there is none), and whether keepalived complains.
    pub deprecated: Option<(&'static str, bool)>,
    /// What is not as in keepalived, where it is in force; empty if nothing.
    pub differs: &'static str,
}

/// A block of keywords.
#[derive(Debug)]
pub struct Block {
    /// Its name, and those of the blocks around it: `virtual_server/real_server`; `ROOT` is the file.
    pub path: &'static str,
    /// What may stand in it.
    pub keywords: &'static [Keyword],
}

impl Block {
    /// The last part of its path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// The keyword of this name.
    pub fn keyword(&self, name: &str) -> Option<&'static Keyword> {
        self.keywords.iter().find(|k| k.name == name)
    }
}

/// An entry in force, whose argument may not be missing.
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

impl Keyword {
    pub(crate) const fn not_yet(mut self) -> Self {
        self.support = Support::NotYet;
        self
    }

    pub(crate) const fn refused(mut self) -> Self {
        self.support = Support::Refused;
        self
    }

    pub(crate) const fn no_effect(mut self, why: &'static str) -> Self {
        self.support = Support::NoEffect(why);
        self
    }

    pub(crate) const fn differs(mut self, how: &'static str) -> Self {
        self.differs = how;
        self
    }

    pub(crate) const fn missing_argument(mut self, absent: MissingArgument) -> Self {
        self.missing_argument = absent;
        self
    }

    pub(crate) const fn deprecated(mut self, new: &'static str, loud: bool) -> Self {
        self.deprecated = Some((new, loud));
        self
    }

    /// Does it open a block?
    pub fn opens_block(&self) -> bool {
        matches!(self.args, Args::Block(..) | Args::Lines(_) | Args::NamedLines(_))
    }

    /// The name under which its value is kept: the new one of an old name.
    pub fn canonical_name(&self) -> &'static str {
        match self.deprecated {
            Some((new, _)) if !new.is_empty() => new,
            _ => self.name,
        }
    }

    /// Its arguments in the notation of the manual.
    pub fn usage(&self) -> String {
        fn seconds(us: u64) -> String {
            if us >= UNBOUNDED_US { "…".into() } else { format!("{}", us as f64 / 1e6) }
        }
        match self.args {
            Args::Flag => String::new(),
            Args::Bool => "[on|off]".into(),
            Args::Uint(min, max) if max == min + 1 => format!("{min}|{max}"),
            Args::Uint(min, max) => format!("{min}..{max}"),
            Args::OptUint(min, max) => format!("[{min}..{max}]"),
            Args::Offset => "[BYTES]".into(),
            Args::Int(min, max) => format!("{min}..{max}"),
            Args::OptInt(min, max) => format!("[{min}..{max}]"),
            Args::Seconds(min, max) => format!("SECONDS ({}..{})", seconds(min), seconds(max)),
            Args::Millis(min, max) => format!("MILLISECONDS ({}..{})", min / 1000, max / 1000),
            Args::Text => "WORD".into(),
            Args::OptText => "[WORD]".into(),
            Args::Words(0, max) => format!("[WORD…] (at most {max})"),
            Args::Words(min, max) => format!("WORD… ({min} to {max})"),
            Args::Choice(words) | Args::ChoiceAnyCase(words) => words.join("|"),
            Args::OptChoice(words) => format!("[{}]", words.join("|")),
            Args::Address => "ADDRESS".into(),
            Args::Multicast(_) => "MULTICAST-ADDRESS".into(),
            Args::Interface | Args::InterfaceUnchecked => "INTERFACE".into(),
            Args::ProcessName => "NAME".into(),
            Args::AbsolutePath(false) => "/PATH".into(),
            Args::AbsolutePath(true) => "[/PATH]".into(),
            Args::Script | Args::ParentScript => "SCRIPT [USER [[:]GROUP]]".into(),
            Args::OptScript => "[SCRIPT [USER [[:]GROUP]]]".into(),
            Args::User => "USER [[:]GROUP]".into(),
            Args::Fifo => "PATH [USER [GROUP]]".into(),
            Args::Endpoint => "ADDRESS [PORT]".into(),
            Args::Scheduler => "rr|wrr|lc|wlc|lblc|lblcr|sh|mh|dh|fo|ovf|sed|nq|twos".into(),
            Args::LvsMethod => "NAT|DR|TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]".into(),
            Args::Granularity => "NETMASK|PREFIX-LENGTH".into(),
            Args::Weight(min, max) => format!("{min}..{max} [reverse|noreverse]"),
            Args::SmtpServer => "HOST [PORT]".into(),
            Args::LvsTimeouts => "[tcp SECONDS] [tcpfin SECONDS] [udp SECONDS]".into(),
            Args::FwmarkMember => "RANGE [tcp|udp|sctp|any [PORT[-PORT]]]".into(),
            Args::OnRemoval => "drop|drain SECONDS|reject|reschedule".into(),
            Args::SyncDaemon => {
                "INTERFACE [[inst] INSTANCE] [id 0..255] [maxlen 1..65507] [port 1..65535] [ttl 1..255] [group ADDRESS]"
                    .into()
            }
            Args::ExtraIf(min) => format!("[all] {min}..86400"),
            Args::Cpus => "CPU…".into(),
            Args::RxBufs => "MTU|ADVERT|BYTES".into(),
            Args::Umask => "OCTAL|BIT[|BIT…]".into(),
            Args::IncludeCheck => "[[+|-]read|match|wildcard_match|brace_match…]".into(),
            Args::InitFile => "[VALUE] [overwrite]".into(),
            Args::Process => "PROGRAM [PARAMETER…]".into(),
            Args::UseVmac => "[[name] IFNAME] [MAC] [netlink_notify_msg] [group N]".into(),
            Args::UseIpvlan => "[[name] IFNAME] [ADDRESS[/PREFIX]] [bridge|private|vepa] [group N]".into(),
            Args::HmacKey => "1..255 TEXT|hex:DIGITS|file:PATH".into(),
            Args::Digest => "MD5".into(),
            Args::StatusCodes => "CODE|FROM-TO…".into(),
            Args::Regex => "\"REGEX\"".into(),
            Args::Hex => "HEX".into(),
            Args::HexMask => "[HEX, X for any digit]".into(),
            Args::DnsName => "DOMAIN".into(),
            Args::Attachment => "DEVICE [auto|xdp|tc|generic]".into(),
            Args::Block(_, BlockName::None) | Args::Lines(_) => "{ … }".into(),
            Args::Block(_, BlockName::OneName | BlockName::OneNameStrict) | Args::NamedLines(_) => "NAME { … }".into(),
            Args::Block(_, BlockName::Endpoint) => "ADDRESS|NAME [PORT] | srv NAME { … }".into(),
            Args::Block(_, BlockName::Service) => "ADDRESS [PORT]|fwmark N|group NAME { … }".into(),
        }
    }
}

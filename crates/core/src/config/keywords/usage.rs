//! The notation of a keyword's arguments in the manual.

use super::spec::{Args, BlockName, Keyword, UNBOUNDED_US};
use crate::schedulers::Scheduler;

impl Keyword {
    /// The arguments in the notation of the manual, with their range: `SECONDS (0.01..255)`.
    pub fn usage(&self) -> String {
        match self.args {
            Args::Uint(min, max) if max == min + 1 => format!("{min}|{max}"),
            Args::Uint(min, max) => format!("{min}..{max}"),
            Args::OptUint(min, max) => format!("[{min}..{max}]"),
            Args::Int(min, max) => format!("{min}..{max}"),
            Args::OptInt(min, max) => format!("[{min}..{max}]"),
            Args::Seconds(min, max) => format!("SECONDS ({}..{})", seconds(min), seconds(max)),
            Args::Millis(min, max) => format!("MILLISECONDS ({}..{})", min / 1000, max / 1000),
            Args::Words(0, max) => format!("[WORD…] (at most {max})"),
            Args::Words(min, max) => format!("WORD… ({min} to {max})"),
            Args::Choice(words) | Args::ChoiceAnyCase(words) => words.join("|"),
            Args::OptChoice(words) => format!("[{}]", words.join("|")),
            Args::Weight(min, max) => format!("{min}..{max} [reverse|noreverse]"),
            Args::Scheduler => Scheduler::ALL.map(Scheduler::name).join("|"),
            Args::ExtraIf(min) => format!("[all] {min}..86400"),
            other => fixed(other).to_owned(),
        }
    }
}

/// A number of microseconds in seconds; `…` for a range without an upper bound.
fn seconds(us: u64) -> String {
    if us >= UNBOUNDED_US { "…".to_owned() } else { format!("{}", us as f64 / 1e6) }
}

/// The notation of arguments without a range.
fn fixed(args: Args) -> &'static str {
    match args {
        Args::Bool => "[on|off]",
        Args::Offset => "[BYTES]",
        Args::Text => "WORD",
        Args::OptText => "[WORD]",
        Args::Address => "ADDRESS",
        Args::Multicast(_) => "MULTICAST-ADDRESS",
        Args::Interface | Args::InterfaceUnchecked => "INTERFACE",
        Args::ProcessName => "NAME",
        Args::AbsolutePath(false) => "/PATH",
        Args::AbsolutePath(true) => "[/PATH]",
        Args::Script | Args::ParentScript => "SCRIPT [USER [[:]GROUP]]",
        Args::OptScript => "[SCRIPT [USER [[:]GROUP]]]",
        Args::User => "USER [[:]GROUP]",
        Args::Fifo => "PATH [USER [GROUP]]",
        Args::Endpoint => "ADDRESS [PORT]",
        Args::LvsMethod => "NAT|DR|TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]",
        Args::Granularity => "NETMASK|PREFIX-LENGTH",
        Args::SmtpServer => "HOST [PORT]",
        Args::LvsTimeouts => "[tcp SECONDS] [tcpfin SECONDS] [udp SECONDS]",
        Args::FwmarkMember => "RANGE [tcp|udp|sctp|any [PORT[-PORT]]]",
        Args::OnRemoval => "drop|drain SECONDS|reject|reschedule",
        Args::SyncDaemon => {
            "INTERFACE [[inst] INSTANCE] [id 0..255] [maxlen 1..65507] [port 1..65535] [ttl 1..255] [group ADDRESS]"
        }
        Args::Cpus => "CPU…",
        Args::RxBufs => "MTU|ADVERT|BYTES",
        Args::Umask => "OCTAL|BIT[|BIT…]",
        Args::IncludeCheck => "[[+|-]read|match|wildcard_match|brace_match…]",
        Args::InitFile => "[VALUE] [overwrite]",
        Args::Process => "PROGRAM [PARAMETER…]",
        Args::UseVmac => "[[name] IFNAME] [MAC] [netlink_notify_msg] [group N]",
        Args::UseIpvlan => "[[name] IFNAME] [ADDRESS[/PREFIX]] [bridge|private|vepa] [group N]",
        Args::HmacKey => "1..255 TEXT|hex:DIGITS|file:PATH",
        Args::Digest => "MD5",
        Args::StatusCodes => "CODE|FROM-TO…",
        Args::Regex => "\"REGEX\"",
        Args::Hex => "HEX",
        Args::HexMask => "[HEX, X for any digit]",
        Args::DnsName => "DOMAIN",
        Args::Attachment => "DEVICE [auto|xdp|tc|generic|off]",
        Args::Block(_, BlockName::None) | Args::Lines(_) => "{ … }",
        Args::Block(_, BlockName::OneName | BlockName::OneNameStrict) | Args::NamedLines(_) => "NAME { … }",
        Args::Block(_, BlockName::Endpoint) => "ADDRESS|NAME [PORT] | srv NAME { … }",
        Args::Block(_, BlockName::Service) => "ADDRESS [PORT]|fwmark N|group NAME { … }",
        Args::Flag => "",
        // `usage` formats these.
        Args::Uint(..)
        | Args::OptUint(..)
        | Args::Int(..)
        | Args::OptInt(..)
        | Args::Seconds(..)
        | Args::Millis(..)
        | Args::Words(..)
        | Args::Choice(_)
        | Args::ChoiceAnyCase(_)
        | Args::OptChoice(_)
        | Args::Weight(..)
        | Args::Scheduler
        | Args::ExtraIf(_) => "",
    }
}

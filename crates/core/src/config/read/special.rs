//! Arguments with a grammar of their own.

use std::net::IpAddr;

use super::super::Diagnostic;
use super::super::diag::nearest_word;
use super::super::environment::ReadError;
use super::super::keywords::spec::Family;
use super::super::keywords::{Args, Keyword};
use super::super::lex::Word;
use super::super::tree::Statement;
use super::super::value::{LvsMethod, Script, Value};
use super::{Reader, abbreviate};

/// The schedulers of Linux's IPVS (net/netfilter/ipvs/).
pub(crate) const SCHEDULERS: &[&str] =
    &["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"];

/// Bits of `umask` (sys/stat.h).
const MODE_BITS: [(&str, u64); 12] = [
    ("IRUSR", 0o400),
    ("IWUSR", 0o200),
    ("IXUSR", 0o100),
    ("IRWXU", 0o700),
    ("IRGRP", 0o40),
    ("IWGRP", 0o20),
    ("IXGRP", 0o10),
    ("IRWXG", 0o70),
    ("IROTH", 0o4),
    ("IWOTH", 0o2),
    ("IXOTH", 0o1),
    ("IRWXO", 0o7),
];

fn words_value(words: &[Word<'_>]) -> Value {
    Value::Words(words.iter().map(|w| w.text.clone().into_owned()).collect())
}

impl Reader<'_> {
    /// `first` is the first argument, if there is one.
    pub(super) fn read_special(
        &mut self,
        k: &'static Keyword,
        st: &Statement<'_>,
        first: Option<&Word<'_>>,
    ) -> Option<Value> {
        let Some(w) = first else {
            return Some(match k.args {
                Args::Bool => Value::Bool(true),
                _ => Value::Present,
            });
        };
        match k.args {
            Args::Words(_, max) => {
                self.warn_extra_words(st, max);
                Some(words_value(st.args().get(..max).unwrap_or(st.args())))
            }
            Args::Script | Args::OptScript => self.read_script(st, w, false),
            Args::ParentScript => self.read_script(st, w, true),
            Args::ProcessName => {
                self.warn_extra_words(st, 1);
                if w.text.len() > 15 {
                    let d = Diagnostic::warning("name-length", w.span, "a name has at most 15 characters here");
                    self.report(d.label(format!("{} characters; the rest is left out", w.text.len())));
                }
                Some(Value::Text(w.text.clone().into_owned()))
            }
            Args::AbsolutePath(_) => {
                self.warn_extra_words(st, 1);
                if !w.text.starts_with('/') && k.name == "reload_time_file" {
                    let d =
                        Diagnostic::lint("not-a-path", w.span, format!("`{}` is not an absolute path", abbreviate(w)));
                    self.report(d.label("it depends on the directory that the daemon was started in"));
                } else if !w.text.starts_with('/') {
                    let d =
                        Diagnostic::error("not-a-path", w.span, format!("`{}` is not an absolute path", abbreviate(w)));
                    self.report(d.label("expected a path that begins with `/`"));
                    return None;
                }
                Some(Value::Text(w.text.clone().into_owned()))
            }
            Args::User => {
                let (user, group) = self.read_user(st, w, 1)?;
                Some(Value::User(Box::new((user, group))))
            }
            Args::Fifo => {
                let user = st.args().get(1).map(|u| self.read_user_leniently(st, u, 2));
                Some(Value::Script(Box::new(Script { argv: vec![w.text.clone().into_owned()], user })))
            }
            Args::Endpoint => self.read_endpoint(st, 0),
            Args::Scheduler => {
                self.warn_extra_words(st, 1);
                Some(Value::Text(self.read_choice(w, SCHEDULERS, false)?.to_owned()))
            }
            Args::LvsMethod => self.read_lvs_method(st, w),
            Args::Granularity => self.read_persistence_granularity(st, w),
            Args::Weight(min, max) => self.read_weight(st, w, min, max),
            Args::SmtpServer => {
                if let Some(p) = st.args().get(1) {
                    self.read_unsigned(p, 1, 65535)?;
                }
                self.warn_extra_words(st, 2);
                Some(words_value(st.args().get(..2).unwrap_or(st.args())))
            }
            Args::LvsTimeouts => self.read_lvs_timeouts(st),
            Args::FwmarkMember => self.read_fwmark_member(st, w),
            Args::OnRemoval => self.read_on_removal(st, w),
            Args::SyncDaemon => self.read_sync_daemon(st, w),
            Args::ExtraIf(min) => self.read_garp_extra_if(k, st, w, min),
            Args::Cpus => {
                let most = self.environment.cpu_count().map_or(4095, |n| u64::from(n.saturating_sub(1)));
                for w in st.args() {
                    self.read_unsigned(w, 0, most)?;
                }
                Some(words_value(st.args()))
            }
            Args::RxBufs => {
                if w.text.trim_start().bytes().all(|b| b.is_ascii_digit() || b == b'+') {
                    self.read_unsigned(w, 1, u64::from(u32::MAX))?;
                } else {
                    self.read_choice(w, &["MTU", "ADVERT"], false)?;
                }
                Some(Value::Text(w.text.clone().into_owned()))
            }
            Args::Umask => {
                self.warn_extra_words(st, 1);
                self.read_umask(w)
            }
            Args::IncludeCheck => {
                const CHECKS: &[&str] = &["read", "match", "wildcard_match", "brace_match"];
                for w in st.args() {
                    let name = w.text.strip_prefix(['+', '-']).unwrap_or(&w.text);
                    if !CHECKS.contains(&name) {
                        let near = nearest_word(name, CHECKS.iter().copied());
                        self.report_unknown_word(w.span, &w.text, "in include_check", &CHECKS.join(", "), near);
                    }
                }
                Some(words_value(st.args()))
            }
            Args::InitFile => {
                for w in st.args() {
                    if w.text != "overwrite" {
                        self.read_signed(w, i64::from(i32::MIN), i64::from(i32::MAX))?;
                    }
                }
                Some(words_value(st.args()))
            }
            Args::Process => Some(words_value(st.args())),
            Args::UseVmac => self.read_use_vmac(st),
            Args::UseIpvlan => self.read_use_ipvlan(st),
            Args::HmacKey => self.read_hmac_key(st, w),
            Args::Digest => {
                if w.text.len() != 32 || !w.text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    self.report(
                        Diagnostic::error("not-a-digest", w.span, format!("`{}` is not an MD5 digest", abbreviate(w)))
                            .label(format!("expected 32 hexadecimal digits, these are {} characters", w.text.len())),
                    );
                    return None;
                }
                self.warn_extra_words(st, 1);
                Some(Value::Text(w.text.clone().into_owned()))
            }
            Args::StatusCodes => self.read_status_codes(st),
            Args::Regex => {
                self.warn_extra_words(st, 1);
                Some(Value::Text(w.text.clone().into_owned()))
            }
            Args::Hex | Args::HexMask => self.read_hex(st, w, matches!(k.args, Args::HexMask)),
            Args::DnsName => self.read_dns_name(w),
            Args::Attachment => {
                let hook = match st.args().get(1) {
                    None => "auto",
                    Some(h) => self.read_choice(h, &["auto", "xdp", "tc", "generic"], false)?,
                };
                self.warn_extra_words(st, 2);
                Some(Value::Words(vec![self.read_interface_name(w)?, hook.to_owned()]))
            }
            _ => None, // the others are read by `argument` or have a block
        }
    }

    /// `NAT|DR|TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]`
    fn read_lvs_method(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        let name = self.read_choice(w, &["NAT", "DR", "TUN"], false)?;
        if name != "TUN" {
            self.warn_extra_words(st, 1);
            return Some(Value::LvsMethod(Box::new(if name == "DR" { LvsMethod::Dr } else { LvsMethod::Nat })));
        }
        let (mut kind, mut port, mut checksum) = ("ipip", None, None);
        let mut rest = st.args().get(1..).unwrap_or_default().iter();
        while let Some(option) = rest.next() {
            match &*option.text {
                "type" => {
                    let v = self.next_argument(option, &mut rest)?;
                    kind = self.read_choice(v, &["ipip", "gue", "gre"], false)?;
                }
                "port" => {
                    let v = self.next_argument(option, &mut rest)?;
                    port = Some(self.read_unsigned(v, 1, 65535)? as u16);
                }
                "nocsum" | "csum" | "remcsum" => {
                    checksum = self.read_choice(option, &["nocsum", "csum", "remcsum"], false);
                }
                other => {
                    let near = nearest_word(other, ["type", "port", "nocsum", "csum", "remcsum"]);
                    self.report_unknown_word(
                        option.span,
                        other,
                        "behind TUN",
                        "type, port, nocsum, csum or remcsum",
                        near,
                    );
                    return None;
                }
            }
        }
        if (kind == "gue") != port.is_some() {
            self.report(
                Diagnostic::error("tunnel-port", st.args_span(), "gue needs a port, and only gue has one")
                    .label(if port.is_some() { "remove `port`" } else { "the port is missing" })
                    .help("write `TUN type gue port 6080`"),
            );
            return None;
        }
        Some(Value::LvsMethod(Box::new(LvsMethod::Tun(kind, port, checksum))))
    }

    /// A netmask (one that is not contiguous means its ones), or a prefix length of IPv6.
    fn read_persistence_granularity(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        self.warn_extra_words(st, 1);
        if w.text.contains('.') {
            let mask = self.read_address(w, Family::V4)?;
            if let IpAddr::V4(m) = mask {
                let bits = u32::from(m);
                if bits == 0 || bits.leading_ones() + bits.trailing_zeros() != 32 {
                    // IPVS takes any mask; nobody means such a one.
                    let d = Diagnostic::lint("not-a-netmask", w.span, format!("`{m}` is not a netmask"));
                    self.report(d.label("expected ones, then zeros, as 255.255.255.0"));
                }
            }
            return Some(Value::Mask(mask));
        }
        // inet_pton() of keepalived's takes a bare number for the last byte of an address.
        let n = self.read_unsigned(w, 1, u64::from(u32::MAX))?;
        if n <= 128 {
            return Some(Value::Prefix(n as u8));
        }
        let mask = std::net::Ipv4Addr::from(n as u32);
        self.report(
            Diagnostic::lint("not-a-netmask", w.span, format!("`{n}` means the netmask {mask}"))
                .label("expected a netmask as 255.255.255.0, or a prefix length of IPv6"),
        );
        Some(Value::Mask(mask.into()))
    }

    /// `N [reverse|noreverse]`
    fn read_weight(&mut self, st: &Statement<'_>, w: &Word<'_>, min: i64, max: i64) -> Option<Value> {
        let n = self.read_signed(w, min, max)?;
        let reverse = match st.args().get(1) {
            None => false,
            Some(r) => self.read_choice(r, &["reverse", "noreverse"], false)? == "reverse",
        };
        self.warn_extra_words(st, 2);
        Some(Value::Weight(n, reverse))
    }

    fn read_on_removal(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        let how = self.read_choice(w, &["drop", "drain", "reject", "reschedule"], false)?;
        if how != "drain" {
            self.warn_extra_words(st, 1);
            return Some(Value::Words(vec![how.to_owned()]));
        }
        let mut rest = st.args().get(1..).unwrap_or_default().iter();
        let seconds = self.next_argument(w, &mut rest)?;
        let seconds = self.read_unsigned(seconds, 1, 2_678_400)?;
        self.warn_extra_words(st, 2);
        Some(Value::Words(vec![how.to_owned(), seconds.to_string()]))
    }

    fn read_lvs_timeouts(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            self.read_choice(w, &["tcp", "tcpfin", "udp"], false)?;
            let v = self.next_argument(w, &mut rest)?;
            self.read_unsigned(v, 0, 2_678_400)?;
        }
        Some(words_value(st.args()))
    }

    fn read_sync_daemon(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        if w.text.len() > 15 {
            self.read_interface_name(w)?;
        }
        let mut rest = st.args().get(1..).unwrap_or_default().iter();
        let mut named = false;
        while let Some(w) = rest.next() {
            let range = match &*w.text {
                "id" => (0, 255),
                "maxlen" => (1, 65507),
                "port" => (1, 65535),
                "ttl" => (1, 255),
                "inst" => {
                    self.next_argument(w, &mut rest)?;
                    named = true;
                    continue;
                }
                "group" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_address(v, Family::Any)?;
                    continue;
                }
                _ if !named => {
                    named = true;
                    continue;
                }
                other => {
                    const KNOWN: [&str; 6] = ["inst", "id", "maxlen", "port", "ttl", "group"];
                    let near = nearest_word(other, KNOWN);
                    self.report_unknown_word(w.span, other, "behind lvs_sync_daemon", &KNOWN.join(", "), near);
                    return None;
                }
            };
            let v = self.next_argument(w, &mut rest)?;
            self.read_unsigned(v, range.0, range.1)?;
        }
        Some(words_value(st.args()))
    }

    /// `[all] SECONDS`
    fn read_garp_extra_if(&mut self, k: &Keyword, st: &Statement<'_>, w: &Word<'_>, min: u64) -> Option<Value> {
        // keepalived reads the last word as the time.
        let number = if w.text == "all" { st.args().get(1) } else { st.args().last() };
        let Some(n) = number else {
            let d = Diagnostic::error("missing-argument", w.span, format!("`{} all` needs a time", k.name));
            self.report(d.label("expected seconds behind it"));
            return None;
        };
        self.read_unsigned(n, min, 86_400)?;
        Some(words_value(st.args()))
    }

    /// A number in C's notation up to 0777, or bit names joined by `|`.
    fn read_umask(&mut self, w: &Word<'_>) -> Option<Value> {
        let text = &w.text;
        let value = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
            (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
            (None, Some(octal)) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
            _ => text.parse().ok(),
        };
        let bit =
            |b: &str| MODE_BITS.iter().find(|(name, _)| *name == b.trim().trim_start_matches("S_")).map(|(_, n)| n);
        let bits = || text.split('|').try_fold(0, |all, b| Some(all | bit(b)?));
        match value.map_or_else(bits, |n: u32| Some(u64::from(n))) {
            Some(n) if n <= 0o777 => Some(Value::Uint(n)),
            _ => {
                let d = Diagnostic::error("not-a-number", w.span, format!("`{}` is not a umask", abbreviate(w)));
                self.report(d.label("expected 0 to 0777, or bits as IRGRP|IWGRP"));
                None
            }
        }
    }

    /// `[[name] IFNAME] [MAC] [netlink_notify_msg] [group N]`
    fn read_use_vmac(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut named = false;
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            match &*w.text {
                "name" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_vmac_name(v)?;
                }
                "group" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_unsigned(v, 0, u64::from(u32::MAX))?;
                }
                "netlink_notify_msg" => {}
                t if t.contains(':') => self.read_mac(w)?,
                _ => {
                    self.read_vmac_name(w)?;
                    if std::mem::replace(&mut named, true) {
                        let d = Diagnostic::error("duplicate", w.span, "the interface of a virtual MAC has one name");
                        self.report(d.label("a second name"));
                        return None;
                    }
                }
            }
        }
        Some(words_value(st.args()))
    }

    fn read_vmac_name(&mut self, w: &Word<'_>) -> Option<()> {
        self.read_interface_name(w).map(|_| ())
    }

    /// Five or six bytes, not of the range that VRRP takes for itself (RFC 9568, 7.3).
    fn read_mac(&mut self, w: &Word<'_>) -> Option<()> {
        let bytes: Option<Vec<u8>> =
            w.text.split(':').map(|b| u8::from_str_radix(b, 16).ok().filter(|_| b.len() <= 2)).collect();
        let d = Diagnostic::error("not-a-mac", w.span, format!("`{}` is not a MAC address for this", abbreviate(w)));
        let wrong = match bytes.as_deref() {
            Some([0, 0, 0x5e, 0, 1 | 2, ..]) => {
                "expected another than the addresses of RFC 9568, which it gets by itself"
            }
            Some([first, ..]) if first & 1 != 0 => "expected a unicast address",
            Some(b) if b.len() == 5 || b.len() == 6 => return Some(()),
            _ => "expected five or six bytes in hexadecimal, as 02:00:5e:10:00:01",
        };
        self.report(d.label(wrong));
        None
    }

    /// `[[name] IFNAME] [ADDRESS[/PREFIX]] [bridge|private|vepa] [group N]`
    fn read_use_ipvlan(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            let addr = w.text.split('/').next().unwrap_or("");
            match &*w.text {
                "name" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_vmac_name(v)?;
                }
                "group" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_unsigned(v, 0, u64::from(u32::MAX))?;
                }
                "bridge" | "private" | "vepa" => {}
                _ if addr.parse::<IpAddr>().is_ok() => {}
                _ => {
                    self.read_vmac_name(w)?;
                }
            }
        }
        Some(words_value(st.args()))
    }

    /// `ID TEXT|hex:DIGITS|file:PATH`; the key is 32 to 64 bytes long.
    fn read_hmac_key(&mut self, st: &Statement<'_>, id: &Word<'_>) -> Option<Value> {
        let id = self.read_unsigned(id, 1, 255)?;
        let Some(w) = st.args().get(1) else {
            let d = Diagnostic::error("missing-argument", st.span(), "a key needs a number and a value");
            self.report(d.label("the value is missing"));
            return None;
        };
        let key = if let Some(hex) = w.text.strip_prefix("hex:") {
            parse_hex(hex, false).unwrap_or_default()
        } else if let Some(path) = w.text.strip_prefix("file:") {
            match self.environment.read_file(std::path::Path::new(path)) {
                Ok(bytes) => bytes.trim_ascii_end().to_vec(),
                Err(why) => {
                    let why =
                        if why == ReadError::Missing { "there is no such file".to_owned() } else { why.to_string() };
                    let d = Diagnostic::error("unreadable-file", w.span, format!("the key in `{path}` cannot be read"));
                    self.report(d.label(why));
                    return None;
                }
            }
        } else {
            w.text.as_bytes().to_vec()
        };
        if !(32..=64).contains(&key.len()) {
            let d = Diagnostic::error("bad-key", w.span, "a key is 32 to 64 bytes long");
            self.report(d.label(format!("this one has {}", key.len())));
            return None;
        }
        let mut out = vec![id as u8];
        out.extend(key);
        Some(Value::Bytes(out))
    }

    /// `CODE` or `FROM-TO`, of 100 to 999.
    fn read_status_codes(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut out = Vec::new();
        for w in st.args() {
            let (from, to) = w.text.split_once('-').unwrap_or((&w.text, &w.text));
            let code = |s: &str| s.parse::<u16>().ok().filter(|c| (100..=999).contains(c));
            match (code(from), code(to)) {
                (Some(from), Some(to)) if from <= to => out.push((from, to)),
                _ => {
                    let d =
                        Diagnostic::error("not-a-status", w.span, format!("`{}` is not a status code", abbreviate(w)));
                    self.report(d.label("expected 100 to 999, or a range as 200-299"));
                    return None;
                }
            }
        }
        Some(if out.is_empty() { Value::Present } else { Value::Ranges(out) })
    }

    fn read_hex(&mut self, st: &Statement<'_>, w: &Word<'_>, mask: bool) -> Option<Value> {
        let digits: String = st.args().iter().map(|w| &*w.text).collect();
        // keepalived takes an odd digit at the end for a byte of its own.
        let even = if digits.len() % 2 == 1 {
            format!("{}0{}", &digits[..digits.len() - 1], &digits[digits.len() - 1..])
        } else {
            digits.clone()
        };
        match parse_hex(&even, mask) {
            Some(_) if mask => Some(Value::Text(digits)),
            Some(bytes) => Some(Value::Bytes(bytes)),
            None => {
                let expected = if mask {
                    "an even number of hexadecimal digits, X for any"
                } else {
                    "an even number of hexadecimal digits"
                };
                let d = Diagnostic::error("not-hex", st.args_span(), format!("`{}` is not hexadecimal", abbreviate(w)));
                self.report(d.label(format!("expected {expected}")));
                None
            }
        }
    }

    /// A domain name (RFC 1035, 2.3.4): labels of 1 to 63 bytes, 253 in all; a lone dot is the root.
    fn read_dns_name(&mut self, w: &Word<'_>) -> Option<Value> {
        let name = w.text.strip_suffix('.').unwrap_or(&w.text);
        let bad = !name.is_empty() && name.split('.').any(|l| l.is_empty() || l.len() > 63);
        if bad || name.len() > 253 {
            let d = Diagnostic::error("not-a-domain", w.span, format!("`{}` is not a domain name", abbreviate(w)));
            self.report(d.label("expected labels of 1 to 63 characters, 253 in all"));
            return None;
        }
        Some(Value::Text(w.text.clone().into_owned()))
    }
}

/// Hexadecimal to bytes; with `mask`, `X` stands for any digit and reads as 0.
fn parse_hex(text: &str, mask: bool) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| match c {
            'x' | 'X' if mask => Some(0),
            c => c.to_digit(16).map(|d| d as u8),
        })
        .collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(|p| p.iter().fold(0, |n, d| n << 4 | d)).collect())
}

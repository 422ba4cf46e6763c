//! Arguments of virtual servers: forwarding method, persistence, timeouts, synchronisation, members of groups and
//! marks.

use std::net::{IpAddr, Ipv4Addr};

use super::words::words_value;
use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::diag::{KeepalivedVerdict, nearest_word};
use crate::config::keywords::spec::Family;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::{Line, LvsMethod, Value};
use crate::model::{MarkRule, Protocol};

/// The longest timeout, 31 days in seconds, as in ipvsadm (MAX_TIMEOUT).
const MAX_TIMEOUT_S: u64 = 2_678_400;

impl Reader<'_> {
    /// `NAT|DR|TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]`
    pub(super) fn read_lvs_method(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
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
                        "after TUN",
                        "type, port, nocsum, csum or remcsum",
                        near,
                    );
                    return None;
                }
            }
        }
        if (kind == "gue") != port.is_some() {
            self.report(
                Diagnostic::error("tunnel-port", st.args_span(), "`type gue` needs a port, and no other type has one")
                    .label(if port.is_some() { "remove `port`" } else { "the port is missing" })
                    .help("write `TUN type gue port 6080`"),
            );
            return None;
        }
        Some(Value::LvsMethod(Box::new(LvsMethod::Tun(kind, port, checksum))))
    }

    /// A netmask, or a prefix length for IPv6.
    pub(super) fn read_persistence_granularity(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        self.warn_extra_words(st, 1);
        if w.text.contains('.') {
            let mask = self.read_address(w, Family::V4)?;
            if let IpAddr::V4(m) = mask {
                let bits = u32::from(m);
                if bits == 0 || bits.leading_ones() + bits.trailing_zeros() != 32 {
                    // IPVS accepts any mask, but one with gaps is probably a mistake.
                    let d = Diagnostic::lint("not-a-netmask", w.span, format!("`{m}` is not a netmask"));
                    self.report(d.label("expected ones followed by zeros, such as 255.255.255.0"));
                }
            }
            return Some(Value::Mask(mask));
        }
        // keepalived's inet_pton() reads a bare number as the last part of an address.
        let n = self.read_unsigned(w, 1, u64::from(u32::MAX))?;
        if n <= 128 {
            return Some(Value::Prefix(n as u8));
        }
        let mask = Ipv4Addr::from(n as u32);
        self.report(
            Diagnostic::lint("not-a-netmask", w.span, format!("`{n}` is read as the netmask {mask}"))
                .label("expected a netmask such as 255.255.255.0, or a prefix length for IPv6"),
        );
        Some(Value::Mask(mask.into()))
    }

    /// `drop|drain SECONDS|reject|reschedule`
    pub(super) fn read_on_removal(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        let policy = self.read_choice(w, &["drop", "drain", "reject", "reschedule"], false)?;
        if policy != "drain" {
            self.warn_extra_words(st, 1);
            return Some(Value::Words(vec![policy.to_owned()]));
        }
        let mut rest = st.args().get(1..).unwrap_or_default().iter();
        let seconds = self.next_argument(w, &mut rest)?;
        let seconds = self.read_unsigned(seconds, 1, MAX_TIMEOUT_S)?;
        self.warn_extra_words(st, 2);
        Some(Value::Words(vec![policy.to_owned(), seconds.to_string()]))
    }

    /// `[tcp N] [tcpfin N] [udp N]`
    pub(super) fn read_lvs_timeouts(&mut self, st: &Statement<'_>) -> Option<Value> {
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            self.read_choice(w, &["tcp", "tcpfin", "udp"], false)?;
            let v = self.next_argument(w, &mut rest)?;
            self.read_unsigned(v, 0, MAX_TIMEOUT_S)?;
        }
        Some(words_value(st.args()))
    }

    /// `IF [[inst] INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`
    pub(super) fn read_sync_daemon(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        if w.text.len() > 15 {
            self.read_interface_name(w)?;
        }
        let mut rest = st.args().get(1..).unwrap_or_default().iter();
        let mut has_instance = false;
        while let Some(w) = rest.next() {
            let range = match &*w.text {
                "id" => (0, 255),
                "maxlen" => (1, 65507),
                "port" => (1, 65535),
                "ttl" => (1, 255),
                "inst" => {
                    self.next_argument(w, &mut rest)?;
                    has_instance = true;
                    continue;
                }
                "group" => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_address(v, Family::Any)?;
                    continue;
                }
                _ if !has_instance => {
                    has_instance = true;
                    continue;
                }
                other => {
                    const KNOWN: [&str; 6] = ["inst", "id", "maxlen", "port", "ttl", "group"];
                    let near = nearest_word(other, KNOWN);
                    self.report_unknown_word(w.span, other, "after lvs_sync_daemon", &KNOWN.join(", "), near);
                    return None;
                }
            };
            let v = self.next_argument(w, &mut rest)?;
            self.read_unsigned(v, range.0, range.1)?;
        }
        Some(words_value(st.args()))
    }

    /// A member of a `virtual_server_group`: `ADDRESS [PORT]`, `ADDRESS-LAST [PORT]`, `ADDRESS/PREFIX [PORT]` or
    /// `fwmark N [inet|inet6]`.
    pub(super) fn read_group_member(&mut self, st: &Statement<'_>) -> Option<Line> {
        let w = st.keyword();
        if w.text == "fwmark" {
            let Some(n) = st.args().first() else {
                let d = Diagnostic::error("missing-argument", w.span, "`fwmark` needs a number");
                self.report(d.label("the value is missing").verdict(KeepalivedVerdict::Exits(2)));
                return None;
            };
            let mark = self.read_unsigned(n, 0, u64::from(u32::MAX))? as u32;
            let family = match st.args().get(1) {
                None => None,
                Some(f) => Some(self.read_choice(f, &["inet", "inet6"], false)?),
            };
            return Some(Line::Fwmark(mark, family));
        }
        let (from, to) = self.read_address_range(w)?;
        let port = match st.args().first() {
            None => None,
            Some(p) => Some(self.read_unsigned(p, 1, 65535)? as u16),
        };
        self.warn_extra_words(st, 1);
        Some(Line::Range(from, to, port))
    }

    /// `RANGE [PROTOCOL [PORT[-PORT]]]`: packets that get a firewall mark.
    pub(super) fn read_fwmark_member(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        let (first, last) = self.read_address_range(w)?;
        let mut rest = st.args().iter().skip(1);
        let protocol = match rest.next() {
            None => None,
            Some(p) => match self.read_choice(p, &["tcp", "udp", "sctp", "any"], true)? {
                "tcp" => Some(Protocol::Tcp),
                "udp" => Some(Protocol::Udp),
                "sctp" => Some(Protocol::Sctp),
                _ => None,
            },
        };
        let ports = match rest.next() {
            None => (0, u16::MAX),
            Some(p) => {
                let (from, to) = p.text.split_once('-').unwrap_or((&p.text, &p.text));
                match (from.parse(), to.parse()) {
                    (Ok(a), Ok(b)) if a <= b => (a, b),
                    _ => {
                        let message = format!("`{}` is not a port or a range of ports", abbreviate(p));
                        let d = Diagnostic::error("not-a-number", p.span, message);
                        self.report(d.label("expected a port such as 80 or a range such as 8000-8010"));
                        return None;
                    }
                }
            }
        };
        self.warn_extra_words(st, 3);
        Some(Value::FwmarkMember(Box::new(MarkRule { first, last, protocol, ports })))
    }
}

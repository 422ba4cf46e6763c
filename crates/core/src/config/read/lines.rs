//! Blocks of lines that are no keywords: names, interfaces, what is tracked, peers, members of a group.

use std::net::IpAddr;

use super::super::diag::{KeepalivedVerdict, nearest_word};
use super::super::keywords::LineKind;
use super::super::keywords::spec::{Family, TrackKind};
use super::super::lex::Word;
use super::super::tree::{Statement, StatementBlock as Braces};
use super::super::value::{Line, Value};
use super::super::{Diagnostic, Span};
use super::{Reader, abbreviate};
use crate::model::{MarkRule, Protocol};

impl Reader<'_> {
    pub(super) fn read_lines(&mut self, kind: LineKind, braces: &Braces<'_>) -> Vec<(Span, Line)> {
        let mut out = Vec::with_capacity(braces.statements.len());
        for st in &braces.statements {
            if let Some(b) = &st.block {
                self.report(
                    Diagnostic::error("unexpected-brace", b.open, "no block stands in a list")
                        .label("this block belongs to no keyword"),
                );
            }
            match kind {
                LineKind::Names => {
                    out.extend(st.words.iter().map(|w| (w.span, Line::Name(w.text.clone().into_owned()))));
                }
                LineKind::Interfaces => {
                    for w in &st.words {
                        out.extend(self.read_interface_name(w).map(|n| (w.span, Line::Name(n))));
                    }
                }
                _ => out.extend(self.read_line(kind, st).map(|l| (st.keyword().span, l))),
            }
        }
        out
    }

    fn read_line(&mut self, kind: LineKind, st: &Statement<'_>) -> Option<Line> {
        match kind {
            LineKind::Names | LineKind::Interfaces => None,
            LineKind::LinkBeat => self.read_link_beat(st),
            LineKind::UpDown => self.read_link_delays(st),
            LineKind::Address => self.read_address_line(st, false),
            LineKind::StaticAddress => self.read_address_line(st, true),
            LineKind::Route => self.read_route(st, false),
            LineKind::StaticRoute => self.read_route(st, true),
            LineKind::Rule => self.read_rule(st, false),
            LineKind::StaticRule => self.read_rule(st, true),
            LineKind::Track(what) => self.read_track(what, st),
            LineKind::Peer => self.read_peer(st),
            LineKind::GroupMember => self.read_group_member(st),
        }
    }

    fn read_link_beat(&mut self, st: &Statement<'_>) -> Option<Line> {
        let name = self.read_interface_name(st.keyword())?;
        let how = match st.args().first() {
            None => None,
            Some(w) => Some(self.read_choice(w, &["MII", "ETHTOOL", "IOCTL"], false)?.to_owned()),
        };
        self.warn_extra_words(st, 1);
        Some(Line::Options(vec![(name, how)]))
    }

    /// `IF DOWN [UP]`, 0 to 255 seconds each.
    fn read_link_delays(&mut self, st: &Statement<'_>) -> Option<Line> {
        let mut out = vec![(self.read_interface_name(st.keyword())?, None)];
        for (w, name) in st.args().iter().zip(["down", "up"]) {
            self.read_time(w, 0, 255_000_000, 1_000_000)?;
            out.push((name.to_owned(), Some(w.text.clone().into_owned())));
        }
        self.warn_extra_words(st, 2);
        Some(Line::Options(out))
    }

    /// `NAME [weight N [reverse|noreverse]]`
    fn read_track(&mut self, what: TrackKind, st: &Statement<'_>) -> Option<Line> {
        let most = if matches!(what, TrackKind::File | TrackKind::Process) { 254 } else { 253 };
        let name = st.keyword();
        let mut weight = None;
        let mut reverse = None;
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            match &*w.text {
                "weight" => {
                    let Some(v) = rest.next() else {
                        let d = Diagnostic::error("missing-argument", w.span, "`weight` needs a number");
                        self.report(d.label("nothing stands behind it"));
                        return None;
                    };
                    weight = Some(self.read_signed(v, -most, most)?);
                }
                "reverse" => reverse = Some(true),
                "noreverse" => reverse = Some(false),
                other => {
                    let near = nearest_word(other, ["weight", "reverse", "noreverse"]);
                    self.report_unknown_word(
                        w.span,
                        other,
                        "behind what is tracked",
                        "weight, reverse or noreverse",
                        near,
                    );
                    return None;
                }
            }
        }
        let weight = match (weight, reverse) {
            (None, None) => None,
            (w, r) => Some((w.unwrap_or(0), r.unwrap_or(false))),
        };
        Some(Line::Track(name.text.clone().into_owned(), weight))
    }

    /// `ADDRESS [min_ttl N] [max_ttl N]`
    fn read_peer(&mut self, st: &Statement<'_>) -> Option<Line> {
        let addr = self.read_address(st.keyword(), Family::Any)?;
        let mut out = vec![(addr.to_string(), None)];
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            if !matches!(&*w.text, "min_ttl" | "max_ttl") {
                let near = nearest_word(&w.text, ["min_ttl", "max_ttl"]);
                self.report_unknown_word(w.span, &w.text, "behind a peer", "min_ttl or max_ttl", near);
                return None;
            }
            let v = self.next_argument(w, &mut rest)?;
            let n = self.read_unsigned(v, 0, 255)?;
            out.push((w.text.clone().into_owned(), Some(n.to_string())));
        }
        Some(Line::Options(out))
    }

    /// `ADDRESS [PORT]`, `ADDRESS-LAST [PORT]`, `ADDRESS/PREFIX [PORT]`, `fwmark N [inet|inet6]`
    fn read_group_member(&mut self, st: &Statement<'_>) -> Option<Line> {
        let w = st.keyword();
        if w.text == "fwmark" {
            let Some(n) = st.args().first() else {
                let d = Diagnostic::error("missing-argument", w.span, "`fwmark` needs a number");
                self.report(d.label("nothing stands behind it").verdict(KeepalivedVerdict::Exits(2)));
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

    /// `RANGE [PROTOCOL [PORT[-PORT]]]`
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
                        let what = format!("`{}` is not a port or a range of ports", abbreviate(p));
                        let d = Diagnostic::error("not-a-number", p.span, what);
                        self.report(d.label("expected 80 or 8000-8010"));
                        return None;
                    }
                }
            }
        };
        self.warn_extra_words(st, 3);
        Some(Value::FwmarkMember(Box::new(MarkRule { first, last, protocol, ports })))
    }

    /// The first and the last address of `A`, `A-B`, `A-LAST` or `A/PREFIX`.
    fn read_address_range(&mut self, w: &Word<'_>) -> Option<(IpAddr, IpAddr)> {
        let text = &*w.text;
        let bad = || {
            Diagnostic::error("not-an-address", w.span, format!("`{}` is not an address or a range", abbreviate(w)))
                .label("expected 192.0.2.1, 192.0.2.1-20, 192.0.2.1-192.0.2.20 or 192.0.2.0/28")
        };
        let pair = if let Some((first, last)) = text.split_once('-') {
            match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
                (Ok(a), Ok(b)) if a.is_ipv4() == b.is_ipv4() => Some((a, b)),
                (Ok(IpAddr::V4(a)), Err(_)) => last.parse::<u8>().ok().map(|n| {
                    let [x, y, z, _] = a.octets();
                    (a.into(), IpAddr::from([x, y, z, n]))
                }),
                (Ok(IpAddr::V6(a)), Err(_)) => u16::from_str_radix(last, 16).ok().map(|n| {
                    let mut s = a.segments();
                    s[7] = n;
                    (a.into(), IpAddr::from(s))
                }),
                _ => None,
            }
        } else if let Some((addr, len)) = text.split_once('/') {
            match (addr.parse::<IpAddr>(), len.parse::<u8>()) {
                (Ok(IpAddr::V4(a)), Ok(n)) if n <= 32 => {
                    let host = u32::MAX.checked_shr(u32::from(n)).unwrap_or(0);
                    let a = u32::from(a);
                    Some((IpAddr::from((a & !host).to_be_bytes()), IpAddr::from((a | host).to_be_bytes())))
                }
                (Ok(IpAddr::V6(a)), Ok(n)) if n <= 128 => {
                    let host = u128::MAX.checked_shr(u32::from(n)).unwrap_or(0);
                    let a = u128::from(a);
                    Some((IpAddr::from((a & !host).to_be_bytes()), IpAddr::from((a | host).to_be_bytes())))
                }
                _ => None,
            }
        } else {
            text.parse::<IpAddr>().ok().map(|a| (a, a))
        };
        match pair {
            Some((a, b)) if a <= b => Some((a, b)),
            Some((a, b)) => {
                self.report(bad().label(format!("{b} stands before {a}")));
                None
            }
            None => {
                self.report(bad());
                None
            }
        }
    }
}

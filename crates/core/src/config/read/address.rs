//! Addresses: single ones, with a prefix length or a port, and ranges of them.

use std::net::IpAddr;

use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::keywords::spec::Family;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::Value;

impl Reader<'_> {
    /// An address of `family`. As in keepalived, a prefix length after it is ignored.
    pub(super) fn read_address(&mut self, w: &Word<'_>, family: Family) -> Option<IpAddr> {
        let wrong = |message: String, label: &str| {
            Diagnostic::error("not-an-address", w.span, message).label(format!("expected {label}"))
        };
        let example = match family {
            Family::V4 => "an address such as 192.0.2.1",
            Family::V6 => "an address such as 2001:db8::1",
            Family::Any => "an address such as 192.0.2.1 or 2001:db8::1",
        };
        match w.text.parse::<IpAddr>() {
            Ok(a) if family == Family::Any || (family == Family::V4) == a.is_ipv4() => Some(a),
            Ok(a) => {
                self.report(wrong(format!("`{a}` is an address of the wrong family"), example));
                None
            }
            Err(_)
                if w.text
                    .split_once('/')
                    .is_some_and(|(a, n)| a.parse::<IpAddr>().is_ok() && n.parse::<u8>().is_ok()) =>
            {
                let addr = w.text.split('/').next().unwrap_or("");
                self.report(
                    Diagnostic::lint("extra-words", w.span, format!("`{}` has a prefix length", abbreviate(w)))
                        .label("ignored: expected an address without one")
                        .help(format!("write `{addr}`")),
                );
                let bare = Word { text: addr.to_owned().into(), span: w.span, quoted: w.quoted };
                self.read_address(&bare, family)
            }
            Err(_) => {
                let mut d = wrong(format!("`{}` is not an address", abbreviate(w)), example);
                if let Some(help) = suggest_address(&w.text) {
                    d = d.help(help);
                }
                self.report(d);
                None
            }
        }
    }

    /// A multicast address of `family`.
    pub(super) fn read_multicast_address(&mut self, w: &Word<'_>, family: Family) -> Option<IpAddr> {
        let addr = self.read_address(w, family)?;
        if !addr.is_multicast() {
            let d = Diagnostic::error("not-an-address", w.span, format!("`{addr}` is not a multicast address"));
            self.report(d.label("expected an address of 224.0.0.0/4 or ff00::/8"));
            return None;
        }
        Some(addr)
    }

    /// `ADDRESS[/PREFIX]`; without a prefix length it is 32 or 128.
    pub(super) fn read_prefix(&mut self, w: &Word<'_>, family: Family) -> Option<(IpAddr, u8)> {
        let (text, len) = w.text.split_once('/').map_or((&*w.text, None), |(a, p)| (a, Some(p)));
        let addr_word = Word { text: text.to_owned().into(), span: w.span, quoted: false };
        let addr = self.read_address(&addr_word, family)?;
        let max = if addr.is_ipv4() { 32 } else { 128 };
        match len.map(|l| l.parse::<u8>().ok().filter(|n| *n <= max)) {
            None => Some((addr, max)),
            Some(Some(n)) => Some((addr, n)),
            Some(None) => {
                self.report(
                    Diagnostic::error(
                        "not-a-prefix",
                        w.span,
                        format!("`{}` has no valid prefix length", abbreviate(w)),
                    )
                    .label(format!("expected /0 to /{max}")),
                );
                None
            }
        }
    }

    /// `ADDRESS [PORT]`, beginning with the argument of index `n`.
    pub(super) fn read_endpoint(&mut self, st: &Statement<'_>, n: usize) -> Option<Value> {
        let w = st.args().get(n)?;
        let addr = self.read_address(w, Family::Any)?;
        let port = match st.args().get(n + 1) {
            None => None,
            Some(p) => Some(self.read_unsigned(p, 0, 65535)? as u16),
        };
        self.warn_extra_words(st, n + 2);
        Some(Value::Endpoint(addr, port))
    }

    /// The first and the last address of `A`, `A-B`, `A-LAST` or `A/PREFIX`, where LAST is the last part of the
    /// address.
    pub(super) fn read_address_range(&mut self, w: &Word<'_>) -> Option<(IpAddr, IpAddr)> {
        let text = &*w.text;
        let invalid = || {
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
                self.report(invalid().label(format!("{b} is lower than {a}")));
                None
            }
            None => {
                self.report(invalid());
                None
            }
        }
    }
}

/// Help for a word that is no address: what was probably meant.
fn suggest_address(text: &str) -> Option<String> {
    if let Some((addr, port)) = text.rsplit_once(':')
        && addr.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        && port.parse::<u16>().is_ok()
    {
        return Some(format!("write address and port as two words: `{} {port}`", addr.trim_matches(['[', ']'])));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let numbers = parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    if numbers && parts.len() != 4 {
        return Some(format!("an IPv4 address has four numbers, this one has {}", parts.len()));
    }
    if numbers && let Some(big) = parts.iter().find(|p| p.parse::<u8>().is_err()) {
        return Some(format!("each number is at most 255, not {big}"));
    }
    if numbers && let Some(zero) = parts.iter().find(|p| p.len() > 1 && p.starts_with('0')) {
        return Some(format!("write {zero} without its leading zero, which could mean an octal number"));
    }
    text.starts_with(|c: char| c.is_alphabetic())
        .then(|| "host names are not resolved here; write the address".to_owned())
}

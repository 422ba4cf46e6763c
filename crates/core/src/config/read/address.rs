//! Lines of `virtual_ipaddress`, `virtual_ipaddress_excluded` and `static_ipaddress`, as `ip address` writes them.

use std::net::IpAddr;

use super::super::Diagnostic;
use super::super::diag::nearest_word;
use super::super::keywords::spec::Family;
use super::super::lex::Word;
use super::super::tree::Statement;
use super::super::value::{AddressLine, Broadcast, Line};
use super::{Reader, abbreviate};

/// Scopes as the kernel numbers them (rtnetlink(7)).
const SCOPES: &[(&str, u8)] = &[("global", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)];
/// Words without a value.
const ADDRESS_FLAGS: &[&str] = &["home", "-nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track", "use_vmac"];
const ADDRESS_WORDS: [&str; 16] = [
    "dev",
    "label",
    "brd",
    "broadcast",
    "scope",
    "peer",
    "preferred_lft",
    "track_group",
    "to",
    "home",
    "-nodad",
    "mngtmpaddr",
    "noprefixroute",
    "autojoin",
    "no_track",
    "use_vmac",
];

impl Reader<'_> {
    /// `ADDRESS[/PREFIX]`; the prefix length is the whole address's if none is written.
    pub(super) fn read_prefix(&mut self, w: &Word<'_>, family: Family) -> Option<(IpAddr, u8)> {
        let (text, len) = w.text.split_once('/').map_or((&*w.text, None), |(a, p)| (a, Some(p)));
        let part = Word { text: text.to_owned().into(), span: w.span, quoted: false };
        let addr = self.read_address(&part, family)?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        match len.map(|l| l.parse::<u8>().ok().filter(|n| *n <= most)) {
            None => Some((addr, most)),
            Some(Some(n)) => Some((addr, n)),
            Some(None) => {
                self.report(
                    Diagnostic::error(
                        "not-a-prefix",
                        w.span,
                        format!("`{}` has no valid prefix length", abbreviate(w)),
                    )
                    .label(format!("expected /0 to /{most}")),
                );
                None
            }
        }
    }

    pub(super) fn read_address_line(&mut self, st: &Statement<'_>, keep: bool) -> Option<Line> {
        let (addr, prefix) = self.read_prefix(st.keyword(), Family::Any)?;
        let mut line = AddressLine {
            addr,
            prefix,
            prefix_given: st.keyword().text.contains('/'),
            dev: None,
            label: None,
            broadcast: Broadcast::None,
            scope: None,
            peer: None,
            options: Vec::new(),
        };
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            match &*w.text {
                "dev" => {
                    let v = self.next_argument(w, &mut rest)?;
                    if line.dev.is_some() {
                        let d = Diagnostic::error("duplicate", w.span.to(v.span), "an address is put on one device");
                        self.report(d.label("a second one"));
                        return None;
                    }
                    line.dev = Some(self.read_interface_name(v)?);
                }
                "label" => {
                    let v = self.next_argument(w, &mut rest)?;
                    if v.text.len() > 15 {
                        self.report(
                            Diagnostic::error("label-length", v.span, "a label has at most 15 characters")
                                .label(format!("{} characters", v.text.len())),
                        );
                        return None;
                    }
                    line.label = Some(v.text.clone().into_owned());
                }
                "brd" | "broadcast" => {
                    let v = self.next_argument(w, &mut rest)?;
                    if addr.is_ipv6() {
                        let d = Diagnostic::error("not-an-address", w.span, "IPv6 has no broadcast addresses");
                        self.report(d.label("remove it"));
                        return None;
                    }
                    line.broadcast = match &*v.text {
                        "+" => Broadcast::Computed,
                        "-" => Broadcast::None,
                        _ => Broadcast::Given(self.read_address(v, Family::V4)?),
                    };
                }
                "scope" => {
                    let v = self.next_argument(w, &mut rest)?;
                    line.scope = Some(self.read_scope(v)?);
                }
                "peer" | "to" => {
                    let v = self.next_argument(w, &mut rest)?;
                    let family = if addr.is_ipv4() { Family::V4 } else { Family::V6 };
                    if v.text.contains('/') {
                        let d = Diagnostic::error(
                            "not-an-address",
                            v.span,
                            format!("`{}` is not an address", abbreviate(v)),
                        );
                        self.report(d.label("expected the peer's address, without a prefix length"));
                        return None;
                    }
                    line.peer = Some(self.read_address(v, family)?);
                }
                "preferred_lft" => {
                    let v = self.next_argument(w, &mut rest)?;
                    if v.text != "forever" {
                        self.read_unsigned(v, 0, u64::from(u32::MAX))?;
                    }
                    line.options.push(("preferred_lft".into(), Some(v.text.clone().into_owned())));
                }
                "track_group" if keep => {
                    let v = self.next_argument(w, &mut rest)?;
                    line.options.push(("track_group".into(), Some(v.text.clone().into_owned())));
                }
                flag if ADDRESS_FLAGS.contains(&flag) => line.options.push((flag.to_owned(), None)),
                other => {
                    let label = "dev, label, brd, scope, peer or an option of an address";
                    if other.split('/').next().is_some_and(|a| a.parse::<IpAddr>().is_ok()) {
                        self.report(
                            Diagnostic::error(
                                "unknown-word",
                                w.span,
                                format!("unknown word `{other}` behind an address"),
                            )
                            .label("a second address")
                            .help("each address stands on a line of its own"),
                        );
                    } else {
                        self.report_unknown_word(
                            w.span,
                            other,
                            "behind an address",
                            label,
                            nearest_word(other, ADDRESS_WORDS),
                        );
                    }
                    return None;
                }
            }
        }
        Some(Line::Address(Box::new(line)))
    }

    /// A scope by its name or number.
    pub(super) fn read_scope(&mut self, w: &Word<'_>) -> Option<u8> {
        if let Some((_, n)) = SCOPES.iter().find(|(name, _)| *name == w.text) {
            return Some(*n);
        }
        if let Ok(n) = w.text.parse::<u8>() {
            return Some(n);
        }
        let near = nearest_word(&w.text, SCOPES.iter().map(|(n, _)| *n));
        self.report(
            Diagnostic::error("unknown-value", w.span, format!("unknown scope `{}`", abbreviate(w)))
                .label("expected global, site, link, host, nowhere or a number")
                .did_you_mean(near),
        );
        None
    }
}

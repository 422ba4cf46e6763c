//! Lines of `virtual_ipaddress`, `virtual_ipaddress_excluded` and `static_ipaddress`, in the syntax of `ip address`.

use std::net::IpAddr;

use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::diag::nearest_word;
use crate::config::keywords::spec::Family;
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::{AddressLine, Broadcast, Line};

/// Scopes and their numbers (rtnetlink(7)).
const SCOPES: &[(&str, u8)] = &[("global", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)];

/// Options without a value.
const ADDRESS_FLAGS: &[&str] = &["home", "-nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track", "use_vmac"];

/// All options, for suggestions.
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
    /// `ADDRESS[/PREFIX] [OPTION…]`. `is_static` allows `track_group`.
    pub(super) fn read_address_line(&mut self, st: &Statement<'_>, is_static: bool) -> Option<Line> {
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
                flag if ADDRESS_FLAGS.contains(&flag) => line.options.push((flag.to_owned(), None)),
                "track_group" if !is_static => {
                    self.report_unknown_option(w);
                    return None;
                }
                option if ADDRESS_WORDS.contains(&option) => {
                    let v = self.next_argument(w, &mut rest)?;
                    self.read_address_option(&mut line, w, v)?;
                }
                _ => {
                    self.report_unknown_option(w);
                    return None;
                }
            }
        }
        Some(Line::Address(Box::new(line)))
    }

    /// The option `w` with its value `v`.
    fn read_address_option(&mut self, line: &mut AddressLine, w: &Word<'_>, v: &Word<'_>) -> Option<()> {
        match &*w.text {
            "dev" => {
                if line.dev.is_some() {
                    let d = Diagnostic::error("duplicate", w.span.to(v.span), "an address has only one device");
                    self.report(d.label("a second one"));
                    return None;
                }
                line.dev = Some(self.read_interface_name(v)?);
            }
            "label" => {
                if v.text.len() > 15 {
                    self.report(
                        Diagnostic::error("label-length", v.span, "a label has at most 15 characters")
                            .label(format!("{} characters", v.text.len())),
                    );
                    return None;
                }
                line.label = Some(v.text.clone().into_owned());
            }
            "brd" | "broadcast" => line.broadcast = self.read_broadcast(line.addr, w, v)?,
            "scope" => line.scope = Some(self.read_scope(v)?),
            "peer" | "to" => {
                let family = if line.addr.is_ipv4() { Family::V4 } else { Family::V6 };
                if v.text.contains('/') {
                    let message = format!("`{}` is not an address", abbreviate(v));
                    let d = Diagnostic::error("not-an-address", v.span, message);
                    self.report(d.label("expected the address of the peer, without a prefix length"));
                    return None;
                }
                line.peer = Some(self.read_address(v, family)?);
            }
            "preferred_lft" => {
                if v.text != "forever" {
                    self.read_unsigned(v, 0, u64::from(u32::MAX))?;
                }
                line.options.push(("preferred_lft".into(), Some(v.text.clone().into_owned())));
            }
            option => line.options.push((option.to_owned(), Some(v.text.clone().into_owned()))),
        }
        Some(())
    }

    /// `brd ADDRESS`, `brd +` or `brd -`; `w` is the option's name.
    fn read_broadcast(&mut self, addr: IpAddr, w: &Word<'_>, v: &Word<'_>) -> Option<Broadcast> {
        if addr.is_ipv6() {
            let d = Diagnostic::error("not-an-address", w.span, "IPv6 has no broadcast addresses");
            self.report(d.label("remove it"));
            return None;
        }
        Some(match &*v.text {
            "+" => Broadcast::Computed,
            "-" => Broadcast::None,
            _ => Broadcast::Given(self.read_address(v, Family::V4)?),
        })
    }

    /// Reports a word that is no option of an address.
    fn report_unknown_option(&mut self, w: &Word<'_>) {
        let word = &*w.text;
        if word.split('/').next().is_some_and(|a| a.parse::<IpAddr>().is_ok()) {
            self.report(
                Diagnostic::error("unknown-word", w.span, format!("unknown word `{word}` after an address"))
                    .label("a second address")
                    .help("put each address on a line of its own"),
            );
            return;
        }
        let expected = "dev, label, brd, scope, peer or another option of an address";
        self.report_unknown_word(w.span, word, "after an address", expected, nearest_word(word, ADDRESS_WORDS));
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

//! `encap TYPE …` of a route: a lightweight tunnel for its packets (ip-route(8), "encap").
//!
//! Its options get the prefix `encap.`, e.g. `encap.dst`, since a route has options of the same names.

use super::options::OptionCursor;
use crate::config::Diagnostic;
use crate::config::keywords::spec::Family;
use crate::config::lex::Word;
use crate::config::read::{Reader, abbreviate};

const ENCAP_TYPES: &[&str] = &["ip", "ip6", "mpls", "ila"];

impl Reader<'_> {
    /// The words after `encap`: its type and the options of that type.
    pub(super) fn read_encap(&mut self, type_word: &Word<'_>, c: &mut OptionCursor<'_, '_>) -> Option<()> {
        let kind = self.read_choice(type_word, ENCAP_TYPES, false)?;
        c.push_option("encap", Some(type_word));
        let options: &[&str] = match kind {
            "ip" => &["id", "dst", "src", "tos", "ttl", "flags"],
            "ip6" => &["id", "dst", "src", "tc", "hoplimit", "flags"],
            _ => {
                let v = self.option_value(type_word, c)?;
                let (is_valid, expected) = match kind {
                    "mpls" => (parse_mpls_labels(&v.text).is_some(), "labels of 20 bits, such as 100/200"),
                    _ => (parse_ila_locator(&v.text).is_some(), "a locator such as 1:2:3:4"),
                };
                if !is_valid {
                    let message = format!("`{}` is not a valid encapsulation", abbreviate(v));
                    self.report(Diagnostic::error("encap", v.span, message).label(format!("expected {expected}")));
                    return None;
                }
                c.push_option("encap.label", Some(v));
                return Some(());
            }
        };
        let family = if kind == "ip" { Family::V4 } else { Family::V6 };
        let mut has_destination = false;
        while options.contains(&c.peek_text()) {
            let name = c.words.next()?;
            let v = self.option_value(name, c)?;
            match &*name.text {
                "dst" | "src" => drop(self.read_address(v, family)?),
                "id" => drop(self.read_unsigned(v, 0, u64::MAX)?),
                "flags" => drop(self.read_unsigned(v, 0, u64::from(u16::MAX))?),
                "ttl" | "hoplimit" => drop(self.read_unsigned(v, 0, 255)?),
                _ => {} // `tos` and `tc`: a number, or a name of iproute2
            }
            has_destination |= matches!(&*name.text, "dst" | "id");
            c.push_option(&format!("encap.{}", name.text), Some(v));
        }
        if !has_destination {
            let d = Diagnostic::error("encap", type_word.span, format!("`encap {kind}` has no destination"));
            self.report(d.label("expected `dst ADDRESS` or `id N` after it"));
            return None;
        }
        Some(())
    }
}

/// MPLS labels of 20 bits, the outermost first: `100/200`.
pub(in crate::config) fn parse_mpls_labels(text: &str) -> Option<Vec<u32>> {
    text.split('/').map(|l| l.parse().ok().filter(|n| *n < 1 << 20)).collect()
}

/// An ILA locator: four groups of 16 bits in hexadecimal, `1:2:3:4`.
pub(in crate::config) fn parse_ila_locator(text: &str) -> Option<u64> {
    let groups: Option<Vec<u64>> = text.split(':').map(|g| u16::from_str_radix(g, 16).ok().map(u64::from)).collect();
    let groups = groups.filter(|g| g.len() == 4)?;
    Some(groups.into_iter().fold(0, |all, g| all << 16 | g))
}

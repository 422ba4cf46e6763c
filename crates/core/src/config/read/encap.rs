//! `encap TYPE …` of a route: what its packets are put into (ip-route(8), "encap").
//!
//! Its options are kept under names of their own (`encap.dst`), since a route has some of the same.

use super::super::Diagnostic;
use super::super::keywords::spec::Family;
use super::super::lex::Word;
use super::route::OptionCursor;
use super::{Reader, abbreviate};

const ENCAP_TYPES: &[&str] = &["ip", "ip6", "mpls", "ila"];

impl Reader<'_> {
    /// Behind the word `encap`: its type, and what that needs.
    pub(super) fn read_encap(&mut self, kind: &Word<'_>, c: &mut OptionCursor<'_, '_>) -> Option<()> {
        let which = self.read_choice(kind, ENCAP_TYPES, false)?;
        c.push_option("encap", Some(kind));
        let options: &[&str] = match which {
            "ip" => &["id", "dst", "src", "tos", "ttl", "flags"],
            "ip6" => &["id", "dst", "src", "tc", "hoplimit", "flags"],
            _ => {
                let v = self.option_value(kind, c)?;
                let (right, expected) = match which {
                    "mpls" => (parse_mpls_labels(&v.text).is_some(), "labels as 100/200, of 20 bits"),
                    _ => (parse_ila_locator(&v.text).is_some(), "a locator as 1:2:3:4"),
                };
                if !right {
                    let what = format!("`{}` is nothing to put packets into", abbreviate(v));
                    self.report(Diagnostic::error("encap", v.span, what).label(format!("expected {expected}")));
                    return None;
                }
                c.push_option("encap.label", Some(v));
                return Some(());
            }
        };
        let family = if which == "ip" { Family::V4 } else { Family::V6 };
        let mut says_where = false;
        while options.contains(&c.peek_text()) {
            let name = c.words.next()?;
            let v = self.option_value(name, c)?;
            match &*name.text {
                "dst" | "src" => drop(self.read_address(v, family)?),
                "id" => drop(self.read_unsigned(v, 0, u64::MAX)?),
                "flags" => drop(self.read_unsigned(v, 0, u64::from(u16::MAX))?),
                "ttl" | "hoplimit" => drop(self.read_unsigned(v, 0, 255)?),
                _ => {} // a number, or a name of iproute2's
            }
            says_where |= matches!(&*name.text, "dst" | "id");
            c.push_option(&format!("encap.{}", name.text), Some(v));
        }
        if !says_where {
            let d = Diagnostic::error("encap", kind.span, format!("`encap {which}` says not where packets go"));
            self.report(d.label("expected `dst ADDRESS` or `id N` behind it"));
            return None;
        }
        Some(())
    }
}

/// MPLS labels, the outermost first.
pub(in crate::config) fn parse_mpls_labels(text: &str) -> Option<Vec<u32>> {
    text.split('/').map(|l| l.parse().ok().filter(|n| *n < 1 << 20)).collect()
}

/// An ILA locator: four groups of 16 bits.
pub(in crate::config) fn parse_ila_locator(text: &str) -> Option<u64> {
    let groups: Option<Vec<u64>> = text.split(':').map(|g| u16::from_str_radix(g, 16).ok().map(u64::from)).collect();
    let groups = groups.filter(|g| g.len() == 4)?;
    Some(groups.into_iter().fold(0, |all, g| all << 16 | g))
}

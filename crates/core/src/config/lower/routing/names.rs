//! Names of iproute2: tables, protocols, scopes, realms, DS fields and groups by name.

use super::options::parse_number;
use crate::config::Span;
use crate::config::lower::LoweringContext;

pub(super) use crate::model::RTPROT_KEEPALIVED;

/// RT_TABLE_MAIN of linux/rtnetlink.h.
pub(super) const RT_TABLE_MAIN: u32 = 254;

impl LoweringContext<'_> {
    /// The number for `word`, which is a number or a name. Names that the kernel defines come before those of the file
    /// in /etc/iproute2. Reports a name that neither has.
    pub(super) fn resolve_name(&mut self, span: Span, file: &str, word: &str) -> Option<u32> {
        let known: &[(&str, u32)] = match file {
            "rt_tables" => &[("main", RT_TABLE_MAIN), ("local", 255), ("default", 253)],
            "rt_protos" => &[("kernel", 2), ("boot", 3), ("static", 4), ("keepalived", RTPROT_KEEPALIVED as u32)],
            "rt_scopes" => {
                &[("global", 0), ("universe", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)]
            }
            _ => &[],
        };
        let by_name = || known.iter().find(|(n, _)| *n == word).map(|(_, n)| *n);
        let in_file = || self.environment.iproute_id(self.iproute_dirs, file, word).flatten();
        let found = parse_number(word).or_else(by_name).or_else(in_file);
        if found.is_none() {
            self.report_unsupported(
                span,
                format!("iproute2's table {file} of this machine has no name `{word}`"),
                "write the number",
            );
        }
        found
    }

    /// `[SOURCE/]DESTINATION`, each a number or a name; the source realm is 0 by default.
    pub(super) fn resolve_realms(&mut self, span: Span, text: &str) -> Option<(u16, u16)> {
        let (source, destination) = text.split_once('/').unwrap_or(("0", text));
        let mut resolve = |word: &str| self.resolve_name(span, "rt_realms", word).map(|n| n as u16);
        Some((resolve(source)?, resolve(destination)?))
    }
}

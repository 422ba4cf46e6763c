//! Lines of policy rules, as `ip rule` writes them.

use super::options::{OptionArg, OptionCursor, OptionSpec};
use crate::config::Diagnostic;
use crate::config::diag::nearest_word;
use crate::config::read::Reader;
use crate::config::tree::Statement;
use crate::config::value::Line;

const RULE_OPTIONS: &[OptionSpec] = &[
    ("not", OptionArg::Flag),
    ("from", OptionArg::Prefix),
    ("to", OptionArg::Prefix),
    ("table", OptionArg::Named("rt_tables")),
    ("lookup", OptionArg::Named("rt_tables")),
    ("goto", OptionArg::Number(u32::MAX as u64)),
    ("nop", OptionArg::Flag),
    ("blackhole", OptionArg::Flag),
    ("unreachable", OptionArg::Flag),
    ("prohibit", OptionArg::Flag),
    ("type", OptionArg::Word),
    ("preference", OptionArg::Number(u32::MAX as u64)),
    ("order", OptionArg::Number(u32::MAX as u64)),
    ("priority", OptionArg::Number(u32::MAX as u64)),
    ("tos", OptionArg::Word),
    ("dsfield", OptionArg::Word),
    ("fwmark", OptionArg::Pair('/')),
    ("realms", OptionArg::Word),
    ("iif", OptionArg::Interface),
    ("dev", OptionArg::Interface),
    ("oif", OptionArg::Interface),
    ("tunnel-id", OptionArg::Word),
    ("uidrange", OptionArg::Pair('-')),
    ("l3mdev", OptionArg::Flag),
    ("protocol", OptionArg::Word),
    ("ipproto", OptionArg::Word),
    ("sport", OptionArg::Pair('-')),
    ("dport", OptionArg::Pair('-')),
    ("suppress_prefixlength", OptionArg::Number(128)),
    ("sup_pl", OptionArg::Number(128)),
    ("suppress_ifgroup", OptionArg::Word),
    ("sup_group", OptionArg::Word),
    ("inet", OptionArg::Flag),
    ("inet6", OptionArg::Flag),
    ("no_track", OptionArg::Flag),
    ("track_group", OptionArg::Word),
];

impl Reader<'_> {
    /// `[not] [from NET] [to NET] … table N|goto N|nop|TYPE [preference N]`
    pub(crate) fn read_rule(&mut self, st: &Statement<'_>, is_static: bool) -> Option<Line> {
        let mut c = OptionCursor::new(st);
        while let Some(w) = c.words.next() {
            match RULE_OPTIONS.iter().find(|(n, _)| *n == w.text) {
                Some((_, arg)) => self.read_option(w, *arg, &mut c)?,
                None => {
                    let near = if w.text == "ip_proto" {
                        Some("ipproto")
                    } else {
                        nearest_word(&w.text, RULE_OPTIONS.iter().map(|(n, _)| *n))
                    };
                    self.report_unknown_word(w.span, &w.text, "in a rule", "an option of `ip rule`", near);
                    return None;
                }
            }
        }
        const ACTIONS: [&str; 8] = ["table", "lookup", "goto", "nop", "blackhole", "unreachable", "prohibit", "type"];
        if !c.options.iter().any(|(n, _)| ACTIONS.contains(&n.as_str())) && !c.has("l3mdev") {
            let d = Diagnostic::error("missing-argument", st.span(), "a rule needs an action");
            self.report(d.label("expected `table N`, `goto N`, `nop`, `blackhole`, `unreachable` or `prohibit`"));
            return None;
        }
        if !c.options.iter().any(|(n, _)| matches!(n.as_str(), "preference" | "order" | "priority")) {
            self.report(
                Diagnostic::warning(
                    "rule-preference",
                    st.span(),
                    "the kernel chooses the position of a rule without a preference",
                )
                .label("its order among other rules is not defined")
                .help("add `preference N`"),
            );
        }
        self.reject_track_group(&c, st.span(), is_static)?;
        Some(Line::Options(c.options))
    }
}

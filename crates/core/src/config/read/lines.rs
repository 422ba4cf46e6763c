//! Line blocks: blocks whose lines are no keywords, e.g. names, tracked objects, peers.

use super::Reader;
use crate::config::diag::nearest_word;
use crate::config::keywords::LineKind;
use crate::config::keywords::spec::{Family, TrackKind};
use crate::config::tree::{Statement, StatementBlock};
use crate::config::value::Line;
use crate::config::{Diagnostic, Span};

impl Reader<'_> {
    /// The lines of a block with their locations. A line that cannot be read is reported and left out.
    pub(super) fn read_lines(&mut self, kind: LineKind, block: &StatementBlock<'_>) -> Vec<(Span, Line)> {
        let mut out = Vec::with_capacity(block.statements.len());
        for st in &block.statements {
            if let Some(b) = &st.block {
                self.report(
                    Diagnostic::error("unexpected-brace", b.open, "a list contains no blocks")
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

    /// One line of a kind that has one entry a line.
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

    /// `IF [MII|ETHTOOL|IOCTL]`
    fn read_link_beat(&mut self, st: &Statement<'_>) -> Option<Line> {
        let name = self.read_interface_name(st.keyword())?;
        let method = match st.args().first() {
            None => None,
            Some(w) => Some(self.read_choice(w, &["MII", "ETHTOOL", "IOCTL"], false)?.to_owned()),
        };
        self.warn_extra_words(st, 1);
        Some(Line::Options(vec![(name, method)]))
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
    fn read_track(&mut self, kind: TrackKind, st: &Statement<'_>) -> Option<Line> {
        let max = if matches!(kind, TrackKind::File | TrackKind::Process) { 254 } else { 253 };
        let name = st.keyword();
        let mut weight = None;
        let mut reverse = None;
        let mut rest = st.args().iter();
        while let Some(w) = rest.next() {
            match &*w.text {
                "weight" => {
                    let Some(v) = rest.next() else {
                        let d = Diagnostic::error("missing-argument", w.span, "`weight` needs a number");
                        self.report(d.label("the value is missing"));
                        return None;
                    };
                    weight = Some(self.read_signed(v, -max, max)?);
                }
                "reverse" => reverse = Some(true),
                "noreverse" => reverse = Some(false),
                other => {
                    let near = nearest_word(other, ["weight", "reverse", "noreverse"]);
                    self.report_unknown_word(
                        w.span,
                        other,
                        "after a tracked object",
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
                self.report_unknown_word(w.span, &w.text, "after a peer", "min_ttl or max_ttl", near);
                return None;
            }
            let v = self.next_argument(w, &mut rest)?;
            let n = self.read_unsigned(v, 0, 255)?;
            out.push((w.text.clone().into_owned(), Some(n.to_string())));
        }
        Some(Line::Options(out))
    }
}

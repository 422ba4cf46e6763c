//! Lines to a tree: a statement is a line's words, and perhaps the block in braces behind them.

use super::expand::ExpandedItem;
use super::keywords::is_top_level_only;
use super::lex::{Token, Word, lex_line};
use super::{Diagnostic, Sources, Span};

/// Blocks in blocks; the deepest of keepalived.conf is the fourth (`virtual_server`, `real_server`, HTTP_GET, `url`).
const MAX_BLOCK_DEPTH: usize = 64;

/// `keyword argument… { … }`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Statement<'a> {
    /// At least one: the keyword, then its arguments.
    pub words: Vec<Word<'a>>,
    /// What stands in braces behind it.
    pub block: Option<StatementBlock<'a>>,
}

impl<'a> Statement<'a> {
    /// The first word.
    pub fn keyword(&self) -> &Word<'a> {
        &self.words[0] // a statement is only made of at least one word
    }

    /// The words behind the first.
    pub fn args(&self) -> &[Word<'a>] {
        &self.words[1..]
    }

    /// All its words.
    pub fn span(&self) -> Span {
        self.keyword().span.to(self.words.last().map_or(self.keyword().span, |w| w.span))
    }

    /// The words behind the first; the keyword itself where there is none.
    pub fn args_span(&self) -> Span {
        match self.args() {
            [] => self.keyword().span,
            [first, .., last] => first.span.to(last.span),
            [only] => only.span,
        }
    }
}

/// Statements in braces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct StatementBlock<'a> {
    /// In the order of the file.
    pub statements: Vec<Statement<'a>>,
    /// The opening brace.
    pub open: Span,
    /// The closing brace; empty if it is missing.
    pub close: Span,
}

/// Builds the tree of a file.
///
/// A `{` opens the block of the statement before it, on its line or a line above. Errors are told, and the rest of the
/// file still becomes a tree.
pub(crate) fn build_tree<'a>(
    sources: &Sources,
    items: &[ExpandedItem<'a>],
    diagnostics: &mut Vec<Diagnostic>,
) -> StatementBlock<'a> {
    let mut b = TreeBuilder {
        sources,
        suspect_close: None,
        stack: vec![StatementBlock::default()],
        words: Vec::with_capacity(8),
        skipped_depth: 0,
        recovered: false,
        diagnostics,
    };
    let mut tokens = Vec::new();
    // How deep each file that is being read began.
    let mut files = Vec::new();
    for item in items {
        match *item {
            ExpandedItem::FileStart => files.push(b.depth()),
            ExpandedItem::FileEnd(at) => {
                if files.pop().is_some_and(|began| began != b.depth()) {
                    b.diagnostics.push(
                        Diagnostic::error("missing-brace", at, "the braces of this file do not match")
                            .label("a block that it opens or closes goes beyond its end"),
                    );
                }
            }
            ExpandedItem::Line { text, base } => {
                lex_line(text, base, &mut tokens, b.diagnostics);
                for token in tokens.drain(..) {
                    b.push_token(token);
                }
                b.end_statement();
            }
        }
    }
    b.finish()
}

struct TreeBuilder<'a, 'd> {
    sources: &'d Sources,
    /// The open blocks; the first is the file itself.
    stack: Vec<StatementBlock<'a>>,
    words: Vec<Word<'a>>,
    /// Blocks opened too deep to be kept.
    skipped_depth: usize,
    /// Was a block closed for want of its brace?
    recovered: bool,
    /// A block closed by a brace that stands further left than its keyword: if a brace is missing, then there.
    suspect_close: Option<(Span, Span, String)>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'a> TreeBuilder<'a, '_> {
    fn depth(&self) -> usize {
        self.stack.len() + self.skipped_depth
    }

    fn push_token(&mut self, token: Token<'a>) {
        match token {
            Token::Word(w) => self.words.push(w),
            Token::OpenBrace(at) => {
                self.end_statement();
                self.open_block(at);
            }
            Token::CloseBrace(at) => {
                self.end_statement();
                self.close_block(at);
            }
        }
    }

    fn end_statement(&mut self) {
        if !self.words.is_empty()
            && let Some(top) = self.stack.last_mut()
        {
            let words: Vec<Word<'a>> = self.words.drain(..).collect();
            if self.skipped_depth == 0 {
                top.statements.push(Statement { words, block: None });
            }
        }
    }

    fn open_block(&mut self, at: Span) {
        let owner = self.stack.last().and_then(|b| b.statements.last());
        if self.skipped_depth > 0 || self.stack.len() >= MAX_BLOCK_DEPTH {
            if self.skipped_depth == 0 {
                self.diagnostics.push(
                    Diagnostic::error("unexpected-brace", at, "blocks stand too deep in each other")
                        .label("no keyword has a block here"),
                );
            }
            self.skipped_depth += 1;
            return;
        }
        if self.stack.len() > 1
            && let Some(Statement { block: None, words }) = owner
            && words.first().is_some_and(|w| is_top_level_only(&w.text))
        {
            self.recover_missing_brace();
        }
        let owner = self.stack.last().and_then(|b| b.statements.last());
        if !matches!(owner, Some(Statement { block: None, .. })) {
            self.diagnostics.push(
                Diagnostic::error("unexpected-brace", at, "a block without a keyword")
                    .label("no keyword stands before this `{`"),
            );
        }
        self.stack.push(StatementBlock { statements: Vec::new(), open: at, close: Span::default() });
    }

    /// A block that stands only at the top level begins inside another: a `}` is missing before it. Tells so once, and
    /// closes what is open, so that one missing brace does not spoil the rest of the file.
    fn recover_missing_brace(&mut self) {
        let Some(statement) = self.stack.last_mut().and_then(|b| b.statements.pop()) else { return };
        let keyword = statement.keyword();
        let d = self.unclosed_block().note(keyword.span, format!("`{}` begins before it is", keyword.text));
        self.diagnostics.push(d);
        while self.stack.len() > 1 {
            self.attach_block(Span::default());
        }
        self.recovered = true;
        if let Some(top) = self.stack.last_mut() {
            top.statements.push(statement);
        }
    }

    /// A brace is missing: behind a block that was closed by a brace meant for the one around it, or else at the innermost
    /// that is open.
    fn unclosed_block(&mut self) -> Diagnostic {
        let (open, name, taken) = match self.suspect_close.take() {
            Some((open, close, name)) => (open, name, Some(close)),
            None => (self.stack.last().map(|b| b.open).unwrap_or_default(), self.owner_name(), None),
        };
        let d = Diagnostic::error("missing-brace", open, format!("the block of {name} is not closed"))
            .label("opened here")
            .help("add a `}` behind its last line");
        match taken {
            Some(close) => d.note(close, "by its place, this ends the block around it"),
            None => d,
        }
    }

    /// The keyword of the innermost open block.
    fn owner_name(&self) -> String {
        let outer = self.stack.len().checked_sub(2).and_then(|n| self.stack.get(n));
        outer.and_then(|b| b.statements.last()).map_or("a keyword".to_owned(), |s| format!("`{}`", s.keyword().text))
    }

    fn close_block(&mut self, at: Span) {
        if self.skipped_depth > 0 {
            self.skipped_depth -= 1;
            return;
        }
        if self.stack.len() == 1 {
            // After a block was closed for want of its brace, that brace may come late: told already.
            if self.recovered {
                return;
            }
            self.diagnostics.push(
                Diagnostic::error("unexpected-brace", at, "an extra `}`")
                    .label("no block is open here")
                    .help("remove it, or look above for a block that was closed too early"),
            );
            return;
        }
        self.attach_block(at);
    }

    /// Gives the innermost block to the statement that it belongs to.
    fn attach_block(&mut self, close: Span) {
        let owner = self.stack.len().checked_sub(2).and_then(|n| self.stack.get(n)).and_then(|b| b.statements.last());
        if let (Some(o), Some(inner), None) = (owner, self.stack.last(), &self.suspect_close)
            && let (Some(from), Some(to)) =
                (self.sources.line_indent(o.keyword().span), self.sources.line_indent(close))
            && to < from
        {
            self.suspect_close = Some((inner.open, close, format!("`{}`", o.keyword().text)));
        }
        let Some(mut block) = self.stack.pop() else { return };
        if self.stack.len() == 1 {
            self.suspect_close = None;
        }
        block.close = close;
        if let Some(owner) = self.stack.last_mut().and_then(|b| b.statements.last_mut())
            && owner.block.is_none()
        {
            owner.block = Some(block);
        }
    }

    fn finish(mut self) -> StatementBlock<'a> {
        while self.stack.len() > 1 {
            let d = self.unclosed_block();
            self.diagnostics.push(d);
            self.attach_block(Span::default());
        }
        self.stack.pop().unwrap_or_default()
    }
}

//! The tree of statements: the words of a line, and the block in braces that may follow them.
//!
//! A missing brace is the most common mistake, and it would spoil the rest of the file. Two hints find the location
//! where it is missing: a block that is allowed only at the top level begins inside another one, or a closing brace is
//! indented less than the keyword of its block.

use super::expand::ExpandedItem;
use super::keywords::is_top_level_only;
use super::lex::{Token, Word, lex_line};
use super::{Diagnostic, Sources, Span};

/// The deepest nesting that is read. keepalived.conf needs four levels: `virtual_server`, `real_server`, HTTP_GET,
/// `url`.
const MAX_BLOCK_DEPTH: usize = 64;

/// A statement: `keyword argument… { … }`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Statement<'a> {
    /// The keyword and its arguments; never empty.
    pub words: Vec<Word<'a>>,
    /// The block in braces after the words.
    pub block: Option<StatementBlock<'a>>,
}

impl<'a> Statement<'a> {
    /// The keyword, which is the first word.
    pub fn keyword(&self) -> &Word<'a> {
        &self.words[0] // `end_statement` makes no statement without words
    }

    /// The arguments: all words but the keyword.
    pub fn args(&self) -> &[Word<'a>] {
        &self.words[1..]
    }

    /// The location of all words.
    pub fn span(&self) -> Span {
        self.keyword().span.to(self.words.last().map_or(self.keyword().span, |w| w.span))
    }

    /// The location of the arguments, or of the keyword if there are none.
    pub fn args_span(&self) -> Span {
        match self.args() {
            [] => self.keyword().span,
            [first, .., last] => first.span.to(last.span),
            [only] => only.span,
        }
    }
}

/// A block of statements in braces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct StatementBlock<'a> {
    /// The statements, in the order of the file.
    pub statements: Vec<Statement<'a>>,
    /// The location of the opening brace.
    pub open: Span,
    /// The location of the closing brace; empty if it is missing.
    pub close: Span,
}

/// Builds the tree of a file; its root is a block without braces.
///
/// A `{` opens the block of the statement before it, on the same line or on an earlier one. Errors are reported, and
/// the rest of the file is still read.
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
    // The depth at the start of each file that is open.
    let mut files = Vec::new();
    for item in items {
        match *item {
            ExpandedItem::FileStart => files.push(b.depth()),
            ExpandedItem::FileEnd(span) => {
                if files.pop().is_some_and(|start| start != b.depth()) {
                    b.diagnostics.push(
                        Diagnostic::error("missing-brace", span, "the braces of the included file do not match")
                            .label("a block that it opens is not closed in it, or the other way round"),
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
    /// The open blocks, the root first.
    stack: Vec<StatementBlock<'a>>,
    words: Vec<Word<'a>>,
    /// The number of open blocks beyond [`MAX_BLOCK_DEPTH`], whose statements are dropped.
    skipped_depth: usize,
    /// Whether blocks were closed because a brace was missing.
    recovered: bool,
    /// A block whose closing brace is indented less than its keyword: its opening brace, that closing brace, its name.
    /// If a brace is missing, it is probably here.
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
            Token::OpenBrace(span) => {
                self.end_statement();
                self.open_block(span);
            }
            Token::CloseBrace(span) => {
                self.end_statement();
                self.close_block(span);
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

    fn open_block(&mut self, span: Span) {
        let owner = self.stack.last().and_then(|b| b.statements.last());
        if self.skipped_depth > 0 || self.stack.len() >= MAX_BLOCK_DEPTH {
            if self.skipped_depth == 0 {
                self.diagnostics.push(
                    Diagnostic::error("unexpected-brace", span, "blocks are nested too deeply")
                        .label("no keyword opens a block at this depth"),
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
                Diagnostic::error("unexpected-brace", span, "a block needs a keyword")
                    .label("no keyword before this `{`"),
            );
        }
        self.stack.push(StatementBlock { statements: Vec::new(), open: span, close: Span::default() });
    }

    /// Reports a missing `}` when a block that is allowed only at the top level begins inside another. Closes all open
    /// blocks, so that the rest of the file is read as it was meant.
    fn recover_missing_brace(&mut self) {
        let Some(statement) = self.stack.last_mut().and_then(|b| b.statements.pop()) else { return };
        let keyword = statement.keyword();
        let d = self
            .unclosed_block()
            .note(keyword.span, format!("`{}` begins here, before the block is closed", keyword.text));
        self.diagnostics.push(d);
        while self.stack.len() > 1 {
            self.attach_block(Span::default());
        }
        self.recovered = true;
        if let Some(top) = self.stack.last_mut() {
            top.statements.push(statement);
        }
    }

    /// The diagnostic of a missing `}`: at the suspect block, or else at the innermost open one.
    fn unclosed_block(&mut self) -> Diagnostic {
        let (open, name, outer_close) = match self.suspect_close.take() {
            Some((open, close, name)) => (open, name, Some(close)),
            None => (self.stack.last().map(|b| b.open).unwrap_or_default(), self.owner_name(), None),
        };
        let d = Diagnostic::error("missing-brace", open, format!("the block of {name} is not closed"))
            .label("opened here")
            .help("add a `}` after its last line");
        match outer_close {
            Some(close) => d.note(close, "by its indentation, this closes the outer block"),
            None => d,
        }
    }

    /// The keyword of the innermost open block, for a message.
    fn owner_name(&self) -> String {
        let outer = self.stack.len().checked_sub(2).and_then(|n| self.stack.get(n));
        outer.and_then(|b| b.statements.last()).map_or("a keyword".to_owned(), |s| format!("`{}`", s.keyword().text))
    }

    fn close_block(&mut self, span: Span) {
        if self.skipped_depth > 0 {
            self.skipped_depth -= 1;
            return;
        }
        if self.stack.len() == 1 {
            // The missing brace of a block that was closed without it may come later; it is reported already.
            if self.recovered {
                return;
            }
            self.diagnostics.push(
                Diagnostic::error("unexpected-brace", span, "an extra `}`")
                    .label("no block is open here")
                    .help("remove it, or look above for a block that is closed too early"),
            );
            return;
        }
        self.attach_block(span);
    }

    /// Closes the innermost block, and attaches it to its statement.
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

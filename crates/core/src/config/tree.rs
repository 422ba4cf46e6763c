//! Lines to a tree: a statement is a line's words, and perhaps the block in braces behind them.

use super::lex::{Spanned, Token};
use super::{Diagnostic, Span};

/// A word with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// Its text, without quotes.
    pub text: String,
    /// Its place, quotes included.
    pub span: Span,
    /// Was it in quotes?
    pub quoted: bool,
}

/// `keyword argument… { … }`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// At least one: the keyword, then its arguments.
    pub words: Vec<Word>,
    /// What stands in braces behind it.
    pub block: Option<Block>,
}

impl Statement {
    /// The first word.
    pub fn keyword(&self) -> &Word {
        &self.words[0] // a statement is only made of at least one word
    }

    /// The words behind the first.
    pub fn args(&self) -> &[Word] {
        &self.words[1..]
    }

    /// All its words.
    pub fn span(&self) -> Span {
        self.words.iter().fold(self.keyword().span, |s, w| s.to(w.span))
    }
}

/// Statements in braces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Block {
    /// In the order of the file.
    pub items: Vec<Statement>,
    /// The opening brace.
    pub open: Span,
}

/// Builds the tree of a file.
///
/// A `{` opens the block of the statement before it, on its line or the line above. Errors are told, and the rest of the
/// file still becomes a tree.
pub fn build(lines: &[Vec<Spanned>], diagnostics: &mut Vec<Diagnostic>) -> Vec<Statement> {
    // The stack of open blocks; its first element is the file itself.
    let mut stack: Vec<Block> = vec![Block::default()];
    for line in lines {
        let mut words: Vec<Word> = Vec::new();
        for Spanned { token, span } in line {
            match token {
                Token::Word { text, quoted } => {
                    words.push(Word { text: text.clone(), span: *span, quoted: *quoted });
                }
                Token::Open => {
                    push(&mut stack, &mut words);
                    let last = stack.last_mut().and_then(|b| b.items.last_mut());
                    match last {
                        Some(Statement { block: None, .. }) => {}
                        _ => diagnostics.push(
                            Diagnostic::error("unexpected-brace", *span, "a block without a keyword")
                                .label("no keyword stands before this `{`"),
                        ),
                    }
                    stack.push(Block { items: Vec::new(), open: *span });
                }
                Token::Close => {
                    push(&mut stack, &mut words);
                    if stack.len() == 1 {
                        diagnostics.push(
                            Diagnostic::error("unexpected-brace", *span, "an extra `}`")
                                .label("no block is open here")
                                .help("remove it, or look above for a block that was closed too early"),
                        );
                    } else {
                        close(&mut stack);
                    }
                }
            }
        }
        push(&mut stack, &mut words);
    }
    while stack.len() > 1 {
        let open = stack.last().map(|b| b.open).unwrap_or_default();
        diagnostics.push(
            Diagnostic::error("missing-brace", open, "this block is not closed")
                .label("opened here")
                .help("add a `}` behind its last line"),
        );
        close(&mut stack);
    }
    stack.pop().map(|b| b.items).unwrap_or_default()
}

fn push(stack: &mut [Block], words: &mut Vec<Word>) {
    if !words.is_empty()
        && let Some(top) = stack.last_mut()
    {
        top.items.push(Statement { words: std::mem::take(words), block: None });
    }
}

/// Gives the innermost block to the statement that it belongs to.
fn close(stack: &mut Vec<Block>) {
    let Some(block) = stack.pop() else { return };
    if let Some(owner) = stack.last_mut().and_then(|b| b.items.last_mut())
        && owner.block.is_none()
    {
        owner.block = Some(block);
    }
}

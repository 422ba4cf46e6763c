//! The configuration language: compared with recorded verdicts of keepalived, and the pages generated from its
//! registry.

mod corpus;
mod fmt;
mod generated;
mod lints;
mod mistakes;
mod syntax;
mod verdicts;

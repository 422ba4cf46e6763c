//! The configuration language beside keepalived's recorded verdicts, and what is generated from it.

mod corpus;
mod fmt;
mod generated;
mod mistakes;
mod syntax;
mod verdicts;

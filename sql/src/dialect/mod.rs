//! The SQL that we read: one dialect, one statement at a time, reading only.
//!
//! [`syntax`] names what the parser accepts, [`parse`] turns text into one statement, [`statement`] lets through what
//! reads and turns `SHOW` and `DESCRIBE` into queries on `information_schema`. [`chains`] puts lists in the place of long chains of
//! OR, [`depth`] refuses what would end a stack,
//! [`rows`] compares rows part by part, [`types`] reads types that the planner does not know,
//! [`quoted`] tells who wrote a text in double quotes what those are.

mod chains;
mod depth;
mod gathered;
mod hive;
mod parse;
mod quoted;
mod rows;
mod show;
mod statement;
mod syntax;
mod types;
mod words;

pub(crate) use parse::{parse, parse_named, parser, place_of_name, syntax_error, with_user};
pub(crate) use quoted::Quoted;
pub(crate) use show::at_home;
pub(crate) use statement::{Admitted, admit};
pub(crate) use types::Types;

//! Cleaning: from a source's texts to values one can compute with.
//!
//! - [`dates`], `numbers`: what a text may mean;
//! - [`rule`]: what is done to a column, chosen from its profile or by configuration, stored with a version;
//! - [`config`]: what a person may say about it (`clean` in a source's parameters);
//! - `choose`: profile + configuration + the rules so far = rules;
//! - `apply`: the rules over a batch, column by column; a value that does not fit sets its row aside, it is never just
//!   dropped.

mod apply;
mod choose;
pub mod config;
pub mod dates;
pub(crate) mod numbers;
pub mod rule;

pub(crate) use apply::{Bad, Cleaner};
pub(crate) use choose::choose;
pub use config::{CleanConfig, ColumnConfig, TableConfig};
pub use rule::{Action, Check, ColumnRule, Convert, TableRules};

/// Texts that stand for "no value"; compared trimmed and in lower case.
pub const NULL_TOKENS: &[&str] = &[
    "",
    "n/a",
    "na",
    "#n/a",
    "n.a.",
    "null",
    "(null)",
    "nan",
    "none",
    "nil",
    "-",
    "--",
    "---",
    "?",
    "nr",
    "nd",
    "non renseigné",
    "non renseigne",
];

//! What analysts write: tables and views of the `work` zone, made and changed by SQL or by streams of Arrow batches.
//!
//! Writing stands beside reading and does not pass through the guard's walk, which denies every plan that writes. A statement
//! is taken apart ([`statement`]) into what is written and what is read: the reading half is a query of its own
//! ([`rewrite`] makes one of `UPDATE`, `DELETE` and `MERGE`), planned, guarded and limited as any query of the caller, so that
//! nothing gets into a table that the caller could not read. Its rows go, as they come, into one writer of the lake, whose
//! commit is one Delta version: a statement happens as a whole or not at all, and writers of one table come one after the
//! other ([`run`]). [`target`] says who may write where; [`fit`] brings values into columns; [`views`] keeps queries under
//! names; [`ingest`] takes batches.

mod alter;
mod define;
mod fit;
mod ingest;
mod rewrite;
mod rows;
mod run;
mod statement;
mod target;
mod views;

pub use ingest::{Existing, Ingest, Missing};
pub(crate) use statement::is_write;
pub(crate) use views::{PlannedViews, definition, plan_view};

/// What a statement that writes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The words that it begins with: `INSERT`, `CREATE TABLE AS`, ...
    pub command: &'static str,
    /// What was written: the whole name of a table or view.
    pub target: String,
    /// Rows that were inserted, changed or deleted.
    pub rows: u64,
}

//! Rows by key: `/api/v1/tables/{zone}/{schema}/{table}/rows`, one of them, several, or a range of them in order.
//!
//! A row is read from its file by an index where the guard hides nothing of the table, and by a query where it does: the answer
//! is the same ([`read`]). The key is the table's own (found by discovery, or declared for the source), or `by` names columns.
//! Versions of FHIR resources come from their history, those of other tables from Delta, as far back as its files are kept,
//! and the answer says how far ([`past`]). A range is walked in pages that all see one version ([`range`]).

mod answer;
mod asked;
mod cursor;
mod key;
pub(super) mod past;
pub(super) mod range;
pub(super) mod read;

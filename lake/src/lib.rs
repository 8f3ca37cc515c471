//! Delta tables by zone: stage, commit once, merge, evolve, quarantine, maintain, snapshot.
//!
//! Every write is a *unit*: one table, one application transaction, one lease. A unit is committed exactly once or not
//! at all, whatever dies in between (the protocol is told in `commit.rs`). Rows arrive as one stream and are staged as
//! Parquet while they come; nothing but the keys of a merge is held in memory, and those spill.
//!
//! The way of a unit: [`Lake::begin`] takes the lease and loads a snapshot; [`Unit::write`] unites the schemas and opens
//! the stage; [`Writer::push`] stamps, hashes and stages rows and notes their keys; [`Writer::finish`] compares keys and
//! hashes with the table's, copies the files that lose rows, and commits.
//!
//! Queries scan a version through a provider ([`Lake::provider`]); whoever knows keys reads rows by them without a plan
//! ([`Lake::rows_by_key`]).
//!
//! The lake does not know connectors, FHIR, principals or doors. What queries and mappings both need (a plain session
//! over tables at chosen versions, one shared runtime) is [`session`].

mod changes;
pub mod columns;
mod commit;
mod compact;
mod compare;
mod conform;
mod create;
mod ending;
pub mod erase;
mod error;
mod evolve;
pub mod hash;
mod history;
pub mod hop;
pub mod in_place;
mod keyed;
mod known;
mod lease;
mod ledger;
mod local;
pub mod maintain;
mod memory;
mod merge;
mod open;
mod owned;
mod pages;
mod reader;
mod rows;
mod scan;
pub mod session;
mod stage;
mod stats;
pub mod store;
pub mod table;
pub mod unit;
pub mod work;
mod write;

pub use compact::Compacted;
pub use error::{DISK_FULL, Error, is_disk_full};
pub use history::Commit;
pub use hop::{Ahead, Hop, HopInput};
pub use keyed::{Asked, Found, RowPast, RowState};
pub use pages::PagesUse;
pub use session::{Sessions, Template};
pub use store::LakeOptions;
pub use table::{Lake, Providers, TableSpec, Tuning};
pub use unit::{AppId, Committed, End, Unit, WriteMode, Writer};

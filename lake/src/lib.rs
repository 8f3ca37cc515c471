//! Delta tables by zone: stage, commit once, merge, evolve, quarantine, maintain, snapshot.
//!
//! Every write is a *unit*: one table, one application transaction, one lease. A unit is committed exactly once or not
//! at all, whatever dies in between (the protocol is told in [`commit`]). Rows arrive as one stream and are staged as
//! Parquet while they come; nothing but the keys of a merge is held in memory.
//!
//! The lake does not know connectors, FHIR, principals or doors. What queries and mappings both need (a plain session
//! over tables at chosen versions, one shared runtime) is [`session`].

mod error;
pub mod hop;
pub mod maintain;
pub mod session;
pub mod store;
pub mod table;
pub mod unit;

pub use error::Error;
pub use hop::{Hop, HopInput};
pub use session::Sessions;
pub use store::LakeOptions;
pub use table::{Lake, TableSpec};
pub use unit::{AppId, Committed, End, Unit, WriteMode, Writer};

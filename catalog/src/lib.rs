//! What exists, who may, what ran: the one database beside the lake.
//!
//! SQLite by default, PostgreSQL by URL; the same statements and the same test suite on both. Plain functions, one file
//! per table family, all methods of [`Catalog`]. The catalog never holds a source's rows, except the payloads of
//! quarantined ones and, until they are published, of writes that were promised ([`Intent`]); and never a secret: tokens are
//! kept as hashes, passwords are not kept at all.
//!
//! # One text, two backends
//!
//! Columns are text, 64-bit numbers and bytes only, so that every statement stands once and runs on both. Times come from
//! the database's own clock: a lease means the same to every process that shares the catalog. SQLite runs with a
//! write-ahead log, one writer at a time inside the process, readers beside it; what a Delta commit relies on (cursor
//! rows, quarantine) is on disk when the call returns.
//!
//! What every request asks (who a token is, what a name means, the newest snapshot) is kept in memory while a [`Stamp`] says
//! that nothing was committed, by any process: a revoked token is refused at once.
//!
//! It does not open Delta tables and knows no connector.

mod alert;
mod audit;
mod cursor;
mod database;
mod discovery_item;
mod drift;
mod engine;
mod erase;
mod error;
mod fresh;
mod hold;
mod intent;
mod kept;
mod known_host;
mod lease;
mod listing;
mod mapping;
mod migrate;
mod number;
mod page;
mod quarantine;
mod right;
mod run;
mod schedule;
mod snapshot;
mod source;
mod stamp;
mod table;
mod token;
mod value;
mod view;
mod work;

pub use alert::{Alert, ListedAlert};
pub use audit::{AuditEntry, NewAudit};
pub use cursor::{CursorRow, NewCursor};
pub use database::Catalog;
pub use discovery_item::DiscoveryItem;
pub use drift::{Drift, DriftKind, DriftState, NewDrift};
pub use error::Error;
pub use fresh::Fresh;
pub use hold::Held;
pub use intent::Intent;
pub use known_host::KnownHost;
pub use lease::Lease;
pub use mapping::{CodeMapRow, MappingRow, NewMapping};
pub use number::Numbered;
pub use quarantine::{NewQuarantined, QuarantineFilter, QuarantineState, Quarantined};
pub use right::{Grantee, NewRight, Right, RightKind};
pub use run::{LogLevel, LogLine, NewRun, Run, RunKind, RunState, RunUnit, Step, UnitState};
pub use schedule::{Fired, Schedule, ScheduleState};
pub use snapshot::LakeSnapshot;
pub use source::{DiscoveryRow, NewSource, Source};
pub use stamp::Stamp;
pub use table::{Column, NewColumn, NewTable, SqlView, Table};
pub use token::{NewToken, Token};
pub use view::{NewView, ViewRow};
pub use work::{Made, NewSqlView};

//! How data gets from a source to FHIR: `to_raw` -> `to_processed` -> `to_fhir`.
//!
//! A run is a list of independent units, one per table and step; each is committed exactly once by `lake`. This crate
//! decides what is read, how it is cleaned and mapped, in which order, what is tried again, and tells how it goes. It never
//! answers a query and knows no door.

mod alert;
pub mod clean;
mod context;
mod discover;
mod erase;
mod error;
mod failure;
mod fhir_zone;
mod import;
mod in_place;
mod job;
mod log_health;
mod mapping;
mod pipeline;
mod quality;
mod quarantine;
mod reading;
mod replay;
mod report;
mod request;
mod retry;
mod schedule;
mod settling;
mod tables;
mod to_fhir;
mod to_processed;
mod to_raw;
mod turns;
mod upkeep;
mod worker;
mod write;

pub use alert::{Teller, Telling};
pub use discover::drift::{DriftConfig, DriftMode};
pub use erase::{EraseOptions, Erasure};
pub use error::Error;
pub use pipeline::{Pipeline, PipelineOptions, Pushed};
pub use report::{ColumnProfile, DiscoveryReport, ReportColumn, ReportTable};
pub use request::{FetchedFile, ImportOptions, ImportedFile, IngestRequest, RunEvent, SourceSummary, UnitProgress};
pub use schedule::{Freshness, Missed, ScheduleSpec, TableFreshness, Ticked, When};
pub use upkeep::{Kept, Upkeep};
pub use write::{Effect, Operation, Reason, Refusal, Together, Which, Write, WriteError, Written};

//! How data gets from a source to FHIR: `to_raw` -> `to_processed` -> `to_fhir`.
//!
//! A run is a list of independent units, one per table and step; each is committed exactly once by `lake`. This crate
//! decides what is read, how it is cleaned and mapped, in which order, what is tried again, and tells how it goes. It never
//! answers a query and knows no door.

mod error;
mod pipeline;
mod report;
mod request;

pub use error::Error;
pub use pipeline::{Pipeline, PipelineOptions};
pub use report::{ColumnProfile, DiscoveryReport, ReportColumn, ReportTable};
pub use request::{ImportOptions, IngestRequest, RunEvent, SourceSummary, UnitProgress};

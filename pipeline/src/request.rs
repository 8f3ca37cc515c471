use mavis_catalog::{LogLine, RunState, RunUnit, Source};
use mavis_types::{Counts, SourceName};
use serde::{Deserialize, Serialize};

/// What `ingest` is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestRequest {
    pub source: SourceName,
    /// Only these tables (as the source calls them); empty: all that discovery found.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Read again from the beginning and compare.
    #[serde(default)]
    pub full: bool,
}

/// How uploaded files are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOptions {
    /// Name of the source that the import becomes.
    pub source: SourceName,
    /// Keep the resources' own ids.
    pub authoritative: bool,
    /// Read files again that an earlier import has finished with and that have not changed.
    #[serde(default)]
    pub again: bool,
}

/// A file of an import that is complete on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedFile {
    pub name: String,
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// An import has finished with it: reading it again would change nothing.
    pub landed: bool,
}

/// A file of an import that the server fetches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedFile {
    /// What it is called in the list of files.
    pub name: String,
    /// `http://` or `https://`.
    pub url: String,
}

/// A source with what is known of its last run.
#[derive(Debug, Clone)]
pub struct SourceSummary {
    pub source: Source,
    pub tables: u64,
    pub last_run: Option<(RunState, chrono::DateTime<chrono::Utc>)>,
}

/// What a watcher of a run is told.
#[derive(Debug, Clone)]
pub enum RunEvent {
    State { state: RunState, counts: Counts, error: Option<String> },
    Unit(UnitProgress),
    Log(LogLine),
}

/// How far a unit is; `expected` rows where the source gave an estimate.
#[derive(Debug, Clone)]
pub struct UnitProgress {
    pub table: String,
    pub unit: RunUnit,
    pub expected: Option<u64>,
}

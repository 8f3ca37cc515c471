use chrono::{DateTime, Utc};
use mavis_types::{Counts, RunId, SourceId, TableId};
use serde::{Deserialize, Serialize};

use crate::{Catalog, Error};

/// One run of the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub kind: RunKind,
    pub source: Option<SourceId>,
    /// What was asked, as the pipeline serialises it; enough to do it again.
    pub request: serde_json::Value,
    /// Name of the principal who asked.
    pub requested_by: String,
    pub state: RunState,
    /// The run that this one retries.
    pub parent: Option<RunId>,
    /// 1 for the first try.
    pub attempt: u32,
    /// What went wrong and what to do, for a person.
    pub error: Option<String>,
    pub counts: Counts,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    Ingest,
    Discover,
    ImportFiles,
    Replay,
    Maintain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Pending,
    Running,
    Completed,
    CompletedWithWarnings,
    Failed,
    /// Failed, and a child run is waiting to try again.
    Retrying,
    FailedPermanently,
    Cancelled,
}

#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: RunId,
    pub kind: RunKind,
    pub source: Option<SourceId>,
    pub request: serde_json::Value,
    pub requested_by: String,
    pub parent: Option<RunId>,
    pub attempt: u32,
}

/// The steps of the way of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Discover,
    ToRaw,
    ToProcessed,
    ToFhir,
    Maintain,
}

/// One table's part of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunUnit {
    pub run: RunId,
    pub step: Step,
    /// The table written to.
    pub table: TableId,
    pub state: UnitState,
    pub counts: Counts,
    pub error: Option<String>,
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitState {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Info,
    Warn,
    Error,
}

/// A line of a run's log, in words a data engineer acts on; never a patient's value.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    pub run: RunId,
    /// Grows within a run; a watcher asks for the lines after the last one it has.
    pub sequence: i64,
    pub at: DateTime<Utc>,
    pub level: LogLevel,
    pub message: String,
}

impl Catalog {
    /// # Errors
    /// [`Error::Exists`] when the id is known: the same request was sent twice.
    pub async fn add_run(&self, new: NewRun) -> Result<Run, Error> {
        let _ = new;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn run(&self, id: RunId) -> Result<Run, Error> {
        let _ = id;
        todo!()
    }

    /// Newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn runs(&self, source: Option<SourceId>, limit: u32) -> Result<Vec<Run>, Error> {
        let _ = (source, limit);
        todo!()
    }

    /// Runs that are pending or running: after a crash, those to resume.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn unfinished_runs(&self) -> Result<Vec<Run>, Error> {
        todo!()
    }

    /// Moves a run on; sets `started_at` on the first `Running` and `finished_at` on a final state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_run_state(
        &self,
        id: RunId,
        state: RunState,
        counts: Counts,
        error: Option<&str>,
    ) -> Result<(), Error> {
        let _ = (id, state, counts, error);
        todo!()
    }

    /// Inserts or replaces the row of `(run, step, table)`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_run_unit(&self, unit: &RunUnit) -> Result<(), Error> {
        let _ = unit;
        todo!()
    }

    /// In the order in which they began.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn run_units(&self, run: RunId) -> Result<Vec<RunUnit>, Error> {
        let _ = run;
        todo!()
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn log(&self, run: RunId, level: LogLevel, message: &str) -> Result<LogLine, Error> {
        let _ = (run, level, message);
        todo!()
    }

    /// Lines with a sequence above `after`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn run_log(&self, run: RunId, after: i64) -> Result<Vec<LogLine>, Error> {
        let _ = (run, after);
        todo!()
    }
}

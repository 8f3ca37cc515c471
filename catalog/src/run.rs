use std::time::Duration;

use chrono::{DateTime, Utc};
use mavis_types::{Counts, RunId, SourceId, TableId};
use serde::{Deserialize, Serialize};

use crate::{
    Catalog, Error,
    engine::{Durability, Tx},
    lease::micros,
    value::{Row, json, values, word},
};

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

impl RunState {
    /// Whether the run itself will not go on; a retry is a run of its own.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
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
        let id = new.id;
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let added = insert_run(&mut tx, new).await?;
        tx.commit().await?;
        added.ok_or_else(|| Error::Exists { what: "run", name: id.to_string() })
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn run(&self, id: RunId) -> Result<Run, Error> {
        match self.engine.one("SELECT * FROM runs WHERE id = $1", values![id.to_string()]).await? {
            Some(row) => read_run(&row),
            None => Err(not_found(id)),
        }
    }

    /// Newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn runs(&self, source: Option<SourceId>, limit: u32) -> Result<Vec<Run>, Error> {
        let rows = match source {
            Some(source) => {
                self.engine
                    .all(
                        "SELECT * FROM runs WHERE source_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
                        values![source.to_string(), limit],
                    )
                    .await?
            }
            None => {
                self.engine.all("SELECT * FROM runs ORDER BY created_at DESC, id DESC LIMIT $1", values![limit]).await?
            }
        };
        rows.iter().map(read_run).collect()
    }

    /// Runs that are pending or running: after a crash, those to resume.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn unfinished_runs(&self) -> Result<Vec<Run>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT * FROM runs WHERE state IN ($1, $2) ORDER BY created_at, id",
                values![word(&RunState::Pending, "runs.state")?, word(&RunState::Running, "runs.state")?],
            )
            .await?;
        rows.iter().map(read_run).collect()
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
        let changed = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE runs SET
                    state = $2, counts = $3, error = $4,
                    started_at = CASE WHEN $5 = 1 THEN COALESCE(started_at, NOW_MICROS) ELSE started_at END,
                    finished_at = CASE WHEN $6 = 1 THEN COALESCE(finished_at, NOW_MICROS) END
                 WHERE id = $1
                 RETURNING id",
                values![
                    id.to_string(),
                    word(&state, "runs.state")?,
                    json(&counts, "runs.counts")?,
                    error,
                    state == RunState::Running,
                    state.is_final(),
                ],
            )
            .await?;
        if changed.is_empty() { Err(not_found(id)) } else { Ok(()) }
    }

    /// Inserts or replaces the row of `(run, step, table)`; it keeps its place in the order.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such run.
    pub async fn set_run_unit(&self, unit: &RunUnit) -> Result<(), Error> {
        let seconds = if unit.seconds.is_finite() { unit.seconds } else { 0.0 };
        let mut tx = self.engine.begin(Durability::System).await?;
        // Numbers the unit where it is new, and keeps out a second writer of the same run.
        let ordinal = tx
            .one(
                "UPDATE runs SET unit_sequence = unit_sequence + 1 WHERE id = $1 RETURNING unit_sequence",
                values![unit.run.to_string()],
            )
            .await?
            .ok_or_else(|| not_found(unit.run))?
            .int("runs.unit_sequence")?;
        tx.all(
            "INSERT INTO run_units (run_id, step, table_id, ordinal, state, counts, error, seconds)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (run_id, step, table_id) DO UPDATE SET
                state = excluded.state, counts = excluded.counts, error = excluded.error, seconds = excluded.seconds",
            values![
                unit.run.to_string(),
                word(&unit.step, "run_units.step")?,
                unit.table.to_string(),
                ordinal,
                word(&unit.state, "run_units.state")?,
                json(&unit.counts, "run_units.counts")?,
                &unit.error,
                seconds,
            ],
        )
        .await?;
        if unit.step == Step::ToRaw && unit.state == UnitState::Completed {
            // The rows are those that there were when the reading began.
            tx.all(
                "UPDATE lake_tables SET fresh_at = NOW_MICROS - $2 WHERE id = $1",
                values![unit.table.to_string(), micros(Duration::try_from_secs_f64(seconds).unwrap_or_default())],
            )
            .await?;
        }
        tx.commit().await
    }

    /// In the order in which they began.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn run_units(&self, run: RunId) -> Result<Vec<RunUnit>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM run_units WHERE run_id = $1 ORDER BY ordinal", values![run.to_string()])
            .await?;
        rows.iter().map(read_unit).collect()
    }

    /// Adds a line; lines of a run are numbered 1, 2, 3, ... in the order in which they become visible.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such run.
    pub async fn log(&self, run: RunId, level: LogLevel, message: &str) -> Result<LogLine, Error> {
        let mut tx = self.engine.begin(Durability::System).await?;
        let sequence = tx
            .one(
                "UPDATE runs SET log_sequence = log_sequence + 1 WHERE id = $1 RETURNING log_sequence",
                values![run.to_string()],
            )
            .await?
            .ok_or_else(|| not_found(run))?
            .int("runs.log_sequence")?;
        let row = tx
            .one(
                "INSERT INTO run_log (run_id, sequence, at, level, message) VALUES ($1, $2, NOW_MICROS, $3, $4)
                 RETURNING *",
                values![run.to_string(), sequence, word(&level, "run_log.level")?, message],
            )
            .await?
            .ok_or(Error::Corrupt { place: "run_log.sequence" })?;
        let line = read_line(&row)?;
        tx.commit().await?;
        Ok(line)
    }

    /// Lines with a sequence above `after`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn run_log(&self, run: RunId, after: i64) -> Result<Vec<LogLine>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT * FROM run_log WHERE run_id = $1 AND sequence > $2 ORDER BY sequence",
                values![run.to_string(), after],
            )
            .await?;
        rows.iter().map(read_line).collect()
    }

    /// Units of all runs: those of the newest run first, within a run in the order in which they began.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn all_run_units(&self, limit: u32) -> Result<Vec<RunUnit>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT u.* FROM run_units u JOIN runs r ON r.id = u.run_id
                 ORDER BY r.created_at DESC, r.id DESC, u.ordinal LIMIT $1",
                values![limit],
            )
            .await?;
        rows.iter().map(read_unit).collect()
    }

    /// Log lines of all runs, newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn all_run_log(&self, limit: u32) -> Result<Vec<LogLine>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM run_log ORDER BY at DESC, run_id DESC, sequence DESC LIMIT $1", values![limit])
            .await?;
        rows.iter().map(read_line).collect()
    }
}

/// `None`: the id is known.
pub(crate) async fn insert_run(tx: &mut Tx<'_>, new: NewRun) -> Result<Option<Run>, Error> {
    let row = tx
        .one(
            "INSERT INTO runs (id, kind, source_id, request, requested_by, state, parent_id, attempt, counts,
                               created_at, log_sequence, unit_sequence)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NOW_MICROS, 0, 0)
             ON CONFLICT (id) DO NOTHING
             RETURNING *",
            values![
                new.id.to_string(),
                word(&new.kind, "runs.kind")?,
                new.source.map(|id| id.to_string()),
                json(&new.request, "runs.request")?,
                &new.requested_by,
                word(&RunState::Pending, "runs.state")?,
                new.parent.map(|id| id.to_string()),
                new.attempt,
                json(&Counts::default(), "runs.counts")?,
            ],
        )
        .await?;
    row.as_ref().map(read_run).transpose()
}

fn not_found(id: RunId) -> Error {
    Error::NotFound { what: "run", name: id.to_string() }
}

pub(crate) fn read_run(row: &Row) -> Result<Run, Error> {
    Ok(Run {
        id: row.parse("runs.id")?,
        kind: row.word("runs.kind")?,
        source: row.opt_parse("runs.source_id")?,
        request: row.json("runs.request")?,
        requested_by: row.text("runs.requested_by")?,
        state: row.word("runs.state")?,
        parent: row.opt_parse("runs.parent_id")?,
        attempt: row.small("runs.attempt")?,
        error: row.opt_text("runs.error")?,
        counts: row.json("runs.counts")?,
        created_at: row.time("runs.created_at")?,
        started_at: row.opt_time("runs.started_at")?,
        finished_at: row.opt_time("runs.finished_at")?,
    })
}

fn read_unit(row: &Row) -> Result<RunUnit, Error> {
    Ok(RunUnit {
        run: row.parse("run_units.run_id")?,
        step: row.word("run_units.step")?,
        table: row.parse("run_units.table_id")?,
        state: row.word("run_units.state")?,
        counts: row.json("run_units.counts")?,
        error: row.opt_text("run_units.error")?,
        seconds: row.real("run_units.seconds")?,
    })
}

fn read_line(row: &Row) -> Result<LogLine, Error> {
    Ok(LogLine {
        run: row.parse("run_log.run_id")?,
        sequence: row.int("run_log.sequence")?,
        at: row.time("run_log.at")?,
        level: row.word("run_log.level")?,
        message: row.text("run_log.message")?,
    })
}

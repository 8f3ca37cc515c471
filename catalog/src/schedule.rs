use chrono::{DateTime, Utc};
use mavis_types::{RunId, SourceId};

use crate::{
    Catalog, Error, NewRun, Run, alert,
    engine::{Durability, Tx},
    lease::micros,
    run::{insert_run, read_run},
    value::{Row, json, values},
};

/// When a source is read by itself, and where that stands. One per source.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub source: SourceId,
    /// What was declared, as the pipeline serialises it.
    pub spec: serde_json::Value,
    pub updated_at: DateTime<Utc>,
    /// Grows with each change: who changes the state names the version that the decision was made upon.
    pub version: i64,
    pub state: ScheduleState,
}

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleState {
    /// When something is to be done next; `None`: nothing by itself.
    pub next_at: Option<DateTime<Utc>>,
    /// The time of the plan that `next_at` stands for, which jitter and waiting may put off.
    pub planned_at: Option<DateTime<Utc>>,
    /// When this was decided. A clock that says less was put back since.
    pub decided_at: DateTime<Utc>,
    pub last_run: Option<RunId>,
    /// When the last run was begun.
    pub fired_at: Option<DateTime<Utc>>,
    /// Whether the end of the last run was taken account of.
    pub settled: bool,
    /// Runs that failed one after the other.
    pub failures: u32,
    /// When runs were begun within the last hour.
    pub recent: Vec<DateTime<Utc>>,
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why it was disabled, for a person.
    pub disabled_reason: Option<String>,
}

/// What came of an attempt to begin a run by schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum Fired {
    /// Another server was first; nothing was changed.
    Lost,
    /// The state was changed; the run had been begun before.
    Known,
    Begun(Box<Run>),
}

impl Catalog {
    /// The database's clock, the same for every server that shares the catalog.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn now(&self) -> Result<DateTime<Utc>, Error> {
        let row = self.engine.one("SELECT NOW_MICROS AS now", values![]).await?;
        row.ok_or(Error::Corrupt { place: "now" })?.time("now")
    }

    /// Gives a source a schedule, in the place of the one that it has.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such source.
    pub async fn put_schedule(
        &self,
        source: SourceId,
        spec: &serde_json::Value,
        state: &ScheduleState,
    ) -> Result<Schedule, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let row = tx
            .one(
                "INSERT INTO schedules (source_id, spec, updated_at, version, decided_at, settled, failures, recent)
                 SELECT id, $2, NOW_MICROS, 1, 0, 1, 0, '[]' FROM sources WHERE id = $1
                 ON CONFLICT (source_id) DO UPDATE SET
                    spec = excluded.spec, updated_at = excluded.updated_at, version = schedules.version + 1
                 RETURNING version",
                values![source.to_string(), json(spec, "schedules.spec")?],
            )
            .await?
            .ok_or_else(|| Error::NotFound { what: "source", name: source.to_string() })?;
        let version = row.int("schedules.version")?;
        move_schedule(&mut tx, source, version, state).await?;
        let row = tx.one("SELECT * FROM schedules WHERE source_id = $1", values![source.to_string()]).await?;
        let schedule = read_schedule(&row.ok_or(Error::Corrupt { place: "schedules.source_id" })?)?;
        tx.commit().await?;
        Ok(schedule)
    }

    /// Takes a source's schedule away; whether it had one. Runs that were begun go on.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn remove_schedule(&self, source: SourceId) -> Result<bool, Error> {
        let removed = self
            .engine
            .write(
                Durability::Disk,
                "DELETE FROM schedules WHERE source_id = $1 RETURNING source_id",
                values![source.to_string()],
            )
            .await?;
        Ok(!removed.is_empty())
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn schedule(&self, source: SourceId) -> Result<Option<Schedule>, Error> {
        let row = self.engine.one("SELECT * FROM schedules WHERE source_id = $1", values![source.to_string()]).await?;
        row.as_ref().map(read_schedule).transpose()
    }

    /// Schedules of sources that are there, by the source's name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT c.* FROM schedules c JOIN sources s ON s.id = c.source_id
                 WHERE s.removed_at IS NULL ORDER BY s.name",
                values![],
            )
            .await?;
        rows.iter().map(read_schedule).collect()
    }

    /// Schedules that have something to do at `now`, the longest waiting first: enabled, due, and with no run of their source
    /// unfinished, whoever asked for it. One whose last run's end was not taken account of waits for that.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn due_schedules(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<Schedule>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT c.* FROM schedules c JOIN sources s ON s.id = c.source_id
                 WHERE c.next_at <= $1 AND c.disabled_at IS NULL AND c.settled = 1 AND s.removed_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM runs r
                                   WHERE r.source_id = c.source_id AND r.state IN ('pending', 'running'))
                 ORDER BY c.next_at, c.source_id LIMIT $2",
                values![now, limit],
            )
            .await?;
        rows.iter().map(read_schedule).collect()
    }

    /// Schedules whose last run has come to its end, which was not taken account of yet; `None` in the place of a run that
    /// is no longer there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn ended_schedules(&self, limit: u32) -> Result<Vec<(Schedule, Option<Run>)>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT c.* FROM schedules c LEFT JOIN runs r ON r.id = c.last_run
                 WHERE c.settled = 0 AND (r.id IS NULL OR r.state NOT IN ('pending', 'running'))
                 ORDER BY c.source_id LIMIT $1",
                values![limit],
            )
            .await?;
        let mut ended = Vec::with_capacity(rows.len());
        for row in &rows {
            let schedule = read_schedule(row)?;
            let run = match schedule.state.last_run {
                None => None,
                Some(id) => match self.run(id).await {
                    Ok(run) => Some(run),
                    Err(Error::NotFound { .. }) => None,
                    Err(error) => return Err(error),
                },
            };
            ended.push((schedule, run));
        }
        Ok(ended)
    }

    /// Schedules that were decided upon after `now`: the clock was put back.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn schedules_decided_after(&self, now: DateTime<Utc>) -> Result<Vec<Schedule>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM schedules WHERE decided_at > $1 AND next_at IS NOT NULL", values![now])
            .await?;
        rows.iter().map(read_schedule).collect()
    }

    /// Moves a schedule on from the version that the decision was made upon. `false`: somebody else was first, and nothing
    /// was changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn move_schedule(&self, source: SourceId, version: i64, state: &ScheduleState) -> Result<bool, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let moved = move_schedule(&mut tx, source, version, state).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// As [`Catalog::move_schedule`], of a schedule that is disabled; `alert` is told to whoever is to be told, in the same
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn disable_schedule(
        &self,
        source: SourceId,
        version: i64,
        state: &ScheduleState,
        alert: Option<&serde_json::Value>,
    ) -> Result<bool, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let moved = move_schedule(&mut tx, source, version, state).await?;
        if let (true, Some(body)) = (moved, alert) {
            alert::add(&mut tx, &source.to_string(), body).await?;
        }
        tx.commit().await?;
        Ok(moved)
    }

    /// Moves a schedule on and adds its run, held by `holder`, in one transaction: either both are there or neither.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn fire_schedule(
        &self,
        source: SourceId,
        version: i64,
        state: &ScheduleState,
        new: NewRun,
        holder: &str,
        ttl: std::time::Duration,
    ) -> Result<Fired, Error> {
        let id = new.id;
        let mut tx = self.engine.begin(Durability::Disk).await?;
        if !move_schedule(&mut tx, source, version, state).await? {
            return Ok(Fired::Lost);
        }
        let Some(_) = insert_run(&mut tx, new).await? else {
            tx.commit().await?;
            return Ok(Fired::Known);
        };
        let row = tx
            .one(
                "UPDATE runs SET holder = $2, held_until = NOW_MICROS + $3 WHERE id = $1 RETURNING *",
                values![id.to_string(), holder, micros(ttl)],
            )
            .await?
            .ok_or(Error::Corrupt { place: "runs.id" })?;
        let run = read_run(&row)?;
        tx.commit().await?;
        Ok(Fired::Begun(Box::new(run)))
    }
}

/// Whether the version was the one named; the row is locked until the transaction ends.
async fn move_schedule(tx: &mut Tx<'_>, source: SourceId, version: i64, state: &ScheduleState) -> Result<bool, Error> {
    let recent: Vec<i64> = state.recent.iter().map(DateTime::timestamp_micros).collect();
    let moved = tx
        .one(
            "UPDATE schedules SET
                version = version + 1, next_at = $3, planned_at = $4, decided_at = $5, last_run = $6, fired_at = $7,
                settled = $8, failures = $9, recent = $10, disabled_at = $11, disabled_reason = $12
             WHERE source_id = $1 AND version = $2
             RETURNING version",
            values![
                source.to_string(),
                version,
                state.next_at,
                state.planned_at,
                state.decided_at,
                state.last_run.map(|id| id.to_string()),
                state.fired_at,
                state.settled,
                state.failures,
                json(&recent, "schedules.recent")?,
                state.disabled_at,
                &state.disabled_reason,
            ],
        )
        .await?;
    Ok(moved.is_some())
}

fn read_schedule(row: &Row) -> Result<Schedule, Error> {
    let recent: Vec<i64> = row.json("schedules.recent")?;
    let recent = recent.into_iter().map(DateTime::from_timestamp_micros).collect::<Option<Vec<_>>>();
    Ok(Schedule {
        source: row.parse("schedules.source_id")?,
        spec: row.json("schedules.spec")?,
        updated_at: row.time("schedules.updated_at")?,
        version: row.int("schedules.version")?,
        state: ScheduleState {
            next_at: row.opt_time("schedules.next_at")?,
            planned_at: row.opt_time("schedules.planned_at")?,
            decided_at: row.time("schedules.decided_at")?,
            last_run: row.opt_parse("schedules.last_run")?,
            fired_at: row.opt_time("schedules.fired_at")?,
            settled: row.flag("schedules.settled")?,
            failures: row.small("schedules.failures")?,
            recent: recent.ok_or(Error::Corrupt { place: "schedules.recent" })?,
            disabled_at: row.opt_time("schedules.disabled_at")?,
            disabled_reason: row.opt_text("schedules.disabled_reason")?,
        },
    })
}

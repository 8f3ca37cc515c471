//! Sources that are read by themselves: by the clock, on change, or again and again.
//!
//! A schedule is a row of the catalog with the moment at which something is to be done next. Every server looks at the rows
//! that are due ([`Scheduler::tick`]), decides by pure functions ([`decide`]), and moves the row on from the version that it
//! decided upon; the run is added in the same transaction. So of two servers that decide at once only one is heard, and a
//! server that dies in between has done nothing or all of it. Moments are those of the catalog database's clock, which all
//! servers share; a clock that is put back is noticed and the plan made anew.

mod decide;
mod fresh;
mod plan;
mod spec;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, Duration, Utc};
use futures::StreamExt;
use mavis_catalog::{Fired, NewRun, Run, RunKind, RunState, Schedule, ScheduleState, Source};
use mavis_lake::AppId;
use mavis_types::RunId;
use uuid::Uuid;

pub use fresh::TableFreshness;
pub use spec::{Freshness, Missed, ScheduleSpec, When};

use crate::{
    IngestRequest, alert,
    context::Context,
    failure::Failure,
    job::{self, Job},
    worker::{HELD_FOR, Workers},
};
use decide::{Due, Ended};

/// Who asked for the runs of schedules, as runs and the audit log say.
pub(crate) const BY: &str = "schedule";
/// By how much the clock may be behind a decision before it counts as put back.
const TOLERANCE: Duration = Duration::seconds(30);
/// Schedules looked at in one go.
const AT_ONCE: u32 = 200;
/// Sources asked at once whether something changed, and how long an answer is waited for.
const ASKED: usize = 8;
const ANSWER: std::time::Duration = std::time::Duration::from_secs(60);
/// How often lateness is told, in seconds.
const LATENESS: i64 = 60;

/// What one look at the schedules came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Runs that were begun.
    pub begun: u64,
    /// Runs whose end was taken account of.
    pub settled: u64,
    /// Schedules that were disabled.
    pub disabled: u64,
    /// Schedules that were planned anew since the clock was put back.
    pub put_back: u64,
}

/// Looks at the schedules; one per server.
#[derive(Debug)]
pub(crate) struct Scheduler {
    context: Arc<Context>,
    workers: Arc<Workers>,
    /// When lateness was told, and is told next, in seconds since 1970.
    told: AtomicI64,
    tells: AtomicI64,
}

impl Scheduler {
    pub(crate) fn new(context: Arc<Context>, workers: Arc<Workers>) -> Self {
        Self { context, workers, told: AtomicI64::new(0), tells: AtomicI64::new(0) }
    }

    /// One look at what is due at `now`.
    pub(crate) async fn tick(&self, now: DateTime<Utc>) -> Result<Ticked, Failure> {
        let mut ticked = Ticked::default();
        for schedule in self.context.catalog.schedules_decided_after(now + TOLERANCE).await? {
            ticked.put_back += u64::from(self.put_back(&schedule, now).await?);
        }
        for (schedule, run) in self.context.catalog.ended_schedules(AT_ONCE).await? {
            let (settled, disabled) = self.settle(&schedule, run.as_ref(), now).await?;
            ticked.settled += u64::from(settled);
            ticked.disabled += u64::from(disabled);
        }
        // What this server cannot begin soon is left for another one, and for the next look.
        let room = u32::try_from(self.workers.room()).unwrap_or(u32::MAX).min(AT_ONCE);
        if room > 0 {
            let due = self.context.catalog.due_schedules(now, room).await?;
            let begun: Vec<Result<bool, Failure>> = futures::stream::iter(due)
                .map(|schedule| async move { self.due(&schedule, now).await })
                .buffer_unordered(ASKED)
                .collect()
                .await;
            for begun in begun {
                match begun {
                    Ok(begun) => ticked.begun += u64::from(begun),
                    Err(failure) => {
                        tracing::warn!(%failure, "a schedule could not be followed; the next look tries again")
                    }
                }
            }
        }
        let told = self.told.load(Ordering::Relaxed);
        if now.timestamp() >= self.tells.load(Ordering::Relaxed) || now.timestamp() < told {
            let began = std::time::Instant::now();
            fresh::tell(&self.context, now).await?;
            // Of very many tables it is told less often.
            let pause = i64::try_from(began.elapsed().as_secs().saturating_mul(20)).unwrap_or(i64::MAX).max(LATENESS);
            self.told.store(now.timestamp(), Ordering::Relaxed);
            self.tells.store(now.timestamp().saturating_add(pause), Ordering::Relaxed);
        }
        Ok(ticked)
    }

    /// What was declared; a declaration that cannot be read any more disables its schedule.
    async fn spec(&self, schedule: &Schedule, now: DateTime<Utc>) -> Result<Option<ScheduleSpec>, Failure> {
        match serde_json::from_value(schedule.spec.clone()) {
            Ok(spec) => Ok(Some(spec)),
            Err(error) => {
                self.disable(schedule, format!("its declaration cannot be read: {error}"), now).await?;
                Ok(None)
            }
        }
    }

    async fn put_back(&self, schedule: &Schedule, now: DateTime<Utc>) -> Result<bool, Failure> {
        let Some(spec) = self.spec(schedule, now).await? else { return Ok(false) };
        match decide::put_back(&spec, schedule.source, &schedule.state, now) {
            Ok(state) => {
                tracing::warn!(source = %schedule.source, "the catalog's clock was put back; the schedule is planned anew");
                Ok(self.context.catalog.move_schedule(schedule.source, schedule.version, &state).await?)
            }
            Err(reason) => {
                self.disable(schedule, reason, now).await?;
                Ok(false)
            }
        }
    }

    /// Takes account of the end of a schedule's run: whether, and whether the schedule is disabled for it.
    async fn settle(
        &self,
        schedule: &Schedule,
        run: Option<&Run>,
        now: DateTime<Utc>,
    ) -> Result<(bool, bool), Failure> {
        let Some(spec) = self.spec(schedule, now).await? else { return Ok((false, true)) };
        let how = match run.map(|run| (run.state, run.id)) {
            Some((RunState::Completed | RunState::CompletedWithWarnings, _)) => {
                let counts = run.map(|run| run.counts).unwrap_or_default();
                Ended::Done { rows: counts.inserted + counts.updated + counts.deleted + counts.quarantined }
            }
            Some((RunState::Retrying, id)) => Ended::Retried(RunId::from_uuid(Uuid::new_v5(id.as_uuid(), b"retry"))),
            Some((RunState::Cancelled, _)) => Ended::Cancelled,
            // One that is no longer there has not done its work.
            Some(_) | None => Ended::Failed,
        };
        let state = decide::ended(&spec, &schedule.state, how, now);
        let disabled = state.disabled_reason.clone().filter(|_| schedule.state.disabled_at.is_none());
        match &disabled {
            Some(reason) => {
                let last = run.and_then(|run| run.error.as_deref()).unwrap_or("see the log of its last run");
                if !self.put_out(schedule, &state, reason, Some(last)).await? {
                    return Ok((false, false));
                }
            }
            None => {
                if !self.context.catalog.move_schedule(schedule.source, schedule.version, &state).await? {
                    return Ok((false, false));
                }
            }
        }
        Ok((how_is_final(how), disabled.is_some()))
    }

    async fn disable(&self, schedule: &Schedule, reason: String, now: DateTime<Utc>) -> Result<(), Failure> {
        let state = ScheduleState {
            settled: true,
            decided_at: now,
            disabled_at: Some(now),
            disabled_reason: Some(reason.clone()),
            ..schedule.state.clone()
        };
        self.put_out(schedule, &state, &reason, None).await?;
        Ok(())
    }

    /// Disables a schedule and says so wherever somebody may look; `false`: somebody else was first. `error`: what its last
    /// run ended with.
    async fn put_out(
        &self,
        schedule: &Schedule,
        state: &ScheduleState,
        reason: &str,
        error: Option<&str>,
    ) -> Result<bool, Failure> {
        let name = match self.context.catalog.source_by_id(schedule.source).await {
            Ok(source) => source.name.to_string(),
            Err(_) => schedule.source.to_string(),
        };
        let alert = self.context.alerts.load(Ordering::Relaxed);
        let alert = alert.then(|| alert::disabled(&name, state.failures, reason, error, state.decided_at));
        let catalog = &self.context.catalog;
        if !catalog.disable_schedule(schedule.source, schedule.version, state, alert.as_ref()).await? {
            return Ok(false);
        }
        let reason = error.map_or_else(|| reason.to_owned(), |error| format!("{reason}; the last one: {error}"));
        metrics::counter!("mavis_schedules_disabled_total").increment(1);
        tracing::error!(
            source = name,
            reason,
            "the schedule of source `{name}` is disabled: {reason}; see to it and enable it again"
        );
        self.context.audit_as(BY, "schedule.disable", &name).await;
        Ok(true)
    }

    /// Does what is to be done about a schedule whose time has come; whether a run was begun.
    async fn due(&self, schedule: &Schedule, now: DateTime<Utc>) -> Result<bool, Failure> {
        let Some(spec) = self.spec(schedule, now).await? else { return Ok(false) };
        let source = self.context.catalog.source_by_id(schedule.source).await?;
        match decide::due(&spec, schedule.source, &schedule.state, now) {
            Err(reason) => {
                self.disable(schedule, reason, now).await?;
                Ok(false)
            }
            Ok(Due::Wait(state, why)) => {
                let moved = self.context.catalog.move_schedule(schedule.source, schedule.version, &state).await?;
                if let (true, Some(why)) = (moved, why) {
                    tracing::info!(source = %source.name, "no run of `{}` by schedule: {why}", source.name);
                }
                Ok(false)
            }
            Ok(Due::Fire(state)) => self.fire(&source, &spec, schedule.version, &state).await,
            Ok(Due::Ask(state)) => {
                // Whoever moves the row is the one who asks.
                if !self.context.catalog.move_schedule(schedule.source, schedule.version, &state).await? {
                    return Ok(false);
                }
                // After a failure what was read is not all committed.
                if state.failures == 0 && !self.has_changed(&source, &spec).await {
                    return Ok(false);
                }
                let state = decide::changed(schedule.source, &state, now);
                self.fire(&source, &spec, schedule.version + 1, &state).await
            }
        }
    }

    async fn fire(
        &self,
        source: &Source,
        spec: &ScheduleSpec,
        version: i64,
        state: &ScheduleState,
    ) -> Result<bool, Failure> {
        let Some(id) = state.last_run else { return Ok(false) };
        let request = IngestRequest { source: source.name.clone(), tables: spec.tables.clone(), full: spec.full };
        let request =
            serde_json::to_value(Job::Ingest(request)).map_err(|error| Failure::permanent(error.to_string()))?;
        let new = NewRun {
            id,
            kind: RunKind::Ingest,
            source: Some(source.id),
            request,
            requested_by: BY.to_owned(),
            parent: None,
            attempt: 1,
        };
        match self
            .context
            .catalog
            .fire_schedule(source.id, version, state, new, self.workers.holder(), HELD_FOR)
            .await?
        {
            Fired::Begun(run) => {
                metrics::counter!("mavis_schedules_fired_total").increment(1);
                self.workers.queue(*run);
                Ok(true)
            }
            Fired::Known | Fired::Lost => Ok(false),
        }
    }

    /// Whether a source has something new, as far as it can say: one that cannot, or that does not answer, is read, and the
    /// run's log says what is wrong with it.
    async fn has_changed(&self, source: &Source, spec: &ScheduleSpec) -> bool {
        match tokio::time::timeout(ANSWER, self.ask(source, spec)).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(failure)) => {
                tracing::info!(source = %source.name, %failure, "the source could not be asked for changes; it is read");
                true
            }
            Err(_) => true,
        }
    }

    async fn ask(&self, source: &Source, spec: &ScheduleSpec) -> Result<bool, Failure> {
        let context = &self.context;
        let connected = context.connect(&job::spec(source))?;
        let Some(report) = crate::discover::latest(context, source).await? else { return Ok(true) };
        let wanted = |table: &crate::ReportTable| {
            let names = [&table.table.name, &table.table.to_string(), &table.lake_name.1];
            spec.tables.is_empty() || spec.tables.iter().any(|w| names.iter().any(|name| name.eq_ignore_ascii_case(w)))
        };
        for table in report.tables.iter().filter(|table| wanted(table)) {
            let name = crate::discover::raw_table(source, table).name;
            let Some(entry) = context.catalog.find_table(&name).await? else { return Ok(true) };
            let app = AppId::ingest(source.id, entry.id);
            let cursor = context.catalog.newest_cursor(app.as_str()).await?.and_then(|row| row.to);
            if connected.changed(&table.table, cursor.as_ref()).await? != Some(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn how_is_final(how: Ended) -> bool {
    !matches!(how, Ended::Retried(_))
}

/// Where a schedule stands that is declared or enabled now.
pub(crate) fn begin(
    spec: &ScheduleSpec,
    source: mavis_types::SourceId,
    now: DateTime<Utc>,
) -> Result<ScheduleState, String> {
    decide::begin(spec, source, now)
}

/// How old the tables of all sources are that something is expected of.
pub(crate) async fn freshness(context: &Context, now: DateTime<Utc>) -> Result<Vec<TableFreshness>, Failure> {
    fresh::all(context, now).await
}

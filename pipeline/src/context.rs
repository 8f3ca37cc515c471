//! What every part of the pipeline has at hand, and what a run in progress tells the world.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mavis_catalog::{Catalog, LogLevel, NewAudit, RunState, RunUnit, Source, Step, Table, UnitState};
use mavis_connectors::{
    Registry, Secrets, Source as Connected, SourceKind, SourceSpec,
    push::{Inbox, Push, PushParams},
};
use mavis_lake::Lake;
use mavis_types::{Counts, Principal, RunId, SourceId, SourceName};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    PipelineOptions, RunEvent, UnitProgress, clean::CleanConfig, failure::Failure, log_health::Told, turns::Places,
};

/// Events that a slow watcher may fall behind by before it has to read the catalog again.
const EVENTS: usize = 1_024;
/// How often a unit's progress is written to the catalog.
const PROGRESS: Duration = Duration::from_millis(500);

/// The pipeline's surroundings; one per server.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) catalog: Catalog,
    pub(crate) lake: Lake,
    pub(crate) registry: Registry,
    pub(crate) secrets: Secrets,
    pub(crate) options: PipelineOptions,
    /// Places for tables that are worked on at once, given to the sources in turn.
    pub(crate) places: Places,
    /// Somebody may want to look at the schedules: a run has ended.
    pub(crate) wake: tokio::sync::Notify,
    /// Sources whose logs metrics tell of.
    pub(crate) logs: Told,
    /// Whether somebody outside is told of what happens.
    pub(crate) alerts: std::sync::atomic::AtomicBool,
    /// When a source was last looked at for changes of its tables.
    pub(crate) looked: Mutex<HashMap<SourceId, Instant>>,
    /// Held while a snapshot of the FHIR zone is published: versions only ever grow.
    pub(crate) publishing: tokio::sync::Mutex<()>,
    /// Direct writes of one resource type take turns, in the order in which they came.
    pub(crate) turns: crate::write::Turns,
    /// The source that direct writes belong to.
    pub(crate) written_by: tokio::sync::OnceCell<Source>,
    /// Uploads of all inboxes get their numbers one after the other.
    inboxes: Arc<Mutex<()>>,
    live: Mutex<HashMap<RunId, Live>>,
}

#[derive(Debug, Clone)]
struct Live {
    events: broadcast::Sender<RunEvent>,
    cancel: CancellationToken,
}

impl Context {
    pub(crate) fn new(
        catalog: Catalog,
        lake: Lake,
        registry: Registry,
        secrets: Secrets,
        options: PipelineOptions,
    ) -> Self {
        let live = Mutex::new(HashMap::new());
        let places = Places::new(options.workers.max(1) * options.tables_per_run.max(1));
        Self {
            places,
            wake: tokio::sync::Notify::new(),
            logs: Told::default(),
            alerts: std::sync::atomic::AtomicBool::new(false),
            looked: Mutex::new(HashMap::new()),
            catalog,
            lake,
            registry,
            secrets,
            options,
            publishing: tokio::sync::Mutex::new(()),
            turns: crate::write::Turns::default(),
            written_by: tokio::sync::OnceCell::new(),
            inboxes: Arc::default(),
            live,
        }
    }

    /// The source behind a declaration; opens no connection.
    pub(crate) fn connect(&self, spec: &SourceSpec) -> Result<Arc<dyn Connected>, mavis_connectors::Error> {
        let connected = self.registry.connect(spec, &self.secrets)?;
        Ok(if spec.kind == Push::NAME { Arc::new(self.inbox_of(&spec.name, &spec.params)?) } else { connected })
    }

    /// Where the uploads of a source of kind `push` are.
    pub(crate) fn inbox(&self, source: &Source) -> Result<Inbox, mavis_connectors::Error> {
        self.inbox_of(&source.name, &CleanConfig::without(&source.params))
    }

    fn inbox_of(&self, name: &SourceName, params: &serde_json::Value) -> Result<Inbox, mavis_connectors::Error> {
        let params = serde_json::from_value(params.clone()).map_err(|error| mavis_connectors::Error::Params {
            source_name: name.to_string(),
            reason: error.to_string(),
        })?;
        Ok(self.inbox_with(name, params))
    }

    /// An inbox whose declaration does not matter, or is not there any more.
    pub(crate) fn inbox_named(&self, name: &SourceName) -> Inbox {
        self.inbox_with(name, PushParams::default())
    }

    fn inbox_with(&self, name: &SourceName, params: PushParams) -> Inbox {
        let folder = self.options.spool.join(name.as_str()).join("inbox");
        Inbox::new(folder, params, Arc::clone(&self.inboxes))
    }

    fn live(&self, run: RunId) -> Live {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.entry(run)
            .or_insert_with(|| Live { events: broadcast::channel(EVENTS).0, cancel: CancellationToken::new() })
            .clone()
    }

    /// What a run does from now on. A run that ended before is told by the catalog alone.
    pub(crate) fn subscribe(&self, run: RunId) -> broadcast::Receiver<RunEvent> {
        self.live(run).events.subscribe()
    }

    /// The token that asks a run to end.
    pub(crate) fn cancel_token(&self, run: RunId) -> CancellationToken {
        self.live(run).cancel
    }

    pub(crate) fn tell(&self, run: RunId, event: RunEvent) {
        // Nobody watching is no failure.
        let _told = self.live(run).events.send(event);
    }

    /// Drops the channel of a run that ended; its watchers come to their end.
    pub(crate) fn forget(&self, run: RunId) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }

    /// Notes an administrative change. A failure to note it is logged and does not undo the change.
    pub(crate) async fn audit(&self, by: &Principal, action: &str, object: &str) {
        self.audit_as(&by.name, action, object).await;
    }

    /// As [`Context::audit`], for what the server does by itself.
    pub(crate) async fn audit_as(&self, actor: &str, action: &str, object: &str) {
        let entry = NewAudit {
            actor: actor.to_owned(),
            action: action.to_owned(),
            object: object.to_owned(),
            allowed: true,
            door: "pipeline".to_owned(),
            rows: None,
        };
        if let Err(error) = self.catalog.audit(&entry).await {
            tracing::error!(action, object, %error, "an administrative change was made, but not noted in the audit log");
        }
    }
}

/// A run in progress.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) context: Arc<Context>,
    pub(crate) id: RunId,
    /// Ends the run at the next place where nothing is half done: cancelled by a person, or the server is stopping.
    pub(crate) cancel: CancellationToken,
    warnings: Arc<AtomicU64>,
    /// Whether the catalog lists it as a run; a direct write is not listed, and its log is the server's.
    listed: bool,
}

impl Running {
    pub(crate) fn new(context: Arc<Context>, id: RunId, cancel: CancellationToken) -> Self {
        Self { context, id, cancel, warnings: Arc::new(AtomicU64::new(0)), listed: true }
    }

    /// A direct write: nobody cancels it, and the catalog has no run for it.
    pub(crate) fn unlisted(context: Arc<Context>, id: RunId) -> Self {
        Self { listed: false, ..Self::new(context, id, CancellationToken::new()) }
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.context.catalog
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.context.lake
    }

    /// # Errors
    /// [`Failure::Cancelled`] where the run was asked to end.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() { Err(Failure::Cancelled) } else { Ok(()) }
    }

    /// Lines of the log that were warnings or errors.
    pub(crate) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed)
    }

    pub(crate) async fn info(&self, message: impl AsRef<str>) {
        self.log(LogLevel::Info, message.as_ref()).await;
    }

    pub(crate) async fn warn(&self, message: impl AsRef<str>) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
        self.log(LogLevel::Warn, message.as_ref()).await;
    }

    pub(crate) async fn error(&self, message: impl AsRef<str>) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
        self.log(LogLevel::Error, message.as_ref()).await;
    }

    async fn log(&self, level: LogLevel, message: &str) {
        match level {
            LogLevel::Info => tracing::info!(run.id = %self.id, "{message}"),
            LogLevel::Warn => tracing::warn!(run.id = %self.id, "{message}"),
            LogLevel::Error => tracing::error!(run.id = %self.id, "{message}"),
        }
        if !self.listed {
            return;
        }
        match self.catalog().log(self.id, level, message).await {
            Ok(line) => self.context.tell(self.id, RunEvent::Log(line)),
            Err(error) => tracing::warn!(run.id = %self.id, %error, "a line of the run's log was not stored"),
        }
    }

    /// Tells the state of the run to the catalog and to watchers.
    pub(crate) async fn state(&self, state: RunState, counts: Counts, error: Option<&str>) -> Result<(), Failure> {
        self.catalog().set_run_state(self.id, state, counts, error).await?;
        self.context.tell(self.id, RunEvent::State { state, counts, error: error.map(str::to_owned) });
        Ok(())
    }

    /// Begins a unit's line of progress.
    pub(crate) async fn unit(&self, step: Step, table: &Table, expected: Option<u64>) -> UnitLine {
        let unit = RunUnit {
            run: self.id,
            step,
            table: table.id,
            state: UnitState::Running,
            counts: Counts::default(),
            error: None,
            seconds: 0.0,
        };
        let now = Instant::now();
        let line =
            UnitLine { running: self.clone(), unit, name: table.name.to_string(), expected, began: now, told: now };
        line.store().await;
        line
    }
}

/// One unit's line of progress.
#[derive(Debug)]
pub(crate) struct UnitLine {
    running: Running,
    unit: RunUnit,
    name: String,
    expected: Option<u64>,
    began: Instant,
    told: Instant,
}

impl UnitLine {
    async fn store(&self) {
        if let Err(error) = self.running.catalog().set_run_unit(&self.unit).await {
            tracing::warn!(run.id = %self.running.id, %error, "the progress of a unit was not stored");
        }
        let progress = UnitProgress { table: self.name.clone(), unit: self.unit.clone(), expected: self.expected };
        self.running.context.tell(self.running.id, RunEvent::Unit(progress));
    }

    /// Tells how far the unit is; at most twice a second.
    pub(crate) async fn progress(&mut self, counts: Counts) {
        self.unit.counts = counts;
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            self.unit.seconds = self.began.elapsed().as_secs_f64();
            self.store().await;
        }
    }

    /// Tells how the unit ended.
    pub(crate) async fn finish(mut self, outcome: &Result<Counts, Failure>) {
        self.unit.seconds = self.began.elapsed().as_secs_f64();
        match outcome {
            Ok(counts) => {
                self.unit.counts = *counts;
                self.unit.state = UnitState::Completed;
            }
            Err(Failure::Cancelled) => self.unit.state = UnitState::Cancelled,
            Err(failure) => {
                self.unit.state = UnitState::Failed;
                self.unit.error = Some(failure.to_string());
            }
        }
        if outcome.is_err() {
            // What was staged was thrown away.
            self.unit.counts = Counts::default();
        }
        self.store().await;
    }
}

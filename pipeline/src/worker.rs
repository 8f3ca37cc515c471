//! Runs in the background: a queue, workers, retries, and what an earlier process left unfinished.
//!
//! Several servers may share a catalog: a run is worked on by the one that holds it, which says so again and again. Runs
//! whose server has fallen silent are taken up by another one.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use futures::{FutureExt, future::BoxFuture};
use mavis_catalog::{NewRun, Run, RunState};
use mavis_types::{Counts, RunId, SourceId};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error,
    context::{Context, Running},
    job::{self, Job, Outcome},
};

/// The longest pause before a failed run is tried again.
const LONGEST: Duration = Duration::from_secs(3_600);

/// How long a run stays its server's after the last word, and how often the word is given.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(60);
const WORD: Duration = Duration::from_secs(15);
/// Runs of other servers that are taken up in one go.
const STRAYS: u32 = 64;
/// Runs that are open at once for each one that could work: the sources take turns between them, table by table.
const OPEN: usize = 8;

/// What the log of a run says that was begun before.
const TAKEN_UP: &str = "this run was begun before: the server that worked on it was stopped, died, or was silent for too long; \
                        each table goes on from its last commit, and what was read after that is read again";

/// Whether a run has come to its end.
pub(crate) fn is_final(state: RunState) -> bool {
    !matches!(state, RunState::Pending | RunState::Running)
}

/// The runs of this process.
#[derive(Debug)]
pub(crate) struct Workers {
    context: Arc<Context>,
    /// What this process is called as the holder of runs.
    holder: String,
    /// Runs that are queued or at work here; cancelled where another server has taken one up.
    mine: Mutex<HashMap<RunId, CancellationToken>>,
    turns: Arc<Semaphore>,
    /// Runs of one source go one after the other.
    sources: Mutex<HashMap<SourceId, Arc<tokio::sync::Mutex<()>>>>,
    tasks: Mutex<JoinSet<()>>,
    stopping: CancellationToken,
}

impl Workers {
    pub(crate) fn new(context: Arc<Context>) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(context.options.workers.max(1) * OPEN));
        let holder = format!("{}/{}", context.lake.server(), Uuid::new_v4());
        Arc::new(Self {
            context,
            holder,
            mine: Mutex::new(HashMap::new()),
            turns,
            sources: Mutex::new(HashMap::new()),
            tasks: Mutex::new(JoinSet::new()),
            stopping: CancellationToken::new(),
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Takes up again what was pending or running when an earlier process ended. Units that were committed find nothing
    /// to do.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Error> {
        self.context.catalog.release_runs(&format!("{}/", self.context.lake.server())).await.map_err(Error::Catalog)?;
        self.take_strays(u32::MAX).await.map_err(Error::Catalog)?;
        let workers = Arc::clone(self);
        self.spawn_aside(async move {
            loop {
                tokio::time::sleep(WORD).await;
                if let Err(error) = workers.keep_runs().await {
                    tracing::warn!(%error, "the catalog was not told that this server works on its runs; trying again");
                }
            }
        });
        Ok(())
    }

    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }

    /// Runs that may be begun besides those that wait here already: twice as many as can be open wait at most.
    pub(crate) fn room(&self) -> usize {
        if self.is_stopping() {
            return 0;
        }
        (2 * OPEN * self.context.options.workers.max(1)).saturating_sub(self.mine().len())
    }

    /// Whether this process works on a run.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.mine().contains_key(&run)
    }

    fn mine(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, CancellationToken>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the runs of this process are worked on, ends those that are another server's by now or that somebody asked
    /// to end, and takes up those that nobody works on.
    pub(crate) async fn keep_runs(self: &Arc<Self>) -> Result<(), mavis_catalog::Error> {
        let before: Vec<RunId> = self.mine().keys().copied().collect();
        let held = self.context.catalog.keep_runs(&self.holder, HELD_FOR).await?;
        for run in before.iter().filter(|run| !held.iter().any(|held| held.run == **run)) {
            if let Some(lost) = self.mine().get(run) {
                lost.cancel();
            }
        }
        for cancelled in held.iter().filter(|held| held.cancelled && self.has(held.run)) {
            self.context.cancel_token(cancelled.run).cancel();
        }
        // Runs of ours that could not be begun, since the catalog could not be written then.
        for idle in held.iter().filter(|held| !self.has(held.run)) {
            self.queue(self.context.catalog.run(idle.run).await?);
        }
        let room = u32::try_from(self.room()).unwrap_or(u32::MAX).min(STRAYS);
        if room > 0 { self.take_strays(room).await } else { Ok(()) }
    }

    async fn take_strays(self: &Arc<Self>, limit: u32) -> Result<(), mavis_catalog::Error> {
        for run in self.context.catalog.stray_runs(limit).await? {
            if !self.has(run.id) && self.hold(&run).await? {
                tracing::info!(run.id = %run.id, "taking up a run that an earlier process or another server left unfinished");
                self.queue(run);
            }
        }
        Ok(())
    }

    /// Whether this process is the one that works on a run.
    pub(crate) async fn hold(&self, run: &Run) -> Result<bool, mavis_catalog::Error> {
        self.context.catalog.hold_run(run.id, &self.holder, HELD_FOR).await
    }

    /// Queues a run that this process holds.
    pub(crate) fn queue(self: &Arc<Self>, run: Run) {
        if self.stopping.is_cancelled() {
            return;
        }
        if self.mine().insert(run.id, self.stopping.child_token()).is_some() {
            // It is here already.
            return;
        }
        let workers = Arc::clone(self);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(workers.go(run));
    }

    /// Work that is dropped wherever it is when the workers stop, and that must bear it.
    pub(crate) fn spawn_aside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Ends every unit at the next place where nothing is half done and waits for them. The runs stay unfinished: the
    /// next start takes them up.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        // Another server may go on at once.
        if let Err(error) = self.context.catalog.release_runs(&self.holder).await {
            tracing::warn!(%error, "unfinished runs stay this server's for a minute");
        }
    }

    /// Ends everything at once, as a crash would.
    pub(crate) fn kill(&self) {
        self.stopping.cancel();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    fn source(&self, source: Option<SourceId>) -> Arc<tokio::sync::Mutex<()>> {
        let Some(source) = source else { return Arc::new(tokio::sync::Mutex::new(())) };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sources.entry(source).or_default())
    }

    /// Boxed, since a run may queue the next one.
    fn go(self: Arc<Self>, run: Run) -> BoxFuture<'static, ()> {
        self.wait_and_work(run).boxed()
    }

    async fn wait_and_work(self: Arc<Self>, run: Run) {
        let id = run.id;
        let cancel = self.context.cancel_token(id);
        // Each ends the units; only the first one ends the run.
        let ends = self.mine().get(&id).cloned().unwrap_or_else(|| self.stopping.child_token());
        let lost = ends.clone();
        let ends = ends.child_token();
        let _watch = {
            let (cancel, ends) = (cancel.clone(), ends.clone());
            AbortOnDrop(tokio::spawn(async move {
                cancel.cancelled().await;
                ends.cancel();
            }))
        };
        if let Some(pause) = pause_before(&run) {
            tokio::select! {
                () = ends.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        let lane = self.source(run.source);
        let running = Running::new(Arc::clone(&self.context), id, ends.clone());
        let turn = async {
            let lane = lane.lock_owned().await;
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            (lane, turn)
        };
        let held = tokio::select! {
            () = ends.cancelled() => None,
            held = turn => Some(held),
        };
        if held.is_some() {
            Box::pin(self.work(&run, &running, &lost)).await;
        } else if cancel.is_cancelled() {
            self.end(&run, &running, RunState::Cancelled, Counts::default(), None).await;
        }
        self.context.forget(id);
        self.mine().remove(&id);
        // A schedule may have waited for this end.
        self.context.wake.notify_one();
    }

    async fn work(self: &Arc<Self>, run: &Run, running: &Running, lost: &CancellationToken) {
        let cancel = self.context.cancel_token(run.id);
        let begun_before = match self.context.catalog.run(run.id).await {
            Ok(row) if is_final(row.state) => return,
            Ok(row) => row.state == RunState::Running,
            Err(error) => {
                tracing::error!(run.id = %run.id, %error, "a run cannot be read; trying again soon");
                return;
            }
        };
        let job: Job = match serde_json::from_value(run.request.clone()) {
            Ok(job) => job,
            Err(error) => {
                let reason = format!("the request of this run cannot be read ({error}); ask for it again");
                return self.end(run, running, RunState::Failed, Counts::default(), Some(&reason)).await;
            }
        };
        if let Err(failure) = running.state(RunState::Running, Counts::default(), None).await {
            tracing::error!(run.id = %run.id, %failure, "a run cannot be begun; trying again soon");
            return;
        }
        if begun_before {
            running.info(TAKEN_UP).await;
        }
        let began = std::time::Instant::now();
        let outcome = AssertUnwindSafe(job::execute(running, &job)).catch_unwind().await.unwrap_or_else(|_| Outcome {
            state: RunState::Failed,
            counts: Counts::default(),
            error: Some("a part of the pipeline broke; see the server's log".to_owned()),
            transient: false,
        });
        metrics::histogram!("mavis_run_seconds").record(began.elapsed().as_secs_f64());
        if lost.is_cancelled()
            && !cancel.is_cancelled()
            && matches!(outcome.state, RunState::Cancelled | RunState::Failed)
        {
            if self.stopping.is_cancelled() {
                running.info("the server is stopping; the run goes on at its next start, or at another server").await;
            } else {
                tracing::warn!(run.id = %run.id, "another server has taken this run up, since this one was silent for too long");
            }
            return;
        }
        Box::pin(self.settle(run, running, outcome)).await;
    }

    /// Writes down how the run ended, and queues its retry where one can help.
    async fn settle(self: &Arc<Self>, run: &Run, running: &Running, outcome: Outcome) {
        let Outcome { state, counts, error, transient } = outcome;
        metrics::counter!("mavis_rows_read_total").increment(counts.read);
        metrics::counter!("mavis_rows_quarantined_total").increment(counts.quarantined);
        let mut state = state;
        if state == RunState::Failed && transient {
            let tries = self.context.options.attempts.max(1);
            if run.attempt >= tries {
                state = if tries > 1 { RunState::FailedPermanently } else { RunState::Failed };
            } else {
                match self.child(run, &run.requested_by).await {
                    Ok(child) => {
                        let held = self.hold(&child).await.unwrap_or(false);
                        let pause = pause_before(&child).unwrap_or_default();
                        let next = format!("trying again in {} s as run {}", pause.as_secs(), child.id);
                        running.info(next).await;
                        if held {
                            self.queue(child);
                        }
                        state = RunState::Retrying;
                    }
                    Err(error) => running.error(format!("a retry could not be queued: {error}")).await,
                }
            }
        }
        self.end(run, running, state, counts, error.as_deref()).await;
    }

    /// Stores how a run ended, and tries again for as long as the catalog cannot take it: who waits for the run is told then.
    async fn end(&self, run: &Run, running: &Running, state: RunState, counts: Counts, error: Option<&str>) {
        let mut wait = Duration::from_secs(1);
        loop {
            if self.mine().get(&run.id).is_some_and(CancellationToken::is_cancelled) && !self.stopping.is_cancelled() {
                tracing::warn!(run.id = %run.id, "the end of a run was not stored; another server has taken it up");
                return;
            }
            let Err(failure) = running.state(state, counts, error).await else { return };
            if !failure.is_transient() || self.stopping.is_cancelled() {
                tracing::error!(run.id = %run.id, %failure, "the end of a run was not stored; it is taken up at the next start");
                return;
            }
            tracing::error!(run.id = %run.id, %failure, "the end of a run was not stored; trying again");
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(WORD);
        }
    }

    /// The child that does a run again: one per run, however often it is asked for.
    pub(crate) async fn child(&self, run: &Run, by: &str) -> Result<Run, Error> {
        let id = RunId::from_uuid(Uuid::new_v5(run.id.as_uuid(), b"retry"));
        let new = NewRun {
            id,
            kind: run.kind,
            source: run.source,
            request: run.request.clone(),
            requested_by: by.to_owned(),
            parent: Some(run.id),
            attempt: run.attempt + 1,
        };
        if let Ok(Job::Import(options)) = serde_json::from_value(run.request.clone()) {
            let spool = crate::import::Spool::of(&self.context.options.spool, &options.source);
            spool.keep_set(id, &spool.set(run.id).await?).await?;
        }
        match self.context.catalog.add_run(new).await {
            Ok(child) => Ok(child),
            Err(mavis_catalog::Error::Exists { .. }) => self.context.catalog.run(id).await.map_err(Error::Catalog),
            Err(error) => Err(Error::Catalog(error)),
        }
    }
}

/// A task that ends with the run that it watches over.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long an automatic retry still waits: 1, 2, 4 ... minutes after it was queued, at most an hour.
fn pause_before(run: &Run) -> Option<Duration> {
    let attempt = run.attempt.checked_sub(2).filter(|_| run.parent.is_some() && run.state == RunState::Pending)?;
    let pause = Duration::from_secs(60).saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST);
    let waited = (Utc::now() - run.created_at).to_std().unwrap_or_default();
    pause.checked_sub(waited)
}

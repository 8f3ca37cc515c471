//! Runs: begun, watched, cancelled, tried again.

use std::sync::Arc;

use async_stream::stream;
use futures::{StreamExt, stream::BoxStream};
use mavis_catalog::{NewRun, Run, RunKind, RunState, RunUnit, Source};
use mavis_types::{Principal, RunId, SourceName};
use tokio::sync::broadcast::error::RecvError;

use super::Pipeline;
use crate::{
    Error, IngestRequest, RunEvent, UnitProgress, context::Context, import::Spool, job::Job, replay, worker::is_final,
};

/// How often a run that another server works on is looked at.
const ELSEWHERE: std::time::Duration = std::time::Duration::from_secs(2);

impl Pipeline {
    pub(super) async fn enqueue(
        &self,
        by: &Principal,
        id: RunId,
        kind: RunKind,
        source: &Source,
        job: &Job,
    ) -> Result<Run, Error> {
        self.enqueue_job(by, id, kind, Some(source), job).await
    }

    pub(super) async fn enqueue_job(
        &self,
        by: &Principal,
        id: RunId,
        kind: RunKind,
        source: Option<&Source>,
        job: &Job,
    ) -> Result<Run, Error> {
        if self.inner.workers.is_stopping() {
            let name = source.map_or_else(|| "the pipeline".to_owned(), |source| source.name.to_string());
            return Err(Error::Busy { name, reason: "the server is stopping".to_owned() });
        }
        let request = serde_json::to_value(job).map_err(|error| Error::Invalid { reason: error.to_string() })?;
        let new = NewRun {
            id,
            kind,
            source: source.map(|source| source.id),
            request,
            requested_by: by.name.clone(),
            parent: None,
            attempt: 1,
        };
        match self.catalog().add_run(new).await {
            Ok(run) => {
                // Another server that took it up in this moment works on it.
                if self.inner.workers.hold(&run).await.map_err(Error::Catalog)? {
                    self.inner.workers.queue(run.clone());
                }
                Ok(run)
            }
            // The same request came twice.
            Err(mavis_catalog::Error::Exists { .. }) => self.run(id).await,
            Err(error) => Err(Error::Catalog(error)),
        }
    }

    /// Queues a run. `id`: chosen by the caller, so that a request sent twice starts one run.
    pub async fn start_run(&self, by: &Principal, id: RunId, request: IngestRequest) -> Result<Run, Error> {
        let source = self.source(&request.source).await?;
        self.enqueue(by, id, RunKind::Ingest, &source, &Job::Ingest(request)).await
    }

    /// Everything that happened and happens in a run, from the beginning, until it ends.
    pub async fn watch(&self, run: RunId) -> Result<BoxStream<'static, RunEvent>, Error> {
        let first = self.run(run).await?;
        let context = Arc::clone(&self.inner.context);
        let workers = Arc::clone(&self.inner.workers);
        // Before what happened is read, so that nothing falls between.
        let mut live = context.subscribe(run);
        let events = stream! {
            let mut after = 0;
            let mut past = history(&context, &first, &mut after).await;
            for event in past.drain(..) {
                yield event;
            }
            if is_final(first.state) {
                context.forget(run);
                return;
            }
            loop {
                // Of a run that another server works on, the catalog tells.
                let next = match tokio::time::timeout(ELSEWHERE, live.recv()).await {
                    Ok(next) => next,
                    Err(_) if workers.has(run) => continue,
                    Err(_) => Err(RecvError::Lagged(0)),
                };
                match next {
                    Ok(RunEvent::Log(line)) if line.sequence <= after => {}
                    Ok(event) => {
                        if let RunEvent::Log(line) = &event {
                            after = line.sequence;
                        }
                        let ends = matches!(&event, RunEvent::State { state, .. } if is_final(*state));
                        yield event;
                        if ends {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(_) | RecvError::Closed) => {
                        // Too slow, or the run ended: the catalog knows.
                        let Ok(row) = context.catalog.run(run).await else { return };
                        for event in history(&context, &row, &mut after).await {
                            yield event;
                        }
                        if is_final(row.state) {
                            return;
                        }
                        live = context.subscribe(run);
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        };
        Ok(events.boxed())
    }

    pub async fn cancel(&self, by: &Principal, run: RunId) -> Result<Run, Error> {
        let row = self.run(run).await?;
        if is_final(row.state) {
            return Err(Error::WrongState { run, state: word(row.state), wanted: "cancelled" });
        }
        self.context().audit(by, "run.cancel", &run.to_string()).await;
        self.catalog().cancel_run(run).await.map_err(Error::Catalog)?;
        if self.inner.workers.has(run) {
            self.context().cancel_token(run).cancel();
        }
        self.run(run).await
    }

    /// A child run that does the same again.
    pub async fn retry(&self, by: &Principal, run: RunId) -> Result<Run, Error> {
        let row = self.run(run).await?;
        if !is_final(row.state) || row.state == RunState::Retrying {
            return Err(Error::WrongState { run, state: word(row.state), wanted: "retried" });
        }
        let id = RunId::new();
        if let Ok(Job::Import(options)) = serde_json::from_value(row.request.clone()) {
            let spool = Spool::of(&self.context().options.spool, &options.source);
            spool.keep_set(id, &spool.set(run).await?).await?;
        }
        if let Ok(Job::Replay { corrected: true, .. }) = serde_json::from_value(row.request.clone()) {
            let copied = tokio::fs::copy(
                replay::corrected_path(self.context(), run),
                replay::corrected_path(self.context(), id),
            )
            .await;
            copied.map_err(|_| Error::Invalid {
                reason: "the corrected payload is gone: replay the row again with it".to_owned(),
            })?;
        }
        let new = NewRun {
            id,
            kind: row.kind,
            source: row.source,
            request: row.request,
            requested_by: by.name.clone(),
            parent: Some(run),
            attempt: 1,
        };
        let child = self.catalog().add_run(new).await.map_err(Error::Catalog)?;
        if self.inner.workers.hold(&child).await.map_err(Error::Catalog)? {
            self.inner.workers.queue(child.clone());
        }
        self.context().audit(by, "run.retry", &run.to_string()).await;
        Ok(child)
    }

    pub async fn runs(&self, source: Option<&SourceName>, limit: u32) -> Result<Vec<Run>, Error> {
        let source = match source {
            Some(name) => Some(self.source(name).await?.id),
            None => None,
        };
        self.catalog().runs(source, limit).await.map_err(Error::Catalog)
    }
}

/// The state as the catalog and the command line write it.
fn word(state: RunState) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " "))).unwrap_or_default()
}

/// What the catalog knows of a run: log lines after `after`, units, and its state last.
async fn history(context: &Context, run: &Run, after: &mut i64) -> Vec<RunEvent> {
    let mut events = Vec::new();
    for line in context.catalog.run_log(run.id, *after).await.unwrap_or_default() {
        *after = (*after).max(line.sequence);
        events.push(RunEvent::Log(line));
    }
    for unit in context.catalog.run_units(run.id).await.unwrap_or_default() {
        events.push(RunEvent::Unit(progress(context, unit).await));
    }
    events.push(RunEvent::State { state: run.state, counts: run.counts, error: run.error.clone() });
    events
}

async fn progress(context: &Context, unit: RunUnit) -> UnitProgress {
    let table = match context.catalog.table_by_id(unit.table).await {
        Ok(table) => table.name.to_string(),
        Err(_) => unit.table.to_string(),
    };
    UnitProgress { table, unit, expected: None }
}

//! Rows that clients bring into `raw`: an upload goes to the source's inbox, and a run reads it from there like any source.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{StreamExt, stream::BoxStream};
use mavis_catalog::{Run, RunKind, RunState, Source, Step, UnitState};
use mavis_connectors::{
    SourceKind,
    push::{Inbox, Push, Taken},
};
use mavis_lake::AppId;
use mavis_types::{Principal, RunId, SourceName};

use super::Pipeline;
use crate::{Error, IngestRequest, RunEvent, context::Context, failure::Failure, job::Job, worker::is_final};

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Rows of the upload, quarantined ones included.
    pub rows: u64,
    pub run: RunId,
}

impl Pipeline {
    /// Takes rows for a table of a source of kind `push` and brings them into `raw` and on from there; answers when the raw
    /// table has them.
    ///
    /// # Errors
    /// The stream's own, or [`Error::Invalid`] and nothing has changed; [`Error::Busy`] where the rows are kept and land later.
    pub async fn push<E: From<Error>>(
        &self,
        by: &Principal,
        name: &SourceName,
        table: &str,
        schema: &SchemaRef,
        batches: BoxStream<'_, Result<RecordBatch, E>>,
    ) -> Result<Pushed, E> {
        let source = self.source(name).await?;
        if source.kind != Push::NAME {
            return Err(Error::Invalid {
                reason: format!(
                    "source `{name}` is read by a connector of kind `{}`: only a source of kind `{}` takes rows",
                    source.kind,
                    Push::NAME
                ),
            }
            .into());
        }
        let inbox = self.context().inbox(&source).map_err(Error::from)?;
        let batches = batches.map(|batch| batch.map_err(Gone::Sender)).boxed();
        let taken = match inbox.take(table, schema, batches).await {
            Ok(taken) => taken,
            Err(Gone::Sender(error)) => return Err(error),
            Err(Gone::Inbox(error)) => return Err(Error::Source(error).into()),
        };
        // The rows are on the disk: from here on they land, whether anybody waits for the answer or not.
        let (pipeline, by, table) = (self.clone(), by.clone(), table.to_owned());
        let landing = tokio::spawn(async move {
            let upload = Upload { inbox, taken };
            let landed = pipeline.land(&by, &source, &table, &upload).await;
            if landed.as_ref().is_err_and(|error| !matches!(error, Error::Busy { .. }))
                && let Err(error) = upload.inbox.withdraw(&table, taken).await
            {
                tracing::error!(%error, "an upload that did not land could not be taken back");
            }
            landed
        });
        match landing.await {
            Ok(landed) => Ok(Pushed { rows: taken.rows, run: landed? }),
            Err(_) => Err(kept(name, "the run of the upload broke").into()),
        }
    }

    async fn land(&self, by: &Principal, source: &Source, table: &str, upload: &Upload) -> Result<RunId, Error> {
        let request = IngestRequest { source: source.name.clone(), tables: vec![table.to_owned()], full: false };
        let id = RunId::new();
        let run = self.enqueue(by, id, RunKind::Ingest, source, &Job::Ingest(request)).await?;
        let mut events = self.watch(run.id).await?;
        while let Some(event) = events.next().await {
            if matches!(&event, RunEvent::State { state, .. } if is_final(*state)) {
                break;
            }
        }
        let run = self.run(run.id).await?;
        if self.has_landed(source, &run, upload).await? {
            return Ok(run.id);
        }
        match run.state {
            RunState::Failed | RunState::FailedPermanently => Err(Error::Invalid {
                reason: format!(
                    "the rows were not taken (run {}): {}",
                    run.id,
                    run.error.as_deref().unwrap_or("the run failed")
                ),
            }),
            RunState::Cancelled => {
                Err(Error::Invalid { reason: format!("the rows were not taken: run {} was cancelled", run.id) })
            }
            _ => Err(kept(&source.name, run.error.as_deref().unwrap_or("the server is stopping"))),
        }
    }

    /// Whether the raw table has the upload; what comes behind it may have failed. A run that another server took up found
    /// nothing in that server's inbox.
    async fn has_landed(&self, source: &Source, run: &Run, upload: &Upload) -> Result<bool, Error> {
        let units = self.catalog().run_units(run.id).await.map_err(Error::Catalog)?;
        let raw = units.iter().find(|unit| unit.step == Step::ToRaw && unit.state == UnitState::Completed);
        let Some(raw) = raw else { return Ok(false) };
        let app = AppId::ingest(source.id, raw.table);
        let cursor = self.catalog().newest_cursor(app.as_str()).await.map_err(Error::Catalog)?;
        Ok(upload.inbox.has_passed(upload.taken, cursor.and_then(|row| row.to).as_ref())?)
    }
}

/// At a start, when nobody sends yet: deletes what uploads left that broke off, and the inboxes of sources that are no more.
pub(super) async fn tidy(context: &Context) -> Result<(), Failure> {
    let mut entries = match tokio::fs::read_dir(&context.options.spool).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let sources = context.catalog.sources().await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| SourceName::new(name).ok()) else { continue };
        let inbox = context.inbox_named(&name);
        if sources.iter().any(|source| source.name == name && source.kind == Push::NAME) {
            inbox.tidy().await?;
        } else {
            inbox.delete().await?;
        }
    }
    Ok(())
}

/// An upload that is on the disk.
#[derive(Debug, Clone)]
struct Upload {
    inbox: Inbox,
    taken: Taken,
}

/// Who ended an upload before it was whole.
enum Gone<E> {
    Sender(E),
    Inbox(mavis_connectors::Error),
}

impl<E> From<mavis_connectors::Error> for Gone<E> {
    fn from(error: mavis_connectors::Error) -> Self {
        Self::Inbox(error)
    }
}

fn kept(source: &SourceName, reason: &str) -> Error {
    Error::Busy {
        name: source.to_string(),
        reason: format!("the rows are kept and land with the source's next run, do not send them again ({reason})"),
    }
}

use std::{sync::Arc, time::Duration};

use mavis_catalog::{Catalog, NewSource, Run, RunKind, Source};
use mavis_connectors::{Registry, Secrets, SourceKind, SourceSpec, StageReport, push::Push};
use mavis_lake::Lake;
use mavis_types::{Principal, RunId, SourceName};
use tokio_util::task::TaskTracker;

use crate::{
    DiscoveryReport, DriftConfig, Effect, Error, Refusal, SourceSummary, Together, Write, WriteError, Written,
    clean::CleanConfig,
    context::Context,
    discover::{self, Look},
    failure::Failure,
    import::IMPORT_KIND,
    in_place,
    job::{self, Job},
    log_health,
    upkeep::{self, Kept, Seen, Upkeep},
    worker::Workers,
    write,
};

mod curation;
mod importing;
mod pushing;
mod runs;
mod scheduling;

pub use pushing::Pushed;

/// How much the pipeline does at once.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Runs that get the places they can use: `workers` times `tables_per_run` tables are worked on at once.
    pub workers: usize,
    /// Tables of one run at once.
    pub tables_per_run: usize,
    /// Folder for uploaded files; local.
    pub spool: std::path::PathBuf,
    /// Tries of a failed run, the first one included.
    pub attempts: u32,
}

/// The pipeline as doors see it: cheap to clone. Runs go on in the background and survive the caller. Doors have checked
/// before what the principal may do.
#[derive(Debug, Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    context: Arc<Context>,
    workers: Arc<Workers>,
    /// Direct writes under way.
    writes: TaskTracker,
}

/// The last handle gone without [`Pipeline::stop`] ends everything as a crash would: nothing half done is committed.
impl Drop for Inner {
    fn drop(&mut self) {
        self.workers.kill();
    }
}

fn refused(failure: Failure) -> Error {
    Error::Invalid { reason: failure.to_string() }
}

impl Pipeline {
    /// Starts the workers and resumes what an earlier process left unfinished.
    ///
    /// # Errors
    /// When the catalog or the lake cannot be read.
    pub async fn start(
        catalog: Catalog,
        lake: Lake,
        registry: Registry,
        secrets: Secrets,
        options: PipelineOptions,
    ) -> Result<Self, Error> {
        let context = Arc::new(Context::new(catalog, lake, registry, secrets, options));
        in_place::find_elsewhere(&context);
        if let Err(failure) = Box::pin(write::settle(&context)).await {
            // Whoever writes the FHIR zone next tries again; until then nobody publishes its tables.
            tracing::error!(%failure, "a write that an earlier process recorded could not be completed");
        }
        if let Err(failure) = pushing::tidy(&context).await {
            tracing::warn!(%failure, "what broken uploads and removed sources left in inboxes could not be deleted");
        }
        let workers = Workers::new(Arc::clone(&context));
        workers.resume().await?;
        Ok(Self { inner: Arc::new(Inner { context, workers, writes: TaskTracker::new() }) })
    }

    /// Keeps the lake in order from now on, until [`Pipeline::stop`]. Call it once.
    pub fn keep_up(&self, upkeep: Upkeep) {
        let context = Arc::clone(&self.inner.context);
        self.inner.workers.spawn_aside(async move {
            let mut seen = Seen::default();
            loop {
                tokio::time::sleep(upkeep.every).await;
                if let Err(failure) = Box::pin(upkeep::round(&context, upkeep, &mut seen)).await {
                    tracing::warn!(%failure, "a round of upkeep did not come to its end; the next one tries again");
                }
            }
        });
    }

    /// Tells in metrics, so often, how the logs stand that sources keep for us, until [`Pipeline::stop`]. Call it once.
    pub fn watch_logs(&self, every: Duration) {
        let context = Arc::clone(&self.inner.context);
        self.inner.workers.spawn_aside(async move {
            loop {
                if let Err(failure) = log_health::round(&context).await {
                    tracing::warn!(%failure, "the logs that sources keep could not be asked about; trying again");
                }
                tokio::time::sleep(every).await;
            }
        });
    }

    /// One round of upkeep, now.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn keep_up_once(&self, upkeep: Upkeep) -> Result<Kept, Error> {
        let mut seen = Seen::default();
        Box::pin(upkeep::round(&self.inner.context, upkeep, &mut seen)).await.map_err(refused)
    }

    /// Takes no new runs and writes, lets each unit reach a commit or give up its stage, and waits for them.
    pub async fn stop(&self) {
        self.inner.writes.close();
        self.inner.workers.stop().await;
        self.inner.writes.wait().await;
    }

    /// Writes resources into the FHIR zone and answers when everybody can see them; one answer per interaction, in their
    /// order. The work goes on where the caller goes away. Where the caller's token is limited by SMART scopes, each resource
    /// must be among those that they are about, before and after, and nothing is told of others.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was written, but for [`WriteError::Recorded`].
    pub async fn write(
        &self,
        by: &Principal,
        writes: Vec<Write>,
        together: Together,
    ) -> Result<Vec<Result<Written, Refusal>>, WriteError> {
        if self.inner.workers.is_stopping() || self.inner.writes.is_closed() {
            return Err(WriteError::Busy { reason: "the server is stopping".to_owned() });
        }
        let (context, by) = (Arc::clone(&self.inner.context), by.clone());
        let work = async move {
            let answers = Box::pin(write::write(&context, writes, together, &by)).await?;
            for written in answers.iter().flatten() {
                let action = match written.effect {
                    Effect::Created => "fhir.create",
                    Effect::Updated => "fhir.update",
                    Effect::Deleted => "fhir.delete",
                    Effect::Unchanged | Effect::Existing | Effect::Nothing => continue,
                };
                let object = format!("{}/{}/_history/{}", written.resource, written.id, written.version);
                context.audit(&by, action, &object).await;
            }
            Ok(answers)
        };
        match self.inner.writes.spawn(work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(WriteError::Failed { reason: "a task of the pipeline broke; see the server's log".to_owned() })
            }
        }
    }

    fn context(&self) -> &Context {
        &self.inner.context
    }

    fn catalog(&self) -> &Catalog {
        &self.inner.context.catalog
    }

    /// The source, or an error that names those there are.
    async fn source(&self, name: &SourceName) -> Result<Source, Error> {
        match self.catalog().source(name).await {
            Ok(source) => Ok(source),
            Err(mavis_catalog::Error::NotFound { .. }) => {
                let known: Vec<String> = self
                    .catalog()
                    .sources()
                    .await
                    .map_err(Error::Catalog)?
                    .iter()
                    .map(|s| s.name.to_string())
                    .collect();
                let hint = match known.as_slice() {
                    [] => "; none is registered yet".to_owned(),
                    known => format!("; registered are {}", known.join(", ")),
                };
                Err(Error::NotFound { what: "source", name: name.to_string(), hint })
            }
            Err(error) => Err(Error::Catalog(error)),
        }
    }

    async fn run(&self, id: RunId) -> Result<Run, Error> {
        match self.catalog().run(id).await {
            Ok(run) => Ok(run),
            Err(mavis_catalog::Error::NotFound { .. }) => {
                Err(Error::NotFound { what: "run", name: id.to_string(), hint: String::new() })
            }
            Err(error) => Err(Error::Catalog(error)),
        }
    }

    /// Checks a declaration without connecting: the kind, its parameters, its secrets, and what it says about cleaning.
    fn check_spec(&self, spec: &SourceSpec) -> Result<NewSource, Error> {
        let config = CleanConfig::from_params(&spec.params);
        let invalid = |reason| Error::Invalid { reason: format!("parameters of source `{}`: {reason}", spec.name) };
        config.map_err(invalid)?;
        DriftConfig::from_params(&spec.params).map_err(invalid)?;
        let seen = SourceSpec { params: CleanConfig::without(&spec.params), ..spec.clone() };
        self.context().registry.connect(&seen, &self.context().secrets)?;
        Ok(NewSource {
            name: spec.name.clone(),
            kind: spec.kind.clone(),
            params: spec.params.clone(),
            authoritative: spec.authoritative,
        })
    }

    pub async fn add_source(&self, by: &Principal, spec: SourceSpec) -> Result<Source, Error> {
        let new = self.check_spec(&spec)?;
        let source = self.catalog().add_source(new).await.map_err(|error| match error {
            mavis_catalog::Error::Exists { .. } => Error::Exists { what: "source", name: spec.name.to_string() },
            error => Error::Catalog(error),
        })?;
        self.context().audit(by, "source.add", spec.name.as_str()).await;
        Ok(source)
    }

    pub async fn update_source(&self, by: &Principal, spec: SourceSpec) -> Result<Source, Error> {
        self.source(&spec.name).await?;
        let new = self.check_spec(&spec)?;
        let source = self.catalog().update_source(new).await.map_err(Error::Catalog)?;
        self.context().audit(by, "source.update", spec.name.as_str()).await;
        Ok(source)
    }

    pub async fn remove_source(&self, by: &Principal, name: &SourceName) -> Result<(), Error> {
        let source = self.source(name).await?;
        self.catalog().remove_schedule(source.id).await.map_err(Error::Catalog)?;
        self.catalog().remove_source(name).await.map_err(Error::Catalog)?;
        if source.kind == Push::NAME
            && let Err(error) = self.context().inbox_named(name).delete().await
        {
            // The next start does it.
            tracing::warn!(source = %name, %error, "the inbox of a removed source could not be deleted");
        }
        self.context().audit(by, "source.remove", name.as_str()).await;
        Ok(())
    }

    /// Forgets the host key of an SSH server that was trusted on first use: the next one that it shows is trusted.
    ///
    /// # Errors
    /// [`Error::Catalog`]: none is recorded for it.
    pub async fn forget_host_key(&self, by: &Principal, host: &str, port: u16) -> Result<(), Error> {
        self.catalog().forget_known_host(host, port).await.map_err(Error::Catalog)?;
        self.context().audit(by, "host_key.forget", &format!("{host}:{port}")).await;
        Ok(())
    }

    pub async fn sources(&self) -> Result<Vec<SourceSummary>, Error> {
        let mut summaries = Vec::new();
        for source in self.catalog().sources().await.map_err(Error::Catalog)? {
            let tables = self.catalog().tables_of_source(source.id).await.map_err(Error::Catalog)?;
            let tables = tables.iter().filter(|table| table.name.zone == mavis_types::Zone::Raw).count() as u64;
            let runs = self.catalog().runs(Some(source.id), 1).await.map_err(Error::Catalog)?;
            let last_run = runs.first().map(|run| (run.state, run.finished_at.unwrap_or(run.created_at)));
            summaries.push(SourceSummary { source, tables, last_run });
        }
        Ok(summaries)
    }

    /// Tries the connection stage by stage: of a registered source by name, or of a declaration before it is registered.
    pub async fn test_source(&self, spec: &SourceSpec) -> Result<Vec<StageReport>, Error> {
        let named_only = spec.kind.is_empty();
        let spec = if named_only {
            job::spec(&self.source(&spec.name).await?)
        } else {
            SourceSpec { params: CleanConfig::without(&spec.params), ..spec.clone() }
        };
        let connected = self.context().connect(&spec)?;
        Ok(connected.check().await)
    }

    /// Reads what tables there are, profiles a sample of each, stores the report, and makes the raw tables' entries.
    pub async fn discover(&self, by: &Principal, name: &SourceName) -> Result<DiscoveryReport, Error> {
        let source = self.source(name).await?;
        if source.kind == IMPORT_KIND {
            return Err(Error::Invalid {
                reason: format!("source `{name}` was made by an import and has nothing to discover"),
            });
        }
        let connected = self.context().connect(&job::spec(&source))?;
        let found = Box::pin(discover::discover(self.context(), &source, &connected, None, Look::Whole))
            .await
            .map_err(refused)?;
        let discover::Discovered { report, notes, changes } = found;
        for note in notes.into_iter().chain(changes.iter().map(discover::drift::told)) {
            tracing::info!(source = %name, "{note}");
        }
        self.context().audit(by, "source.discover", name.as_str()).await;
        Ok(report)
    }

    /// Queues a run that looks at what tables these sources have, all of them where none is named: what is new or described
    /// otherwise than before is sampled and told. `id`: chosen by the caller, so that a request sent twice starts one run.
    ///
    /// # Errors
    /// [`Error::NotFound`] naming a source that is not there.
    pub async fn discover_many(&self, by: &Principal, id: RunId, names: &[SourceName]) -> Result<Run, Error> {
        let mut sources = Vec::new();
        for name in names {
            sources.push(self.source(name).await?.name);
        }
        if sources.is_empty() {
            let all = self.catalog().sources().await.map_err(Error::Catalog)?;
            sources = all.into_iter().filter(|source| source.kind != IMPORT_KIND).map(|source| source.name).collect();
        }
        self.enqueue_job(by, id, RunKind::Discover, None, &Job::Discover { sources }).await
    }

    /// Accepts the changes of a source that were held back: the lake follows from the next run on.
    ///
    /// # Errors
    /// Where the source cannot be looked at now.
    pub async fn accept_drift(&self, by: &Principal, name: &SourceName) -> Result<DiscoveryReport, Error> {
        let source = self.source(name).await?;
        let connected = self.context().connect(&job::spec(&source))?;
        let found = Box::pin(discover::discover(self.context(), &source, &connected, None, Look::Accepting))
            .await
            .map_err(refused)?;
        self.context().audit(by, "source.accept", name.as_str()).await;
        Ok(found.report)
    }

    pub async fn discovery_report(&self, name: &SourceName) -> Result<Option<DiscoveryReport>, Error> {
        let source = self.source(name).await?;
        discover::latest(self.context(), &source).await.map_err(refused)
    }

    /// Takes a report made elsewhere (ours, or the replaced system's `discovery_report.json`).
    pub async fn import_discovery_report(
        &self,
        by: &Principal,
        name: &SourceName,
        json: &str,
    ) -> Result<DiscoveryReport, Error> {
        let source = self.source(name).await?;
        let report = discover::read_report(name.as_str(), json)?;
        discover::register(self.context(), &source, &report).await.map_err(refused)?;
        self.context().audit(by, "source.import_report", name.as_str()).await;
        Ok(report)
    }
}

//! What a run does: a list of independent units, one per table and step. A table that fails does not stop the others.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use mavis_catalog::{DriftKind, DriftState, NewDrift, RunState, Source, Table};
use mavis_connectors::{Selection, SourceSpec, TableRef};
use mavis_types::Counts;
use serde::{Deserialize, Serialize};

use crate::{
    DiscoveryReport, DriftConfig, FetchedFile, ImportOptions, IngestRequest, ReportTable,
    clean::CleanConfig,
    context::{Context, Running},
    discover::{self, Look, drift},
    failure::Failure,
    fhir_zone::Touched,
    import::{self, IMPORT_KIND, Spool},
    mapping, replay,
    settling::Settling,
    to_fhir::to_fhir,
    to_processed::to_processed,
    to_raw::{ToRaw, to_raw},
};

/// A run's request as the catalog keeps it: enough to do it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(crate) enum Job {
    Ingest(IngestRequest),
    Import(ImportOptions),
    /// An import whose files are fetched first.
    Fetch {
        options: ImportOptions,
        files: Vec<FetchedFile>,
    },
    /// A look at what tables these sources have.
    Discover {
        sources: Vec<mavis_types::SourceName>,
    },
    Replay {
        ids: Vec<i64>,
        /// A corrected payload waits in the spool.
        corrected: bool,
    },
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) state: RunState,
    pub(crate) counts: Counts,
    pub(crate) error: Option<String>,
    /// Whether the same run may succeed later.
    pub(crate) transient: bool,
}

/// What the units of a run came to.
#[derive(Debug, Default)]
struct Sum {
    counts: Counts,
    failures: Vec<Failure>,
    cancelled: bool,
}

impl Sum {
    fn add(&mut self, outcome: Result<Counts, Failure>) {
        match outcome {
            Ok(counts) => self.counts += counts,
            Err(Failure::Cancelled) => self.cancelled = true,
            Err(failure) => self.failures.push(failure),
        }
    }

    fn outcome(self, running: &Running) -> Outcome {
        let state = match (self.failures.is_empty(), self.cancelled) {
            (false, _) => RunState::Failed,
            (true, true) => RunState::Cancelled,
            (true, false) if self.counts.quarantined > 0 || running.warnings() > 0 => RunState::CompletedWithWarnings,
            (true, false) => RunState::Completed,
        };
        let transient = !self.failures.is_empty() && self.failures.iter().all(Failure::is_transient);
        let error = match self.failures.as_slice() {
            [] => None,
            [one] => Some(one.to_string()),
            [first, rest @ ..] => Some(format!("{first} (and {} more; see the run's log)", rest.len())),
        };
        Outcome { state, counts: self.counts, error, transient }
    }
}

/// Does a run's work.
pub(crate) fn execute<'a>(running: &'a Running, job: &'a Job) -> BoxFuture<'a, Outcome> {
    run(running, job).boxed()
}

async fn run(running: &Running, job: &Job) -> Outcome {
    let mut sum = Sum::default();
    match job {
        Job::Ingest(request) => match Box::pin(ingest(running, request, &mut sum)).await {
            Ok(()) => {}
            Err(failure) => fail(running, &mut sum, failure).await,
        },
        Job::Discover { sources } => match Box::pin(discover::many::discover_many(running, sources)).await {
            // Sources that failed are told one by one; only a job of which nothing is left has failed.
            Ok(looked) if looked.failed > 0 && looked.failed == looked.sources => {
                sum.failures.push(Failure::Permanent("no source could be looked at; see the run's log".to_owned()));
            }
            Ok(_) => {}
            Err(failure) => fail(running, &mut sum, failure).await,
        },
        Job::Import(options) | Job::Fetch { options, .. } => {
            let _turn = running.context.places.take(None).await;
            let mut touched = Touched::default();
            let outcome = async {
                let source = source(&running.context, &options.source).await?;
                let spool = Spool::of(&running.context.options.spool, &source.name);
                if let Job::Fetch { files, .. } = job {
                    import::fetch(running, &spool, files).await?;
                }
                import::import(running, &source, &spool, options.again, &mut touched).await
            };
            let outcome = outcome.await;
            finish_fhir(running, &touched, &mut sum).await;
            match outcome {
                Ok(counts) => sum.add(Ok(counts)),
                Err(failure) => fail(running, &mut sum, failure).await,
            }
        }
        Job::Replay { ids, corrected } => {
            let _turn = running.context.places.take(None).await;
            let mut touched = Touched::default();
            let outcome = Box::pin(replay::replay(running, ids, *corrected, &mut touched)).await;
            finish_fhir(running, &touched, &mut sum).await;
            match outcome {
                Ok(counts) => sum.add(Ok(counts)),
                Err(failure) => fail(running, &mut sum, failure).await,
            }
        }
    }
    sum.outcome(running)
}

async fn fail(running: &Running, sum: &mut Sum, failure: Failure) {
    if failure != Failure::Cancelled {
        running.error(failure.to_string()).await;
    }
    sum.add(Err(failure));
}

/// A registered source by name.
pub(crate) async fn source(context: &Context, name: &mavis_types::SourceName) -> Result<Source, Failure> {
    Ok(context.catalog.source(name).await?)
}

/// The source as its connector sees it.
pub(crate) fn spec(source: &Source) -> SourceSpec {
    SourceSpec {
        name: source.name.clone(),
        kind: source.kind.clone(),
        params: CleanConfig::without(&source.params),
        authoritative: source.authoritative,
    }
}

async fn ingest(running: &Running, request: &IngestRequest, sum: &mut Sum) -> Result<(), Failure> {
    let source = source(&running.context, &request.source).await?;
    if source.kind == IMPORT_KIND {
        return Err(Failure::Permanent(format!(
            "source `{}` was made by an import: hand over files again instead of ingesting it",
            source.name
        )));
    }
    let connected = running.context.connect(&spec(&source))?;
    let report = Box::pin(report(running, &source, &connected, request)).await?;
    let tables = chosen(&report, request)?;
    if let (true, Some((table, reason))) = (tables.is_empty(), report.failures.first()) {
        return Err(Failure::Permanent(format!("no table of `{}` can be read; `{table}`: {reason}", source.name)));
    }
    if tables.is_empty() {
        running
            .warn(format!(
                "source `{}` has no table to read; check its parameters (which tables to include, which schemas) and what \
                 its user may read",
                source.name
            ))
            .await;
    }
    running.info(format!("ingesting {} tables of `{}`", tables.len(), source.name)).await;
    let (waiting, tables): (Vec<_>, Vec<_>) = tables.into_iter().partition(|table| !table.held.is_empty());
    for table in waiting {
        let why = table.held.join(", ");
        running
            .warn(format!("`{}` is not read: {why}; accept it with `mavis source accept {}`", table.table, source.name))
            .await;
    }
    let at_once = running.context.options.tables_per_run.max(1);
    let settling = Settling::begin(running, &source, &connected).await?;
    let (source_ref, connected_ref, settling_ref) = (&source, &connected, &settling);
    let units: Vec<BoxFuture<'_, Vec<Result<Counts, Failure>>>> = tables
        .into_iter()
        .map(|table| one_table(running, source_ref, connected_ref, table, request.full, settling_ref).boxed())
        .collect();
    let outcomes: Vec<Vec<Result<Counts, Failure>>> = stream::iter(units).buffer_unordered(at_once).collect().await;
    for outcome in outcomes.into_iter().flatten() {
        sum.add(outcome);
    }
    if running.cancel.is_cancelled() {
        sum.cancelled = true;
        return Ok(());
    }
    settling.end(running, &source, &connected, &report).await;
    let mut touched = Touched::default();
    let rules = mapping::rules_of_source(running, &source, &report).await?;
    if rules.is_empty() {
        running.info("no mapping reads this source's tables; `map suggest` proposes some").await;
    }
    for rule in &rules {
        let _turn = running.context.places.take(Some(source.id)).await;
        match Box::pin(to_fhir(running, rule, &mut touched)).await {
            Ok(counts) => sum.add(Ok(counts)),
            Err(failure) => fail(running, sum, failure).await,
        }
    }
    finish_fhir(running, &touched, sum).await;
    Ok(())
}

/// Kinds whose tables are files that come and go; listing them is cheap beside reading them.
const FOLDERS: [&str; 2] = ["files", "fhir_files"];

/// The stored report, or a new one where there is none, where the source was declared anew since, where a table is asked
/// for that it does not have, or where the files of a folder make other tables by now.
async fn report(
    running: &Running,
    source: &Source,
    connected: &Arc<dyn mavis_connectors::Source>,
    request: &IngestRequest,
) -> Result<DiscoveryReport, Failure> {
    let before = discover::latest_of(&running.context, source).await?;
    let look = request.tables.is_empty() && look_is_due(running, source, before.as_ref().map(|(report, _)| report))?;
    if let Some((report, true)) = &before
        && chosen(report, request).is_ok()
        && !report.tables.is_empty()
        && !look
        && (!FOLDERS.contains(&source.kind.as_str()) || same_tables(running, connected, report).await?)
    {
        return Ok(report.clone());
    }
    if !look {
        running.info(format!("discovering `{}`", source.name)).await;
    }
    let found =
        Box::pin(discover::discover(&running.context, source, connected, Some(running.id), Look::Changes)).await?;
    let discover::Discovered { report, notes, changes } = found;
    for note in notes {
        running.info(note).await;
    }
    tell_changes(running, &changes).await;
    for (table, reason) in &report.failures {
        running.warn(format!("`{table}` could not be described: {reason}")).await;
    }
    for table in before.iter().flat_map(|(before, _)| &before.tables) {
        let name = table.table.to_string();
        let still = |found: &ReportTable| found.table == table.table;
        if !report.tables.iter().any(still) && !report.failures.iter().any(|(failed, _)| *failed == name) {
            running
                .warn(format!(
                    "`{name}` is no longer in source `{}`; its rows stay in the lake as they are",
                    source.name
                ))
                .await;
        }
    }
    Ok(report)
}

/// Whether a run of the whole source looks at its tables again. What files there are in a folder is looked at in any case, and
/// a report that was made elsewhere is followed as it is.
fn look_is_due(running: &Running, source: &Source, before: Option<&DiscoveryReport>) -> Result<bool, Failure> {
    let imported = before.is_some_and(|report| report.tables.iter().any(|table| table.rules.is_none()));
    if imported || FOLDERS.contains(&source.kind.as_str()) {
        return Ok(false);
    }
    let config = DriftConfig::from_params(&source.params).map_err(Failure::Permanent)?;
    let every = std::time::Duration::from_secs(config.look_every_seconds);
    let looked = running.context.looked.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(looked.get(&source.id).is_none_or(|at| at.elapsed() >= every))
}

/// Changes that a run's log tells; the others stand in `system.ops.drift`.
const TOLD: usize = 50;

async fn tell_changes(running: &Running, changes: &[NewDrift]) {
    // Tables that are gone are told with their source's name, below.
    let mut told = changes.iter().filter(|change| change.kind != DriftKind::TableDropped);
    for change in told.by_ref().take(TOLD) {
        let held = if change.state == DriftState::Held { "held back until it is accepted: " } else { "" };
        running.info(format!("{held}{}", drift::told(change))).await;
    }
    let rest = told.count();
    if rest > 0 {
        running.info(format!("{rest} more changes stand in system.ops.drift")).await;
    }
}

/// Whether a folder has the tables of its report. Warns of files that are none, which a report does not have.
async fn same_tables(
    running: &Running,
    connected: &Arc<dyn mavis_connectors::Source>,
    report: &DiscoveryReport,
) -> Result<bool, Failure> {
    let found = connected.discover(&Selection::default()).await?;
    let known: HashSet<&TableRef> = report.tables.iter().map(|table| &table.table).collect();
    // A table that broke is read all the same, and its unit says what is wrong with it.
    let broken = found.failures.iter().map(|(table, _)| table).filter(|table| known.contains(table));
    let listed: HashSet<&TableRef> = found.tables.iter().map(|table| &table.table).chain(broken).collect();
    if listed != known {
        return Ok(false);
    }
    for (table, reason) in found.failures.iter().filter(|(table, _)| !known.contains(table)) {
        running.warn(format!("`{table}` could not be described: {reason}")).await;
    }
    Ok(true)
}

fn chosen<'a>(report: &'a DiscoveryReport, request: &IngestRequest) -> Result<Vec<&'a ReportTable>, Failure> {
    let mut chosen = Vec::new();
    for wanted in &request.tables {
        let same = |table: &&ReportTable| {
            let names = [&table.table.name, &table.table.to_string(), &table.lake_name.1];
            names.iter().any(|name| name.eq_ignore_ascii_case(wanted))
        };
        match report.tables.iter().find(same) {
            Some(table) if chosen.iter().any(|t: &&ReportTable| t.table == table.table) => {}
            Some(table) => chosen.push(table),
            None => {
                let known: Vec<String> = report.tables.iter().take(20).map(|table| table.table.to_string()).collect();
                return Err(Failure::Permanent(format!(
                    "source `{}` has no table `{wanted}`; it has {}",
                    report.source,
                    known.join(", ")
                )));
            }
        }
    }
    Ok(if request.tables.is_empty() { report.tables.iter().collect() } else { chosen })
}

/// Raw, then processed, of one table.
async fn one_table(
    running: &Running,
    source: &Source,
    connected: &Arc<dyn mavis_connectors::Source>,
    table: &ReportTable,
    full: bool,
    settling: &Settling,
) -> Vec<Result<Counts, Failure>> {
    let mut outcomes = Vec::new();
    // Sources take turns.
    let _turn = running.context.places.take(Some(source.id)).await;
    if running.cancel.is_cancelled() {
        return vec![Err(Failure::Cancelled)];
    }
    let place = format!("`{}`", table.table);
    let entry: Result<Table, Failure> =
        running.catalog().ensure_table(discover::raw_table(source, table)).await.map_err(Failure::from);
    let raw = match entry {
        Ok(entry) => {
            let job = ToRaw { source, connected, table, full, settling };
            let outcome = to_raw(running, &job, &entry).await;
            let through = outcome.is_ok();
            outcomes.push(outcome.map_err(|failure| failure.at(&place)));
            through.then_some(entry)
        }
        Err(failure) => {
            outcomes.push(Err(failure.at(&place)));
            None
        }
    };
    if let Some(raw) = raw {
        // What the raw step found out about the table is in the catalog now.
        let raw = running.catalog().table_by_id(raw.id).await.unwrap_or(raw);
        outcomes.push(Box::pin(to_processed(running, source, table, &raw)).await.map_err(|failure| failure.at(&place)));
        checkpoint(running, [raw.id]).await;
    }
    for outcome in &outcomes {
        if let Err(failure) = outcome
            && *failure != Failure::Cancelled
        {
            running.error(failure.to_string()).await;
        }
    }
    outcomes
}

/// Publishes what belongs together, and keeps the logs short.
async fn finish_fhir(running: &Running, touched: &Touched, sum: &mut Sum) {
    if let Err(failure) = touched.publish(running).await {
        fail(running, sum, failure.at("publishing the FHIR zone")).await;
    }
    checkpoint(running, touched.tables()).await;
}

async fn checkpoint(running: &Running, tables: impl IntoIterator<Item = mavis_types::TableId>) {
    for table in tables {
        // Somebody else's turn, or a later run's: a checkpoint only makes opening faster.
        if let Err(error) = Box::pin(running.lake().checkpoint(table, running.id)).await {
            tracing::debug!(table = %table, %error, "no checkpoint was written");
        }
    }
}

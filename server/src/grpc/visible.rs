//! Which sources, mappings, runs and parts of runs a caller is told of: those that every other door tells of.

use mavis_catalog::{MappingRow, Run};
use mavis_pipeline::RunEvent;
use mavis_proto::v1 as pb;
use mavis_sql::{Sizes, knows_run, knows_source, unknown_table};
use mavis_types::{Principal, RunId, SourceName, TableName};
use tonic::Status;

use super::{
    convert::{self, Names, source_name},
    status,
};
use crate::App;

/// Runs that are looked through for a caller who sees some of them only.
const LOOKED_THROUGH: u32 = 1000;

/// Sources that the caller may know of; their parameters are for engineers.
pub(super) async fn sources(app: &App, by: &Principal) -> Result<Vec<pb::Source>, Status> {
    let mut sources = app.pipeline.sources().await.map_err(status)?;
    sources.retain(|summary| knows_source(by, summary.source.name.as_str()));
    let told = sources.into_iter().map(|summary| {
        let mut source = convert::summary(summary);
        if let Some(spec) = source.spec.as_mut().filter(|_| !by.may_engineer()) {
            spec.params_json.clear();
        }
        source
    });
    Ok(told.collect())
}

/// Lets through who may know of a source; otherwise it is as if it were not there. Of one that is not there the pipeline says
/// which ones are, to whoever may know of all of them.
pub(super) async fn source(app: &App, by: &Principal, name: &SourceName) -> Result<(), Status> {
    if by.knows_all() {
        return Ok(());
    }
    source_to_be(by, name)?;
    app.catalog.source(name).await.map(drop).map_err(status)
}

/// Lets through who may know of the source, or will when it is there: an import makes its source.
pub(super) fn source_to_be(by: &Principal, name: &SourceName) -> Result<(), Status> {
    if knows_source(by, name.as_str()) {
        return Ok(());
    }
    Err(status(mavis_catalog::Error::NotFound { what: "source", name: name.to_string() }))
}

/// Lets through who may know of the tables that a run is to read; one that may not be known is as if it were not there.
pub(super) async fn tables(app: &App, by: &Principal, name: &SourceName, tables: &[String]) -> Result<(), Status> {
    if tables.is_empty() || by.knows_all() {
        return Ok(());
    }
    let source = app.catalog.source(name).await.map_err(status)?;
    match unknown_table(&app.catalog, by, &source, tables).await.map_err(status)? {
        None => Ok(()),
        Some(table) => Err(status(mavis_catalog::Error::NotFound { what: "table", name: table.to_owned() })),
    }
}

/// Mappings of sources that the caller may know of.
pub(super) async fn mappings(app: &App, by: &Principal) -> Result<Vec<MappingRow>, Status> {
    let mut mappings = app.pipeline.mappings().await.map_err(status)?;
    if !by.knows_all() {
        let mut known = app.catalog.sources().await.map_err(status)?;
        known.retain(|source| knows_source(by, source.name.as_str()));
        mappings.retain(|row| row.source.is_some_and(|id| known.iter().any(|source| source.id == id)));
    }
    Ok(mappings)
}

/// The newest runs that the caller may know of, of one source where `source` is not empty.
pub(super) async fn runs(app: &App, by: &Principal, source: &str, limit: u32) -> Result<Vec<pb::Run>, Status> {
    let source = if source.is_empty() { None } else { Some(source_name(source)?) };
    let all = by.knows_all();
    let read = if all { limit } else { limit.max(LOOKED_THROUGH) };
    let mut names = Names::new(&app.catalog, by);
    let mut runs = Vec::new();
    for run in app.pipeline.runs(source.as_ref(), read).await.map_err(status)? {
        if all || knows(app, by, &run).await? {
            runs.push(names.run(run).await?);
        }
        if runs.len() == limit as usize {
            break;
        }
    }
    Ok(runs)
}

/// The run, if the caller may know of it; otherwise it is as if it were not there.
pub(super) async fn run(app: &App, by: &Principal, id: RunId) -> Result<Run, Status> {
    let run = app.catalog.run(id).await.map_err(status)?;
    if knows(app, by, &run).await? {
        return Ok(run);
    }
    Err(status(mavis_catalog::Error::NotFound { what: "run", name: id.to_string() }))
}

/// Whether the caller is told of an event: not of a table that it may not read. `sized`: as [`sized`] says of the run.
pub(super) fn is_told(by: &Principal, event: &RunEvent, sized: bool) -> bool {
    match event {
        RunEvent::Unit(progress) => {
            by.knows_all() || progress.table.parse::<TableName>().is_ok_and(|table| by.may_read(&table))
        }
        RunEvent::State { .. } => true,
        RunEvent::Log(_) => sized,
    }
}

/// Whether the caller is told the sizes, the error and the log of a run: see [`Sizes`].
pub(super) async fn sized(app: &App, by: &Principal, run: &Run) -> Result<bool, Status> {
    let source = source_of(app, run).await?;
    let source = source.as_ref().map(SourceName::as_str);
    Sizes::default().are_known(&app.catalog, by, source).await.map_err(status)
}

async fn knows(app: &App, by: &Principal, run: &Run) -> Result<bool, Status> {
    let source = source_of(app, run).await?;
    Ok(knows_run(by, run, source.as_ref().map(SourceName::as_str)))
}

async fn source_of(app: &App, run: &Run) -> Result<Option<SourceName>, Status> {
    let Some(id) = run.source else { return Ok(None) };
    match app.catalog.source_by_id(id).await {
        Ok(source) => Ok(Some(source.name)),
        Err(mavis_catalog::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(status(error)),
    }
}

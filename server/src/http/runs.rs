use std::collections::HashMap;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use mavis_catalog::{Run as Row, RunState, RunUnit, Source};
use mavis_pipeline::IngestRequest;
use mavis_sql::{Sizes, knows_counts, knows_run, knows_source, unknown_table};
use mavis_types::{Counts, Principal, RunId, SourceId, SourceName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ErrorBody,
    extract::{Arguments, Body},
    page,
};
use crate::{App, auth::Door};

/// A run of the pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Run {
    id: String,
    #[schema(example = "ingest")]
    kind: String,
    source: Option<String>,
    /// `pending`, `running`, `completed`, `completed_with_warnings`, `failed`, `retrying` or `cancelled`.
    state: String,
    requested_by: String,
    /// The run that this one tries again.
    parent: Option<String>,
    /// 1 for the first try.
    attempt: u32,
    /// What went wrong and what to do. Null for who does not read every table of the source with all rows.
    error: Option<String>,
    /// Null for who does not read every table of the source with all rows.
    counts: Option<RowCounts>,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<DateTime<Utc>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<DateTime<Utc>>,
}

/// What became of rows: `read + fanned_out = inserted + updated + unchanged + deduplicated + quarantined`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowCounts {
    read: u64,
    fanned_out: u64,
    inserted: u64,
    updated: u64,
    unchanged: u64,
    deduplicated: u64,
    quarantined: u64,
    deleted: u64,
}

impl From<Counts> for RowCounts {
    fn from(counts: Counts) -> Self {
        Self {
            read: counts.read,
            fanned_out: counts.fanned_out,
            inserted: counts.inserted,
            updated: counts.updated,
            unchanged: counts.unchanged,
            deduplicated: counts.deduplicated,
            quarantined: counts.quarantined,
            deleted: counts.deleted,
        }
    }
}

/// One table's part of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unit {
    step: String,
    /// The table written to.
    table: String,
    state: String,
    /// Null for whom rows of some table are hidden from.
    counts: Option<RowCounts>,
    error: Option<String>,
    seconds: f64,
    /// Rows that are expected, where the source told.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
}

impl Unit {
    pub(super) fn new(table: String, unit: RunUnit, expected: Option<u64>, counted: bool) -> Self {
        Self {
            step: word(&unit.step),
            table,
            state: word(&unit.state),
            counts: counted.then(|| unit.counts.into()),
            error: unit.error.filter(|_| counted),
            seconds: unit.seconds,
            expected: expected.filter(|_| counted),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Runs {
    runs: Vec<Run>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunDetail {
    #[serde(flatten)]
    run: Run,
    units: Vec<Unit>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only runs of this source.
    source: Option<String>,
    /// Runs at most, 1 to 1000; 100 when left out.
    limit: Option<u32>,
}

/// Runs, the newest first
#[utoipa::path(
    get,
    path = "/api/v1/runs",
    tag = "runs",
    params(Filter),
    responses((status = 200, body = Runs), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such source"))
)]
pub(super) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Arguments(filter): Arguments<Filter>,
) -> Result<Json<Runs>, ApiError> {
    let limit = page::limit(filter.limit)?;
    let known = Known::read(&app, &principal).await?;
    let source = match filter.source {
        None => None,
        Some(name) => Some(known.id_of(&name)?),
    };
    // Who may read some schemas only sees some runs only: enough are read that the newest of those are among them.
    let read = if known.all { limit } else { limit.max(page::MOST) };
    let mut runs = app.catalog.runs(source, read).await?;
    runs.retain(|run| known.may_see(&principal, run));
    runs.truncate(limit as usize);
    Ok(Json(Runs { runs: runs.into_iter().map(|run| known.told(run)).collect() }))
}

/// A source to read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    source: String,
    /// Only these tables, as the source calls them; all when left out.
    #[serde(default)]
    tables: Vec<String>,
    /// Read again from the beginning and compare.
    #[serde(default)]
    full: bool,
    /// A UUID that the caller chooses: sent twice, it starts one run.
    id: Option<String>,
}

/// Starts a run
///
/// The answer comes at once; ask for the run until its state is final. Needs a token of role engineer or admin.
#[utoipa::path(
    post,
    path = "/api/v1/runs",
    tag = "runs",
    request_body = Start,
    responses((status = 202, body = Run), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody, description = "There is no such source"),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody, description = "The body is not JSON"))
)]
pub(super) async fn start(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Body(start): Body<Start>,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    app.auth.permit(&principal, principal.may_engineer(), "run.start", Door::Http).await?;
    let wrong = |error: &dyn std::fmt::Display| ApiError::invalid(error.to_string());
    let source = SourceName::new(&start.source).map_err(|error| wrong(&error))?;
    let id = match start.id {
        None => RunId::new(),
        Some(id) => id.parse().map_err(|_| ApiError::invalid(format!("`{id}` is no UUID")))?,
    };
    let known = Known::read(&app, &principal).await?;
    known.id_of(source.as_str())?;
    let registered = app.catalog.source(&source).await?;
    if let Some(table) = unknown_table(&app.catalog, &principal, &registered, &start.tables).await? {
        return Err(mavis_catalog::Error::NotFound { what: "table", name: table.to_owned() }.into());
    }
    let request = IngestRequest { source, tables: start.tables, full: start.full };
    let run = app.pipeline.start_run(&principal, id, request).await?;
    Ok((StatusCode::ACCEPTED, Json(known.told(run))))
}

/// One run with its parts
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses((status = 200, body = RunDetail), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<RunDetail>, ApiError> {
    let (known, run) = find(&app, &principal, &id).await?;
    let mut units = Vec::new();
    for unit in app.catalog.run_units(run.id).await? {
        let table = app.catalog.table_by_id(unit.table).await?.name;
        if principal.may_read(&table) {
            units.push(Unit::new(table.to_string(), unit, None, known.counted));
        }
    }
    Ok(Json(RunDetail { run: known.told(run), units }))
}

/// A run that the principal may see; one that may not be seen is not there.
pub(super) async fn find(app: &App, principal: &Principal, id: &str) -> Result<(Known, Row), ApiError> {
    let absent = || mavis_catalog::Error::NotFound { what: "run", name: id.to_owned() };
    let number: RunId = id.parse().map_err(|_| absent())?;
    let run = app.catalog.run(number).await?;
    let known = Known::read(app, principal).await?;
    if known.may_see(principal, &run) { Ok((known, run)) } else { Err(absent().into()) }
}

/// Sources that the principal may know of.
pub(super) struct Known {
    /// With whether the sizes, errors and logs of their runs are told: see [`Sizes`].
    names: HashMap<SourceId, (SourceName, bool)>,
    all: bool,
    /// The same of runs of no source.
    sized: bool,
    counted: bool,
}

impl Known {
    async fn read(app: &App, principal: &Principal) -> Result<Self, ApiError> {
        let sources = app.catalog.sources().await?;
        let known = sources.into_iter().filter(|source| knows_source(principal, source.name.as_str()));
        let (mut sizes, mut names) = (Sizes::default(), HashMap::new());
        for Source { id, name, .. } in known {
            let sized = sizes.are_known(&app.catalog, principal, Some(name.as_str())).await?;
            names.insert(id, (name, sized));
        }
        let sized = sizes.are_known(&app.catalog, principal, None).await?;
        Ok(Self { names, all: principal.knows_all(), sized, counted: knows_counts(principal) })
    }

    fn id_of(&self, name: &str) -> Result<SourceId, ApiError> {
        let found = self.names.iter().find(|(_, (known, _))| known.as_str() == name).map(|(id, _)| *id);
        found.ok_or_else(|| mavis_catalog::Error::NotFound { what: "source", name: name.to_owned() }.into())
    }

    fn may_see(&self, principal: &Principal, run: &Row) -> bool {
        let source = run.source.and_then(|source| self.names.get(&source));
        knows_run(principal, run, source.map(|(name, _)| name.as_str()))
    }

    /// Whether the principal is told the sizes, the error and the log of a run.
    pub(super) fn is_sized(&self, run: &Row) -> bool {
        let known = run.source.and_then(|source| self.names.get(&source));
        known.map_or(self.sized, |(_, sized)| *sized)
    }

    fn told(&self, run: Row) -> Run {
        let sized = self.is_sized(&run);
        Run {
            id: run.id.to_string(),
            kind: word(&run.kind),
            source: run.source.and_then(|id| self.names.get(&id)).map(|(name, _)| name.to_string()),
            state: state_word(run.state),
            requested_by: run.requested_by,
            parent: run.parent.map(|id| id.to_string()),
            attempt: run.attempt,
            error: run.error.filter(|_| sized),
            counts: sized.then(|| run.counts.into()),
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

pub(super) fn state_word(state: RunState) -> String {
    word(&state)
}

/// The word that the catalog stores for a value.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

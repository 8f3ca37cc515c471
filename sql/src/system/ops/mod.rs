//! `system.ops`: runs, their parts and logs, schedules, what is late and who was told, drift, quarantine, audit, grants.

mod alerts;
mod audit;
mod discoveries;
mod drift;
mod freshness;
mod grants;
mod quarantine;
mod run_log;
mod run_units;
mod runs;
mod schedules;

pub(super) use alerts::ALERTS;
pub(super) use audit::AUDIT;
pub(super) use discoveries::DISCOVERIES;
pub(super) use drift::DRIFT;
pub(super) use freshness::FRESHNESS;
pub(super) use grants::GRANTS;
pub(super) use quarantine::QUARANTINE;
pub(super) use run_log::RUN_LOG;
pub(super) use run_units::RUN_UNITS;
pub(super) use runs::RUNS;
pub(super) use schedules::SCHEDULES;

use std::collections::HashMap;

use mavis_catalog::Run;
use mavis_types::{RunId, SourceId, SourceName};

use super::{Request, sheet::Sheet};
use crate::{
    Error,
    sight::{Sizes, knows_run, not_whole_of},
};

/// Runs, units, audit entries that a table shows at most, the newest first.
const NEWEST: u32 = 10_000;
/// Lines of logs that are shown at most when no run is named.
const NEWEST_LINES: u32 = 100_000;

/// The newest runs that the principal may know of ([`knows_run`]), each with whether it is told their sizes, errors and logs
/// ([`Sizes`]).
async fn known_runs(request: &Request) -> Result<Vec<(Run, bool)>, Error> {
    let runs = match request.equal("source") {
        Some(wanted) => {
            let sources = request.sources().await?;
            match sources.iter().find(|(_, name)| name.as_str() == wanted) {
                Some((id, _)) => request.catalog.runs(Some(*id), NEWEST).await?,
                None => Vec::new(),
            }
        }
        None => request.catalog.runs(None, NEWEST).await?,
    };
    known(request, runs).await
}

/// As [`known_runs`]; only the run that the query names, where it names one.
async fn named_or_known_runs(request: &Request) -> Result<Vec<(Run, bool)>, Error> {
    let Some(named) = named_run(request) else { return known_runs(request).await };
    let Some(id) = named else { return Ok(Vec::new()) };
    match request.catalog.run(id).await {
        Ok(run) => known(request, vec![run]).await,
        Err(mavis_catalog::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Names by id of the sources of which an engineer is told everything: errors of runs, names of tables and columns. See
/// [`Sizes`].
async fn whole_sources(request: &Request) -> Result<HashMap<SourceId, String>, Error> {
    if !request.principal.may_engineer() {
        return Ok(HashMap::new());
    }
    let mut sizes = Sizes::default();
    let mut whole = HashMap::new();
    for (id, name) in request.sources().await? {
        if sizes.are_known(&request.catalog, &request.principal, Some(&name)).await? {
            whole.insert(id, name);
        }
    }
    Ok(whole)
}

/// Those of them that nothing is hidden of: what a discovery finds is told of these only.
async fn discovered_sources(request: &Request) -> Result<HashMap<SourceId, String>, Error> {
    let mut discovered = whole_sources(request).await?;
    if request.principal.rights.hides_anything() {
        for (id, name) in request.sources().await? {
            let whole = match SourceName::new(&name) {
                Ok(source) => not_whole_of(&request.catalog, &request.principal, &source).await?.is_none(),
                Err(_) => false,
            };
            if !whole {
                discovered.remove(&id);
            }
        }
    }
    Ok(discovered)
}

/// The run that a query names, if it names one.
fn named_run(request: &Request) -> Option<Option<RunId>> {
    request.equal("run_id").map(|text| text.parse().ok())
}

async fn known(request: &Request, runs: Vec<Run>) -> Result<Vec<(Run, bool)>, Error> {
    let sources = request.sources().await?;
    let mut sizes = Sizes::default();
    let mut known = Vec::new();
    for run in runs {
        let source = run.source.and_then(|id| sources.get(&id)).map(String::as_str);
        if knows_run(&request.principal, &run, source) {
            let told = sizes.are_known(&request.catalog, &request.principal, source).await?;
            known.push((run, told));
        }
    }
    Ok(known)
}

/// The columns of counts, the same in every table that has them; null where they may not be known.
fn counts(sheet: Sheet, counts: &[Option<mavis_types::Counts>]) -> Sheet {
    let told = |of: fn(&mavis_types::Counts) -> u64| {
        counts.iter().map(move |c| c.as_ref().map(|c| super::sheet::number(of(c))))
    };
    sheet
        .maybe_number("rows_read", told(|c| c.read))
        .maybe_number("rows_fanned_out", told(|c| c.fanned_out))
        .maybe_number("rows_inserted", told(|c| c.inserted))
        .maybe_number("rows_updated", told(|c| c.updated))
        .maybe_number("rows_unchanged", told(|c| c.unchanged))
        .maybe_number("rows_deduplicated", told(|c| c.deduplicated))
        .maybe_number("rows_quarantined", told(|c| c.quarantined))
        .maybe_number("rows_deleted", told(|c| c.deleted))
}

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use mavis_types::Principal;

use super::{ApiError, ErrorBody, runs::state_word};
use crate::{App, auth::Door};

/// Version 0.0.4 of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Runs that are counted by state, the newest.
const RUNS: u32 = 1_000;

/// What Prometheus reads
///
/// Counters since the start (queries and rows by door and outcome, rows read and quarantined, requests by route), and
/// gauges of now: runs by state (among the newest 1,000), the memory of the process, and the columns of files
/// kept in memory. Needs a token of role engineer or admin.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, content_type = "text/plain", body = String), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody))
)]
pub(super) async fn render(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, ApiError> {
    // They tell of everybody's queries and of all runs.
    app.auth.permit(&principal, principal.may_engineer(), "metrics", Door::Http).await?;
    let mut states: BTreeMap<String, u32> = STATES.iter().map(|state| ((*state).to_owned(), 0)).collect();
    for run in app.catalog.runs(None, RUNS).await? {
        *states.entry(state_word(run.state)).or_default() += 1;
    }
    for (state, count) in states {
        metrics::gauge!("mavis_runs", "state" => state).set(count);
    }
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("process_resident_memory_bytes").set(bytes);
    }
    let pages = app.lake.pages_use();
    metrics::gauge!("mavis_pages_bytes").set(pages.bytes as f64);
    metrics::counter!("mavis_pages_served_total").absolute(pages.served);
    Ok(([(CONTENT_TYPE, TEXT)], app.metrics.render()).into_response())
}

/// States that are told even when no run is in them, so that alerts have something to compare with.
const STATES: [&str; 3] = ["failed", "pending", "running"];

/// Memory that the process holds, in bytes; `None` where the system does not tell.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

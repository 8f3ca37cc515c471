//! Long queries: `POST /api/v1/queries` answers at once with where to ask for the rest; status, pages of the rows in any
//! format, and the end of it by `DELETE`. The rows wait in [`crate::results`].
//!
//! [`told`] is what is said of a query. A query is its token's own: for everybody else it does not exist.

mod told;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{LINK, LOCATION},
    },
    response::{IntoResponse, Response},
};
use mavis_types::Principal;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use self::told::{Queries, Query};
use super::{
    ApiError, ErrorBody,
    extract::{Arguments, Body},
    sql::{Asked, Format, Statement, send_rows},
};
use crate::{
    App,
    results::{Job, Phase, Submit},
};

/// How many rows the whole answer has.
const ROWS: HeaderName = HeaderName::from_static("x-mavis-rows");
/// Longest wait for a status.
const LONGEST_WAIT: u64 = 30;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Seconds to wait for the end of the query before the answer, 30 at most. Default: 0.
    #[serde(default)]
    #[param(minimum = 0, maximum = 30)]
    wait: u64,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Rows to pass over. Default: 0.
    #[serde(default)]
    #[param(minimum = 0)]
    offset: u64,
    /// Rows of this page at most. Default: all that follow.
    #[param(minimum = 0)]
    limit: Option<u64>,
    /// `json`, `ndjson`, `csv`, `arrow` or `parquet`, whatever `Accept` says.
    format: Option<String>,
}

/// Submit a long query
///
/// The statement is checked at once; it then runs while nobody waits, for as long as `query.long_seconds` allows. Its rows are
/// kept for an hour after its end (`query.result_seconds`), and are its token's own.
#[utoipa::path(
    post,
    path = "/api/v1/queries",
    tag = "sql",
    request_body = Statement,
    responses(
        (status = 202, body = Query, description = "It runs; `Location` is where to ask for it", headers(
            ("Location" = String, description = "Path of the query"),
        )),
        (status = 400, body = ErrorBody, description = "The SQL is wrong, with line and column where they are known; or the \
                                                        statement writes"),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody, description = "The statement is none that a query may be"),
        (status = 404, body = ErrorBody, description = "There is no such table, or it may not be read"),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody, description = "The body is not JSON"),
        (status = 429, body = ErrorBody, description = "The token has too many of them already"),
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Body(statement): Body<Statement>,
) -> Result<Response, ApiError> {
    if statement.max_rows.is_some() {
        return Err(ApiError::invalid("a long query has no `max_rows`: ask for pages of its rows with `limit`"));
    }
    let ready = statement.ready(&app, true)?;
    if ready.writes() {
        return Err(ApiError::invalid(
            "a long query only reads: send a statement that writes to `POST /api/v1/sql`, which answers when it is done",
        ));
    }
    let ordered = ready.check(&app, &principal).await?;
    let submit = Submit { owner: principal.clone(), ordered, patience: None };
    let (of, by) = (app.clone(), principal.clone());
    let job = app.results.submit(submit, async move { ready.run(&of, &by).await }).await?;
    let told = Query::of(&app, &job);
    let mut response = (StatusCode::ACCEPTED, axum::Json(told)).into_response();
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/queries/{}", job.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// List long queries
///
/// Those of the token that asks, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/queries",
    tag = "sql",
    responses((status = 200, body = Queries), (status = 401, body = ErrorBody))
)]
pub(super) async fn list(State(app): State<App>, Extension(principal): Extension<Principal>) -> axum::Json<Queries> {
    axum::Json(Queries { queries: app.results.of(&principal).iter().map(|job| Query::of(&app, job)).collect() })
}

/// Show a long query
///
/// Where it is, how far it is as far as that is known, its columns, and what went wrong.
#[utoipa::path(
    get,
    path = "/api/v1/queries/{id}",
    tag = "sql",
    params(("id" = String, Path, description = "Id of the query"), Wait),
    responses(
        (status = 200, body = Query),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such query, or its time is over"),
    )
)]
pub(super) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Arguments(asked): Arguments<Wait>,
) -> Result<axum::Json<Query>, ApiError> {
    let job = find(&app, &principal, &id)?;
    if asked.wait > 0 {
        job.wait(Duration::from_secs(asked.wait.min(LONGEST_WAIT))).await;
    }
    Ok(axum::Json(Query::of(&app, &job)))
}

/// Fetch rows of a long query
///
/// `Accept` chooses the format, `?format=` overrides it; `offset` and `limit` choose the rows, as often and in whatever order
/// they are wanted. `Link` with `rel="next"` names the next page, where there is one.
#[utoipa::path(
    get,
    path = "/api/v1/queries/{id}/rows",
    tag = "sql",
    params(("id" = String, Path, description = "Id of the query"), Page),
    responses(
        (status = 200, description = "The rows, as they come", headers(
            ("x-mavis-rows" = u64, description = "Rows of the whole answer"),
            ("Link" = String, description = "The next page"),
        ), content(
            (super::sql::Rows = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )),
        (status = 400, body = ErrorBody, description = "The query failed on the statement or a value, or the page is none"),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such query, or its time is over"),
        (status = 406, body = ErrorBody, description = "None of the formats is accepted"),
        (status = 409, body = ErrorBody, description = "It still runs, or was cancelled"),
        (status = 429, body = ErrorBody, description = "The query needed more time or memory than it may use"),
        (status = 504, body = ErrorBody, description = "The query needed more time than its own `timeout`"),
        (status = 507, body = ErrorBody, description = "There was no room for its rows"),
    )
)]
pub(super) async fn rows(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Arguments(page): Arguments<Page>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = Format::choose(&Asked::of(page.format.clone()), &headers)?;
    let job = find(&app, &principal, &id)?;
    match job.phase() {
        Phase::Done { .. } => {}
        Phase::Failed { error, .. } => return Err(error),
        Phase::Cancelled { .. } => {
            return Err(ApiError::new(StatusCode::CONFLICT, "cancelled", "the query was cancelled"));
        }
        Phase::Queued | Phase::Running => {
            let mut error = ApiError::new(StatusCode::CONFLICT, "running", "the query still runs: ask again later");
            error.retry_after = Some(1);
            return Err(error);
        }
    }
    let read = app.results.read(&job, page.offset, page.limit).ok_or_else(missing)?;
    let mut response = send_rows(read, format).await?;
    response.headers_mut().insert(ROWS, job.rows().into());
    if let Some(link) = next(&job, &page) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// End a long query
///
/// Its work stops, and its rows are deleted.
#[utoipa::path(
    delete,
    path = "/api/v1/queries/{id}",
    tag = "sql",
    params(("id" = String, Path, description = "Id of the query")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such query, or its time is over"),
    )
)]
pub(super) async fn remove(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let job = find(&app, &principal, &id)?;
    app.results.remove(job.id).await.map_err(|error| ApiError::internal(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(app: &App, principal: &Principal, id: &str) -> Result<Arc<Job>, ApiError> {
    let id = Uuid::parse_str(id).map_err(|_| missing())?;
    app.results.find(id, principal).ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such query, or its time is over")
}

/// The page after this one.
fn next(job: &Job, page: &Page) -> Option<HeaderValue> {
    let limit = page.limit.filter(|limit| *limit > 0)?;
    let offset = page.offset.checked_add(limit).filter(|offset| *offset < job.rows())?;
    let format = page.format.as_ref().map(|word| format!("&format={word}")).unwrap_or_default();
    let id = job.id;
    HeaderValue::try_from(format!("</api/v1/queries/{id}/rows?offset={offset}&limit={limit}{format}>; rel=\"next\""))
        .ok()
}

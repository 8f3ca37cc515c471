//! The requests of an export: begin, ask, cancel, fetch.

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, Utc};
use mavis_fhir::search::compile;
use mavis_types::Principal;
use serde_json::json;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{
    asked::{Asked, Level, posted},
    job::{self, Job, Known, State as Stage},
    work::{request, run, whose},
};
use crate::{
    App,
    fhir::{base::base, outcome::Outcome, read, rows::is_id, write::prefers_async},
};

type Parameters = Vec<(String, String)>;

/// Seconds until an export is worth asking for again.
const ASK_AGAIN: u32 = 2;

pub(in crate::fhir) async fn system(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Outcome> {
    begin(&app, principal, &headers, &uri, Level::System, &parameters).await
}

pub(in crate::fhir) async fn patients(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Outcome> {
    begin(&app, principal, &headers, &uri, Level::Patients, &parameters).await
}

pub(in crate::fhir) async fn group(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Outcome> {
    begin(&app, principal, &headers, &uri, Level::Group(id), &parameters).await
}

pub(in crate::fhir) async fn post_system(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Outcome> {
    begin(&app, principal, &headers, &uri, Level::System, &posted(&body)?).await
}

pub(in crate::fhir) async fn post_patients(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Outcome> {
    begin(&app, principal, &headers, &uri, Level::Patients, &posted(&body)?).await
}

pub(in crate::fhir) async fn post_group(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Outcome> {
    begin(&app, principal, &headers, &uri, Level::Group(id), &posted(&body)?).await
}

fn failed(error: &std::io::Error) -> Outcome {
    tracing::error!(%error, "the folder of exports failed");
    Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed; its log has the details")
}

async fn begin(
    app: &App,
    principal: Principal,
    headers: &HeaderMap,
    uri: &Uri,
    level: Level,
    parameters: &[(String, String)],
) -> Result<Response, Outcome> {
    if !prefers_async(headers) {
        let message = "an export is asynchronous: send `Prefer: respond-async`";
        return Err(Outcome::new(StatusCode::BAD_REQUEST, "invalid", message));
    }
    let asked = Asked::read(level, parameters)?;
    for (resource, filters) in &asked.filters {
        for filter in filters {
            // What cannot be compiled without a table cannot be with one.
            compile(*resource, request(filter), &mavis_fhir::search::Schemas::new())?;
        }
    }
    let text = match &asked.level {
        Level::Group(id) => {
            let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such Group");
            let resource = "Group".parse().map_err(|_| missing())?;
            if !is_id(id) {
                return Err(missing());
            }
            Some(read::current_text(app, &principal, resource, id).await?.ok_or_else(missing)?)
        }
        _ => None,
    };
    let snapshot = app.engine.session(&principal, None).await?.snapshot();
    let published = match snapshot {
        Some(id) => app.catalog.snapshot(id).await.map_err(mavis_sql::Error::from)?.published_at,
        None => Utc::now(),
    };
    let base = base(app, headers);
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let job = Job {
        id: Uuid::new_v4(),
        request: format!("{base}{path}"),
        owner: principal.token.to_string(),
        transaction_time: published,
        began_at: Utc::now(),
        state: Stage::Running,
    };
    let Some(live) = app.exports.begin(&job).await.map_err(|error| failed(&error))? else {
        let message = "too many exports go on: come back later";
        return Err(Outcome::new(StatusCode::TOO_MANY_REQUESTS, "throttled", message).retry_after(30));
    };
    let place = format!("{base}/_export/{}", job.id);
    tracing::info!(export = %job.id, by = %principal.name, "an export began");
    let whose = whose(&asked.level, text.as_deref());
    tokio::spawn(Box::pin(run(app.clone(), principal, snapshot, asked, whose, job, live)));
    let mut response = StatusCode::ACCEPTED.into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::CONTENT_LOCATION, place);
    }
    Ok(response)
}

/// The export, where the caller may know of it.
async fn find(app: &App, principal: &Principal, id: &str) -> Result<(Uuid, Known), Outcome> {
    let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such export, or its time is over");
    let id = Uuid::parse_str(id).map_err(|_| missing())?;
    let known = app.exports.find(id).await;
    match &known {
        Known::Running(job, _) | Known::Ended(job)
            if (job.owner == principal.token.to_string() || principal.may_administer())
                && !job::is_over(job, Utc::now()) =>
        {
            Ok((id, known))
        }
        _ => Err(missing()),
    }
}

/// `GET _export/[id]`: 202 while it goes on, then what came of it.
pub(in crate::fhir) async fn status(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let job = match find(&app, &principal, &id).await? {
        (_, Known::Running(_, live)) => {
            let mut response = StatusCode::ACCEPTED.into_response();
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, ASK_AGAIN.into());
            if let Ok(progress) = HeaderValue::from_str(&live.progress()) {
                headers.insert("x-progress", progress);
            }
            return Ok(response);
        }
        (_, Known::Ended(job)) => job,
        (_, Known::Nothing) => return Err(Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such export")),
    };
    let expires = job::expires(&job);
    match job.state {
        Stage::Done { outputs, .. } => {
            let base = base(&app, &headers);
            let outputs: Vec<_> = outputs
                .iter()
                .map(|output| {
                    json!({
                        "type": output.resource,
                        "url": format!("{base}/_export/{}/{}", job.id, output.file),
                        "count": output.rows,
                    })
                })
                .collect();
            let manifest = json!({
                "transactionTime": job.transaction_time.to_rfc3339_opts(SecondsFormat::Millis, true),
                "request": job.request,
                "requiresAccessToken": true,
                "output": outputs,
                "error": [],
            });
            let mut response = axum::Json(manifest).into_response();
            let expires = expires.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            if let Ok(expires) = HeaderValue::from_str(&expires) {
                response.headers_mut().insert(header::EXPIRES, expires);
            }
            Ok(response)
        }
        Stage::Failed { reason, .. } => {
            Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", format!("the export failed: {reason}")))
        }
        Stage::Running => Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed")),
    }
}

/// `DELETE _export/[id]`: ends it and deletes its files.
pub(in crate::fhir) async fn cancel(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, Outcome> {
    let (id, _) = find(&app, &principal, &id).await?;
    app.exports.remove(id).await.map_err(|error| failed(&error))?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `GET _export/[id]/[file]`.
pub(in crate::fhir) async fn file(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Outcome> {
    let (id, known) = find(&app, &principal, &id).await?;
    let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "the export has no such file");
    // Only names that are written down, so that none is a path.
    let outputs = match known {
        Known::Ended(Job { state: Stage::Done { outputs, .. }, .. }) => outputs,
        _ => return Err(missing()),
    };
    let output = outputs.iter().find(|output| output.file == name).ok_or_else(missing)?;
    let file = tokio::fs::File::open(app.exports.folder(id).join(&output.file)).await.map_err(|_| missing())?;
    let bytes = file.metadata().await.map_err(|error| failed(&error))?.len();
    let parquet = output.file.ends_with(".parquet");
    let kind = if parquet { "application/vnd.apache.parquet" } else { "application/fhir+ndjson" };
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 256 << 10)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    Ok(response)
}

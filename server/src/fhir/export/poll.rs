//! Requests about an export that goes on or has ended, the same for resources and for rows.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use mavis_types::{Principal, SnapshotId};
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::job::{self, Job, Kind, Known, Live, State};
use crate::{
    App,
    fhir::{audit::Answered, outcome::Outcome},
};

/// Seconds until it is worth asking again.
const ASK_AGAIN: u32 = 2;

pub(super) fn failed(error: &std::io::Error) -> Outcome {
    tracing::error!(%error, "the folder of exports failed");
    Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed; its log has the details")
}

/// The state that an export begun now is of, and when it was published.
pub(in crate::fhir) async fn newest(
    app: &App,
    principal: &Principal,
) -> Result<(Option<SnapshotId>, DateTime<Utc>), mavis_sql::Error> {
    let snapshot = app.engine.session(principal, None).await?.snapshot();
    let published = match snapshot {
        Some(id) => app.catalog.snapshot(id).await?.published_at,
        None => Utc::now(),
    };
    Ok((snapshot, published))
}

/// Enters an export.
///
/// # Errors
/// 429 where too many go on.
pub(in crate::fhir) async fn begin(app: &App, job: &Job) -> Result<std::sync::Arc<Live>, Outcome> {
    app.exports.begin(job).await.map_err(|error| failed(&error))?.ok_or_else(|| {
        let message = "too many exports go on: come back later";
        Outcome::new(StatusCode::TOO_MANY_REQUESTS, "throttled", message).retry_after(30)
    })
}

/// 202, and where to ask.
pub(in crate::fhir) fn accepted(place: &str, body: impl IntoResponse) -> Response {
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::CONTENT_LOCATION, place);
    }
    response
}

/// 202 for something that goes on, and how far it is.
pub(in crate::fhir) fn going_on(progress: &str, body: impl IntoResponse) -> Response {
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, ASK_AGAIN.into());
    if let Ok(progress) = HeaderValue::from_str(progress) {
        headers.insert("x-progress", progress);
    }
    response
}

/// Until when its files are there.
pub(in crate::fhir) fn expiring(mut response: Response, job: &Job) -> Response {
    let expires = job::expires(job).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(expires) = HeaderValue::from_str(&expires) {
        response.headers_mut().insert(header::EXPIRES, expires);
    }
    response
}

/// Whose an export is: a token with the rights that it had. Another signed token of the same person may have narrower scopes,
/// and rights are taken away: neither is shown what was written for more.
pub(in crate::fhir) fn owner(principal: &Principal) -> String {
    let Principal { token, name: _, role, groups, scope, rights, smart } = principal;
    let sight = format!("{:?}", (role, groups, scope, rights, smart));
    format!("{token}:{}", hex::encode(Sha256::digest(sight)))
}

/// The export, where the caller may know of it. `rows`: of rows, not of resources.
pub(in crate::fhir) async fn find(
    app: &App,
    principal: &Principal,
    id: &str,
    rows: bool,
) -> Result<(Uuid, Known), Outcome> {
    let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such export, or its time is over");
    let id = Uuid::parse_str(id).map_err(|_| missing())?;
    let known = app.exports.find(id).await;
    match &known {
        Known::Running(job, _) | Known::Ended(job)
            if (job.owner == owner(principal) || principal.may_administer())
                && matches!(job.kind, Kind::Rows { .. }) == rows
                && !job::is_over(job, Utc::now()) =>
        {
            Ok((id, known))
        }
        _ => Err(missing()),
    }
}

/// Ends an export and deletes its files.
pub(in crate::fhir) async fn cancel(
    app: &App,
    principal: &Principal,
    id: &str,
    rows: bool,
) -> Result<Response, Outcome> {
    let (id, _) = find(app, principal, id, rows).await?;
    app.exports.remove(id).await.map_err(|error| failed(&error))?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// One of its files.
pub(in crate::fhir) async fn file(
    app: &App,
    principal: &Principal,
    id: &str,
    name: &str,
    rows: bool,
) -> Result<Response, Outcome> {
    let (id, known) = find(app, principal, id, rows).await?;
    let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "the export has no such file");
    // Only names that are written down, so that none is a path.
    let (kind, outputs) = match known {
        Known::Ended(Job { state: State::Done { outputs, .. }, kind, .. }) => (kind, outputs),
        _ => return Err(missing()),
    };
    let output = outputs.iter().find(|output| output.file == name).ok_or_else(missing)?;
    let file = tokio::fs::File::open(app.exports.folder(id).join(&output.file)).await.map_err(|_| missing())?;
    let bytes = file.metadata().await.map_err(|error| failed(&error))?.len();
    let media_type = match &kind {
        Kind::Rows { media_type, .. } => media_type.as_str(),
        Kind::Resources if output.file.ends_with(".parquet") => "application/vnd.apache.parquet",
        Kind::Resources => "application/fhir+ndjson",
    };
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 256 << 10)).into_response();
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    Ok(Answered::mark(response, usize::try_from(output.rows).unwrap_or(usize::MAX)))
}

//! `POST $import` of NDJSON files that stand on a web server (the manifest of the Bulk Import proposal): asynchronous, through
//! the pipeline's import.
//!
//! The manifest is JSON: `inputFormat` (`application/fhir+ndjson`), `inputSource` (whose data it is; it names the source),
//! `storageDetail.type` (`https`), and `input`, a list of `{type, url}`. Ids are kept.

use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::SecondsFormat;
use mavis_catalog::RunState;
use mavis_fhir::ResourceType;
use mavis_pipeline::{FetchedFile, ImportOptions};
use mavis_types::{RunId, SourceName};
use serde_json::{Value, json};

use super::{
    base::base,
    call::Call,
    export::poll,
    outcome::Outcome,
    write::{may_administer, prefers_async},
};
use crate::http::ApiError;

/// Files of one manifest, at most.
const MAX_FILES: usize = 10_000;

fn told(error: ApiError) -> Outcome {
    let code = if error.status.is_server_error() { "exception" } else { "invalid" };
    Outcome::new(error.status, code, error.message)
}

/// What a manifest asks for.
fn manifest(body: &[u8]) -> Result<(ImportOptions, Vec<FetchedFile>), Outcome> {
    let value: Value =
        serde_json::from_slice(body).map_err(|_| Outcome::invalid("the body is no JSON: a manifest is expected"))?;
    let unsupported = |message: &str| Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message);
    if !matches!(value["inputFormat"].as_str(), Some("application/fhir+ndjson" | "application/ndjson" | "ndjson")) {
        return Err(unsupported("`inputFormat` is `application/fhir+ndjson`"));
    }
    if !matches!(value["storageDetail"]["type"].as_str(), None | Some("https" | "http")) {
        return Err(unsupported("`storageDetail.type` is `https`"));
    }
    let source =
        value["inputSource"].as_str().ok_or_else(|| Outcome::invalid("`inputSource` is missing: whose data is it?"))?;
    let source = SourceName::new(source).map_err(|error| Outcome::invalid(error.to_string()))?;
    let inputs = value["input"].as_array().filter(|inputs| !inputs.is_empty());
    let inputs = inputs.ok_or_else(|| Outcome::invalid("`input` lists the files, each with `type` and `url`"))?;
    if inputs.len() > MAX_FILES {
        return Err(Outcome::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", format!("more than {MAX_FILES} files")));
    }
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let kind = input["type"].as_str().unwrap_or_default();
        kind.parse::<ResourceType>().map_err(|_| Outcome::unknown_type(kind))?;
        let url = input["url"].as_str().ok_or_else(|| Outcome::invalid("an input has no `url`"))?;
        let name = url.split(['?', '#']).next().unwrap_or(url);
        files.push(FetchedFile { name: name.to_owned(), url: url.to_owned() });
    }
    Ok((ImportOptions { source, authoritative: true, again: false }, files))
}

pub(super) async fn begin(call: Call) -> Result<Response, Outcome> {
    let Call { app, principal, headers, body, .. } = call;
    may_administer(&principal)?;
    if !prefers_async(&headers) {
        let message = "an import is asynchronous: send `Prefer: respond-async`";
        return Err(Outcome::new(StatusCode::BAD_REQUEST, "invalid", message));
    }
    let (options, files) = manifest(&body)?;
    let run =
        app.pipeline.start_fetch(&principal, RunId::new(), options, files).await.map_err(|error| told(error.into()))?;
    Ok(poll::accepted(&format!("{}/_import/{}", base(&app, &headers), run.id), ()))
}

fn missing() -> Outcome {
    Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such import")
}

/// `GET _import/[run]`.
pub(super) async fn status(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    let Call { app, principal, headers, .. } = call;
    may_administer(&principal)?;
    let id: RunId = id.parse().map_err(|_| missing())?;
    let mut run = app.catalog.run(id).await.map_err(|_| missing())?;
    // A run that failed for a passing reason has a child that does the same again.
    while run.state == RunState::Retrying {
        let child = RunId::from_uuid(uuid::Uuid::new_v5(run.id.as_uuid(), b"retry"));
        run = app.catalog.run(child).await.map_err(|_| missing())?;
    }
    let counts = run.counts;
    match run.state {
        RunState::Completed | RunState::CompletedWithWarnings => {
            let finished = run.finished_at.unwrap_or(run.created_at);
            let mut problems = Vec::new();
            if counts.quarantined > 0 {
                problems.push(json!({
                    "type": "OperationOutcome",
                    "count": counts.quarantined,
                    "message": format!("{} resources wait in quarantine: see `mavis quarantine list --run {id}`", counts.quarantined),
                }));
            }
            let report = json!({
                "transactionTime": finished.to_rfc3339_opts(SecondsFormat::Millis, true),
                "request": format!("{}/$import", base(&app, &headers)),
                "requiresAccessToken": true,
                "read": counts.read,
                "created": counts.inserted,
                "updated": counts.updated,
                "unchanged": counts.unchanged,
                "output": [],
                "error": problems,
            });
            Ok(axum::Json(report).into_response())
        }
        RunState::Failed | RunState::FailedPermanently => {
            let reason = run.error.unwrap_or_else(|| "see the run's log".to_owned());
            Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", format!("the import failed: {reason}")))
        }
        RunState::Cancelled => Err(missing()),
        RunState::Pending | RunState::Running | RunState::Retrying => {
            Ok(poll::going_on(&format!("{} resources read", counts.read), ()))
        }
    }
}

/// `DELETE _import/[run]`.
pub(super) async fn cancel(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    may_administer(&call.principal)?;
    let id: RunId = id.parse().map_err(|_| missing())?;
    call.app.pipeline.cancel(&call.principal, id).await.map_err(|error| told(error.into()))?;
    Ok(StatusCode::ACCEPTED.into_response())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"inputFormat":"application/fhir+ndjson","inputSource":"clinic","input":[{"type":"Patient","url":"https://x.org/p.ndjson"}]}"#, true)]
    #[case(r#"{"inputFormat":"application/fhir+ndjson","inputSource":"clinic","input":[]}"#, false)]
    #[case(r#"{"inputFormat":"application/fhir+xml","inputSource":"clinic","input":[{"type":"Patient","url":"https://x.org/p"}]}"#, false)]
    #[case(r#"{"inputFormat":"application/fhir+ndjson","input":[{"type":"Patient","url":"https://x.org/p"}]}"#, false)]
    #[case(r#"{"inputFormat":"application/fhir+ndjson","inputSource":"clinic","input":[{"type":"Nonsense","url":"https://x.org/p"}]}"#, false)]
    #[case(r#"{"inputFormat":"application/fhir+ndjson","inputSource":"clinic","storageDetail":{"type":"aws-s3"},"input":[{"type":"Patient","url":"s3://b/p"}]}"#, false)]
    #[case("[]", false)]
    fn a_manifest_says_what_is_imported(#[case] text: &str, #[case] taken: bool) {
        assert_eq!(manifest(text.as_bytes()).is_ok(), taken);
    }
}

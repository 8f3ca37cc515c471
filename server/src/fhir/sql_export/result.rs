//! What is told of an export of rows, as Parameters.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::PLACE;
use crate::fhir::{
    export::{
        job::{Job, Kind, State},
        poll,
    },
    outcome::{FHIR_JSON, Outcome},
};

type Answer = ([(header::HeaderName, &'static str); 1], String);

fn answer(parameters: &[Value]) -> Answer {
    let resource = json!({ "resourceType": "Parameters", "parameter": parameters });
    ([(header::CONTENT_TYPE, FHIR_JSON)], resource.to_string())
}

fn text(name: &str, value: &str) -> Value {
    json!({ "name": name, "valueString": value })
}

fn instant(name: &str, at: DateTime<Utc>) -> Value {
    json!({ "name": name, "valueInstant": at.to_rfc3339_opts(SecondsFormat::Millis, true) })
}

/// What is the same from the beginning to the end.
fn about(job: &Job, base: &str, status: &str) -> Vec<Value> {
    let place = format!("{base}/{PLACE}/{}", job.id);
    let mut parameters = vec![text("exportId", &job.id.to_string())];
    if let Kind::Rows { format, tracking, .. } = &job.kind {
        parameters.extend(tracking.as_ref().map(|tracking| text("clientTrackingId", tracking)));
        parameters.push(json!({ "name": "_format", "valueCode": format }));
    }
    parameters.push(json!({ "name": "status", "valueCode": status }));
    parameters.push(json!({ "name": "location", "valueUri": place }));
    parameters.push(json!({ "name": "cancelUrl", "valueUri": place }));
    parameters.push(instant("exportStartTime", job.began_at));
    parameters
}

pub(super) fn begun(job: &Job, base: &str) -> Answer {
    answer(&about(job, base, "in-progress"))
}

/// The manifest of an export that ended.
///
/// # Errors
/// What the export failed of.
pub(super) fn of(job: &Job, base: &str) -> Result<Response, Outcome> {
    match &job.state {
        State::Done { at, outputs } => {
            let mut parameters = about(job, base, "completed");
            parameters.push(instant("exportEndTime", *at));
            let seconds = (*at - job.began_at).num_seconds();
            parameters.push(json!({ "name": "exportDuration", "valueInteger": seconds }));
            parameters.push(instant("transactionTime", job.transaction_time));
            for output in outputs {
                let place = format!("{base}/{PLACE}/{}/{}", job.id, output.file);
                parameters.push(json!({ "name": "output", "part": [
                    text("name", &output.resource),
                    { "name": "location", "valueUri": place },
                    { "name": "count", "valueInteger": output.rows },
                ] }));
            }
            Ok(poll::expiring(answer(&parameters).into_response(), job))
        }
        State::Failed { reason, status, .. } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let code = match status {
                StatusCode::UNPROCESSABLE_ENTITY => "processing",
                StatusCode::NOT_FOUND => "not-found",
                StatusCode::TOO_MANY_REQUESTS => "throttled",
                _ => "exception",
            };
            Err(Outcome::new(status, code, format!("the export failed: {reason}")))
        }
        State::Running => Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed")),
    }
}

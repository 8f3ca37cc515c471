//! The one place that turns errors into OperationOutcomes.

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use mavis_fhir::search::SearchError;
use serde_json::{Value, json};

use super::negotiate::FHIR_JSON;
use crate::{auth::Denied, http::ApiError};

/// An error as FHIR tells it: one issue, with a code of the value set `issue-type`.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Outcome {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Of a type that FHIR does not know.
    pub(super) fn unknown_type(name: &str) -> Self {
        // The name is the caller's own; it is cut, since it can be anything.
        let name: String = name.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, "not-supported", format!("`{name}` is not a resource type of FHIR R4"))
    }
}

/// An OperationOutcome with one issue.
pub(super) fn issue(severity: &str, code: &str, message: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": severity, "code": code, "diagnostics": message }],
    })
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let body = issue("error", self.code, &self.message).to_string();
        let mut response = (self.status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mavis\""));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

impl From<Denied> for Outcome {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Missing | Denied::Unknown => "login",
            Denied::Forbidden => "forbidden",
            Denied::Unavailable => "transient",
        };
        Self::new(ApiError::from(denied).status, code, denied.to_string())
    }
}

impl From<mavis_sql::Error> for Outcome {
    fn from(error: mavis_sql::Error) -> Self {
        let code = match &error {
            mavis_sql::Error::Limit { .. } => "throttled",
            mavis_sql::Error::SnapshotGone { .. } => "expired",
            mavis_sql::Error::Cancelled => "timeout",
            _ => "exception",
        };
        let error = ApiError::from(error);
        // A plan that the door itself made wrong is not the caller's mistake.
        let status =
            if error.status == StatusCode::BAD_REQUEST { StatusCode::INTERNAL_SERVER_ERROR } else { error.status };
        Self::new(status, code, error.message)
    }
}

impl From<SearchError> for Outcome {
    fn from(error: SearchError) -> Self {
        let code = match &error {
            SearchError::UnknownParameter { .. } | SearchError::Unsupported { .. } => "not-supported",
            SearchError::Invalid { .. } => "value",
            SearchError::TooMuch { .. } => "too-costly",
        };
        Self::new(StatusCode::BAD_REQUEST, code, error.to_string())
    }
}

pub(super) async fn not_found(uri: Uri) -> Outcome {
    let path: String = uri.path().chars().take(128).collect();
    Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at `{path}`"))
}

pub(super) async fn not_allowed(method: Method) -> Outcome {
    let message = format!(
        "{method} is not supported here: this door reads; data arrives through `mavis ingest` and `mavis fhir import`"
    );
    Outcome::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", message)
}

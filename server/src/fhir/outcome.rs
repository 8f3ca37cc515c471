//! The one place that turns errors into OperationOutcomes.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use mavis_fhir::{search::SearchError, view::ViewError};
use serde_json::{Value, json};

use crate::{auth::Denied, http::ApiError};

/// The media type of everything that this door answers.
pub(super) const FHIR_JSON: &str = "application/fhir+json; fhirVersion=4.0";
/// Characters of what is told of a search parameter, at most.
const MESSAGE_CHARS: usize = 1000;

/// An error as FHIR tells it: issues with codes of the value set `issue-type`.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    status: StatusCode,
    issues: Vec<Issue>,
    /// Seconds after which the same request may be answered.
    retry_after: Option<u32>,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Issue {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Path of the element that it is about.
    pub(super) expression: Option<String>,
}

impl Outcome {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::of_issues(status, vec![Issue { code, message: message.into(), expression: None }])
    }

    pub(super) fn of_issues(status: StatusCode, issues: Vec<Issue>) -> Self {
        Self { status, issues, retry_after: None }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Says where it is, where that was not said.
    pub(super) fn at(mut self, expression: &str) -> Self {
        for issue in &mut self.issues {
            issue.expression.get_or_insert_with(|| expression.to_owned());
        }
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn to_json(&self) -> Value {
        let issues = self.issues.iter().map(|issue| {
            let mut json = json!({ "severity": "error", "code": issue.code, "diagnostics": issue.message });
            if let Some(expression) = &issue.expression {
                json["expression"] = json!([expression]);
            }
            json
        });
        json!({ "resourceType": "OperationOutcome", "issue": issues.collect::<Vec<_>>() })
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
        let body = self.to_json().to_string();
        let mut response = (self.status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mavis\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Denied> for Outcome {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            denied if denied.is_forbidden() => "forbidden",
            denied if denied.is_passing() => "transient",
            _ => "login",
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
            mavis_sql::Error::Lake(mavis_lake::Error::Changed { .. }) => "conflict",
            _ => "exception",
        };
        let error = ApiError::from(error);
        let retry_after = error.retry_after;
        // A plan that the door itself made wrong is not the caller's mistake.
        let status =
            if error.status == StatusCode::BAD_REQUEST { StatusCode::INTERNAL_SERVER_ERROR } else { error.status };
        Self { retry_after, ..Self::new(status, code, error.message) }
    }
}

/// A view that is not valid, or that has no answer for the data.
impl From<&ViewError> for Outcome {
    fn from(error: &ViewError) -> Self {
        let message = match error {
            ViewError::Arrow(_) => "the view could not be computed".to_owned(),
            error => format!("the view is not valid: {error}"),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", message)
    }
}

impl From<SearchError> for Outcome {
    fn from(error: SearchError) -> Self {
        let code = match &error {
            SearchError::UnknownParameter { .. } | SearchError::Unsupported { .. } => "not-supported",
            SearchError::Invalid { .. } => "value",
            SearchError::TooMuch { .. } => "too-costly",
        };
        // the name in it is the caller's own, and can be anything
        let message: String = error.to_string().chars().take(MESSAGE_CHARS).collect();
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

pub(super) async fn not_found(uri: Uri) -> Outcome {
    let path: String = uri.path().chars().take(128).collect();
    Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at `{path}`"))
}

pub(super) async fn not_allowed(method: Method, uri: Uri) -> Outcome {
    let path: String = uri.path().chars().take(128).collect();
    let message = format!("{method} is not supported at `{path}`; the header `Allow` says what is");
    Outcome::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", message)
}

/// Errors that others make on the way (a body that is too large, a path that is no UTF-8, a defect) as OperationOutcomes.
pub(super) async fn always(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_fhir = |value: &HeaderValue| value.as_bytes().starts_with(b"application/fhir");
    if !(status.is_client_error() || status.is_server_error())
        || response.headers().get(header::CONTENT_TYPE).is_some_and(is_fhir)
    {
        return response;
    }
    let (code, message) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too-long", "the request is larger than this server takes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("not-supported", "the content type is not supported here"),
        StatusCode::NOT_FOUND => ("not-found", "there is nothing here"),
        status if status.is_client_error() => ("invalid", "the request cannot be read"),
        _ => ("exception", "the server failed; its log has the details"),
    };
    let (mut parts, _) = response.into_parts();
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING] {
        parts.headers.remove(name);
    }
    let mut made = Outcome::new(status, code, message).into_response();
    for (name, value) in parts.headers {
        if let Some(name) = name
            && !made.headers().contains_key(&name)
        {
            made.headers_mut().insert(name, value);
        }
    }
    made
}

/// A panic is a defect of ours; what it says may hold a value and stays in the process.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a FHIR request panicked");
    Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed").into_response()
}

//! Rows to an answer: objects in JSON with what is to be said of them, or the rows alone with the rest in headers.

use arrow::array::RecordBatch;
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::http::{
    ApiError,
    sql::{self, Asked, Format},
};

/// What is said beside rows: a member of a JSON answer, a header of others.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) member: &'static str,
    pub(super) header: &'static str,
    pub(super) value: Value,
}

impl Said {
    pub(super) fn version(version: i64) -> Self {
        Self { member: "version", header: "mavis-version", value: version.into() }
    }
}

/// The format that is asked for.
///
/// # Errors
/// 400 and 406 as for queries.
pub(super) fn format(word: Option<String>, headers: &HeaderMap) -> Result<Format, ApiError> {
    Format::choose(&Asked::of(word), headers)
}

/// Rows as a JSON list of objects.
///
/// # Errors
/// 500 for a type that cannot be written.
pub(super) fn objects(rows: &RecordBatch) -> Result<String, ApiError> {
    let mut out = Vec::new();
    sql::write_objects(rows, &mut out)?;
    String::from_utf8(out).map(|text| text.trim_end().to_owned()).map_err(|error| ApiError::internal(&error))
}

/// `{"version": 3, "rows": [{...}], ...}`, or the rows in another format. `one`: a single row, as `"row": {...}`.
///
/// # Errors
/// As the writer's.
pub(super) async fn answer(
    format: Format,
    rows: RecordBatch,
    said: Vec<Said>,
    one: bool,
) -> Result<Response, ApiError> {
    if format != Format::Json {
        let mut response = sql::send_batch(rows, format).await?;
        for Said { header, value, .. } in said {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(HeaderName::from_static(header), value);
            }
        }
        return Ok(response);
    }
    let list = objects(&rows)?;
    let text = if one { list.trim_start_matches('[').trim_end_matches(']').trim_end() } else { &list };
    Ok(json(said, if one { "row" } else { "rows" }, text))
}

/// An object of what is said and one member more, whose JSON is given.
pub(super) fn json(said: Vec<Said>, name: &str, text: &str) -> Response {
    let mut out = String::with_capacity(text.len() + 128);
    out.push('{');
    for Said { member, value, .. } in said {
        out.push_str(&format!("\"{member}\":{value},"));
    }
    out.push_str(&format!("\"{name}\":{text}}}\n"));
    ([(CONTENT_TYPE, "application/json")], out).into_response()
}

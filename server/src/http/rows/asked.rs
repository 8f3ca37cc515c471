//! What callers of the three routes may say.

use chrono::{DateTime, Utc};
use mavis_types::{TableName, Zone};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::ApiError;

/// Most versions of a row, and most rows of a page or of a batch.
pub(super) const MOST: usize = 1_000;
/// Rows of a page when nothing is said.
const PAGE: usize = 100;

/// Which row, in which state.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct One {
    /// Columns of the answer, parted by commas; all when left out.
    pub(super) columns: Option<String>,
    /// Columns that the key in the path is of, parted by commas; the table's own key when left out.
    pub(super) by: Option<String>,
    /// The newest states that the row was in, up to so many (1 to 1000), with when each began; `GET` of one row only.
    pub(super) versions: Option<usize>,
    /// The row as it was at this time (RFC 3339).
    pub(super) at: Option<String>,
    /// `json`, `ndjson`, `csv`, `arrow` or `parquet`, whatever `Accept` says.
    pub(super) format: Option<String>,
}

/// Which rows in order of their keys.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Range {
    /// Columns of the answer, parted by commas; all when left out.
    pub(super) columns: Option<String>,
    /// Columns to order by and to look in, parted by commas; the table's own key when left out.
    pub(super) by: Option<String>,
    /// Only rows whose first key column, a text, begins so.
    pub(super) prefix: Option<String>,
    /// Only rows whose first key column is not below this.
    pub(super) from: Option<String>,
    /// Only rows whose first key column is below this.
    pub(super) to: Option<String>,
    /// Rows of a page, 1 to 1000; 100 when left out.
    pub(super) limit: Option<usize>,
    /// The `next` of the page before: all pages see the state that the first one saw.
    pub(super) cursor: Option<String>,
    /// `json`, `ndjson`, `csv`, `arrow` or `parquet`, whatever `Accept` says.
    pub(super) format: Option<String>,
}

/// Several rows by their keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Batch {
    /// A list of values per key, in the order of the key's columns; a single value for a key of one column.
    #[schema(value_type = Vec<Object>, example = json!(["17", ["18"]]))]
    pub(super) keys: Vec<serde_json::Value>,
    /// Columns that the keys are of; the table's own key when left out.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// Columns of the answer; all when left out.
    #[serde(default)]
    pub(super) columns: Vec<String>,
}

/// The table that a path names.
///
/// # Errors
/// 400 for a zone that is none.
pub(super) fn table((zone, schema, table): (String, String, String)) -> Result<TableName, ApiError> {
    let zone: Zone = zone.parse().map_err(|error: mavis_types::NameError| ApiError::invalid(error.to_string()))?;
    Ok(TableName::new(zone, schema, table))
}

/// How many were asked for.
///
/// # Errors
/// 400 for none, or too many.
pub(super) fn limit(asked: Option<usize>, what: &str) -> Result<usize, ApiError> {
    match asked {
        None => Ok(PAGE),
        Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(limit) => Err(ApiError::invalid(format!("{what}={limit}: ask for 1 to {MOST}"))),
    }
}

/// A time as callers write it.
///
/// # Errors
/// 400 for what is none.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, ApiError> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|_| ApiError::invalid("`at` is a time such as 2024-05-01T12:00:00Z (a `+` is written %2B)"))
}

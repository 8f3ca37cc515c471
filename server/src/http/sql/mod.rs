//! `POST /api/v1/sql`: one statement in, its rows out, as they come.
//!
//! [`request`] reads the body, [`format`] chooses what the rows are written as, one file per format writes them, and
//! [`answer`] sends them. Never more than a few batches are in memory. The status is decided when the first batch is there;
//! an error after that cannot change it any more, so the transfer is broken off (and an NDJSON answer ends with a line
//! `{"error": ...}`). A client that goes away stops its query.

mod answer;
mod arrow;
mod csv;
mod cut;
mod fhir;
mod floats;
mod format;
mod parquet;
mod request;
mod rows;
mod value;

use ::arrow::array::RecordBatch;
use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use mavis_sql::{Executed, QueryStream};
use mavis_types::Principal;

pub(crate) use floats::encoder_factory;
pub(super) use format::{Asked, Format, PARQUET};
pub(super) use request::Statement;
pub(crate) use rows::text_keys;
pub(super) use rows::{Column, Rows};

use super::{
    ApiError, ErrorBody,
    extract::{Arguments, Body},
};
use crate::{App, auth::Lasting};
use cut::Cut;

/// How other doors have rows written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// One JSON list of objects.
    Objects,
    /// A JSON object per line.
    Lines,
    /// `header`: whether the first line names the columns.
    Csv {
        header: bool,
    },
    Parquet,
    /// A FHIR Parameters resource with a parameter `row` for each row.
    Parameters,
}

/// Sends a query's rows for another door.
///
/// # Errors
/// Those of the query before its first batch.
pub(crate) async fn send(query: QueryStream, written: Written) -> Result<Response, ApiError> {
    let schema = &query.schema;
    if written == Written::Objects {
        answer::check_names(schema)?;
    }
    let (encoder, content_type): (Box<dyn answer::Encode>, _) = match written {
        Written::Objects => (Box::new(rows::Objects::new(schema)), Format::Json.content_type()),
        Written::Parameters => (Box::new(fhir::Parameters::default()), "application/fhir+json; fhirVersion=4.0"),
        Written::Csv { header: false } => {
            (Box::new(csv::Csv::without_header(schema.clone())), "text/csv; charset=utf-8; header=absent")
        }
        Written::Csv { header: true } => (answer::encoder(Format::Csv, schema)?, Format::Csv.content_type()),
        Written::Lines => (answer::encoder(Format::Ndjson, schema)?, Format::Ndjson.content_type()),
        Written::Parquet => (answer::encoder(Format::Parquet, schema)?, Format::Parquet.content_type()),
    };
    answer::send(query, encoder, content_type).await
}

/// Sends rows that are there already.
///
/// # Errors
/// 400 for columns that the format cannot hold.
pub(super) async fn send_batch(rows: RecordBatch, format: Format) -> Result<Response, ApiError> {
    let schema = rows.schema();
    let batches = stream::iter([Ok(rows)]).boxed();
    answer::answer(QueryStream { id: uuid::Uuid::now_v7(), schema, batches }, format).await
}

/// Sends rows that were computed before, in one of the formats.
///
/// # Errors
/// 400 for columns that the format cannot hold.
pub(super) async fn send_rows(rows: QueryStream, format: Format) -> Result<Response, ApiError> {
    answer::answer(rows, format).await
}

/// Writes rows as a JSON list of objects.
///
/// # Errors
/// 500 for a type that JSON cannot hold.
pub(super) fn write_objects(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ApiError> {
    use answer::Encode;
    let mut objects = rows::Objects::new(&rows.schema());
    objects
        .head(out)
        .and_then(|()| objects.rows(rows, out))
        .and_then(|()| objects.tail(out))
        .map_err(|error| ApiError::internal(&error))
}

/// What a statement that writes answers.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct Changed {
    /// The words that it begins with.
    #[schema(example = "INSERT")]
    command: &'static str,
    /// The whole name of the table or view that was written.
    #[schema(example = "work.ana.results")]
    target: String,
    /// Rows that were inserted, changed or deleted.
    rows_affected: u64,
}

/// Ask a question in SQL
///
/// Parameters are `$1`, `$2`, ... (or `?`) with a list of values, or `:name` with an object.
/// `Accept` chooses the format, `?format=` overrides it. Numbers are written exactly (64-bit integers and decimals may be
/// longer than a JavaScript number), binary values as hexadecimal text, times in ISO 8601, lists and structs as JSON. In CSV
/// a null is empty and an empty text is `""`. An error after the first rows breaks the transfer off; NDJSON then ends with
/// a line `{"error": ...}`.
///
/// A statement that makes, changes or drops a table or view of `work` answers `{"command": ..., "target": ...,
/// "rows_affected": ...}`, whatever is accepted.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    tag = "sql",
    params(Asked),
    request_body = Statement,
    responses(
        (status = 200, description = "The rows, as they come", headers(
            ("x-mavis-cut" = String, description = "With `max_rows`: whether rows were left out (`true`, `false`), where that \
                                                    is known before the answer begins"),
        ), content(
            (rows::Rows = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )),
        (status = 400, body = ErrorBody, description = "The SQL is wrong; line and column where they are known"),
        (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody, description = "The statement writes where the token may not"),
        (status = 404, body = ErrorBody, description = "There is no such table, or it may not be read"),
        (status = 406, body = ErrorBody, description = "None of the formats is accepted"),
        (status = 409, body = ErrorBody, description = "`file_changed`: a table that was taken over in place names a file \
                                                        that its owner changed or deleted since"),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody, description = "The body is not JSON"),
        (status = 429, body = ErrorBody, description = "The query needs more time or memory than it may use"),
        (status = 503, body = ErrorBody, description = "Too many queries wait; come back after `Retry-After` seconds"),
        (status = 504, body = ErrorBody, description = "The query needs more time than its own `timeout`"),
    )
)]
pub(super) async fn query(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    lasting: Option<Extension<Lasting>>,
    Arguments(asked): Arguments<Asked>,
    headers: HeaderMap,
    Body(statement): Body<Statement>,
) -> Result<Response, ApiError> {
    let format = Format::choose(&asked, &headers)?;
    let ready = statement.ready(&app, false)?;
    if ready.writes() {
        let Executed { command, target, rows } = ready.execute(&app, &principal).await?;
        return Ok(Json(Changed { command, target, rows_affected: rows }).into_response());
    }
    let query = ready.run(&app, &principal).await?;
    let query = match lasting {
        Some(Extension(lasting)) => lasting.over(query),
        None => query,
    };
    let answered = match statement.max_rows {
        None => answer::answer(query, format).await,
        Some(most) => {
            let (query, cut) = Cut::limit(query, most);
            let query = cut.look_ahead(query).await;
            answer::answer_cut(query, format, cut).await
        }
    };
    answered.map_err(|error| error.with_text(&statement.sql))
}

//! From batches to the body of an answer.

use std::{collections::HashSet, io};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, TRAILER},
    },
    response::{IntoResponse, Response},
};
use futures::{FutureExt, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use mavis_sql::QueryStream;

use super::{
    arrow::Arrow,
    csv::Csv,
    cut::{self, Cut},
    format::Format,
    parquet::Parquet,
    rows,
};
use crate::http::ApiError;

/// Rows that are written at once; a larger batch is cut.
const ROWS: usize = 8 * 1024;
/// Batches with more values than this are written on a thread for blocking work, so that other requests go on.
const INLINE: usize = 4 * 1024;
/// Bytes that are gathered before they are sent, while more is ready at once.
const CHUNK: usize = 64 * 1024;

/// Writes rows in one format.
pub(super) trait Encode: Send {
    /// What comes before the rows.
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    /// What comes after the rows.
    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    /// Tells of an error after some rows. `false`: the format has no way to, the transfer must be broken off.
    fn broken(&mut self, _error: &ApiError, _out: &mut Vec<u8>) -> bool {
        false
    }
}

/// Sends a query's rows. Waits for the first of them, so that a query that fails at once has the status of its error.
///
/// # Errors
/// Those of the query before its first batch, and 400 for columns that the format cannot hold.
pub(super) async fn answer(query: QueryStream, format: Format) -> Result<Response, ApiError> {
    let encoder = encoder(format, &query.schema)?;
    send(query, encoder, format.content_type()).await
}

/// As [`answer`], for rows that may have been cut: whether they were is told before them, at the end of the document, or
/// after it in a trailer.
pub(super) async fn answer_cut(query: QueryStream, format: Format, cut: Cut) -> Result<Response, ApiError> {
    let encoder = match format {
        Format::Json => Box::new(rows::Json::new(query.schema.clone()).telling(cut.clone())),
        _ => encoder(format, &query.schema)?,
    };
    send_all(query, encoder, format.content_type(), Some(cut)).await
}

/// As [`answer`], with a writer of the caller's choice.
pub(super) async fn send(
    query: QueryStream,
    encoder: Box<dyn Encode>,
    content_type: &'static str,
) -> Result<Response, ApiError> {
    send_all(query, encoder, content_type, None).await
}

async fn send_all(
    mut query: QueryStream,
    mut encoder: Box<dyn Encode>,
    content_type: &'static str,
    cut: Option<Cut>,
) -> Result<Response, ApiError> {
    let mut out = Vec::new();
    encoder.head(&mut out).map_err(|error| failed(&error))?;
    let mut next = query.batches.next().await.transpose()?;
    let known = cut.as_ref().filter(|cut| cut.is_cut().is_some()).map(Cut::word);
    let late = cut.filter(|_| known.is_none());
    let has_trailer = late.is_some();
    let body = async_stream::stream! {
        let broken = loop {
            let Some(batch) = next.take() else { break None };
            match write(encoder, batch, out).await {
                Ok((same, filled)) => (encoder, out) = (same, filled),
                Err(error) => {
                    yield Err(broken_off(&error));
                    return;
                }
            }
            // What is ready goes out together; what is not is not waited for.
            let following = match query.batches.next().now_or_never() {
                Some(following) if out.len() < CHUNK => following,
                Some(following) => {
                    yield Ok(Frame::data(Bytes::from(std::mem::take(&mut out))));
                    following
                }
                None => {
                    if !out.is_empty() {
                        yield Ok(Frame::data(Bytes::from(std::mem::take(&mut out))));
                    }
                    query.batches.next().await
                }
            };
            match following.transpose() {
                Ok(following) => next = following,
                Err(error) => break Some(ApiError::from(error)),
            }
        };
        let told = match &broken {
            None => encoder.tail(&mut out).map_err(|error| failed(&error)),
            Some(error) if encoder.broken(error, &mut out) => Ok(()),
            Some(error) => Err(error.clone()),
        };
        if !out.is_empty() {
            yield Ok(Frame::data(Bytes::from(out)));
        }
        match (told, late) {
            (Err(error), _) => yield Err(broken_off(&error)),
            (Ok(()), Some(cut)) => yield Ok(Frame::trailers(HeaderMap::from_iter([(cut::HEADER, cut.word())]))),
            (Ok(()), None) => {}
        }
    };
    let mut response = ([(CONTENT_TYPE, content_type)], Body::new(StreamBody::new(body))).into_response();
    if let Some(word) = known {
        response.headers_mut().insert(cut::HEADER, word);
    }
    if has_trailer {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-mavis-cut"));
    }
    Ok(response)
}

pub(super) fn encoder(format: Format, schema: &SchemaRef) -> Result<Box<dyn Encode>, ApiError> {
    if matches!(format, Format::Ndjson | Format::Parquet) {
        check_names(schema)?;
    }
    let made: Result<Box<dyn Encode>, ArrowError> = match format {
        Format::Json => Ok(Box::new(rows::Json::new(schema.clone()))),
        Format::Ndjson => Ok(Box::new(rows::Lines::new(schema))),
        Format::Csv => Ok(Box::new(Csv::new(schema.clone()))),
        Format::Arrow => Arrow::new(schema).map(|arrow| Box::new(arrow) as _),
        Format::Parquet => match unfit(schema) {
            Some(message) => return Err(ApiError::invalid(message)),
            None => Parquet::new(schema.clone()).map(|parquet| Box::new(parquet) as _),
        },
    };
    made.map_err(|error| failed(&error))
}

/// # Errors
/// 400 for two columns of one name, where a format has its values by their names.
pub(super) fn check_names(schema: &SchemaRef) -> Result<(), ApiError> {
    let mut names = HashSet::new();
    match schema.fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(ApiError::invalid(format!(
            "two columns are called `{}`, which this format cannot hold: give one of them another name with AS, or ask for \
             json, csv or arrow",
            twice.name()
        ))),
    }
}

/// Why a schema cannot be a Parquet file.
fn unfit(schema: &SchemaRef) -> Option<String> {
    if schema.fields().is_empty() {
        return Some("an answer without columns cannot be Parquet: ask for another format".to_owned());
    }
    let field = schema.fields().iter().find(|field| {
        matches!(field.data_type(), DataType::Interval(_))
            || matches!(field.data_type(), DataType::Struct(fields) if fields.is_empty())
    })?;
    Some(format!("column `{}` ({}) cannot be written as Parquet: cast it", field.name(), field.data_type()))
}

/// Writes a batch, on another thread where that takes long; gives back what it was given.
async fn write(
    mut encoder: Box<dyn Encode>,
    batch: RecordBatch,
    mut out: Vec<u8>,
) -> Result<(Box<dyn Encode>, Vec<u8>), ApiError> {
    let values = batch.num_rows().saturating_mul(batch.num_columns());
    let work = move || {
        for start in (0..batch.num_rows()).step_by(ROWS) {
            let rows = ROWS.min(batch.num_rows() - start);
            encoder.rows(&batch.slice(start, rows), &mut out)?;
        }
        Ok((encoder, out))
    };
    let written = if values <= INLINE {
        work()
    } else {
        tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(&error))?
    };
    written.map_err(|error: ArrowError| failed(&error))
}

/// What a writer says names columns and types; it may also quote a value, so it goes to the log's reader by its kind only.
fn failed(error: &ArrowError) -> ApiError {
    let kind = match error {
        ArrowError::JsonError(_) => "json",
        ArrowError::ParquetError(_) => "parquet",
        _ => "arrow",
    };
    tracing::error!(kind, "an answer could not be written as {kind}");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the answer could not be written in this format: ask for another one, or cast the columns that are not plain",
    )
}

/// Ends the transfer without its end, so that the client sees that rows are missing.
fn broken_off(error: &ApiError) -> io::Error {
    io::Error::other(error.message.clone())
}

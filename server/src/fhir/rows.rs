//! Rows of the FHIR zone as resources.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::{DataType, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use datafusion::{dataframe::DataFrame, logical_expr::lit, prelude::ident};
use futures::TryStreamExt;
use mavis_fhir::{ResourceType, shape::with_meta};
use mavis_sql::{Error, Session, When};
use mavis_types::{TableName, Zone};
use tracing::debug;

/// A resource as it is answered.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) version: i64,
    pub(super) last_updated: DateTime<Utc>,
    /// JSON with `id` and `meta` set; `None` for a version that says that the resource was deleted.
    pub(super) json: Option<String>,
}

/// The columns that [`Stored`] is made of.
pub(super) const COLUMNS: [&str; 4] = ["id", "__version", "__last_updated", "resource"];

pub(super) fn current(resource: ResourceType) -> TableName {
    TableName::new(Zone::Fhir, "r4", resource.table())
}

pub(super) fn history(resource: ResourceType) -> TableName {
    TableName::new(Zone::Fhir, "r4_history", resource.table())
}

/// The table's frame; `None` where nothing of this type is there, or nothing that the caller may see: the two look alike.
pub(super) async fn frame(session: &Session, table: &TableName) -> Result<Option<DataFrame>, Error> {
    match session.table(table).await {
        Ok(frame) => Ok(Some(frame)),
        Err(Error::NoSuchTable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The rows of a table with an id: of a current table one at most, of a history all versions. Empty where nothing of this type
/// is there, or nothing that the caller may see.
pub(super) async fn by_id(session: &Session, table: &TableName, id: &str) -> Result<Vec<Stored>, Error> {
    by_ids(session, table, &[id]).await
}

/// The rows of a table with one of some ids, in no order: by key where the guard hides nothing, else by a query.
pub(super) async fn by_ids(session: &Session, table: &TableName, ids: &[&str]) -> Result<Vec<Stored>, Error> {
    let direct = match session.direct(table, When::Seen).await {
        Err(Error::NoSuchTable { .. }) => return Ok(Vec::new()),
        direct => direct?,
    };
    if let Some(direct) = direct {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
        let keys = RecordBatch::try_from_iter([("id", keys)]).map_err(|error| unplanned(error.into()))?;
        match direct.rows(&keys, &COLUMNS, usize::MAX).await {
            Ok(Some(found)) => {
                let mut rows = Vec::with_capacity(found.rows.num_rows());
                read(&found.rows, &mut rows).ok_or_else(misshapen)?;
                return Ok(rows);
            }
            Ok(None) => {}
            // The version's files were cleaned up in this moment: a query sees the next one.
            Err(Error::Lake(error)) => debug!(%table, %error, "rows of `{table}` are asked by a query"),
            Err(error) => return Err(error),
        }
    }
    let Some(frame) = frame(session, table).await? else { return Ok(Vec::new()) };
    let wanted = ident("id").in_list(ids.iter().map(|id| lit(*id)).collect(), false);
    fetch(session, frame.filter(wanted).and_then(|frame| frame.select(columns())).map_err(unplanned)?).await
}

/// The columns of [`COLUMNS`], as expressions.
pub(super) fn columns() -> Vec<datafusion::logical_expr::Expr> {
    COLUMNS.iter().map(|name| ident(*name)).collect()
}

/// Runs a frame that has the columns of [`COLUMNS`].
pub(super) async fn fetch(session: &Session, frame: DataFrame) -> Result<Vec<Stored>, Error> {
    let answer = session.run(frame, None).await?;
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        read(batch, &mut rows).ok_or_else(misshapen)?;
    }
    Ok(rows)
}

/// A plan that this door made and that does not hold together: a defect of ours, told as one.
pub(super) fn unplanned(error: datafusion::error::DataFusionError) -> mavis_sql::Error {
    mavis_sql::Error::Execution { message: error.strip_backtrace() }
}

/// The texts of a column, nulls passed over.
pub(super) fn texts(batch: &RecordBatch, index: usize) -> Vec<String> {
    let column = batch.columns().get(index).and_then(|column| arrow::compute::cast(column, &DataType::Utf8).ok());
    let texts = column.as_ref().and_then(|column| column.as_string_opt::<i32>());
    texts.map(|texts| texts.iter().flatten().map(str::to_owned).collect()).unwrap_or_default()
}

/// Whether a text can be an id (R4, "datatypes.html#id").
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// Runs a frame whose only column is a count.
pub(super) async fn count(session: &Session, frame: DataFrame) -> Result<i64, Error> {
    let answer = session.run(frame, None).await?;
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
    let first = batches.first().filter(|batch| batch.num_rows() == 1);
    let counted = first.and_then(|batch| Some(batch.column(0).as_primitive_opt::<Int64Type>()?.value(0)));
    counted.ok_or_else(|| Error::Execution { message: "a count has no single number".to_owned() })
}

fn misshapen() -> Error {
    Error::Execution { message: "a table of the FHIR zone has an unknown shape".to_owned() }
}

fn read(batch: &RecordBatch, rows: &mut Vec<Stored>) -> Option<()> {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?;
        arrow::compute::cast(column, &DataType::Utf8).ok()
    };
    let (ids, resources) = (text("id")?, text("resource")?);
    let (ids, resources) = (ids.as_string_opt::<i32>()?, resources.as_string_opt::<i32>()?);
    let versions = batch.column_by_name("__version")?.as_primitive_opt::<Int64Type>()?;
    let times = batch.column_by_name("__last_updated")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    for row in 0..batch.num_rows() {
        let (id, version) = (ids.value(row), versions.value(row));
        let last_updated = DateTime::from_timestamp_micros(times.value(row))?;
        let json = resources.is_valid(row).then(|| with_meta(resources.value(row), id, version, last_updated));
        rows.push(Stored { id: id.to_owned(), version, last_updated, json });
    }
    Some(())
}

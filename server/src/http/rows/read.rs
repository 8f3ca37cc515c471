//! Rows by whole keys, in one state of a table.

use arrow::array::RecordBatch;
use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use mavis_sql::{Direct, Session, When};
use mavis_types::{Principal, TableName};
use serde_json::Value;

use super::{
    answer::{self, Said},
    asked::{self, Batch, MOST},
    key,
};
use crate::{
    App,
    auth::Door,
    http::{
        ApiError, ErrorBody,
        extract::{Arguments, Body},
        sql::Asked,
    },
};

/// A table in one state, and the columns that it is asked by.
pub(super) struct Target<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'a TableName,
    pub(super) when: When,
    /// `None`: the guard hides something of the table, so that a query must be asked.
    pub(super) direct: Option<Direct>,
}

/// The rows that were found, and the version that they are of where it is told.
pub(super) struct Read {
    pub(super) rows: RecordBatch,
    pub(super) version: Option<i64>,
}

impl<'a> Target<'a> {
    /// # Errors
    /// 404 for a table that is not there or may not be read, and for a state that is not kept.
    pub(super) async fn open(session: &'a Session, name: &'a TableName, when: When) -> Result<Self, ApiError> {
        let direct = session.direct(name, when).await?;
        Ok(Self { session, name, when, direct })
    }

    /// The rows with one of some keys, [`MOST`] at most. `columns`: those of the answer, all where there are none.
    ///
    /// # Errors
    /// 400 for a column that the table lacks, 409 where there are more rows.
    pub(super) async fn rows(&self, keys: &RecordBatch, columns: &[String]) -> Result<Read, ApiError> {
        let read = self.rows_up_to(keys, columns, MOST + 1).await?;
        if read.rows.num_rows() > MOST {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                "several_rows",
                format!("more than {MOST} rows of `{}` have these keys: ask for a range, or with SQL", self.name),
            ));
        }
        Ok(read)
    }

    /// All rows with one of some keys, however many.
    ///
    /// # Errors
    /// 400 for a column that the table lacks.
    pub(super) async fn all_rows(&self, keys: &RecordBatch, columns: &[String]) -> Result<Read, ApiError> {
        self.rows_up_to(keys, columns, usize::MAX).await
    }

    /// `most`: more rows than that are cut off.
    async fn rows_up_to(&self, keys: &RecordBatch, columns: &[String], most: usize) -> Result<Read, ApiError> {
        if let Some(direct) = &self.direct
            && let Some(schema) = direct.schema().await?
        {
            let absent = |name: &str| ApiError::invalid(format!("table `{}` has no column `{name}`", self.name));
            let own: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let wanted: Vec<&str> =
                if columns.is_empty() { own.clone() } else { columns.iter().map(String::as_str).collect() };
            let keyed = keys.schema();
            let by = keyed.fields().iter().map(|field| field.name().as_str());
            if let Some(name) = by.chain(wanted.iter().copied()).find(|name| !own.contains(name)) {
                return Err(absent(name));
            }
            if let Some(found) = direct.rows(keys, &wanted, most).await? {
                return Ok(Read { rows: found.rows, version: direct.version().await? });
            }
        }
        let rows = self.ask(keys, columns, most).await?;
        Ok(Read { rows, version: None })
    }

    /// The same by a query.
    async fn ask(&self, keys: &RecordBatch, columns: &[String], most: usize) -> Result<RecordBatch, ApiError> {
        let mut values = Vec::new();
        let schema = keys.schema();
        let mut either = Vec::new();
        for row in 0..keys.num_rows() {
            let mut all = Vec::new();
            for (field, column) in schema.fields().iter().zip(keys.columns()) {
                let value = ScalarValue::try_from_array(column, row).map_err(|error| ApiError::internal(&error))?;
                values.push(value);
                all.push(format!("{} = ${}", quoted(field.name()), values.len()));
            }
            either.push(format!("({})", all.join(" AND ")));
        }
        let sql = format!(
            "SELECT {} FROM {}{} WHERE {} LIMIT {}",
            listed(columns),
            from(self.name),
            as_of(self.when),
            either.join(" OR "),
            i64::try_from(most).unwrap_or(i64::MAX)
        );
        collect(self.session, &sql, &values).await
    }
}

/// The rows of a query, which the caller made small.
pub(super) async fn collect(session: &Session, sql: &str, values: &[ScalarValue]) -> Result<RecordBatch, ApiError> {
    let query = session.query(sql, values, None).await?;
    let schema = query.schema.clone();
    let batches: Vec<RecordBatch> = query.batches.try_collect().await?;
    arrow::compute::concat_batches(&schema, &batches).map_err(|error| ApiError::internal(&error))
}

/// A name as SQL takes it literally.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn listed(columns: &[String]) -> String {
    if columns.is_empty() {
        return "*".to_owned();
    }
    columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

pub(super) fn from(name: &TableName) -> String {
    format!("{}.{}.{}", name.zone, quoted(&name.schema), quoted(&name.table))
}

pub(super) fn as_of(when: When) -> String {
    match when {
        When::Seen => String::new(),
        When::Version(version) => format!(" VERSION AS OF {version}"),
        When::At(at) => format!(" TIMESTAMP AS OF '{}'", at.to_rfc3339()),
    }
}

/// Several rows by key
///
/// Rows stand in no order; a key that no row has is left out of the answer.
#[utoipa::path(
    post,
    path = "/api/v1/tables/{zone}/{schema}/{table}/rows",
    tag = "lake",
    params(
        ("zone" = String, Path), ("schema" = String, Path), ("table" = String, Path), Asked
    ),
    request_body = Batch,
    responses(
        (status = 200, description = "The rows that there are"),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such table, or it may not be read"),
        (status = 409, body = ErrorBody, description = "The table has no key, or names a file that its owner changed since"),
        (status = 415, body = ErrorBody, description = "The body is not JSON"),
    )
)]
pub(in crate::http) async fn batch(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(table): Path<(String, String, String)>,
    Arguments(asked): Arguments<Asked>,
    headers: HeaderMap,
    Body(batch): Body<Batch>,
) -> Result<Response, ApiError> {
    let name = asked::table(table)?;
    let format = crate::http::sql::Format::choose(&asked, &headers)?;
    if batch.keys.len() > MOST {
        return Err(ApiError::invalid(format!("{} keys: ask for {MOST} at most", batch.keys.len())));
    }
    let session = app.engine.session(&principal, None).await?;
    let target = Target::open(&session, &name, When::Seen).await?;
    let table = key::shown(&session, app.catalog.table(&name).await?).await?;
    let by = if batch.by.is_empty() { key::columns(&table, None)? } else { batch.by };
    let keys = batch.keys.iter().map(|value| values(value, &by)).collect::<Result<Vec<_>, ApiError>>()?;
    let read = target.rows(&key::batch(&by, &keys)?, &batch.columns).await?;
    app.reads.note(&principal, &name, Door::Http, read.rows.num_rows()).await;
    answer::answer(format, read.rows, read.version.map(Said::version).into_iter().collect(), false).await
}

/// The values of one key as texts.
fn values(key: &Value, by: &[String]) -> Result<Vec<Option<String>>, ApiError> {
    let text = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => {
            Err(ApiError::invalid("a value of a key is a text, a number, true or false"))
        }
    };
    let values = match key {
        Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        one => vec![text(one)?],
    };
    key::count(values.len(), by)?;
    Ok(values)
}

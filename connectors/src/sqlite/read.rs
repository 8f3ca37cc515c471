use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema, SchemaRef},
};
use async_stream::try_stream;
use futures::{StreamExt, TryStreamExt};
use mavis_types::Cursor;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Database,
    catalog::{Table, quoted},
    value::{Builder, Fitted, Value},
};
use crate::{Error, ReadItem, ReadRequest, ReadStream, SourceColumn};

/// How far a table with a cursor column has been read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Place {
    /// The last value of the cursor column, with the rowid of the last row that has it.
    last: Option<(Json, i64)>,
    /// The last rowid of a row without a value.
    last_null: Option<i64>,
}

/// One SELECT of a reading, with the values it binds.
struct Part {
    sql: String,
    bindings: Vec<Json>,
}

pub(super) fn stream(
    mut connection: SqliteConnection,
    database: Database,
    table: Table,
    columns: Vec<SourceColumn>,
    cursor_column: Option<String>,
    request: ReadRequest,
) -> Result<ReadStream, Error> {
    let mut place: Place = match (&request.from, &cursor_column) {
        (Some(cursor), Some(_)) => serde_json::from_value(cursor.0.clone()).map_err(|error| Error::Malformed {
            place: "cursor".to_owned(),
            reason: format!("not a cursor of a SQLite table: {error}"),
        })?,
        _ => Place::default(),
    };
    let rowid = table.rowid(&columns);
    let cursor_place = cursor_column
        .as_ref()
        .and_then(|wanted| columns.iter().position(|column| column.name.eq_ignore_ascii_case(wanted)));
    let parts = parts(&table, &columns, rowid, cursor_place, &place);
    let stream = try_stream! {
        let mut rows = Rows::new(&columns);
        // One read transaction: every part sees the same state.
        sqlx::query("BEGIN").execute(&mut connection).await.map_err(|error| database.error(&error))?;
        for part in parts {
            let mut query = sqlx::query(AssertSqlSafe(part.sql));
            for binding in part.bindings {
                query = match binding {
                    Json::Number(number) if number.is_i64() => query.bind(number.as_i64()),
                    Json::Number(number) => query.bind(number.as_f64()),
                    Json::String(text) => query.bind(text),
                    _ => query.bind(None::<i64>),
                };
            }
            let mut found = query.fetch(&mut connection);
            while let Some(row) = found.try_next().await.map_err(|error| interrupted(&table, &error))? {
                let mut values = Vec::with_capacity(columns.len() + 1);
                for number in 0..columns.len() + usize::from(rowid.is_some()) {
                    values.push(Value::get(&row, number).map_err(|error| interrupted(&table, &error))?);
                }
                let id = if rowid.is_some() { values.pop() } else { None };
                let id = match id {
                    Some(Value::Integer(id)) => Some(id),
                    _ => None,
                };
                if let (Some(number), Some(id)) = (cursor_place, id) {
                    match &values[number] {
                        Value::Null => place.last_null = Some(id),
                        value => place.last = Some((value.to_json(), id)),
                    }
                }
                rows.read += 1;
                if let Some(reject) = rows.take(&table, &columns, id, &values) {
                    yield reject;
                }
                if rows.count >= request.batch_rows.max(1) || rows.bytes >= request.batch_bytes {
                    yield ReadItem::Batch(rows.finish()?);
                    if cursor_place.is_some() {
                        yield ReadItem::Cursor(to_cursor(&place)?);
                    }
                }
            }
        }
        if rows.count > 0 {
            yield ReadItem::Batch(rows.finish()?);
        }
        let cursor = match cursor_place {
            Some(_) => Some(to_cursor(&place)?),
            None => None,
        };
        yield ReadItem::End { whole: cursor.is_none(), cursor };
    };
    Ok(stream.boxed())
}

fn to_cursor(place: &Place) -> Result<Cursor, Error> {
    serde_json::to_value(place)
        .map(Cursor)
        .map_err(|error| Error::Malformed { place: "cursor".to_owned(), reason: error.to_string() })
}

fn interrupted(table: &Table, error: &sqlx::Error) -> Error {
    Error::Interrupted { place: format!("table `{}`", table.name), reason: error.to_string() }
}

fn parts(
    table: &Table,
    columns: &[SourceColumn],
    rowid: Option<&str>,
    cursor_place: Option<usize>,
    place: &Place,
) -> Vec<Part> {
    let mut names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    names.extend(rowid.map(str::to_owned));
    let select = format!("SELECT {} FROM {}", names.join(", "), quoted(&table.name));
    let order = rowid.map_or_else(String::new, |rowid| format!(" ORDER BY {rowid}"));
    let (Some(number), Some(rowid)) = (cursor_place, rowid) else {
        return vec![Part { sql: format!("{select}{order}"), bindings: Vec::new() }];
    };
    let column = quoted(&columns[number].name);
    let nulls = match place.last_null {
        None => Part { sql: format!("{select} WHERE {column} IS NULL{order}"), bindings: Vec::new() },
        Some(last) => Part {
            sql: format!("{select} WHERE {column} IS NULL AND {rowid} > ?{order}"),
            bindings: vec![Json::from(last)],
        },
    };
    let valued = match &place.last {
        None => Part {
            sql: format!("{select} WHERE {column} IS NOT NULL ORDER BY {column}, {rowid}"),
            bindings: Vec::new(),
        },
        Some((value, last)) => Part {
            sql: format!("{select} WHERE {column} > ? OR ({column} = ? AND {rowid} > ?) ORDER BY {column}, {rowid}"),
            bindings: vec![value.clone(), value.clone(), Json::from(*last)],
        },
    };
    vec![nulls, valued]
}

/// Rows on their way into a batch.
struct Rows {
    schema: SchemaRef,
    builders: Vec<Builder>,
    count: usize,
    bytes: usize,
    /// Rows read from the table, rejects included.
    read: u64,
}

impl Rows {
    fn new(columns: &[SourceColumn]) -> Self {
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
        let builders = columns.iter().map(|column| Builder::new(&column.data_type)).collect();
        Self { schema: Arc::new(Schema::new(fields)), builders, count: 0, bytes: 0, read: 0 }
    }

    /// Takes a row, or answers with its reject.
    fn take(&mut self, table: &Table, columns: &[SourceColumn], id: Option<i64>, values: &[Value]) -> Option<ReadItem> {
        let fitted: Result<Vec<Fitted>, String> = self
            .builders
            .iter()
            .zip(values)
            .zip(columns)
            .map(|((builder, value), column)| {
                builder.fit(value).map_err(|reason| format!("column `{}` {reason}", column.name))
            })
            .collect();
        match fitted {
            Ok(fitted) => {
                for (builder, value) in self.builders.iter_mut().zip(fitted) {
                    self.bytes += builder.append(value);
                }
                self.count += 1;
                None
            }
            Err(reason) => {
                let origin = match id {
                    Some(id) => format!("{} rowid {id}", table.name),
                    None => format!("{} row {}", table.name, self.read),
                };
                let row: Map<String, Json> =
                    columns.iter().zip(values).map(|(column, value)| (column.name.clone(), value.to_json())).collect();
                Some(ReadItem::Reject { origin, reason, payload: Json::Object(row).to_string() })
            }
        }
    }

    fn finish(&mut self) -> Result<RecordBatch, Error> {
        (self.count, self.bytes) = (0, 0);
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::Malformed { place: "rows".to_owned(), reason: error.to_string() })
    }
}

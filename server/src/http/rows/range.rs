//! Rows in order of their keys, page by page.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::DataType,
};
use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use datafusion::scalar::ScalarValue;
use mavis_sql::When;
use mavis_types::{Principal, SnapshotId, TableName, Zone};

use super::{
    answer::{self, Said},
    asked::{self, Range},
    cursor::Cursor,
    key,
    read::{Target, as_of, collect, from, listed, quoted},
};
use crate::{
    App,
    auth::Door,
    http::{ApiError, ErrorBody, extract::Arguments},
};

/// Rows in order of their keys
///
/// Those that begin with a `prefix`, or lie between `from` and `to`; all where nothing is said. Pages of one walk all see the
/// state of the table that the first one saw.
#[utoipa::path(
    get,
    path = "/api/v1/tables/{zone}/{schema}/{table}/rows",
    tag = "lake",
    params(("zone" = String, Path), ("schema" = String, Path), ("table" = String, Path), Range),
    responses(
        (status = 200, description = "A page of rows; `next` (header `mavis-next`) is the `cursor` of the one after it"),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody, description = "There is no such table, or it may not be read"),
        (status = 409, body = ErrorBody, description = "The table has no key, or names a file that its owner changed since"),
        (status = 410, body = ErrorBody, description = "The state that the cursor belongs to is not kept any more"),
    )
)]
pub(in crate::http) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(table): Path<(String, String, String)>,
    Arguments(range): Arguments<Range>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = asked::table(table)?;
    let format = answer::format(range.format.clone(), &headers)?;
    let limit = asked::limit(range.limit, "limit")?;
    let walk = format!("{name}?{:?}{:?}{:?}{:?}", range.by, range.prefix, range.from, range.to);
    let cursor = range.cursor.as_deref().map(|text| {
        Cursor::verify(text, &app.page_key(&principal), &walk)
            .ok_or_else(|| ApiError::invalid("the cursor is not one that this server gave you for these rows"))
    });
    let cursor = cursor.transpose()?;

    let is_fhir = name.zone == Zone::Fhir;
    let pinned = cursor.as_ref().filter(|_| is_fhir).map(|cursor| SnapshotId(cursor.state));
    let session = app.engine.session(&principal, pinned).await?;
    let when = match &cursor {
        Some(cursor) if !is_fhir => When::Version(cursor.state),
        _ => When::Seen,
    };
    // Also says no to what may not be read, before anything is told of the table.
    let target = Target::open(&session, &name, when).await?;
    let table = key::shown(&session, app.catalog.table(&name).await?).await?;
    let state = match (&cursor, is_fhir) {
        (Some(cursor), _) => cursor.state,
        (None, true) => session.snapshot().map(|snapshot| snapshot.0).unwrap_or_default(),
        (None, false) => app.lake.version(table.id).await?,
    };
    let version = match &target.direct {
        Some(direct) if is_fhir => direct.version().await?,
        _ => Some(state),
    };
    let when = if is_fhir { When::Seen } else { When::Version(state) };
    let mut by = key::columns(&table, range.by.as_deref())?;
    // Rows that are equal in what was named stand in the order of the key, so that a page can end between them.
    let rest: Vec<String> = table.key.iter().filter(|name| !by.contains(name)).cloned().collect();
    by.extend(rest);
    let columns = range.columns.as_deref().map(key::names).unwrap_or_default();
    let (sql, values) = statement(&name, when, &by, &columns, &range, cursor.as_ref(), limit + 1)?;
    let read = collect(&session, &sql, &values).await?;
    let more = read.num_rows() > limit;
    let page = read.slice(0, read.num_rows().min(limit));
    let keys = page.num_columns() - by.len();
    let mut said: Vec<Said> = version.map(Said::version).into_iter().collect();
    if more {
        let after = last_key(&page, keys)?;
        if last_key(&read.slice(0, limit + 1), keys)? == after {
            return Err(ApiError::new(
                axum::http::StatusCode::CONFLICT,
                "several_rows",
                "rows that are equal in the key fall on two pages; ask for more rows in a page, or name more columns with \
                 `by=`"
                    .to_owned(),
            ));
        }
        let next = Cursor { state, after }.sign(&app.page_key(&principal), &walk);
        said.push(Said { member: "next", header: "mavis-next", value: next.into() });
    }
    let shown: Vec<usize> = (0..keys).collect();
    let page = page.project(&shown).map_err(|error| ApiError::internal(&error))?;
    app.reads.note(&principal, &name, Door::Http, page.num_rows()).await;
    answer::answer(format, page, said, false).await
}

/// The query of a page: the columns of the answer, then those of the key under names of their own.
fn statement(
    name: &TableName,
    when: When,
    by: &[String],
    columns: &[String],
    range: &Range,
    cursor: Option<&Cursor>,
    rows: usize,
) -> Result<(String, Vec<ScalarValue>), ApiError> {
    let Some(first) = by.first() else { return Err(ApiError::invalid("`by` names no column")) };
    let first = quoted(first);
    let mut values: Vec<ScalarValue> = Vec::new();
    let mut text = |value: &str| {
        values.push(ScalarValue::Utf8(Some(value.to_owned())));
        format!("${}", values.len())
    };
    // A null is no key.
    let mut all: Vec<String> = by.iter().map(|name| format!("{} IS NOT NULL", quoted(name))).collect();
    if let Some(prefix) = &range.prefix {
        let pattern: String = prefix
            .chars()
            .flat_map(|c| if matches!(c, '%' | '_' | '\\') { vec!['\\', c] } else { vec![c] })
            .chain(['%'])
            .collect();
        all.push(format!("{first} LIKE {}", text(&pattern)));
    }
    if let Some(from) = &range.from {
        all.push(format!("{first} >= {}", text(from)));
    }
    if let Some(to) = &range.to {
        all.push(format!("{first} < {}", text(to)));
    }
    if let Some(cursor) = cursor {
        if cursor.after.len() != by.len() {
            return Err(ApiError::invalid("the cursor is of another key"));
        }
        let places: Vec<String> = cursor.after.iter().map(|value| text(value)).collect();
        // Above the last row in the first column, or equal in it and above in the second, and so on.
        let above = (0..by.len()).map(|column| {
            let mut parts: Vec<String> =
                (0..column).map(|equal| format!("{} = {}", quoted(&by[equal]), places[equal])).collect();
            parts.push(format!("{} > {}", quoted(&by[column]), places[column]));
            format!("({})", parts.join(" AND "))
        });
        all.push(format!("({})", above.collect::<Vec<_>>().join(" OR ")));
    }
    let keys: Vec<String> = by
        .iter()
        .enumerate()
        .map(|(n, name)| format!("{} AS {}", quoted(name), quoted(&format!("__key_{n}"))))
        .collect();
    let order: Vec<String> = by.iter().map(|name| quoted(name)).collect();
    let sql = format!(
        "SELECT {}, {} FROM {}{} WHERE {} ORDER BY {} LIMIT {rows}",
        listed(columns),
        keys.join(", "),
        from(name),
        as_of(when),
        all.join(" AND "),
        order.join(", "),
    );
    Ok((sql, values))
}

/// The key of the last row as texts.
fn last_key(page: &RecordBatch, from: usize) -> Result<Vec<String>, ApiError> {
    let last = page.num_rows().saturating_sub(1);
    let texts = page.columns().iter().skip(from).map(|column| {
        let text: ArrayRef =
            cast(&column.slice(last, 1), &DataType::Utf8).map_err(|error| ApiError::internal(&error))?;
        let text = Arc::clone(&text);
        let texts = text.as_string_opt::<i32>().filter(|texts| texts.is_valid(0));
        texts
            .map(|texts| texts.value(0).to_owned())
            .ok_or_else(|| ApiError::invalid("a column of this type gives no order that pages can follow"))
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_asks_for_what_comes_after_the_last_key_and_quotes_every_name() {
        let by = ["a".to_owned(), "b\"c".to_owned()];
        let range = Range { prefix: Some("5%_".to_owned()), ..Range::default() };
        let cursor = Cursor { state: 4, after: vec!["x".to_owned(), "7".to_owned()] };
        let name = TableName::new(Zone::Raw, "s", "t");
        let (sql, values) =
            statement(&name, When::Version(4), &by, &["z".to_owned()], &range, Some(&cursor), 11).unwrap();
        assert_eq!(
            sql,
            "SELECT \"z\", \"a\" AS \"__key_0\", \"b\"\"c\" AS \"__key_1\" FROM raw.\"s\".\"t\" VERSION AS OF 4 WHERE \
             \"a\" IS NOT NULL AND \"b\"\"c\" IS NOT NULL AND \"a\" LIKE $1 AND ((\"a\" > $2) OR (\"a\" = $2 AND \"b\"\"c\" > $3)) \
             ORDER BY \"a\", \"b\"\"c\" LIMIT 11"
        );
        assert_eq!(values[0], ScalarValue::Utf8(Some("5\\%\\_%".to_owned())));
    }
}

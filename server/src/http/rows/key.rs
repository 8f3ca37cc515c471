//! Keys as callers write them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use mavis_catalog::Table;
use mavis_sql::Session;

use crate::http::ApiError;

/// The columns that rows are looked up by.
///
/// # Errors
/// 409 for a table without a key, where `by` names no columns either.
pub(super) fn columns(table: &Table, by: Option<&str>) -> Result<Vec<String>, ApiError> {
    let named: Vec<String> = by.map(names).unwrap_or_default();
    if !named.is_empty() {
        return Ok(named);
    }
    if table.key.is_empty() {
        return Err(ApiError::new(
            axum::http::StatusCode::CONFLICT,
            "no_key",
            format!("table `{}` has no key: declare one for its source, or name columns with `by=`", table.name),
        ));
    }
    Ok(table.key.clone())
}

/// The table as the caller sees it: without its key where a column of that is not shown, whose name then is not told either.
pub(super) async fn shown(session: &Session, mut table: Table) -> Result<Table, ApiError> {
    if table.key.is_empty() || session.principal().sees_whole(&table.name) {
        return Ok(table);
    }
    let frame = session.table(&table.name).await?;
    let columns = frame.schema().inner();
    if table.key.iter().any(|name| columns.column_with_name(name).is_none()) {
        table.key.clear();
    }
    Ok(table)
}

/// Names parted by commas.
pub(super) fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The values of a key as the last part of a path has them: parted by commas where the key has several columns, each
/// percent-encoded (so that a comma within one is `%2C`).
///
/// # Errors
/// 400 where there are more or fewer than the key has columns.
pub(super) fn of_path(path: &str, columns: &[String]) -> Result<Vec<String>, ApiError> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let parts: Vec<&str> = if columns.len() == 1 { vec![last] } else { last.split(',').collect() };
    let values = parts.into_iter().map(decoded).collect::<Option<Vec<_>>>();
    let values = values.ok_or_else(|| ApiError::invalid("the key is not percent-encoded UTF-8"))?;
    count(values.len(), columns)?;
    Ok(values)
}

/// Percent-encoded text (RFC 3986, section 2.1) decoded.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// # Errors
/// 400 where a key has another number of values than columns.
pub(super) fn count(values: usize, columns: &[String]) -> Result<(), ApiError> {
    if values == columns.len() {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "the key has {} columns ({}), {values} values were given; part them by commas",
        columns.len(),
        columns.join(", ")
    )))
}

/// A row per key.
///
/// # Errors
/// 400 for a column that stands twice.
pub(super) fn batch(columns: &[String], keys: &[Vec<Option<String>>]) -> Result<RecordBatch, ApiError> {
    let arrays = columns.iter().enumerate().map(|(place, name)| {
        let values = keys.iter().map(|key| key.get(place).cloned().flatten());
        (name, Arc::new(values.collect::<StringArray>()) as ArrayRef, true)
    });
    RecordBatch::try_from_iter_with_nullable(arrays)
        .map_err(|_| ApiError::invalid("the key's columns cannot be put together"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/rows/a%2Fb", 1, Some(vec!["a/b"]))]
    #[case("/rows/a,b", 1, Some(vec!["a,b"]))]
    #[case("/rows/a,b", 2, Some(vec!["a", "b"]))]
    #[case("/rows/a%2Cx,b", 2, Some(vec!["a,x", "b"]))]
    #[case("/rows/a", 2, None)]
    #[case("/rows/%FF", 1, None)]
    #[case("/rows/100%", 1, None)]
    #[case("/rows/%+1", 1, None)]
    #[case("/rows/%C3%A9", 1, Some(vec!["é"]))]
    fn a_path_gives_the_values_of_a_key(#[case] path: &str, #[case] count: usize, #[case] values: Option<Vec<&str>>) {
        let columns: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let expected = values.map(|values| values.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of_path(path, &columns).ok(), expected);
    }
}

//! What a row was in earlier versions, as far back as the table's files are kept.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use chrono::{DateTime, Utc};
use mavis_types::TableId;

use crate::{Error, Lake, columns, history};

/// Versions that are looked at, at most, for one row.
const LOOKED_AT: usize = 256;

/// A state that a row was in.
#[derive(Debug, Clone)]
pub struct RowState {
    /// The table's version that brought the state.
    pub version: i64,
    /// When that version was committed, where the log still says.
    pub at: Option<DateTime<Utc>>,
    /// The row; `None` where there was none with that key.
    pub row: Option<RecordBatch>,
}

/// The states of a row, newest first.
#[derive(Debug, Clone)]
pub struct RowPast {
    pub states: Vec<RowState>,
    /// The oldest version that was looked at: before it, nothing can be said.
    pub sees_back_to: (i64, Option<DateTime<Utc>>),
}

/// A row as it stands at a version.
struct Seen {
    row: Option<RecordBatch>,
    /// When the unit that wrote it began, in microseconds.
    written: Option<i64>,
    hash: Option<Vec<u8>>,
    /// All of its columns, where there is no hash of them.
    whole: Option<RecordBatch>,
}

impl Seen {
    /// Whether a later state is this one, written again.
    fn is(&self, later: &Self) -> bool {
        match (&self.row, &later.row) {
            (None, None) => true,
            (Some(_), Some(_)) => match (&self.hash, &later.hash) {
                (Some(one), Some(other)) => one == other,
                _ => self.whole.as_ref().zip(later.whole.as_ref()).is_some_and(|(one, other)| same(one, other)),
            },
            _ => false,
        }
    }
}

/// Whether two rows say the same; a column that one of them does not have says nothing.
fn same(one: &RecordBatch, other: &RecordBatch) -> bool {
    let within = |rows: &RecordBatch, others: &RecordBatch| {
        rows.schema().fields().iter().zip(rows.columns()).all(|(field, column)| {
            match others.column_by_name(field.name()) {
                Some(found) => found == column,
                None => column.null_count() == column.len(),
            }
        })
    };
    one.num_rows() == other.num_rows() && within(one, other) && within(other, one)
}

impl Lake {
    /// The states that the row with a key (a batch of one row) was in, from a version backwards, at most `most`. A state is
    /// what [`Lake::rows_by_key`] answers with; the same values written again are the same state. It looks back as far as
    /// the log and its files are kept.
    ///
    /// `None`: the table's rows cannot be read this way.
    ///
    /// # Errors
    /// As [`Lake::rows_by_key`], for the version to begin with.
    pub async fn row_past(
        &self,
        table: TableId,
        version: i64,
        key: &RecordBatch,
        wanted: &[&str],
        most: usize,
    ) -> Result<Option<RowPast>, Error> {
        let Some(mut seen) = self.seen(table, version, key, wanted).await? else { return Ok(None) };
        let mut states: Vec<RowState> = Vec::new();
        let mut at = version;
        let mut oldest = version;
        for _ in 0..LOOKED_AT {
            // Whoever began to write the row saw the version before: no other writer was there in between.
            let before = match seen.written.and_then(DateTime::from_timestamp_micros) {
                Some(written) => match self.version_at(table, written).await {
                    Ok(before) => before.min(at - 1),
                    Err(Error::NoSuchVersion { oldest, .. }) => (oldest - 1).min(at - 1),
                    Err(_) => at - 1,
                },
                None => at - 1,
            };
            let earlier = if before < 0 { None } else { self.seen(table, before, key, wanted).await.ok().flatten() };
            let is_same = earlier.as_ref().is_some_and(|earlier| earlier.is(&seen));
            // The state began here, or as far back as can be seen.
            if !is_same && (earlier.is_some() || seen.row.is_some()) {
                let began = before + 1;
                states.push(RowState { version: began, at: self.committed(table, began).await, row: seen.row.take() });
                oldest = oldest.min(began);
            }
            let Some(earlier) = earlier else { break };
            oldest = oldest.min(before);
            if states.len() >= most {
                break;
            }
            (seen, at) = (earlier, before);
        }
        Ok(Some(RowPast { states, sees_back_to: (oldest, self.committed(table, oldest).await) }))
    }

    async fn seen(
        &self,
        table: TableId,
        version: i64,
        key: &RecordBatch,
        wanted: &[&str],
    ) -> Result<Option<Seen>, Error> {
        let Some(schema) = self.row_schema(table, version).await? else { return Ok(None) };
        let has = |name: &str| schema.field_with_name(name).is_ok();
        let mut names: Vec<&str> = wanted.iter().copied().filter(|name| has(name)).collect();
        let shown: Vec<usize> = (0..names.len()).collect();
        names.extend([columns::INGESTED_AT, columns::HASH].into_iter().filter(|name| has(name)));
        let has_hash = has(columns::HASH);
        if !has_hash {
            let others: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let others: Vec<&str> = others.into_iter().filter(|name| !names.contains(name)).collect();
            names.extend(others);
        }
        let Some(found) = self.rows_by_key(table, version, key, &names, usize::MAX).await? else { return Ok(None) };
        let rows = found.rows;
        if rows.num_rows() == 0 {
            return Ok(Some(Seen { row: None, written: None, hash: None, whole: None }));
        }
        let written = rows.column_by_name(columns::INGESTED_AT).and_then(|column| {
            let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
            times.is_valid(0).then(|| times.value(0))
        });
        let hash = rows.column_by_name(columns::HASH).and_then(|column| {
            let hashes = column.as_binary_opt::<i32>()?;
            hashes.is_valid(0).then(|| hashes.value(0).to_vec())
        });
        let row = rows.project(&shown).map_err(Error::arrow)?;
        let whole = (!has_hash).then(|| rows.clone());
        Ok(Some(Seen { row: Some(row), written, hash, whole }))
    }

    async fn committed(&self, table: TableId, version: i64) -> Option<DateTime<Utc>> {
        let newest = self.opened(table).await.ok()?.newest().await.ok()?;
        let millis = history::committed_at(&newest, version).await.ok().flatten()?;
        DateTime::from_timestamp_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use rstest::rstest;
    use std::sync::Arc;

    fn row(name: Option<&str>, age: Option<Option<i64>>) -> RecordBatch {
        let mut columns: Vec<(&str, ArrayRef)> = vec![("name", Arc::new(StringArray::from(vec![name])))];
        columns.extend(age.map(|age| ("age", Arc::new(Int64Array::from(vec![age])) as ArrayRef)));
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[rstest]
    #[case(row(Some("a"), None), row(Some("a"), None), true)]
    #[case(row(Some("a"), None), row(Some("b"), None), false)]
    #[case(row(Some("a"), None), row(None, None), false)]
    #[case(row(Some("a"), None), row(Some("a"), Some(None)), true)]
    #[case(row(Some("a"), None), row(Some("a"), Some(Some(3))), false)]
    #[case(row(Some("a"), Some(Some(4))), row(Some("a"), Some(Some(3))), false)]
    fn rows_without_a_hash_are_compared_by_what_they_say(
        #[case] one: RecordBatch,
        #[case] other: RecordBatch,
        #[case] expected: bool,
    ) {
        assert_eq!((same(&one, &other), same(&other, &one)), (expected, expected));
    }
}

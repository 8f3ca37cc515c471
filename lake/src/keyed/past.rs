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
            let is_same = earlier.as_ref().is_some_and(|earlier| {
                (earlier.row.is_none() && seen.row.is_none())
                    || (earlier.row.is_some()
                        && seen.row.is_some()
                        && earlier.hash.is_some()
                        && earlier.hash == seen.hash)
            });
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
        let Some(found) = self.rows_by_key(table, version, key, &names, usize::MAX).await? else { return Ok(None) };
        let rows = found.rows;
        if rows.num_rows() == 0 {
            return Ok(Some(Seen { row: None, written: None, hash: None }));
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
        Ok(Some(Seen { row: Some(row), written, hash }))
    }

    async fn committed(&self, table: TableId, version: i64) -> Option<DateTime<Utc>> {
        let newest = self.opened(table).await.ok()?.newest().await.ok()?;
        let millis = history::committed_at(&newest, version).await.ok().flatten()?;
        DateTime::from_timestamp_millis(millis)
    }
}

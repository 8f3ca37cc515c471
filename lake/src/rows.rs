//! What a writing adds to each row, and what a comparison takes from it.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray, new_null_array,
    },
    buffer::{Buffer, OffsetBuffer},
    datatypes::{DataType, Int64Type, SchemaRef},
};
use chrono::{DateTime, Utc};

use crate::{
    Error,
    columns::{self, is_lake_column},
    hash::hash_rows,
    ledger::{KEYLESS, Record},
};

/// Rows that an append may have, as bits of the occurrence; the bits above tell the version.
const APPEND_ROW_BITS: u32 = 40;

/// Values of the lake's columns in one writing.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) run: String,
    pub(crate) began: DateTime<Utc>,
    pub(crate) source: Option<String>,
    /// For appends to a table without a key: the version that the writing will make, which no other writing has.
    pub(crate) append_version: Option<i64>,
}

impl Stamp {
    /// Fills the lake's columns that `given` does not name. `hashes` and `first` (the number of the first row) belong to
    /// the rows of the batch.
    pub(crate) fn fill(
        &self,
        batch: &RecordBatch,
        given: impl Fn(&str) -> bool,
        hashes: &[u128],
        first: u64,
    ) -> Result<RecordBatch, Error> {
        let rows = batch.num_rows();
        let mut filled: Vec<ArrayRef> = batch.columns().to_vec();
        for (field, column) in batch.schema_ref().fields().iter().zip(&mut filled) {
            if given(field.name()) {
                continue;
            }
            *column = match field.name().as_str() {
                columns::RUN => repeated(&self.run, rows),
                columns::SOURCE => match &self.source {
                    Some(source) => repeated(source, rows),
                    None => new_null_array(&DataType::Utf8, rows),
                },
                columns::INGESTED_AT => Arc::new(
                    TimestampMicrosecondArray::from_value(self.began.timestamp_micros(), rows).with_timezone("UTC"),
                ),
                columns::HASH => hash_column(hashes),
                columns::OCCURRENCE => Arc::new(self.occurrences(first, rows)),
                _ => continue,
            };
        }
        RecordBatch::try_new(batch.schema(), filled).map_err(Error::arrow)
    }

    fn occurrences(&self, first: u64, rows: usize) -> Int64Array {
        match self.append_version {
            None => Int64Array::from_value(0, rows),
            Some(version) => {
                let base = (version << APPEND_ROW_BITS) + i64::try_from(first).unwrap_or_default();
                Int64Array::from_iter_values((base..).take(rows))
            }
        }
    }
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

fn hash_column(hashes: &[u128]) -> ArrayRef {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let offsets = OffsetBuffer::from_repeated_length(16, hashes.len());
    Arc::new(BinaryArray::new(offsets, Buffer::from_vec(bytes), None))
}

/// The hashes as they stand in the column [`columns::HASH`]; a null is 0, another length than 16 is hashed.
fn stored_hashes(column: &ArrayRef) -> Vec<u128> {
    let values = column.as_binary::<i32>();
    (0..values.len())
        .map(|row| match values.is_valid(row).then(|| values.value(row)) {
            None => 0,
            Some(bytes) => match <[u8; 16]>::try_from(bytes) {
                Ok(bytes) => u128::from_le_bytes(bytes),
                Err(_) => xxhash_rust::xxh3::xxh3_128(bytes),
            },
        })
        .collect()
}

/// How rows of one table are told apart.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) key: Vec<String>,
}

impl Identity {
    /// Hashes of whole rows: those that the batch brings where `given`, else of the row's own values.
    pub(crate) fn hashes(&self, batch: &RecordBatch, given: bool) -> Result<Vec<u128>, Error> {
        match batch.column_by_name(columns::HASH) {
            Some(column) if given => Ok(stored_hashes(column)),
            _ => hash_rows(batch, |name| !is_lake_column(name)),
        }
    }

    /// Columns of the table that a comparison reads.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.key.iter().map(String::as_str).collect();
        names.push(columns::HASH);
        if self.key.is_empty() {
            names.push(columns::OCCURRENCE);
        }
        names
    }

    /// A record per row; `order` and `place` say where each row is.
    pub(crate) fn records(
        &self,
        batch: &RecordBatch,
        hashes: &[u128],
        order: impl Fn(usize) -> u64,
        place: impl Fn(usize) -> u64,
    ) -> Result<Vec<Record>, Error> {
        let keys = if self.key.is_empty() {
            hashes.to_vec()
        } else {
            hash_rows(batch, |name| self.key.iter().any(|key| key == name))?
        };
        let key_columns: Vec<&ArrayRef> = self.key.iter().filter_map(|name| batch.column_by_name(name)).collect();
        let nullable = key_columns.iter().any(|column| column.null_count() > 0) || key_columns.is_empty();
        Ok((0..batch.num_rows())
            .map(|row| {
                // A key of nothing but nulls says nothing: such rows are told apart by their values.
                let keyless = nullable && key_columns.iter().all(|column| column.is_null(row));
                let (key, flag) = if keyless { (hashes[row], KEYLESS) } else { (keys[row], 0) };
                Record { key, hash: hashes[row], order: order(row), place: place(row) | flag }
            })
            .collect())
    }

    /// Records of rows of the table, read with [`Identity::columns`].
    pub(crate) fn stored(&self, batch: &RecordBatch, place: impl Fn(usize) -> u64) -> Result<Vec<Record>, Error> {
        let hashes = match batch.column_by_name(columns::HASH) {
            Some(column) => stored_hashes(column),
            None => vec![0; batch.num_rows()],
        };
        let occurrences = batch.column_by_name(columns::OCCURRENCE).and_then(|column| {
            let values = column.as_primitive_opt::<Int64Type>()?;
            Some(values.iter().map(|value| value.and_then(|v| u64::try_from(v).ok()).unwrap_or(0)).collect::<Vec<_>>())
        });
        self.records(batch, &hashes, |row| occurrences.as_ref().map_or(0, |values| values[row]), place)
    }
}

/// Puts occurrences over the zeros of new rows; `wanted` is sorted and tells rows by their number from `first` on.
pub(crate) fn patch_occurrences(batch: RecordBatch, first: u64, wanted: &[(u64, i64)]) -> Result<RecordBatch, Error> {
    let from = wanted.partition_point(|(row, _)| *row < first);
    let to = wanted.partition_point(|(row, _)| *row < first + batch.num_rows() as u64);
    let (Ok(index), false) = (batch.schema_ref().index_of(columns::OCCURRENCE), from == to) else { return Ok(batch) };
    let mut values = batch.column(index).as_primitive::<Int64Type>().values().to_vec();
    for (row, occurrence) in &wanted[from..to] {
        values[usize::try_from(row - first).unwrap_or(0)] = *occurrence;
    }
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(Int64Array::from(values));
    RecordBatch::try_new(batch.schema(), columns).map_err(Error::arrow)
}

/// The rows for which the mask holds.
pub(crate) fn filter(batch: &RecordBatch, mask: impl Fn(usize) -> bool) -> Result<RecordBatch, Error> {
    let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(mask(row))).collect();
    if mask.true_count() == batch.num_rows() {
        return Ok(batch.clone());
    }
    arrow::compute::filter_record_batch(batch, &mask).map_err(Error::arrow)
}

/// The batch with a text column after its own that says the same of every row.
pub(crate) fn with_text(
    batch: &RecordBatch,
    schema: &SchemaRef,
    text: impl Fn(usize) -> &'static str,
) -> Result<RecordBatch, Error> {
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(StringArray::from_iter_values((0..batch.num_rows()).map(text))));
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::arrow)
}

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, DynComparator, RecordBatch, make_comparator},
    compute::SortOptions,
    datatypes::{DataType, Int64Type, Schema, SchemaRef},
};

use super::{
    KeyId,
    index::short,
    live::{Bounded, LiveFile},
};
use crate::{Error, conform::conform_array, hash::hash_rows};

/// The columns that a file is indexed by.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) schema: SchemaRef,
    pub(super) id: KeyId,
}

/// Keys that are looked for, in the types of the table.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The key's columns.
    pub(super) schema: SchemaRef,
    pub(super) id: KeyId,
    keys: RecordBatch,
    pub(super) hashes: Vec<u64>,
    /// Keys of which no row can be: a part is null, or is no value of its column's type.
    void: Vec<bool>,
}

impl Wanted {
    /// `keys`: a row per key, a column per column of the key, named as in the table.
    ///
    /// # Errors
    /// [`Error::Query`] for a column that the table lacks.
    pub(super) fn new(table: &Schema, keys: &RecordBatch, bits: u32) -> Result<Self, Error> {
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut void = vec![false; keys.num_rows()];
        for (field, column) in keys.schema_ref().fields().iter().zip(keys.columns()) {
            let known = table.field_with_name(field.name()).map_err(Error::arrow)?;
            let typed = typed(column, known.data_type())?;
            for (row, void) in void.iter_mut().enumerate() {
                *void |= typed.is_null(row);
            }
            fields.push(Arc::new(known.clone().with_nullable(true)));
            columns.push(typed);
        }
        let id = fields.iter().map(|field| format!("{}\0{}\0", field.name(), field.data_type())).collect::<String>();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let keys = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(Error::arrow)?;
        let hashes = hash_rows(&keys, |_| true)?.into_iter().map(|hash| short(hash, bits)).collect();
        Ok(Self { schema, id: id.into(), keys, hashes, void })
    }

    pub(super) fn key(&self) -> Key {
        Key { schema: Arc::clone(&self.schema), id: Arc::clone(&self.id) }
    }

    /// Keys that a file may hold, by their places.
    pub(super) fn of_file<'a>(&'a self, file: &'a LiveFile) -> impl Iterator<Item = usize> + 'a {
        (0..self.keys.num_rows()).filter(|key| !self.void[*key] && self.may_be_in(file, *key))
    }

    fn may_be_in(&self, file: &LiveFile, key: usize) -> bool {
        self.schema.fields().iter().zip(self.keys.columns()).all(|(field, column)| {
            let value = match column.data_type() {
                DataType::Utf8 => Bounded::Text(column.as_string::<i32>().value(key)),
                DataType::Int64 => Bounded::Int(column.as_primitive::<Int64Type>().value(key)),
                _ => return true,
            };
            file.may_hold(field.name(), value)
        })
    }

    /// Compares rows that were read with the keys.
    ///
    /// # Errors
    /// [`Error::Query`] where the rows lack a column of the key.
    pub(super) fn compare(&self, rows: &RecordBatch) -> Result<Comparison, Error> {
        let mut columns = Vec::new();
        for (field, column) in self.schema.fields().iter().zip(self.keys.columns()) {
            let read = rows.column(rows.schema_ref().index_of(field.name()).map_err(Error::arrow)?);
            let compare = make_comparator(read, column, SortOptions::default()).map_err(Error::arrow)?;
            columns.push((read.logical_nulls(), compare));
        }
        Ok(Comparison { columns })
    }
}

/// Rows beside keys.
pub(super) struct Comparison {
    columns: Vec<(Option<arrow::buffer::NullBuffer>, DynComparator)>,
}

impl Comparison {
    /// Whether the row has the key.
    pub(super) fn is(&self, row: usize, key: usize) -> bool {
        self.columns.iter().all(|(nulls, compare)| {
            nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && compare(row, key) == Ordering::Equal
        })
    }
}

/// The values in the column's type; null where one has no equal in it.
fn typed(values: &ArrayRef, to: &DataType) -> Result<ArrayRef, Error> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    if let Ok(typed) = conform_array("key", values, to) {
        return Ok(typed);
    }
    // One of them does not fit: each by itself.
    let single = (0..values.len()).map(|row| {
        conform_array("key", &values.slice(row, 1), to).unwrap_or_else(|_| arrow::array::new_null_array(to, 1))
    });
    let single: Vec<ArrayRef> = single.collect();
    let single: Vec<&dyn Array> = single.iter().map(AsRef::as_ref).collect();
    arrow::compute::concat(&single).map_err(Error::arrow)
}

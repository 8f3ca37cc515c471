use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::{FieldRef, Fields, Schema, SchemaRef},
    error::ArrowError,
};

use super::{
    Meta,
    column::{Numbers, Texts},
    compartment::patient_of,
    node::Elements,
    schema::{base_fields, resource_field},
};
use crate::{ResourceType, definitions, json::Value};

/// Gathers resources of one type into a batch of the current table.
#[derive(Debug)]
pub struct Encoder {
    resource_type: ResourceType,
    known: Option<SchemaRef>,
    rows: usize,
    id: Texts,
    version: Numbers<i64>,
    last_updated: Numbers<i64>,
    hash: Texts,
    source: Texts,
    run: Texts,
    patient: Texts,
    elements: Elements,
    resource: Texts,
}

impl Encoder {
    /// `known`: the table's schema so far; its columns are always made, so that batches of one table agree. A column that
    /// no definition explains is null.
    #[must_use]
    pub fn new(resource: ResourceType, known: Option<SchemaRef>) -> Self {
        let mut elements = Elements::new(definitions::root(resource), 1);
        if let Some(known) = &known {
            elements.expect(known.fields());
        }
        Self {
            resource_type: resource,
            known,
            rows: 0,
            id: Texts::new(),
            version: Numbers::new(),
            last_updated: Numbers::new(),
            hash: Texts::new(),
            source: Texts::new(),
            run: Texts::new(),
            patient: Texts::new(),
            elements,
            resource: Texts::new(),
        }
    }

    /// Adds a resource; `text` is its JSON as it shall be read back. Answers how many values did not fit their column (none
    /// where [`crate::validate`] finds no error and nothing lies too deep): they are null there and stand in `resource`.
    pub fn push(&mut self, resource: &Value<'_>, text: &str, meta: &Meta<'_>) -> usize {
        let row = self.rows;
        self.rows += 1;
        self.id.set(row, meta.id);
        self.version.set(row, meta.version);
        self.last_updated.set(row, meta.last_updated.timestamp_micros());
        self.hash.set_bytes(row, &meta.hash);
        self.source.set(row, meta.source);
        self.run.set(row, meta.run);
        if let Some(patient) = patient_of(self.resource_type, resource, meta.id) {
            self.patient.set(row, patient);
        }
        self.resource.set(row, text);
        match resource {
            Value::Object(members) => self.elements.put(row, members),
            _ => 1,
        }
    }

    /// Resources gathered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of JSON gathered: a batch must stay well below 2 GiB of them.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.resource.byte_len()
    }

    /// The batch: known columns and those that these resources populate.
    ///
    /// # Errors
    /// When arrow refuses (offsets beyond 2 GiB).
    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows;
        let base = [
            self.id.strings(rows)?,
            self.version.int64(rows),
            self.last_updated.timestamps(rows),
            self.hash.binary(rows)?,
            self.source.strings(rows)?,
            self.run.strings(rows)?,
            self.patient.strings(rows)?,
        ];
        let mut columns: Vec<(FieldRef, ArrayRef)> = base_fields().zip(base).collect();
        let elements = self.elements.finish(rows)?;
        let elements = elements.into_iter().map(|(field, array)| (Arc::new(field), array));
        columns.extend(elements);
        for field in self.known.iter().flat_map(|known| known.fields()) {
            let is_made = field.name() == "resource" || columns.iter().any(|(made, _)| made.name() == field.name());
            if !is_made {
                columns.push((Arc::clone(field), new_null_array(field.data_type(), rows)));
            }
        }
        columns.push((resource_field(), self.resource.strings(rows)?));
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(Fields::from(fields))), arrays, &options)
    }
}

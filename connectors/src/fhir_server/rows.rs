//! Resources as rows: what identifies a version, and the text as it came.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, StringBuilder},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    Error, ReadRequest, SourceColumn,
    fhir_files::record::Record,
    http::since::Stamp,
    reading::{Halt, Output},
};

/// The columns of every table. Nothing of them depends on the reading, so that a resource that comes again is the same row.
pub(super) fn columns() -> Vec<SourceColumn> {
    let column = |name: &str, nullable: bool, comment: &str| SourceColumn {
        name: name.to_owned(),
        data_type: DataType::Utf8,
        nullable,
        source_type: "text".to_owned(),
        comment: Some(comment.to_owned()),
    };
    vec![
        column("resource_type", false, "resourceType of the resource"),
        column("id", false, "the logical id as received"),
        column("resource", false, "the JSON exactly as received"),
        column("version_id", true, "meta.versionId"),
        column("last_updated", true, "meta.lastUpdated"),
    ]
}

#[derive(Deserialize)]
struct Head {
    meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    version_id: Option<Value>,
    last_updated: Option<Value>,
}

/// A resource with what its `meta` says.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) record: Record,
    pub(super) id: String,
    version_id: Option<String>,
    pub(super) last_updated: Option<String>,
}

impl Version {
    /// The error gives the record back: it has no id.
    pub(super) fn of(mut record: Record) -> Result<Self, Record> {
        let Some(id) = record.id.take().filter(|id| !id.is_empty()) else { return Err(record) };
        let meta = serde_json::from_str::<Head>(&record.resource).ok().and_then(|head| head.meta);
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (version_id, last_updated) =
            meta.map_or((None, None), |meta| (text(meta.version_id), text(meta.last_updated)));
        Ok(Self { record, id, version_id, last_updated })
    }

    /// Tells one version's text from every other.
    pub(super) fn hash(&self) -> u128 {
        xxh3_128(format!("{}\u{0}{}", self.id, self.record.resource).as_bytes())
    }

    /// Where it stands in the order of `lastUpdated`; only a real point in time has a place.
    pub(super) fn stamp(&self) -> Option<(Stamp, String)> {
        let raw = Value::String(self.last_updated.clone()?).to_string();
        Stamp::of(&raw).filter(|(stamp, _)| matches!(stamp, Stamp::Time(_)))
    }
}

/// Rows on their way into a batch.
pub(super) struct Rows {
    schema: SchemaRef,
    builders: Vec<StringBuilder>,
    count: usize,
    bytes: usize,
}

impl Rows {
    pub(super) fn new() -> Self {
        let fields: Vec<Field> =
            columns().into_iter().map(|column| Field::new(column.name, column.data_type, column.nullable)).collect();
        let builders = fields.iter().map(|_| StringBuilder::new()).collect();
        Self { schema: Arc::new(Schema::new(fields)), builders, count: 0, bytes: 0 }
    }

    /// Takes a version in; hands a batch on where there are enough.
    pub(super) fn push(&mut self, version: &Version, request: &ReadRequest, output: &Output) -> Result<(), Halt> {
        let values = [
            Some(version.record.kind.as_str()),
            Some(version.id.as_str()),
            Some(version.record.resource.as_str()),
            version.version_id.as_deref(),
            version.last_updated.as_deref(),
        ];
        for (builder, value) in self.builders.iter_mut().zip(values) {
            self.bytes += value.map_or(0, str::len);
            builder.append_option(value);
        }
        self.count += 1;
        if self.count >= request.batch_rows.max(1) || self.bytes >= request.batch_bytes {
            self.flush(output)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, output: &Output) -> Result<(), Halt> {
        (self.count, self.bytes) = (0, 0);
        let arrays = self.builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        output.batch(RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| unbuildable(&error))?)
    }
}

/// The keys of resources that are gone.
pub(super) fn gone(ids: &[String], output: &Output) -> Result<(), Halt> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false)]));
    let array: StringArray = ids.iter().map(Some).collect();
    output.gone(RecordBatch::try_new(schema, vec![Arc::new(array)]).map_err(|error| unbuildable(&error))?)
}

fn unbuildable(error: &arrow::error::ArrowError) -> Error {
    Error::Malformed { place: "resources".to_owned(), reason: error.to_string() }
}

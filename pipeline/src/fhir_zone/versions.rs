//! Rows of a history table in the making.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BinaryBuilder, BooleanBuilder, Int64Builder, RecordBatch, StringBuilder,
        TimestampMicrosecondBuilder, new_null_array,
    },
    compute::cast,
};
use chrono::{DateTime, Utc};

use super::target::{MADE_BY, history_schema};
use crate::failure::Failure;

/// One version of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Version<'a> {
    pub(crate) id: &'a str,
    pub(crate) version: i64,
    pub(crate) last_updated: DateTime<Utc>,
    pub(crate) hash: [u8; 16],
    pub(crate) source: &'a str,
    pub(crate) run: &'a str,
    pub(crate) made_by: &'a str,
    /// `None`: with this version the resource was deleted.
    pub(crate) text: Option<&'a str>,
}

/// Gathers versions of one type.
#[derive(Debug)]
pub(crate) struct Versions {
    ids: StringBuilder,
    versions: Int64Builder,
    updated: TimestampMicrosecondBuilder,
    deleted: BooleanBuilder,
    hashes: BinaryBuilder,
    sources: StringBuilder,
    runs: StringBuilder,
    made_by: StringBuilder,
    texts: StringBuilder,
}

impl Versions {
    pub(crate) fn new() -> Self {
        Self {
            ids: StringBuilder::new(),
            versions: Int64Builder::new(),
            updated: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            deleted: BooleanBuilder::new(),
            hashes: BinaryBuilder::new(),
            sources: StringBuilder::new(),
            runs: StringBuilder::new(),
            made_by: StringBuilder::new(),
            texts: StringBuilder::new(),
        }
    }

    pub(crate) fn push(&mut self, version: &Version<'_>) {
        self.ids.append_value(version.id);
        self.versions.append_value(version.version);
        self.updated.append_value(version.last_updated.timestamp_micros());
        self.deleted.append_value(version.text.is_none());
        self.hashes.append_value(version.hash);
        self.sources.append_value(version.source);
        self.runs.append_value(version.run);
        self.made_by.append_value(version.made_by);
        self.texts.append_option(version.text);
    }

    /// The rows in the columns of [`history_schema`]; `None` where there are none.
    pub(crate) fn finish(mut self) -> Result<Option<RecordBatch>, Failure> {
        let ids = self.ids.finish();
        let rows = ids.len();
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(ids)),
            ("__version", Arc::new(self.versions.finish())),
            ("__last_updated", Arc::new(self.updated.finish())),
            ("__deleted", Arc::new(self.deleted.finish())),
            ("__hash", Arc::new(self.hashes.finish())),
            ("__source", Arc::new(self.sources.finish())),
            ("__run", Arc::new(self.runs.finish())),
            ("resource", Arc::new(self.texts.finish())),
            (MADE_BY, Arc::new(self.made_by.finish())),
        ];
        let schema = history_schema();
        let mut arrays = Vec::with_capacity(columns.len());
        for field in schema.fields() {
            arrays.push(match columns.iter().find(|(name, _)| name == field.name()) {
                Some((_, array)) => cast(array, field.data_type())?,
                None => new_null_array(field.data_type(), rows),
            });
        }
        Ok(Some(RecordBatch::try_new(schema, arrays)?))
    }
}

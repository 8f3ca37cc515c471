//! Rows of a history table in the making.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BinaryBuilder, BooleanArray, BooleanBuilder, Int64Builder, RecordBatch, StringArray,
        StringBuilder, TimestampMicrosecondBuilder, new_null_array,
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

/// The rows of history that belong to rows of a current table: the same values, and who made them.
pub(crate) fn of_current(current: &RecordBatch, made_by: &str) -> Result<RecordBatch, Failure> {
    let (schema, rows) = (history_schema(), current.num_rows());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        arrays.push(match (field.name().as_str(), current.column_by_name(field.name())) {
            (_, Some(column)) => cast(column, field.data_type())?,
            ("__deleted", None) => Arc::new(BooleanArray::from(vec![false; rows])),
            (MADE_BY, None) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(made_by, rows))),
            (_, None) => new_null_array(field.data_type(), rows),
        });
    }
    Ok(RecordBatch::try_new(schema, arrays)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use mavis_fhir::{ResourceType, json, shape};

    use super::*;

    #[test]
    fn history_holds_what_current_holds_and_is_no_copy_of_it() {
        let text = r#"{"resourceType":"Patient","id":"a","gender":"male"}"#;
        let mut encoder = shape::Encoder::new("Patient".parse::<ResourceType>().unwrap(), None);
        let meta = shape::Meta { id: "a", version: 3, last_updated: Utc::now(), source: "s", run: "r", hash: [7; 16] };
        encoder.push(&json::parse(text.as_bytes()).unwrap(), text, &meta);
        let current = encoder.finish().unwrap();
        let history = of_current(&current, "import").unwrap();
        assert_eq!(history.schema(), history_schema());
        for name in ["id", "__version", "__last_updated", "__hash", "__source", "__run", "resource"] {
            assert_eq!(history.column_by_name(name).unwrap(), current.column_by_name(name).unwrap(), "{name}");
        }
        assert!(!history.column_by_name("__deleted").unwrap().as_boolean().value(0));
        assert_eq!(history.column_by_name(MADE_BY).unwrap().as_string::<i32>().value(0), "import");
        let bytes = |batch: &RecordBatch| {
            batch.column_by_name("resource").unwrap().as_string::<i32>().values().as_ptr() as usize
        };
        assert_eq!(bytes(&history), bytes(&current));
    }
}

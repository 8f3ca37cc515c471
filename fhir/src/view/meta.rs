use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray},
    datatypes::{Field, FieldRef, Fields, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use chrono::{DateTime, SecondsFormat};

/// The columns that a table's `meta` is made of, beside the one of that name.
pub(super) const COLUMNS: [&str; 2] = ["__version", "__last_updated"];

/// `meta` as a read of the resource answers it: `versionId` and `lastUpdated` are the server's, whatever came in. `None` where
/// the batch does not have them: the resources are in no table.
pub(super) fn meta(resources: &RecordBatch) -> Result<Option<(FieldRef, ArrayRef)>, ArrowError> {
    let [versions, updates] = COLUMNS.map(|name| resources.column_by_name(name));
    let (Some(versions), Some(updates)) = (
        versions.and_then(|column| column.as_primitive_opt::<Int64Type>()),
        updates.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()),
    ) else {
        return Ok(None);
    };
    let mut columns: Vec<(FieldRef, ArrayRef)> = Vec::new();
    if let Some(came) = resources.column_by_name("meta").and_then(|column| column.as_struct_opt()) {
        let came = came.fields().iter().zip(came.columns());
        let kept = came
            .filter(|(field, _)| !field.name().starts_with("versionId") && !field.name().starts_with("lastUpdated"));
        columns.extend(kept.map(|(field, column)| (Arc::clone(field), Arc::clone(column))));
    }
    let version: StringArray = versions.iter().map(|version| version.map(|version| version.to_string())).collect();
    let updated: StringArray = updates
        .iter()
        .map(|at| Some(DateTime::from_timestamp_micros(at?)?.to_rfc3339_opts(SecondsFormat::Millis, true)))
        .collect();
    for (name, column) in [("versionId", version), ("lastUpdated", updated)] {
        columns.push((Arc::new(Field::new(name, column.data_type().clone(), true)), Arc::new(column)));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let fields = Fields::from(fields);
    // A resource whose `meta` was missing has one now, with nothing else in it.
    let meta = StructArray::try_new(fields, arrays, None)?;
    let field = Field::new("meta", meta.data_type().clone(), true);
    Ok(Some((Arc::new(field), Arc::new(meta))))
}

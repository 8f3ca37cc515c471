//! Mavis's own columns, which the lake puts after a table's.

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use std::sync::Arc;

/// Run that wrote the row, as text.
pub const RUN: &str = "__run";
/// When the unit that wrote the row began.
pub const INGESTED_AT: &str = "__ingested_at";
/// 128-bit hash of the row's own values; see [`crate::hash`].
pub const HASH: &str = "__hash";
/// Name of the source, or null.
pub const SOURCE: &str = "__source";
/// Tells equal rows of a table without a key apart.
pub const OCCURRENCE: &str = "__occurrence";

/// Whether the name is one of the columns that the lake fills in. They say nothing about the row's own values.
#[must_use]
pub fn is_lake_column(name: &str) -> bool {
    [RUN, INGESTED_AT, HASH, SOURCE, OCCURRENCE].contains(&name)
}

/// The type of [`INGESTED_AT`].
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn lake_columns(keyless: bool) -> Vec<Field> {
    let mut fields = vec![
        Field::new(RUN, DataType::Utf8, true),
        Field::new(INGESTED_AT, instant(), true),
        Field::new(HASH, DataType::Binary, true),
        Field::new(SOURCE, DataType::Utf8, true),
    ];
    if keyless {
        fields.push(Field::new(OCCURRENCE, DataType::Int64, true));
    }
    fields
}

/// The schema with the lake's columns put after its own, where it lacks them.
pub(crate) fn with_lake_columns(schema: &Schema, keyless: bool) -> Schema {
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    for field in lake_columns(keyless) {
        if schema.index_of(field.name()).is_err() {
            fields.push(Arc::new(field));
        }
    }
    Schema::new(fields)
}

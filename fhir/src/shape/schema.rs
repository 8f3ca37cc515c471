use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use crate::ResourceType;

/// The name of a list's items, as Delta writes it.
pub(super) const LIST_ITEM: &str = "element";

/// The columns before the elements, in order.
const BASE: [&str; 7] = ["id", "__version", "__last_updated", "__hash", "__source", "__run", "__patient"];

/// `<name>__<what>`: a column that Mavis derives from an element.
pub(super) fn companion(name: &str, what: &str) -> String {
    format!("{name}__{what}")
}

/// Microseconds UTC.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn flat(name: &str) -> FieldRef {
    let data_type = match name {
        "__version" => DataType::Int64,
        "__last_updated" => timestamp(),
        "__deleted" => DataType::Boolean,
        "__hash" => DataType::Binary,
        _ => DataType::Utf8,
    };
    Arc::new(Field::new(name, data_type, true))
}

/// The fields before the elements.
pub(super) fn base_fields() -> impl Iterator<Item = FieldRef> {
    BASE.into_iter().map(flat)
}

/// The last field: the JSON as received.
pub(super) fn resource_field() -> FieldRef {
    flat("resource")
}

/// The least schema of a type's current table: `id`, the flat columns, `resource`. It is the same for all types.
#[must_use]
pub fn base_schema(_resource: ResourceType) -> SchemaRef {
    Arc::new(Schema::new(base_fields().chain([resource_field()]).collect::<Fields>()))
}

/// The schema of every history table: `id`, `__version`, `__last_updated`, `__deleted`, `__hash`, `__source`, `__run`,
/// `resource` (null in a tombstone).
#[must_use]
pub fn history_schema() -> SchemaRef {
    let names = ["id", "__version", "__last_updated", "__deleted", "__hash", "__source", "__run", "resource"];
    Arc::new(Schema::new(names.into_iter().map(flat).collect::<Fields>()))
}

/// The union of two schemas of one type's table: nested, by name, the first one's order first.
#[must_use]
pub fn union(known: &SchemaRef, more: &SchemaRef) -> SchemaRef {
    let fields = union_fields(known.fields(), more.fields());
    if fields == *known.fields() {
        return Arc::clone(known);
    }
    Arc::new(Schema::new_with_metadata(fields, known.metadata().clone()))
}

fn union_fields(known: &Fields, more: &Fields) -> Fields {
    let first = known.iter().map(|field| match more.find(field.name()) {
        Some((_, other)) => union_field(field, other),
        None => Arc::clone(field),
    });
    let rest = more.iter().filter(|field| known.find(field.name()).is_none()).cloned();
    first.chain(rest).collect()
}

fn union_field(known: &FieldRef, more: &FieldRef) -> FieldRef {
    let data_type = match (known.data_type(), more.data_type()) {
        (DataType::Struct(a), DataType::Struct(b)) => DataType::Struct(union_fields(a, b)),
        (DataType::List(a), DataType::List(b)) => DataType::List(union_field(a, b)),
        // Types come from the definitions, so that they agree; a table's own type stays.
        (same, _) => same.clone(),
    };
    if data_type == *known.data_type() {
        return Arc::clone(known);
    }
    Arc::new(known.as_ref().clone().with_data_type(data_type))
}

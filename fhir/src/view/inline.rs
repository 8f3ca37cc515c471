use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, FieldRef, Schema},
    error::ArrowError,
};
use chrono::DateTime;

use crate::{
    ResourceType,
    json::Value,
    shape::{Encoder, Meta},
};

/// Resources that are in no table, as a batch of the current table that they would stand in: what [`super::Plan::run`] takes.
/// Those of other types are passed over. With it comes how many values did not fit the definitions, and are null.
///
/// # Errors
/// When arrow refuses (more than 2 GiB of text).
pub fn encode<'a>(
    resource_type: ResourceType,
    resources: impl Iterator<Item = &'a Value<'a>>,
) -> Result<(RecordBatch, usize), ArrowError> {
    let mut encoder = Encoder::new(resource_type, None);
    let mut misfits = 0;
    let mut ids: Vec<Option<&str>> = Vec::new();
    for resource in resources.filter(|resource| resource.get_str("resourceType") == Some(resource_type.name())) {
        let id = resource.get_str("id");
        let meta = Meta {
            id: id.unwrap_or_default(),
            version: 0,
            last_updated: DateTime::UNIX_EPOCH,
            source: "",
            run: "",
            hash: [0; 16],
        };
        // the JSON itself is no part of any view
        misfits += encoder.push(resource, "", &meta);
        ids.push(id);
    }
    let batch = encoder.finish()?;
    // A resource of a table has an id and a version; one of these may have none, and its `meta` is its own.
    let ids: ArrayRef = Arc::new(StringArray::from(ids));
    let schema = batch.schema();
    let kept = schema.fields().iter().zip(batch.columns());
    let kept =
        kept.filter(|(field, _)| field.name() != "resource" && !field.name().starts_with("__") && field.name() != "id");
    let kept = kept.map(|(field, column)| (Arc::clone(field), Arc::clone(column)));
    let id = (Arc::new(Field::new("id", DataType::Utf8, true)), ids);
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = std::iter::once(id).chain(kept).unzip();
    Ok((RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, misfits))
}

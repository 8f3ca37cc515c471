//! Answers that the door makes itself: small tables of texts.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::{StreamExt, stream};

use super::{
    failure::{Failure, state},
    portal::Running,
};

/// A table of texts as an answer; `rows` have a text for each column.
pub(super) fn table(columns: &[&str], rows: &[Vec<String>], tag: &'static str) -> Result<Running, Failure> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let values = (0..columns.len()).map(|number| {
        let texts: StringArray = rows.iter().map(|row| row.get(number).map(String::as_str)).collect();
        Arc::new(texts) as ArrayRef
    });
    let schema = Arc::new(Schema::new(fields));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), values.collect(), &options)
        .map_err(|_| Failure::error(state::INTERNAL, "a table could not be put together"))?;
    Ok(Running::new(schema, stream::iter([Ok(batch)]).boxed(), tag.to_owned()))
}

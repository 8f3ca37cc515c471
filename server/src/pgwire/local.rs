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
    session::Client,
};

impl Client {
    /// The answer of SHOW; `None`: all settings.
    pub(super) fn show(&self, name: Option<&str>) -> Result<Running, Failure> {
        match name {
            Some(name) => table(&[name], &[vec![self.settings.show(name)?]], "SHOW"),
            None => {
                let all = self.settings.all().into_iter();
                let rows: Vec<Vec<String>> = all.map(|(name, value)| vec![name, value, String::new()]).collect();
                table(&["name", "setting", "description"], &rows, "SHOW")
            }
        }
    }
}

/// A table of texts as an answer; `rows` have a text for each column.
fn table(columns: &[&str], rows: &[Vec<String>], tag: &'static str) -> Result<Running, Failure> {
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

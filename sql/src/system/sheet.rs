use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{Field, Schema},
};
use chrono::{DateTime, Utc};

use crate::Error;

/// A batch put together column by column; made of no rows it tells a table's schema.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Sheet {
    pub(super) fn text<S: Into<String>>(self, name: &str, values: impl Iterator<Item = S>) -> Self {
        let values: Vec<String> = values.map(Into::into).collect();
        self.column(name, Arc::new(StringArray::from(values)), false)
    }

    pub(super) fn maybe_text<S: Into<String>>(self, name: &str, values: impl Iterator<Item = Option<S>>) -> Self {
        let values: Vec<Option<String>> = values.map(|value| value.map(Into::into)).collect();
        self.column(name, Arc::new(StringArray::from(values)), true)
    }

    pub(super) fn number(self, name: &str, values: impl Iterator<Item = i64>) -> Self {
        self.column(name, Arc::new(Int64Array::from_iter_values(values)), false)
    }

    pub(super) fn maybe_number(self, name: &str, values: impl Iterator<Item = Option<i64>>) -> Self {
        self.column(name, Arc::new(values.collect::<Int64Array>()), true)
    }

    pub(super) fn seconds(self, name: &str, values: impl Iterator<Item = f64>) -> Self {
        self.column(name, Arc::new(Float64Array::from_iter_values(values)), false)
    }

    pub(super) fn flag(self, name: &str, values: impl Iterator<Item = bool>) -> Self {
        let values: Vec<bool> = values.collect();
        self.column(name, Arc::new(BooleanArray::from(values)), false)
    }

    pub(super) fn time(self, name: &str, values: impl Iterator<Item = DateTime<Utc>>) -> Self {
        let values = values.map(|at| at.timestamp_micros());
        self.column(name, Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC")), false)
    }

    pub(super) fn maybe_time(self, name: &str, values: impl Iterator<Item = Option<DateTime<Utc>>>) -> Self {
        let values = values.map(|at| at.map(|at| at.timestamp_micros()));
        let values = values.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
        self.column(name, Arc::new(values), true)
    }

    fn column(mut self, name: &str, values: ArrayRef, nullable: bool) -> Self {
        self.fields.push(Field::new(name, values.data_type().clone(), nullable));
        self.columns.push(values);
        self
    }

    pub(super) fn schema(self) -> Arc<Schema> {
        Arc::new(Schema::new(self.fields))
    }

    pub(super) fn batch(self) -> Result<RecordBatch, Error> {
        let rows = self.columns.first().map_or(0, |column| column.len());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(self.fields)), self.columns, &options)
            .map_err(|_| Error::Execution { message: "a system table could not be put together".to_owned() })
    }
}

/// A count as SQL's BIGINT.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A word of the catalog (`completed_with_warnings`, `to_raw`) as text.
pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

//! How a file of a table taken over in place is read: its own columns by the names that it has for them, the others from the log.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_null_array},
    compute::{CastOptions, cast_with_options, take},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::ParquetError,
};

use super::{footer::is_int96, schema::Columns};
use crate::{Error, reader::FileReader};

/// What a file has beside its own columns, and what it calls those.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    columns: Arc<Columns>,
    /// One value each, by the column's name.
    constants: HashMap<String, ArrayRef>,
}

/// The value of a column that is the same for all rows of a file, as an array of one.
pub(super) fn constant(value: Option<&str>, data_type: &DataType) -> Option<ArrayRef> {
    let Some(value) = value else { return Some(new_null_array(data_type, 1)) };
    let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
    cast_with_options(&text, data_type, &CastOptions { safe: false, ..CastOptions::default() }).ok()
}

impl Layout {
    /// `values`: what the log says of the file's partition columns.
    pub(crate) fn new(columns: Arc<Columns>, values: &HashMap<String, Option<String>>) -> Self {
        let constants = columns
            .of_a_file
            .iter()
            .filter_map(|(name, data_type)| {
                let value = values.get(name).and_then(|value| value.as_deref());
                Some((name.clone(), constant(value, data_type)?))
            })
            .collect();
        Self { columns, constants }
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// What the file calls a column; `None` for one that it does not have itself.
    fn in_file(&self, name: &str) -> Option<&str> {
        self.columns.own.iter().find(|column| column.name == name).map(|column| column.in_files.as_str())
    }

    /// The places of the columns of `schema` in a file.
    pub(crate) fn roots(&self, file: &ArrowReaderMetadata, schema: &Schema) -> Vec<usize> {
        let wanted: Vec<&str> = schema.fields().iter().filter_map(|field| self.in_file(field.name())).collect();
        let fields = file.parquet_schema().root_schema().get_fields().iter().enumerate();
        fields.filter(|(_, field)| wanted.contains(&field.name())).map(|(place, _)| place).collect()
    }

    /// Rows of the file by the table's names, with the columns of `schema` that are the log's to tell.
    pub(crate) fn complete(&self, batch: &RecordBatch, schema: &Schema) -> Result<RecordBatch, Error> {
        let rows = batch.num_rows();
        let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let own = self.columns.own.iter().find(|column| column.in_files == *field.name());
            let name = own.map_or(field.name(), |column| &column.name);
            fields.push(field.as_ref().clone().with_name(name));
            arrays.push(Arc::clone(array));
        }
        for field in schema.fields() {
            let Some(value) = self.constants.get(field.name()) else { continue };
            let first = UInt32Array::from_value(0, rows);
            fields.push(Field::new(field.name(), value.data_type().clone(), true));
            arrays.push(take(value, &first, None).map_err(Error::arrow)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(Error::arrow)
    }

    /// Rows of the table as a file of the table has them: without what is the log's to tell, by the names in files.
    pub(crate) fn for_file(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let schema = self.columns.in_files();
        let arrays = self
            .columns
            .own
            .iter()
            .map(|column| {
                let missing = || new_null_array(&column.data_type, batch.num_rows());
                batch.column_by_name(&column.name).map_or_else(missing, Arc::clone)
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema, arrays, &options).map_err(Error::arrow)
    }
}

/// The footer of a foreign file, read without what Arrow's writers say of their own types, and with Hive's timestamps in
/// microseconds: in nanoseconds the years 1 and 9999 would come out as others.
pub(crate) async fn metadata(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: u64,
) -> Result<ArrowReaderMetadata, ParquetError> {
    let mut reader = FileReader::new(store, path, bytes);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
    let in_micros = |field: &Arc<Field>| match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) if is_int96(metadata.metadata(), field.name()) => {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<Arc<Field>> = metadata.schema().fields().iter().map(in_micros).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    if schema.fields() == metadata.schema().fields() {
        return Ok(metadata);
    }
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options.with_schema(schema))
}

/// What the name of a file of ours says: in whose place of the tree it stands.
pub(crate) fn replacement_of(path: &Path) -> Option<u128> {
    let rest = path.filename()?.strip_prefix("instead-of-")?;
    u128::from_str_radix(rest.get(..32)?, 16).ok()
}

/// A value of an array of one in the words of Delta's log; `None` inside for null. Without words for it: `None`.
#[allow(clippy::option_option, reason = "a null is a value, and one without words is none")]
pub(super) fn text(value: &ArrayRef) -> Option<Option<String>> {
    if value.is_null(0) {
        return Some(None);
    }
    let value = match value.data_type() {
        DataType::Timestamp(..) => {
            let micros = cast_with_options(value, &DataType::Int64, &CastOptions::default()).ok()?;
            let micros = micros.as_primitive::<arrow::datatypes::Int64Type>().value(0);
            let time = chrono::DateTime::from_timestamp_micros(micros)?;
            return Some(Some(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()));
        }
        _ => cast_with_options(value, &DataType::Utf8, &CastOptions::default()).ok()?,
    };
    Some(Some(value.as_string::<i32>().value(0).to_owned()))
}

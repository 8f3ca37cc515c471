//! What a file's footer tells: its columns in Delta's types, its rows, and bounds. No data is read.

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use mavis_types::TableName;
use object_store::ObjectStore;
use parquet::{
    arrow::{async_reader::AsyncFileReader, parquet_to_arrow_schema},
    basic::Type as PhysicalType,
    errors::ParquetError,
    file::metadata::ParquetMetaData,
};

use super::{TreeFile, trouble};
use crate::{Error, columns, reader::FileReader, stats::delta_stats};

/// A file's footer.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) rows: u64,
    /// Name and type of each column, or why Delta has no such type.
    pub(super) columns: Vec<(String, Result<DataType, String>)>,
    metadata: Arc<ParquetMetaData>,
}

/// Reads the footer of a file of a table's tree.
///
/// # Errors
/// In words that name the file by its label: it is no Parquet ([`Error::InPlace`]), or it cannot be read ([`Error::Store`]).
pub(super) async fn read(store: &Arc<dyn ObjectStore>, table: &TableName, file: &TreeFile) -> Result<Footer, Error> {
    let failed = |error: ParquetError| match error {
        ParquetError::External(error) => Error::Store {
            doing: format!("reading the footer of a file of `{table}`"),
            reason: match error.downcast_ref::<object_store::Error>() {
                Some(error) => trouble::told(file.label(), error).to_string(),
                None => format!("file `{}` cannot be read", file.label()),
            },
        },
        error => {
            Error::InPlace { table: table.clone(), reason: format!("file `{}` is no Parquet: {error}", file.label()) }
        }
    };
    let mut reader = FileReader::new(store, &file.path, file.bytes);
    let metadata = reader.get_metadata(None).await.map_err(failed)?;
    let descriptor = metadata.file_metadata().schema_descr();
    let schema = parquet_to_arrow_schema(descriptor, None).map_err(failed)?;
    let columns = schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), in_delta(field.data_type(), is_int96(&metadata, field.name()))))
        .collect();
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
    Ok(Footer { rows, columns, metadata })
}

/// Whether a flat column holds times as Hive and Impala wrote them.
pub(super) fn is_int96(metadata: &ParquetMetaData, name: &str) -> bool {
    let descriptor = metadata.file_metadata().schema_descr();
    (0..descriptor.num_columns()).map(|leaf| descriptor.column(leaf)).any(|leaf| {
        matches!(leaf.path().parts(), [only] if only == name) && leaf.physical_type() == PhysicalType::INT96
    })
}

/// The type that Delta has for the values as they stand in the file.
fn in_delta(data_type: &DataType, is_int96: bool) -> Result<DataType, String> {
    let item = |field: &Field| in_delta(field.data_type(), false);
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Utf8
        | DataType::Binary => data_type.clone(),
        DataType::Decimal128(_, scale) if *scale >= 0 => data_type.clone(),
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) if is_int96 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, Some(_)) => columns::instant(),
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => {
            check_nested(data_type, &item)?;
            crate::evolve::storable(data_type)
        }
        other => return Err(format!("is {other}, for which Delta has no type that reads it as it stands")),
    })
}

fn check_nested(data_type: &DataType, item: &dyn Fn(&Field) -> Result<DataType, String>) -> Result<(), String> {
    match data_type {
        DataType::List(inner) => item(inner).map(drop),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => pair.iter().try_for_each(|field| item(field).map(drop)),
            _ => Err("is a map without entries".to_owned()),
        },
        DataType::Struct(fields) => fields.iter().try_for_each(|field| item(field).map(drop)),
        _ => Ok(()),
    }
}

impl Footer {
    /// Delta's statistics of the file: rows, nulls and bounds of `wanted` columns (by their names in files), as far as the
    /// footer's bounds can be trusted to be bounds.
    /// `schema`: the columns of the files.
    pub(super) fn stats(&self, schema: &Schema, wanted: &HashSet<String>) -> String {
        let trusted: HashSet<String> = wanted.iter().filter(|name| self.is_trusted(name)).cloned().collect();
        delta_stats(&self.metadata, schema, &trusted)
    }

    fn is_trusted(&self, name: &str) -> bool {
        let descriptor = self.metadata.file_metadata().schema_descr();
        let Some(leaf) = (0..descriptor.num_columns())
            .find(|leaf| matches!(descriptor.column(*leaf).path().parts(), [only] if only == name))
        else {
            return false;
        };
        // Old writers compared text byte by byte with a sign; milliseconds are not what the log's bounds are made of.
        let ordered = self.metadata.row_groups().iter().all(|group| {
            group.column(leaf).statistics().is_none_or(|statistics| {
                !statistics.is_min_max_deprecated()
                    || !matches!(statistics, parquet::file::statistics::Statistics::ByteArray(_))
            })
        });
        let millis = parquet_to_arrow_schema(descriptor, None).is_ok_and(|schema: Schema| {
            schema
                .field_with_name(name)
                .is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Millisecond, _)))
        });
        ordered && !millis
    }
}

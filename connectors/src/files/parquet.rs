//! Parquet files: exact types, one row group at a time, only the bytes that are needed.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        async_reader::AsyncFileReader,
    },
    basic::Type as PhysicalType,
    errors::{ParquetError, Result as ParquetResult},
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};
use tokio::runtime::Handle;

use super::{FileTable, Shared, sink::Sink};
use crate::{
    Error, SourceColumn, frame,
    objects::{FileEntry, Place, reason},
    reading::Halt,
};

/// A Parquet file in a store.
#[derive(Clone)]
struct Remote {
    store: Arc<dyn ObjectStore>,
    path: object_store::path::Path,
    size: u64,
}

impl Remote {
    fn new(shared: &Shared, entry: &FileEntry) -> Self {
        Self { store: Arc::clone(shared.location.store()), path: entry.path.clone(), size: entry.size }
    }
}

impl AsyncFileReader for Remote {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        Box::pin(async move { self.store.get_range(&self.path, range).await.map_err(external) })
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        Box::pin(async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        Box::pin(async move {
            let size = self.size;
            Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(&mut *self, size).await?))
        })
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

fn error(entry: &FileEntry, error: &ParquetError) -> Error {
    let place = format!("file `{}`", entry.shown());
    match error {
        ParquetError::External(inner) => {
            let of_store = inner.downcast_ref::<object_store::Error>();
            Error::Interrupted { place, reason: of_store.map_or_else(|| inner.to_string(), reason) }
        }
        other => Error::Malformed { place, reason: other.to_string() },
    }
}

fn metadata(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<ArrowReaderMetadata, Error> {
    let mut remote = Remote::new(shared, entry);
    let metadata = runtime
        .block_on(ArrowReaderMetadata::load_async(&mut remote, ArrowReaderOptions::new()))
        .map_err(|failure| error(entry, &failure))?;
    let is_old = |column: usize| metadata.parquet_schema().column(column).physical_type() == PhysicalType::INT96;
    if !(0..metadata.parquet_schema().num_columns()).any(is_old) {
        return Ok(metadata);
    }
    // Hive's and Impala's own timestamps: in nanoseconds the years 1 and 9999 would come out as others.
    let fields: Vec<Arc<Field>> = metadata.schema().fields().iter().map(in_microseconds).collect();
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).map_err(|failure| error(entry, &failure))
}

fn in_microseconds(field: &Arc<Field>) -> Arc<Field> {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        }
        _ => Arc::clone(field),
    }
}

/// The columns of all files, and the rows that their footers count.
pub(super) fn columns(
    shared: &Shared,
    runtime: &Handle,
    files: &[FileEntry],
) -> Result<(Vec<SourceColumn>, u64), Error> {
    let mut columns: Vec<SourceColumn> = Vec::new();
    let mut rows = 0;
    for entry in files {
        let metadata = metadata(shared, runtime, entry)?;
        rows += u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or_default();
        for field in metadata.schema().fields() {
            let data_type = frame::plain(field.data_type());
            match columns.iter_mut().find(|column| column.name == *field.name()) {
                Some(known) => {
                    let Some(both) = wider(&known.data_type, &data_type) else {
                        return Err(Error::Malformed {
                            place: format!("file `{}`", entry.shown()),
                            reason: format!(
                                "column `{}` is {data_type}, in the files before it {}; one table has one type of each \
                                 column: leave the file out, or give it a source of its own",
                                field.name(),
                                known.data_type
                            ),
                        });
                    };
                    known.data_type = both;
                    known.nullable |= field.is_nullable();
                }
                None => columns.push(SourceColumn {
                    name: field.name().clone(),
                    source_type: field.data_type().to_string(),
                    data_type,
                    nullable: field.is_nullable(),
                    comment: None,
                }),
            }
        }
    }
    Ok((columns, rows))
}

/// The type that holds the values of both exactly.
fn wider(one: &DataType, two: &DataType) -> Option<DataType> {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64};
    let rank = |data_type: &DataType| [Int8, Int16, Int32, Int64].iter().position(|integer| integer == data_type);
    match (one, two) {
        _ if one == two => Some(one.clone()),
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        _ => match (rank(one)?, rank(two)?) {
            (a, b) if a >= b => Some(one.clone()),
            _ => Some(two.clone()),
        },
    }
}

/// Reads the row groups of a file from a place on; answers with the place of its end.
pub(super) fn read(
    shared: &Shared,
    runtime: &Handle,
    table: &FileTable,
    entry: &FileEntry,
    record: u64,
    sink: &mut Sink<'_>,
) -> Result<Place, Halt> {
    let metadata = metadata(shared, runtime, entry)?;
    // The types are those of all files of the table.
    let types = if table.files.len() > 1 { columns(shared, runtime, &table.files)?.0 } else { Vec::new() };
    let of_all = |field: &Field| {
        let known = types.iter().find(|column| column.name == *field.name());
        known.map_or_else(|| frame::plain(field.data_type()), |column| column.data_type.clone())
    };
    let fields: Vec<Field> =
        metadata.schema().fields().iter().map(|field| field.as_ref().clone().with_data_type(of_all(field))).collect();
    let schema = Arc::new(Schema::new(fields));
    let groups = metadata.metadata().num_row_groups();
    let place = |done_groups: usize, done: bool| Place {
        stamp: entry.stamp.clone(),
        record: done_groups as u64,
        done,
        ..Place::default()
    };
    for group in usize::try_from(record).unwrap_or(groups)..groups {
        let footer = metadata.metadata().row_group(group);
        let rows = usize::try_from(footer.num_rows()).unwrap_or_default().max(1);
        let row_bytes = usize::try_from(footer.total_byte_size()).unwrap_or_default() / rows;
        let batch_rows = (sink.request.batch_bytes / row_bytes.max(1)).clamp(1, sink.request.batch_rows.max(1));
        let mut stream =
            ParquetRecordBatchStreamBuilder::new_with_metadata(Remote::new(shared, entry), metadata.clone())
                .with_row_groups(vec![group])
                .with_batch_size(batch_rows)
                .build()
                .map_err(|failure| error(entry, &failure))?;
        while let Some(batch) = runtime.block_on(stream.next()) {
            let batch = batch.map_err(|failure| error(entry, &failure))?;
            let columns = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(column, field)| frame::cast(column, field.data_type()))
                .collect::<Result<Vec<_>, _>>()
                .and_then(|columns| RecordBatch::try_new(Arc::clone(&schema), columns))
                .map_err(|failure| Error::Malformed {
                    place: format!("file `{}`", entry.shown()),
                    reason: failure.to_string(),
                })?;
            sink.batch(entry, columns, None)?;
        }
        if group + 1 < groups {
            sink.batch(entry, RecordBatch::new_empty(Arc::clone(&schema)), Some(place(group + 1, false)))?;
        }
    }
    Ok(place(groups, true))
}

//! Reads data files of one version directly: chosen columns, in row order, brought to a schema.

use std::{ops::Range, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use deltalake_core::{
    DeltaTable,
    kernel::{Add, Remove},
};
use futures::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt, future::BoxFuture};
use mavis_types::TableName;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask, arrow_reader::ArrowReaderOptions,
        async_reader::AsyncFileReader,
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use crate::{Error, conform::conform};

/// Rows of a batch that is read back, and what they may take decoded: rows with large documents come in fewer.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: u64 = 8 << 20;
const DOING: &str = "reading data files";

/// A file of a table's version.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) path: Path,
    pub(crate) bytes: u64,
    /// Rows, where the log says how many.
    pub(crate) rows: Option<u64>,
    remove: Remove,
}

impl DataFile {
    /// The action that takes the file out of the table.
    pub(crate) fn remove(&self, data_change: bool) -> Remove {
        Remove { data_change, ..self.remove.clone() }
    }
}

/// The files of the loaded version, in the log's order.
///
/// # Errors
/// A file with a deletion vector, which this lake never writes: its rows could come back to life.
pub(crate) fn data_files(table: &DeltaTable, name: &TableName) -> Result<Vec<DataFile>, Error> {
    table
        .snapshot()?
        .log_data()
        .iter()
        .map(|view| {
            let remove = view.remove_action(true);
            if remove.deletion_vector.is_some() {
                return Err(Error::Store {
                    doing: format!("reading table `{name}`"),
                    reason: "another program wrote deletion vectors, which cannot be merged into; purge them there \
                             (REORG TABLE ... APPLY (PURGE))"
                        .to_owned(),
                });
            }
            Ok(DataFile {
                path: view.object_store_path(),
                bytes: u64::try_from(view.size()).unwrap_or_default(),
                rows: view.num_records().map(|rows| rows as u64),
                remove,
            })
        })
        .collect()
}

/// Rows of the loaded version by the log; `None` where a file has no count.
pub(crate) fn row_count(table: &DeltaTable) -> Result<Option<u64>, Error> {
    Ok(table.snapshot()?.log_data().iter().map(|view| view.num_records().map(|rows| rows as u64)).sum())
}

/// The batches of a file with the columns of `schema`; those that the file lacks are null.
pub(crate) async fn read(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: u64,
    schema: &SchemaRef,
    table: &TableName,
) -> Result<impl Stream<Item = Result<RecordBatch, Error>> + Send + use<>, Error> {
    let reader = FileReader::new(store, path, bytes);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|error| Error::store(DOING, &error))?;
    let roots: Vec<usize> = builder
        .parquet_schema()
        .root_schema()
        .get_fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| schema.field_with_name(field.name()).is_ok())
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let rows = batch_rows(builder.metadata(), &mask);
    let stream =
        builder.with_projection(mask).with_batch_size(rows).build().map_err(|error| Error::store(DOING, &error))?;
    let (schema, table) = (Arc::clone(schema), table.clone());
    Ok(stream.map_err(|error| Error::store(DOING, &error)).map(move |batch| {
        let batch = batch?;
        conform(&batch, &schema).map_err(|refused| refused.on(&table))
    }))
}

/// Rows of the chosen columns that take about [`BATCH_BYTES`].
fn batch_rows(file: &ParquetMetaData, mask: &ProjectionMask) -> usize {
    let (mut bytes, mut rows) = (0_u64, 0_u64);
    for group in file.row_groups() {
        rows += u64::try_from(group.num_rows()).unwrap_or(0);
        let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        bytes += columns.map(|(_, column)| u64::try_from(column.uncompressed_size()).unwrap_or(0)).sum::<u64>();
    }
    let fitting = rows.saturating_mul(BATCH_BYTES) / bytes.max(1);
    usize::try_from(fitting).unwrap_or(BATCH_ROWS).clamp(64, BATCH_ROWS)
}

/// A data file of a store, for Parquet's readers.
pub(crate) struct FileReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl FileReader {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, path: &Path, bytes: u64) -> Self {
        Self { store: Arc::clone(store), path: path.clone(), bytes }
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}

/// The action that puts a finished file into the table.
pub(crate) fn add(file: &crate::stage::StagedFile, data_change: bool) -> Add {
    Add {
        path: file.path.to_string(),
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: chrono::Utc::now().timestamp_millis(),
        data_change,
        stats: Some(file.stats.clone()),
        ..Add::default()
    }
}

//! Reads data files of one version directly: chosen columns, in row order, brought to a schema.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use deltalake_core::{
    DeltaTable,
    kernel::{Add, Remove},
};
use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use mavis_types::TableName;
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask},
    file::metadata::ParquetMetaData,
};

use crate::{
    Error,
    conform::conform,
    in_place::{self, Columns, IN_PLACE, Layout, file_path},
    reader::FileReader,
};

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
    /// Of a table taken over in place: how the file is read.
    pub(crate) layout: Option<Arc<Layout>>,
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
    let metadata = table.snapshot()?.metadata();
    let columns = match metadata.configuration().contains_key(IN_PLACE) {
        true => Some(Arc::new(Columns::of(table)?)),
        false => None,
    };
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
            let layout = columns
                .as_ref()
                .map(|columns| Arc::new(Layout::new(Arc::clone(columns), &view.partition_values_map())));
            Ok(DataFile {
                path: if layout.is_some() { file_path(&view.path()) } else { view.object_store_path() },
                layout,
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

/// As [`read`], of a file of a table taken over in place (`layout`) or of any other.
pub(crate) async fn read_as(
    store: &Arc<dyn ObjectStore>,
    (path, bytes): (&Path, u64),
    layout: Option<&Arc<Layout>>,
    schema: &SchemaRef,
    table: &TableName,
) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
    let Some(layout) = layout.cloned() else { return Ok(read(store, path, bytes, schema, table).await?.boxed()) };
    let metadata =
        in_place::metadata(store, path, bytes).await.map_err(|error| in_place::reading(DOING, table, &error))?;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), layout.roots(&metadata, schema));
    let rows = batch_rows(metadata.metadata(), &mask);
    let reader = FileReader::new(store, path, bytes);
    let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
        .with_projection(mask)
        .with_batch_size(rows)
        .build()
        .map_err(|error| Error::store(DOING, &error))?;
    let (schema, table) = (Arc::clone(schema), table.clone());
    let completed = stream.map(move |batch| {
        let batch = layout.complete(&batch.map_err(|error| in_place::reading(DOING, &table, &error))?, &schema)?;
        conform(&batch, &schema).map_err(|refused| refused.on(&table))
    });
    Ok(completed.boxed())
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

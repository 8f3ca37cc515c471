//! From row numbers to rows.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::SchemaRef,
};
use futures::TryStreamExt;
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, RowSelection},
        async_reader::AsyncFileReader,
    },
    errors::ParquetError,
};

use super::{
    Keyed,
    footer::Footer,
    live::{Live, LiveFile},
};
use crate::{Error, conform::conform, reader::FileReader};

const DOING: &str = "reading rows of a data file";
/// More rows than these at once are not remembered: they would push out those that are asked again.
const REMEMBERED: usize = 16;

/// The columns that are wanted of rows, and a text that names them.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    id: Arc<str>,
}

impl Columns {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let id = schema.fields().iter().map(|field| format!("{}\0{}\0", field.name(), field.data_type()));
        let id = id.collect::<String>().into();
        Self { schema, id }
    }
}

impl Keyed {
    /// Some rows of a file (ascending, each once) with the columns of a schema; those that the file lacks are null.
    pub(super) async fn fetch(
        &self,
        live: &Live,
        file: &LiveFile,
        rows: &[u32],
        columns: &Columns,
    ) -> Result<RecordBatch, Error> {
        if rows.len() > REMEMBERED {
            return self.read(live, file, rows, &columns.schema).await;
        }
        let key = |row: u32| (Arc::clone(&file.id), row, Arc::clone(&columns.id));
        let known: Vec<Option<RecordBatch>> = rows.iter().map(|row| self.rows.get(&key(*row))).collect();
        let missing: Vec<u32> = rows.iter().zip(&known).filter(|(_, row)| row.is_none()).map(|(row, _)| *row).collect();
        let mut read = Vec::with_capacity(missing.len());
        if !missing.is_empty() {
            let batch = self.read(live, file, &missing, &columns.schema).await?;
            for (place, row) in (0..).zip(&missing) {
                // A copy, for a slice would hold the whole of what was read.
                let one = if missing.len() == 1 {
                    batch.clone()
                } else {
                    take_record_batch(&batch, &UInt32Array::from_value(place, 1)).map_err(Error::arrow)?
                };
                self.rows.insert(key(*row), one.clone());
                read.push(one);
            }
        }
        let mut read = read.into_iter();
        let found: Vec<RecordBatch> = known.into_iter().filter_map(|row| row.or_else(|| read.next())).collect();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            several => concat_batches(&columns.schema, several).map_err(Error::arrow),
        }
    }

    async fn read(&self, live: &Live, file: &LiveFile, rows: &[u32], schema: &SchemaRef) -> Result<RecordBatch, Error> {
        let footer = self.footer(live, file).await?;
        let selected = Selected::of(&footer, rows, schema);
        let reader = FileReader::new(&live.store, &file.path, file.bytes);
        let failed = |error| Error::store(DOING, &error);
        let batches = match &file.pages {
            Some(key) => {
                let (reader, metadata) = self.pages.rows(key, &footer.metadata, reader).map_err(failed)?;
                selected.read(reader, metadata).await
            }
            None => selected.read(reader, footer.metadata.clone()).await,
        };
        let batches = batches.map_err(failed)?;
        let batches = batches.iter().map(|batch| conform(batch, schema).map_err(|refused| refused.on(&live.name)));
        let batches = batches.collect::<Result<Vec<RecordBatch>, Error>>()?;
        let read = match batches.as_slice() {
            [one] => one.clone(),
            several => concat_batches(schema, several).map_err(Error::arrow)?,
        };
        if read.num_rows() == rows.len() {
            return Ok(read);
        }
        Err(Error::Store {
            doing: DOING.to_owned(),
            reason: format!("a file of `{}` has fewer rows than when it was indexed", live.name),
        })
    }

    async fn footer(&self, live: &Live, file: &LiveFile) -> Result<Arc<Footer>, Error> {
        let read = async { Footer::read(&live.store, &file.path, file.bytes).await.map(Arc::new) };
        self.footers.try_get_with(Arc::clone(&file.id), read).await.map_err(|error| again(&error))
    }
}

/// Rows of a file that are wanted, and which columns of them.
struct Selected {
    mask: ProjectionMask,
    groups: Vec<usize>,
    selection: RowSelection,
    rows: usize,
}

impl Selected {
    fn of(footer: &Footer, rows: &[u32], schema: &SchemaRef) -> Self {
        let mask = footer.mask(schema.fields().iter().map(|field| field.name().as_str()));
        let (groups, selection) = footer.select(rows);
        Self { mask, groups, selection, rows: rows.len() }
    }

    async fn read(
        self,
        reader: impl AsyncFileReader + Unpin + 'static,
        footer: ArrowReaderMetadata,
    ) -> Result<Vec<RecordBatch>, ParquetError> {
        ParquetRecordBatchStreamBuilder::new_with_metadata(reader, footer)
            .with_projection(self.mask)
            .with_row_groups(self.groups)
            .with_row_selection(self.selection)
            .with_batch_size(self.rows.max(1))
            .build()?
            .try_collect()
            .await
    }
}

/// An error that several callers waited for, as one of them is told it.
pub(super) fn again(error: &Arc<Error>) -> Error {
    match error.as_ref() {
        Error::Store { doing, reason } => Error::Store { doing: doing.clone(), reason: reason.clone() },
        other => Error::store("reading rows by key", other),
    }
}

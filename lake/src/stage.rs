//! Rows to Parquet files that no commit names yet.
//!
//! A stage runs a worker on a blocking thread: the caller prepares the next batch while the worker encodes the last one
//! and uploads what is full. Memory is bounded by one row group, one upload part and two batches in the channel. Files
//! that are not taken by [`Stage::finish`] (an error, a dropped stage, a cancelled future) are deleted by the worker.

use std::{
    collections::HashSet,
    io::Write,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tracing::warn;
use uuid::Uuid;

use crate::{Error, columns, stats::delta_stats};

/// Size at which a file is closed, in bytes.
pub(crate) const TARGET_FILE_BYTES: u64 = 128 << 20;
/// The same of a table whose rows are replaced one by one: with a row, all of its file is written again.
pub(crate) const REPLACED_FILE_BYTES: u64 = 24 << 20;
/// Rows of a row group; more lose memory, fewer lose compression.
const ROW_GROUP_ROWS: usize = 131_072;
/// Encoded size at which a row group is closed early: rows with large documents.
const ROW_GROUP_BYTES: usize = 48 << 20;
/// Rows of a page. Each page is compressed by itself, and readers pay for each: below this, scans cost half as much again.
const PAGE_ROWS: usize = 8_192;
/// The same of tables with documents, small so that a read of one by its key decodes little.
const DOCUMENT_PAGE_ROWS: usize = 2_048;
/// The column of whole documents (the JSON of resources), that of their ids, and bytes of a page of documents: what a read of
/// one of them decompresses.
const DOCUMENT: &str = "resource";
const DOCUMENT_ID: &str = "id";
const DOCUMENT_PAGE_BYTES: usize = 48 << 10;
const ID_PAGE_BYTES: usize = 8 << 10;
/// Bytes that the unfinished row groups of all stages of the process may hold together: beyond it, who has more than
/// [`GREEDY_BYTES`] closes its row group.
const ALL_ROW_GROUPS_BYTES: usize = 96 << 20;
const GREEDY_BYTES: usize = 4 << 20;
/// Bytes of a column's dictionary; more distinct values are written plain. Wide tables of many writers have thousands of them
/// in memory.
const DICTIONARY_BYTES: usize = 256 << 10;
/// An upload part; object stores take no less than 5 MB.
const PART_BYTES: usize = 8 << 20;
const DOING: &str = "writing data files";

/// A finished Parquet file below the stage's store.
#[derive(Debug, Clone)]
pub(crate) struct StagedFile {
    pub(crate) path: Path,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Delta's statistics of the file, as JSON.
    pub(crate) stats: String,
}

/// What a stage writes and where.
#[derive(Debug, Clone)]
pub(crate) struct StageOptions {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) schema: SchemaRef,
    /// Columns with statistics in the log.
    pub(crate) statistics: Arc<HashSet<String>>,
    pub(crate) kind: FileKind,
    /// Size at which a file is closed.
    pub(crate) file_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A file of the table.
    Data,
    /// A file of the change feed.
    Change,
    /// A file of the table that stands for another of its tree (in_place).
    Instead { of: u128 },
    /// A file that only waits on the local disk to be compared: written fast rather than small.
    Waiting,
}

impl FileKind {
    fn path(self, number: usize) -> Path {
        let id = Uuid::new_v4();
        match self {
            Self::Data => Path::from(format!("part-{number:05}-{id}-c000.zstd.parquet")),
            Self::Instead { of } => Path::from(format!("instead-of-{of:032x}-{number:05}-{id}.zstd.parquet")),
            Self::Change => Path::from(format!("_change_data/cdc-{number:05}-{id}.c000.zstd.parquet")),
            Self::Waiting => Path::from(format!("waiting-{number:05}-{id}.parquet")),
        }
    }

    fn properties(self, schema: &Schema) -> WriterProperties {
        let hash = ColumnPath::from(columns::HASH);
        let builder = WriterProperties::builder()
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_column_dictionary_enabled(hash.clone(), false)
            .set_column_compression(hash.clone(), Compression::UNCOMPRESSED)
            .set_column_statistics_enabled(hash, EnabledStatistics::None);
        match self {
            Self::Waiting => builder
                .set_compression(Compression::SNAPPY)
                .set_dictionary_enabled(false)
                .set_statistics_enabled(EnabledStatistics::None)
                .build(),
            Self::Data | Self::Instead { .. } | Self::Change => {
                let mut builder = builder
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_dictionary_page_size_limit(DICTIONARY_BYTES)
                    .set_data_page_row_count_limit(PAGE_ROWS);
                if schema.field_with_name(DOCUMENT).is_ok() {
                    builder = builder.set_data_page_row_count_limit(DOCUMENT_PAGE_ROWS);
                    // Each is another: a dictionary would only be read before every page.
                    for column in [DOCUMENT, DOCUMENT_ID] {
                        builder = builder.set_column_dictionary_enabled(ColumnPath::from(column), false);
                    }
                    builder = builder
                        .set_column_data_page_size_limit(ColumnPath::from(DOCUMENT), DOCUMENT_PAGE_BYTES)
                        .set_column_data_page_size_limit(ColumnPath::from(DOCUMENT_ID), ID_PAGE_BYTES);
                    // Read with every document: what compressing them saves is not worth the time.
                    for column in [DOCUMENT_ID, "__version", "__last_updated"] {
                        builder = builder.set_column_compression(ColumnPath::from(column), Compression::UNCOMPRESSED);
                    }
                }
                builder.build()
            }
        }
    }
}

/// What a worker is told.
enum Item {
    Rows(RecordBatch),
    /// From now on rows have more columns; files under way end.
    Columns(SchemaRef),
}

/// Takes batches of one schema and makes files of them.
#[derive(Debug)]
pub(crate) struct Stage {
    sender: Option<mpsc::Sender<Item>>,
    worker: JoinHandle<Result<Vec<StagedFile>, Error>>,
    keep: Arc<AtomicBool>,
    rows: u64,
}

impl Stage {
    pub(crate) fn start(options: StageOptions) -> Self {
        let (sender, receiver) = mpsc::channel(2);
        let keep = Arc::new(AtomicBool::new(false));
        let worker =
            Worker { options, files: Vec::new(), open: None, held: Held::default(), runtime: Handle::current() };
        let kept = Arc::clone(&keep);
        let worker = tokio::task::spawn_blocking(move || worker.run(receiver, &kept));
        Self { sender: Some(sender), worker, keep, rows: 0 }
    }

    /// Rows taken so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        self.tell(Item::Rows(batch)).await
    }

    /// Rows that come from now on have the columns of `schema`: all that there were, and more.
    pub(crate) async fn widen(&mut self, schema: SchemaRef) -> Result<(), Error> {
        self.tell(Item::Columns(schema)).await
    }

    async fn tell(&mut self, item: Item) -> Result<(), Error> {
        let sent = match &self.sender {
            Some(sender) => sender.send(item).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The worker ended early: it knows why.
        self.sender = None;
        match (&mut self.worker).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(Error::Store { doing: DOING.to_owned(), reason: "the writer has ended".to_owned() }),
            Err(error) => Err(Error::task(DOING, &error)),
        }
    }

    /// The files, in the order of their rows; from now on they are the caller's to commit or delete.
    pub(crate) async fn finish(mut self) -> Result<Vec<StagedFile>, Error> {
        self.keep.store(true, Ordering::SeqCst);
        self.sender = None;
        self.worker.await.map_err(|error| Error::task(DOING, &error))?
    }

    /// Deletes everything and waits until it is gone.
    pub(crate) async fn discard(mut self) {
        self.sender = None;
        drop(self.worker.await);
    }
}

/// Deletes files that no commit names; what cannot be deleted is left for VACUUM.
pub(crate) async fn delete_files(store: &dyn ObjectStore, files: impl IntoIterator<Item = Path>) {
    for path in files {
        if let Err(error) = store.delete(&path).await
            && !matches!(error, object_store::Error::NotFound { .. })
        {
            warn!("an uncommitted file stays until the next vacuum: {}", error_kind(&error));
        }
    }
}

fn error_kind(error: &object_store::Error) -> &'static str {
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => "not permitted",
        _ => "the store failed",
    }
}

/// What the unfinished row groups of all stages hold, in bytes.
static ALL_HELD: AtomicUsize = AtomicUsize::new(0);

/// One stage's share of [`ALL_HELD`].
#[derive(Debug, Default)]
struct Held(usize);

impl Held {
    /// Notes how much it is now; answers what all stages hold.
    fn note(&mut self, bytes: usize) -> usize {
        let others = ALL_HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
        ALL_HELD.fetch_sub(self.0, Ordering::Relaxed);
        let all = others - self.0;
        self.0 = bytes;
        all
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.note(0);
    }
}

struct OpenFile {
    path: Path,
    writer: ArrowWriter<Vec<u8>>,
    upload: Option<Box<dyn MultipartUpload>>,
    uploaded: u64,
}

struct Worker {
    options: StageOptions,
    files: Vec<StagedFile>,
    open: Option<OpenFile>,
    held: Held,
    runtime: Handle,
}

impl Worker {
    fn run(mut self, mut items: mpsc::Receiver<Item>, keep: &AtomicBool) -> Result<Vec<StagedFile>, Error> {
        let mut outcome = Ok(());
        while outcome.is_ok() {
            match items.blocking_recv() {
                Some(Item::Rows(batch)) => outcome = self.write(&batch),
                Some(Item::Columns(schema)) => {
                    outcome = self.close();
                    self.options.schema = schema;
                }
                None => break,
            }
        }
        if outcome.is_ok() && keep.load(Ordering::SeqCst) {
            outcome = self.close();
            if outcome.is_ok() {
                return Ok(self.files);
            }
        }
        self.clean();
        outcome.map(|()| Vec::new())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let path = self.options.kind.path(self.files.len());
                let schema = Arc::clone(&self.options.schema);
                let properties = self.options.kind.properties(&schema);
                let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))
                    .map_err(|error| Error::store(DOING, &error))?;
                none.insert(OpenFile { path, writer, upload: None, uploaded: 0 })
            }
        };
        open.writer.write(batch).map_err(|error| Error::store(DOING, &error))?;
        let holds = open.writer.memory_size();
        let all = self.held.note(holds);
        if open.writer.in_progress_size() > ROW_GROUP_BYTES || (all > ALL_ROW_GROUPS_BYTES && holds > GREEDY_BYTES) {
            open.writer.flush().map_err(|error| Error::store(DOING, &error))?;
            self.held.note(open.writer.memory_size());
        }
        if open.writer.inner().len() >= PART_BYTES {
            open.send(&self.options.store, &self.runtime)?;
        }
        if open.writer.bytes_written() as u64 + open.writer.in_progress_size() as u64 >= self.options.file_bytes {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let metadata = open.writer.finish().map_err(|error| Error::store(DOING, &error))?;
        self.held.note(0);
        open.complete(&self.options.store, &self.runtime)?;
        let stats = match self.options.kind {
            FileKind::Data | FileKind::Instead { .. } => {
                delta_stats(&metadata, &self.options.schema, &self.options.statistics)
            }
            FileKind::Change | FileKind::Waiting => String::new(),
        };
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
        self.files.push(StagedFile { path: open.path.clone(), bytes: open.uploaded, rows, stats });
        self.open = None;
        Ok(())
    }

    fn clean(&mut self) {
        let store = Arc::clone(&self.options.store);
        let mut paths: Vec<Path> = self.files.drain(..).map(|file| file.path).collect();
        let open = self.open.take();
        self.runtime.block_on(async move {
            if let Some(mut open) = open {
                if let Some(upload) = &mut open.upload
                    && upload.abort().await.is_err()
                {
                    warn!("an unfinished upload could not be aborted; the store's lifecycle rules remove it");
                }
                // A put or a completion that reported an error may have taken effect.
                paths.push(open.path);
            }
            delete_files(&*store, paths).await;
        });
    }
}

impl OpenFile {
    fn send(&mut self, store: &Arc<dyn ObjectStore>, runtime: &Handle) -> Result<(), Error> {
        let part = Bytes::from(mem::take(self.writer.inner_mut()));
        self.uploaded += part.len() as u64;
        runtime
            .block_on(async {
                let upload = match &mut self.upload {
                    Some(upload) => upload,
                    none => none.insert(store.put_multipart(&self.path).await?),
                };
                upload.put_part(PutPayload::from(part)).await
            })
            .map_err(|error| Error::store(DOING, &error))
    }

    fn complete(&mut self, store: &Arc<dyn ObjectStore>, runtime: &Handle) -> Result<(), Error> {
        self.writer.inner_mut().flush().map_err(|error| Error::store(DOING, &error))?;
        if self.upload.is_some() {
            self.send(store, runtime)?;
        }
        let whole = Bytes::from(mem::take(self.writer.inner_mut()));
        self.uploaded += whole.len() as u64;
        runtime
            .block_on(async {
                match &mut self.upload {
                    Some(upload) => upload.complete().await,
                    None => store.put(&self.path, PutPayload::from(whole)).await,
                }
            })
            .map(drop)
            .map_err(|error| Error::store(DOING, &error))
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };
    use futures::TryStreamExt;
    use object_store::memory::InMemory;

    use super::*;

    fn options(store: &Arc<InMemory>) -> StageOptions {
        StageOptions {
            store: Arc::clone(store) as Arc<dyn ObjectStore>,
            schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
            statistics: Arc::new(HashSet::from(["n".to_owned()])),
            kind: FileKind::Data,
            file_bytes: TARGET_FILE_BYTES,
        }
    }

    fn batch(rows: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(0..rows))]).unwrap()
    }

    async fn files(store: &InMemory) -> usize {
        store.list(None).try_collect::<Vec<_>>().await.unwrap().len()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn finished_files_hold_every_row_and_their_size() {
        let store = Arc::new(InMemory::new());
        let mut stage = Stage::start(options(&store));
        for _ in 0..3 {
            stage.write(batch(1000)).await.unwrap();
        }
        let staged = stage.finish().await.unwrap();
        assert_eq!(staged.iter().map(|file| file.rows).sum::<u64>(), 3000);
        let size = store.head(&staged[0].path).await.unwrap().size;
        assert_eq!(size, staged[0].bytes);
        assert!(staged[0].stats.contains("\"numRecords\":3000"), "{}", staged[0].stats);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_left_of_a_stage_that_was_discarded() {
        let store = Arc::new(InMemory::new());
        let mut stage = Stage::start(options(&store));
        stage.write(batch(10)).await.unwrap();
        stage.discard().await;
        assert_eq!(files(&store).await, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stage_without_rows_makes_no_file() {
        let store = Arc::new(InMemory::new());
        assert!(Stage::start(options(&store)).finish().await.unwrap().is_empty());
    }
}

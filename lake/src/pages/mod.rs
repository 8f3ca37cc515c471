//! Hot column chunks in memory, decompressed.
//!
//! Data files never change, and most queries ask the same columns of the same files again. What is left of such a query, when
//! the file's bytes are in memory already, is for the most part taking pages apart: so a chunk that is read a second time is
//! decompressed once and kept as it is then, its encodings (dictionaries, runs) as they were, but for dictionaries that were given
//! up. Readers are given the file's
//! footer with the kept chunks at addresses of their own, uncompressed, so that everything above (row groups and pages left
//! out by statistics, filters while decoding) works as on the file. From a store over the network a kept chunk is not fetched
//! either.
//!
//! It stands below the guard: it knows files and bytes, and no principal.
//!
//! - `chunk`: one column chunk, decompressed page by page;
//! - `dictionary`: the values of a dictionary that a chunk gave up, written out;
//! - `view`: a footer with kept chunks, and which bytes its addresses mean;
//! - `file`: what is kept of one file;
//! - `reader`: what Parquet's readers ask, of whole columns and of single rows;
//! - `scan`: a table's provider whose scans read this way.

mod chunk;
mod dictionary;
mod file;
mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod view;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use moka::sync::Cache;
use parquet::{
    arrow::arrow_reader::ArrowReaderMetadata,
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData},
        page_index::offset_index::OffsetIndexMetaData,
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::reader::FileReader;

use file::{File, Place};
use reader::{Often, PagedReader, Whole};

pub(crate) use file::FileKey;
pub(crate) use scan::PagedTable;

/// Times that a chunk is read before it is kept: what is read once, say by a profile of all tables, is not worth it.
const READ_BEFORE_KEPT: u32 = 2;
/// The same where other chunks have to go for it.
const READ_BEFORE_KEPT_WHEN_FULL: u32 = 8;
/// Of a chunk whose pages are read for single rows, one in so many is read before all of it is kept.
const PAGES_BEFORE_KEPT: u32 = 8;
/// Compressed bytes that wait to be decompressed; what comes beyond them waits for its next reading.
const WAITING_KIB: usize = 64 << 10;

/// What is kept of all files, up to a number of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Cache<FileKey, Arc<File>>,
    /// The most that is kept, in KiB.
    room: u64,
    waiting: Arc<Semaphore>,
    served: AtomicU64,
    /// Times that everything was forgotten.
    forgotten: AtomicU64,
}

/// How the kept chunks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagesUse {
    /// Bytes kept, decompressed.
    pub bytes: u64,
    /// Requests of readers that were answered from memory.
    pub served: u64,
}

impl Pages {
    /// Keeps up to `bytes` decompressed; with 0, nothing.
    pub(crate) fn new(bytes: usize) -> Self {
        let room = u64::try_from(bytes).unwrap_or(u64::MAX) >> 10;
        let files = Cache::builder().max_capacity(room).weigher(|_, file: &Arc<File>| weight(file)).build();
        let waiting = Arc::new(Semaphore::new(WAITING_KIB));
        let (served, forgotten) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { files, room, waiting, served, forgotten }) }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.inner.room == 0
    }

    /// Forgets everything, so that rows that were erased are not in memory either.
    pub(crate) fn forget(&self) {
        self.inner.forgotten.fetch_add(1, Ordering::AcqRel);
        self.inner.files.invalidate_all();
    }

    pub(crate) fn used(&self) -> PagesUse {
        self.inner.files.run_pending_tasks();
        let bytes = self.inner.files.iter().map(|(_, file)| file.bytes()).sum();
        PagesUse { bytes, served: self.inner.served.load(Ordering::Relaxed) }
    }

    fn file(&self, key: &FileKey, footer: &Arc<ParquetMetaData>) -> Arc<File> {
        self.inner.files.get_with_by_ref(key, || Arc::new(File::new(footer)))
    }

    fn served(&self, requests: u64) {
        self.inner.served.fetch_add(requests, Ordering::Relaxed);
    }

    /// A reader of single rows of a file, and the footer that they are read by: kept chunks are not read again, and a chunk of
    /// which many pages are read is kept. `footer`: the file's, with its offset index.
    ///
    /// # Errors
    /// A footer that Parquet's builders do not take.
    pub(crate) fn rows(
        &self,
        key: &FileKey,
        footer: &ArrowReaderMetadata,
        reader: FileReader,
    ) -> Result<(PagedReader, ArrowReaderMetadata), ParquetError> {
        PagedReader::of_rows(self, key, footer, reader)
    }

    /// Notes that a chunk was read, and keeps it when it was read often enough. The work is done beside the query.
    fn was_read(&self, key: &FileKey, file: &Arc<File>, place: Place, bytes: &Bytes) {
        let enough = if self.is_full() { READ_BEFORE_KEPT_WHEN_FULL } else { READ_BEFORE_KEPT };
        let Some(permit) = self.may_keep(file, place, (enough, Often::Scans), bytes.len() as u64) else { return };
        let keep = self.keep(key, file, place);
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || {
            keep(&bytes);
            drop(permit);
        });
    }

    /// Notes that a page of a chunk was read, and reads and keeps the whole chunk when that was so often enough. `footer`: the
    /// file's own.
    fn page_was_read(
        &self,
        key: &FileKey,
        (file, footer): (&Arc<File>, &ParquetMetaData),
        page: &Range<u64>,
        whole: &Whole,
    ) {
        let Some((place, chunk)) = file.chunk_around(page) else { return };
        let index = footer.offset_index().and_then(|index| index.get(place.group)?.get(place.column));
        let Some(locations) = index.map(OffsetIndexMetaData::page_locations) else { return };
        // A dictionary is read with each of them.
        let is_page = |start| locations.binary_search_by_key(&start, |location| location.offset).is_ok();
        if !i64::try_from(page.start).is_ok_and(is_page) {
            return;
        }
        let pages = u32::try_from(locations.len()).unwrap_or(u32::MAX);
        let enough = match whole.often {
            Often::Scans => pages.saturating_mul(READ_BEFORE_KEPT),
            Often::Rows => (pages / PAGES_BEFORE_KEPT).max(READ_BEFORE_KEPT),
        };
        let enough = if self.is_full() { enough.saturating_mul(READ_BEFORE_KEPT_WHEN_FULL) } else { enough };
        let Some(permit) = self.may_keep(file, place, (enough, whole.often), chunk.end - chunk.start) else { return };
        let Some(mut reader) = whole.reader() else { return };
        let keep = self.keep(key, file, place);
        tokio::spawn(async move {
            // Who reads the file by another way is told what is wrong with it.
            let Ok(bytes) = reader.get_bytes(chunk).await else { return };
            tokio::task::spawn_blocking(move || {
                keep(&bytes);
                drop(permit);
            });
        });
    }

    fn is_full(&self) -> bool {
        self.inner.files.weighted_size() > self.inner.room - self.inner.room / 8
    }

    /// The right to decompress a chunk of so many bytes, where it was read often enough and there is room for it.
    fn may_keep(
        &self,
        file: &File,
        place: Place,
        (enough, often): (u32, Often),
        bytes: u64,
    ) -> Option<OwnedSemaphorePermit> {
        let chunk = file.wanted(place, enough, often == Often::Rows)?;
        // A file that takes more than half of the room would drive out all others, then itself.
        if (file.weight() + unpacked(chunk)) >> 10 > self.inner.room / 2 {
            return None;
        }
        let size = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).saturating_add(1);
        let permit = Arc::clone(&self.inner.waiting).try_acquire_many_owned(size).ok()?;
        file.begins(place);
        Some(permit)
    }

    /// Decompresses a chunk's bytes and keeps it.
    fn keep(&self, key: &FileKey, file: &Arc<File>, place: Place) -> impl FnOnce(&Bytes) + Send + 'static {
        let (pages, key, file) = (self.clone(), key.clone(), Arc::clone(file));
        let forgotten = self.inner.forgotten.load(Ordering::Acquire);
        move |bytes| {
            let as_it_was = || pages.inner.forgotten.load(Ordering::Acquire) == forgotten;
            if file.keep(place, bytes) && as_it_was() {
                // Weighs it anew.
                pages.inner.files.insert(key.clone(), file);
                // Forgotten in between: an erased row must not stay.
                if !as_it_was() {
                    pages.inner.files.invalidate(&key);
                }
            }
        }
    }
}

fn unpacked(chunk: &ColumnChunkMetaData) -> u64 {
    u64::try_from(chunk.uncompressed_size()).unwrap_or(0)
}

fn weight(file: &Arc<File>) -> u32 {
    u32::try_from(file.weight() >> 10).unwrap_or(u32::MAX).saturating_add(1)
}

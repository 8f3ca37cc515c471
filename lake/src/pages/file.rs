//! What is kept of one file.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::{ObjectMeta, path::Path};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::Result,
    file::metadata::{ColumnChunkMetaData, ParquetMetaData},
};

use super::{
    chunk::{PlainChunk, is_compressed},
    view::View,
};

/// A file at one time: another file that takes its name is another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    store: Arc<str>,
    path: Path,
    bytes: u64,
    modified: DateTime<Utc>,
    tag: Option<String>,
}

impl FileKey {
    pub(crate) fn new(store: &Arc<str>, file: &ObjectMeta) -> Self {
        Self {
            store: Arc::clone(store),
            path: file.location.clone(),
            bytes: file.size,
            modified: file.last_modified,
            tag: file.e_tag.clone(),
        }
    }
}

/// A column chunk's place in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) group: usize,
    pub(super) column: usize,
}

/// A file's chunks: how often each was read, and those that are kept.
#[derive(Debug)]
pub(super) struct File {
    footer: Arc<ParquetMetaData>,
    /// Chunks by where they begin in the file.
    starts: BTreeMap<u64, Place>,
    state: Mutex<State>,
    bytes: AtomicU64,
    /// Bytes of what is known of the file while nothing is kept.
    known: u64,
}

/// About what a chunk's place and its count take.
const PLACE_BYTES: usize = 96;

#[derive(Debug, Default)]
struct State {
    read: HashMap<Place, u32>,
    kept: HashMap<Place, Arc<PlainChunk>>,
    /// Of the footer with and without its page index; made when it is asked for.
    views: [Option<Arc<View>>; 2],
    /// For readers of single rows.
    rows: Option<RowView>,
}

/// A view that single rows are read by, and the footer in it as Arrow's readers take it.
#[derive(Debug, Clone)]
pub(super) struct RowView {
    pub(super) view: Arc<View>,
    pub(super) footer: ArrowReaderMetadata,
}

impl File {
    pub(super) fn new(footer: &Arc<ParquetMetaData>) -> Self {
        let starts = footer.row_groups().iter().enumerate().flat_map(|(group, metadata)| {
            let columns = metadata.columns().iter().enumerate();
            columns.map(move |(column, chunk)| (chunk.byte_range().0, Place { group, column }))
        });
        let starts: BTreeMap<u64, Place> = starts.collect();
        let known = (footer.memory_size() + starts.len() * PLACE_BYTES) as u64;
        Self { starts, footer: Arc::clone(footer), state: Mutex::default(), bytes: AtomicU64::new(0), known }
    }

    /// What the file takes of the room, in bytes: its footers (its own, and those with kept chunks) and what is kept.
    pub(super) fn weight(&self) -> u64 {
        let footers = if self.keeps_some() { 3 } else { 1 };
        footers * self.known + self.bytes()
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn keeps_some(&self) -> bool {
        self.bytes() > 0
    }

    /// `footer`, the file's own, with what is kept of the file now.
    pub(super) fn view(&self, footer: &Arc<ParquetMetaData>) -> Result<Arc<View>> {
        let mut state = self.state();
        let indexed = usize::from(footer.offset_index().is_some());
        let State { kept, views, .. } = &mut *state;
        let Some(slot) = views.get_mut(indexed) else { return Ok(Arc::new(View::plain(Arc::clone(footer)))) };
        if let Some(view) = slot {
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(View::of(footer, kept, false)?);
        *slot = Some(Arc::clone(&view));
        Ok(view)
    }

    /// As [`File::view`], for who reads single rows by the offset index that `footer` has, and loads no index later.
    pub(super) fn row_view(&self, footer: &ArrowReaderMetadata) -> Result<RowView> {
        let mut state = self.state();
        if let Some(view) = &state.rows {
            return Ok(view.clone());
        }
        let view = if state.kept.is_empty() {
            RowView { view: Arc::new(View::plain(Arc::clone(footer.metadata()))), footer: footer.clone() }
        } else {
            let view = Arc::new(View::of(footer.metadata(), &state.kept, true)?);
            let footer = ArrowReaderMetadata::try_new(Arc::clone(&view.footer), ArrowReaderOptions::new())?;
            RowView { view, footer }
        };
        state.rows = Some(view.clone());
        Ok(view)
    }

    /// The chunk that is all of these bytes of the file.
    pub(super) fn chunk_at(&self, start: u64, length: u64) -> Option<Place> {
        let place = *self.starts.get(&start)?;
        (self.chunk(place)?.byte_range() == (start, length)).then_some(place)
    }

    /// The chunk that has a page at these bytes of the file, and the chunk's own bytes.
    pub(super) fn chunk_around(&self, page: &Range<u64>) -> Option<(Place, Range<u64>)> {
        let (_, place) = self.starts.range(..=page.start).next_back()?;
        let (start, length) = self.chunk(*place)?.byte_range();
        (page.end <= start + length).then(|| (*place, start..start + length))
    }

    /// Counts a reading; the chunk, where it was now read so often and should be kept. `of_rows`: also a
    /// chunk that is not compressed, for to read one page of it takes longer than to decode a row.
    pub(super) fn wanted(&self, place: Place, enough: u32, of_rows: bool) -> Option<&ColumnChunkMetaData> {
        let chunk = self.chunk(place).filter(|chunk| of_rows || is_compressed(chunk))?;
        let mut state = self.state();
        let read = state.read.entry(place).or_default();
        *read = read.saturating_add(1);
        let often = *read >= enough;
        (often && !state.kept.contains_key(&place)).then_some(chunk)
    }

    /// The chunk is about to be kept: what is read meanwhile does not ask for that again.
    pub(super) fn begins(&self, place: Place) {
        self.state().read.insert(place, 0);
    }

    /// Decompresses a chunk and keeps it. False where that cannot be: whoever reads the chunk will say why.
    pub(super) fn keep(&self, place: Place, bytes: &Bytes) -> bool {
        let (Some(chunk), Some(group)) = (self.chunk(place), self.footer.row_groups().get(place.group)) else {
            return false;
        };
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let Ok(plain) = PlainChunk::of(chunk, rows, bytes) else { return false };
        let size = plain.len();
        let mut state = self.state();
        if state.kept.insert(place, Arc::new(plain)).is_none() {
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
        state.views = Default::default();
        state.rows = None;
        true
    }

    fn chunk(&self, place: Place) -> Option<&ColumnChunkMetaData> {
        self.footer.row_groups().get(place.group)?.columns().get(place.column)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

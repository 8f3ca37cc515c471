//! A footer in which kept chunks stand at addresses of their own, and what those addresses mean.
//!
//! A scan that is split by bytes of a file reads the row groups whose first column begins in its part. So the first column of a
//! row group stays where it begins, with more bytes than in the file; it is kept only where these end before the row group does.
//! The other columns of that row group would lie below it: all of them move, the kept ones beyond any file, the others by a
//! fixed distance. Footer, indexes and filters of the file stay where they are.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::Compression,
    errors::{ParquetError, Result},
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetOffsetIndex},
        page_index::offset_index::{OffsetIndexMetaData, PageLocation},
    },
};

use super::{chunk::PlainChunk, file::Place};

/// Where the kept chunks begin: beyond the end of any file.
const KEPT_FROM: u64 = 1 << 46;
/// How far chunks move that make room.
const MOVED_BY: u64 = 1 << 45;

/// What an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bytesource {
    /// These bytes.
    Kept(Bytes),
    /// Bytes of the file.
    File(Range<u64>),
}

/// A footer and the addresses in it that are not the file's.
#[derive(Debug)]
pub(super) struct View {
    pub(super) footer: Arc<ParquetMetaData>,
    /// By where they begin.
    regions: Vec<Region>,
}

#[derive(Debug)]
struct Region {
    addresses: Range<u64>,
    /// `None`: bytes of the file, [`MOVED_BY`] before.
    kept: Option<Bytes>,
}

impl View {
    /// The file as it is.
    pub(super) fn plain(footer: Arc<ParquetMetaData>) -> Self {
        Self { footer, regions: Vec::new() }
    }

    /// `footer` with the chunks of `kept`. Where the footer has no page index, the result says that there is none: it would
    /// tell where pages are in the file. `offsets`: that the offset index alone is enough, for a reader that loads no other.
    ///
    /// # Errors
    /// A footer that Parquet's builders do not take.
    pub(super) fn of(
        footer: &Arc<ParquetMetaData>,
        kept: &HashMap<Place, Arc<PlainChunk>>,
        offsets: bool,
    ) -> Result<Self> {
        let mut made = Made { regions: Vec::new(), next: KEPT_FROM, index: footer.offset_index().cloned() };
        let indexed = footer.offset_index().is_some() && (offsets || footer.column_index().is_some());
        let mut builder = ParquetMetaData::clone(footer).into_builder();
        let mut groups = builder.take_row_groups();
        for (group, metadata) in groups.iter_mut().enumerate() {
            // Who wrote the index counted other pages: the chunk is read as it is in the file.
            let counted = |column: usize| Some(footer.offset_index()?.get(group)?.get(column)?.page_locations().len());
            let of = |column: usize| {
                let plain = kept.get(&Place { group, column })?;
                counted(column).is_none_or(|pages| pages == plain.pages.len()).then_some(plain)
            };
            let columns = metadata.columns_mut();
            let first = of(0).filter(|chunk| stays(columns, chunk)).cloned();
            for (column, chunk) in columns.iter_mut().enumerate() {
                let place = Place { group, column };
                let changed = match (column, of(column)) {
                    (0, _) => match &first {
                        Some(plain) => made.kept(place, chunk, plain, chunk.byte_range().0)?,
                        None => continue,
                    },
                    (_, Some(plain)) => {
                        let at = made.next;
                        made.next += plain.len();
                        made.kept(place, chunk, plain, at)?
                    }
                    (_, None) if first.is_some() => made.moved(place, chunk)?,
                    (_, None) => continue,
                };
                *chunk = if indexed { changed } else { without_index(changed)? };
            }
        }
        let index = if indexed { made.index } else { None };
        let builder = builder.set_row_groups(groups).set_offset_index(index);
        let builder = if indexed { builder } else { builder.set_column_index(None) };
        made.regions.sort_unstable_by_key(|region| region.addresses.start);
        Ok(Self { footer: Arc::new(builder.build()), regions: made.regions })
    }

    /// What an address means.
    ///
    /// # Errors
    /// Addresses that are neither the file's nor one chunk's.
    pub(super) fn find(&self, asked: &Range<u64>) -> Result<Bytesource> {
        let after = self.regions.partition_point(|region| region.addresses.start <= asked.start);
        let region = after.checked_sub(1).and_then(|place| self.regions.get(place));
        let Some(region) = region.filter(|region| asked.start < region.addresses.end) else {
            return if asked.end <= MOVED_BY { Ok(Bytesource::File(asked.clone())) } else { Err(stray(asked)) };
        };
        if asked.end > region.addresses.end {
            return Err(stray(asked));
        }
        let Some(bytes) = &region.kept else {
            return Ok(Bytesource::File(asked.start - MOVED_BY..asked.end - MOVED_BY));
        };
        let within = |address: u64| usize::try_from(address - region.addresses.start).map_err(|_| stray(asked));
        Ok(Bytesource::Kept(bytes.slice(within(asked.start)?..within(asked.end)?)))
    }
}

fn stray(asked: &Range<u64>) -> ParquetError {
    ParquetError::General(format!("bytes {}..{} are in no chunk of the file", asked.start, asked.end))
}

/// Whether the first chunk of a row group, decompressed, ends before the row group does.
fn stays(columns: &[ColumnChunkMetaData], first: &PlainChunk) -> bool {
    let Some(begin) = columns.first().map(|chunk| chunk.byte_range().0) else { return false };
    let ranges = || columns.iter().map(ColumnChunkMetaData::byte_range);
    let end = ranges().map(|(start, length)| start + length).max().unwrap_or(begin);
    // Columns may lie in another order than the schema has them.
    ranges().all(|(start, _)| start >= begin) && begin + first.len() <= end
}

fn without_index(chunk: ColumnChunkMetaData) -> Result<ColumnChunkMetaData> {
    chunk
        .into_builder()
        .set_offset_index_offset(None)
        .set_offset_index_length(None)
        .set_column_index_offset(None)
        .set_column_index_length(None)
        .build()
}

/// A view under way.
struct Made {
    regions: Vec<Region>,
    next: u64,
    index: Option<ParquetOffsetIndex>,
}

impl Made {
    /// `chunk` with the bytes of `plain` at `at`.
    fn kept(
        &mut self,
        place: Place,
        chunk: &ColumnChunkMetaData,
        plain: &PlainChunk,
        at: u64,
    ) -> Result<ColumnChunkMetaData> {
        self.regions.push(Region { addresses: at..at + plain.len(), kept: Some(plain.bytes.clone()) });
        let begin = signed(at);
        let first = plain.pages.first().map_or(begin, |page| begin + signed(page.offset as u64));
        if let Some(pages) = self.pages(place) {
            for (page, plain) in pages.page_locations.iter_mut().zip(&plain.pages) {
                page.offset = begin + signed(plain.offset as u64);
                page.compressed_page_size = i32::try_from(plain.bytes).unwrap_or(i32::MAX);
            }
        }
        chunk
            .clone()
            .into_builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_total_compressed_size(signed(plain.len()))
            .set_total_uncompressed_size(signed(plain.len()))
            .set_data_page_offset(first)
            .set_dictionary_page_offset(plain.dictionary.then_some(begin))
            .build()
    }

    /// `chunk`, of the file, [`MOVED_BY`] further.
    fn moved(&mut self, place: Place, chunk: &ColumnChunkMetaData) -> Result<ColumnChunkMetaData> {
        let (start, length) = chunk.byte_range();
        self.regions.push(Region { addresses: start + MOVED_BY..start + length + MOVED_BY, kept: None });
        let by = signed(MOVED_BY);
        if let Some(pages) = self.pages(place) {
            pages.page_locations.iter_mut().for_each(|page: &mut PageLocation| page.offset += by);
        }
        chunk
            .clone()
            .into_builder()
            .set_data_page_offset(chunk.data_page_offset() + by)
            .set_dictionary_page_offset(chunk.dictionary_page_offset().map(|offset| offset + by))
            .build()
    }

    fn pages(&mut self, place: Place) -> Option<&mut OffsetIndexMetaData> {
        self.index.as_mut()?.get_mut(place.group)?.get_mut(place.column)
    }
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

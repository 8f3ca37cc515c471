//! A column chunk with its pages decompressed.

use std::sync::Arc;

use bytes::Bytes;
use parquet::{
    basic::Compression,
    column::page::{CompressedPage, Page, PageReader, PageWriter},
    errors::Result,
    file::{
        metadata::ColumnChunkMetaData,
        reader::SerializedPageReader,
        writer::{SerializedPageWriter, TrackedWrite},
    },
};

use super::dictionary::written_out;

/// Chunks that are larger, decompressed, keep a dictionary that was given up.
const MOST_WRITTEN_OUT: usize = 32 << 20;

/// A page of values within a [`PlainChunk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlainPage {
    pub(super) offset: usize,
    /// With its header.
    pub(super) bytes: usize,
}

/// A column chunk whose pages are not compressed. Values are encoded as they were, but for those of a dictionary that was
/// given up ([`written_out`]).
#[derive(Debug)]
pub(super) struct PlainChunk {
    pub(super) bytes: Bytes,
    /// Whether the chunk begins with a dictionary.
    pub(super) dictionary: bool,
    /// Pages of values, in order.
    pub(super) pages: Vec<PlainPage>,
}

impl PlainChunk {
    /// Decompresses the chunk that `column` tells of; `bytes` are all of its bytes, and `rows` those of its row group.
    ///
    /// # Errors
    /// Bytes that are not such a chunk.
    pub(super) fn of(column: &ColumnChunkMetaData, rows: usize, bytes: &Bytes) -> Result<Self> {
        let (start, _) = column.byte_range();
        let start = i64::try_from(start).unwrap_or(i64::MAX);
        let moved = column
            .clone()
            .into_builder()
            .set_data_page_offset(column.data_page_offset() - start)
            .set_dictionary_page_offset(column.dictionary_page_offset().map(|offset| offset - start))
            .build()?;
        let mut pages = SerializedPageReader::new(Arc::new(bytes.clone()), &moved, rows, None)?;
        let size = usize::try_from(column.uncompressed_size()).unwrap_or_default();
        let mut all: Box<dyn Iterator<Item = Result<Page>>> =
            Box::new(std::iter::from_fn(|| pages.get_next_page().transpose()));
        // All pages are held at once for that.
        if column.dictionary_page_offset().is_some() && size <= MOST_WRITTEN_OUT {
            let held = all.collect::<Result<Vec<Page>>>()?;
            let held = written_out(column, &held).unwrap_or(held);
            all = Box::new(held.into_iter().map(Ok));
        }
        let mut sink = TrackedWrite::new(Vec::with_capacity(size));
        let (mut dictionary, mut places) = (false, Vec::new());
        for page in all {
            let page = uncompressed(page?);
            let offset = sink.bytes_written();
            let of_values = page.is_data_page();
            let length = page.buffer().len();
            SerializedPageWriter::new(&mut sink).write_page(CompressedPage::new(page, length))?;
            if of_values {
                places.push(PlainPage { offset, bytes: sink.bytes_written() - offset });
            } else {
                dictionary = true;
            }
        }
        let mut bytes = sink.into_inner()?;
        bytes.shrink_to_fit();
        Ok(Self { bytes: bytes.into(), dictionary, pages: places })
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Whether decompressing such a chunk saves anything.
pub(super) fn is_compressed(column: &ColumnChunkMetaData) -> bool {
    column.compression() != Compression::UNCOMPRESSED
}

/// The page with what it says of itself: it was decompressed when it was read.
fn uncompressed(mut page: Page) -> Page {
    if let Page::DataPageV2 { is_compressed, .. } = &mut page {
        *is_compressed = false;
    }
    page
}

//! Rows by key, without a plan: from a key to a file and a row number, and from there to one page of each column.
//!
//! A data file never changes, so that an **index** of it (hashes of its keys and where they stand) is exact for as long as the
//! file is, and a version of a table is its list of files: a look-up asks the index of each file whose bounds hold the key. What
//! an index says is only a candidate. The key is read with the row and compared, so that a hash that two keys share cannot give
//! a wrong row; a row that was deleted or replaced is in no file of the version that is asked.
//!
//! Indexes are built when a file is first asked, from its key columns alone, once for all who wait, and kept within a bound
//! ([`Keyed`]). A file whose index would not fit is read through its key columns instead, each time.
//!
//! What cannot be read so says so ([`Lake::rows_by_key`] answers `None`): tables that another program partitioned, or wrote
//! deletion vectors or mapped columns into. A plan reads those.

mod fetch;
mod find;
mod footer;
mod index;
mod live;
mod past;
mod plan;
mod wanted;

use std::sync::Arc;

use arrow::array::RecordBatch;
use mavis_types::TableId;
use moka::{future, sync};

use crate::{Lake, pages::Pages};
use footer::Footer;
use index::FileIndex;
use live::Live;

pub use find::Found;
pub use past::{RowPast, RowState};
pub use plan::Asked;

/// Times that a query asks a file by the same columns before the file is indexed for it: an index costs more than a scan.
const ASKED_BEFORE_INDEXED: u32 = 3;
/// Files and columns of which such times are counted.
const COUNTED: u64 = 16_384;
/// Versions whose lists of files are kept.
const VERSIONS: u64 = 1_024;
/// Shares of the lake's memory: indexes; footers; rows that were read lately.
const INDEX_SHARE: usize = 8;
const FOOTER_SHARE: usize = 32;
const ROW_SHARE: usize = 64;
/// Bounds of what the indexes take, in bytes, whatever the share is.
const INDEX_BYTES: std::ops::RangeInclusive<usize> = 16 << 20..=2 << 30;

/// A data file, by its whole path below the lake's root.
type FileId = Arc<str>;

/// What a file is indexed by: names and types of the columns of a key.
type KeyId = Arc<str>;

/// What is kept in memory of tables that are read by key. Everything here is about files, which never change, or about a
/// version of a table, which does not either: nothing is ever out of date, only forgotten.
#[derive(Debug)]
pub(crate) struct Keyed {
    versions: future::Cache<(TableId, i64), Option<Arc<Live>>>,
    indexes: future::Cache<(FileId, KeyId), Arc<FileIndex>>,
    /// How often queries asked files that are not indexed.
    asked: sync::Cache<(FileId, KeyId), u32>,
    footers: future::Cache<FileId, Arc<Footer>>,
    /// Single rows, by file, row number, and the columns that were asked for.
    rows: sync::Cache<(FileId, u32, Arc<str>), RecordBatch>,
    /// Bytes that all indexes together may take.
    index_bytes: u64,
    /// Chunks in memory that rows are read from where they are kept.
    pages: Pages,
}

impl Keyed {
    /// `memory_bytes`: what the lake's work may take altogether.
    pub(crate) fn new(memory_bytes: usize, pages: &Pages) -> Self {
        let weight = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let index_bytes = (memory_bytes / INDEX_SHARE).clamp(*INDEX_BYTES.start(), *INDEX_BYTES.end()) as u64;
        Self {
            versions: future::Cache::new(VERSIONS),
            indexes: future::Cache::builder()
                .weigher(move |_, index: &Arc<FileIndex>| weight(index.bytes()))
                .max_capacity(index_bytes)
                .build(),
            asked: sync::Cache::new(COUNTED),
            footers: future::Cache::builder()
                .weigher(move |_, footer: &Arc<Footer>| weight(footer.bytes()))
                .max_capacity((memory_bytes / FOOTER_SHARE) as u64)
                .build(),
            rows: sync::Cache::builder()
                .weigher(move |_, row: &RecordBatch| weight(row.get_array_memory_size().saturating_add(256)))
                .max_capacity((memory_bytes / ROW_SHARE) as u64)
                .build(),
            index_bytes,
            pages: pages.clone(),
        }
    }

    /// Forgets rows and lists of files: after rows were taken out of the past, not even the memory has them.
    fn forget(&self) {
        self.rows.invalidate_all();
        self.versions.invalidate_all();
    }

    /// Whether the index of a file of so many rows is kept rather than made anew each time.
    fn keeps(&self, rows: u64) -> bool {
        rows.saturating_mul(FileIndex::BYTES_OF_A_ROW) <= self.index_bytes / 2
    }
}

impl Lake {
    /// Forgets the rows that were read by key lately, and which files versions have: after rows were taken out of the past,
    /// not even the memory has them.
    pub fn forget_rows(&self) {
        self.keyed().forget();
    }
}

//! Tables taken over in place: their log names files that somebody else wrote and keeps, by URL, where they lie.
//!
//! Nothing of such a file is copied. What its rows have beside its own columns (the values of Hive's folders, and the lake's
//! `__run`, `__ingested_at`, `__source`) are values of Delta's partition columns, one of each per file; `__hash` and
//! `__occurrence` are null. Columns that are called otherwise in the files are mapped (Delta's column mapping by name).
//! Types are those of the files: one that another file has differently, or that Delta cannot name, is refused.
//!
//! A foreign file is read by its owner's store and under the condition that it is the one that was taken over
//! ([`routes`]): one that was changed or deleted since ends the reading with an error that says so, never with other rows.
//! The store cannot write, and whatever writes a table's files goes through [`routes::TableStore`], which refuses to touch a
//! foreign one. So neither compaction nor vacuum nor an erasure changes what belongs to others; an erasure writes a file of
//! ours in the place of the foreign one in the log, and tells which one its owner has to delete.

mod file;
mod footer;
mod path;
mod routes;
mod scan;
mod schema;
mod take;
mod taken;
mod trouble;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mavis_catalog::{NewColumn, NewTable};
use mavis_types::{Counts, SourceId};
use object_store::{ObjectStore, path::Path};

pub(crate) use file::{Layout, metadata, replacement_of};
pub(crate) use path::file_path;
pub(crate) use routes::{Foreign, Routes, TableStore};
pub(crate) use scan::ForeignTable;
pub(crate) use schema::Columns;
pub(crate) use take::{AGAIN, number_of};
pub use taken::{TakenFile, taken_files};
pub(crate) use trouble::reading;
pub use trouble::{Change, trouble};

/// A store whose files are read and never written.
pub type ForeignStore = Arc<dyn ObjectStore>;

/// Property of a table taken over in place: the store that its files are in (`s3://bucket`, `file://`).
pub(crate) const IN_PLACE: &str = "mavis.inPlace";

/// Who knows how a source's files are read.
#[async_trait]
pub trait Elsewhere: Send + Sync + fmt::Debug + 'static {
    /// The store of a source's files, rooted where its authority roots it (`/` of a disk, the bucket).
    ///
    /// # Errors
    /// In words, without a secret.
    async fn store(&self, source: SourceId, authority: &str) -> Result<ForeignStore, String>;
}

/// A tree of Parquet files that is to be a table where it lies.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Scheme and host of the files' URLs: `s3://bucket`, `file://`.
    pub authority: String,
    pub store: ForeignStore,
    /// The folder below the authority that names begin at.
    pub root: Path,
    /// Every file that there is now.
    pub files: Vec<TreeFile>,
    /// Columns that are folders, in their order, by their names in the table and with their types.
    pub folders: Vec<(String, arrow::datatypes::DataType)>,
    /// What becomes of rows of files that are gone.
    pub missing: Missing,
}

/// One file of a tree.
#[derive(Debug, Clone)]
pub struct TreeFile {
    /// Below the tree's root.
    pub name: String,
    pub path: Path,
    pub bytes: u64,
    pub modified: DateTime<Utc>,
    /// Changes when the content does.
    pub stamp: String,
    /// What its folders say, in the order of [`Tree::folders`].
    pub values: Vec<Option<String>>,
}

impl TreeFile {
    /// The file in errors and logs, without what its name may tell of rows.
    pub(crate) fn label(&self) -> String {
        mavis_types::file_label(&self.name, self.bytes, self.modified.timestamp())
    }
}

/// What becomes of rows whose file is gone from a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missing {
    /// Nothing is taken over until somebody says what is meant.
    #[default]
    Refuse,
    /// They leave the table, and the run tells of it.
    Remove,
}

/// A table that a tree is taken over into.
#[derive(Debug, Clone)]
pub struct InPlaceSpec {
    pub table: NewTable,
    /// Names of columns in the files (in any case) and in the table, in the order in which they are to stand.
    pub names: Vec<(String, String)>,
    /// Columns of the files that are left out.
    pub held: Vec<String>,
    /// For the catalog, by the names in the table.
    pub columns: Vec<NewColumn>,
    /// The types that were declared for the columns of the files, by the names in the table.
    pub declared: Vec<(String, arrow::datatypes::DataType)>,
    /// Value of `__source`.
    pub source: String,
}

/// What taking over came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenOver {
    pub version: i64,
    pub counts: Counts,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_gone: u64,
    /// Files of ours that stand for files of the tree which their owner has deleted since: their rows stay.
    pub files_kept: u64,
}

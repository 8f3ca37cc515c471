//! Trees of files that become tables where they lie: what is told of them, without a row being read.

use std::{fmt, sync::Arc};

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use object_store::{ObjectStore, path::Path};

/// A table's files, to be taken over in place.
#[derive(Clone)]
pub struct InPlace {
    /// Scheme and host of the files' URLs: `s3://bucket`, `file://`.
    pub authority: String,
    /// Rooted at the authority. For reading: nobody writes by it.
    pub store: Arc<dyn ObjectStore>,
    /// The folder that names of files begin at.
    pub root: Path,
    /// Columns that are folders (`year=2024`), by the source's names.
    pub folders: Vec<(String, DataType)>,
    pub files: Vec<InPlaceFile>,
    /// Whether rows of files that are gone leave the table; otherwise nothing is taken over until somebody says what is meant.
    pub removes_missing: bool,
}

impl fmt::Debug for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlace")
            .field("authority", &self.authority)
            .field("root", &self.root)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlaceFile {
    /// Below the root.
    pub name: String,
    pub path: Path,
    pub bytes: u64,
    pub modified: DateTime<Utc>,
    /// Changes when the content does: the store's own tag, or size and time of change.
    pub stamp: String,
    /// What its folders say, in the order of [`InPlace::folders`]; `None` for Hive's null.
    pub values: Vec<Option<String>>,
}

use chrono::{DateTime, Utc};
use mavis_types::{Cursor, RunId, TableId};

use crate::{Catalog, Error};

/// One committed or intended step of an application transaction. Rows are written once and never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct CursorRow {
    /// The Delta application id, such as `in:<source id>:<table id>`.
    pub app_id: String,
    /// The Delta transaction version; one more than the step before.
    pub sequence: i64,
    pub table: TableId,
    /// Where the step began: the `to` of `sequence - 1`.
    pub from: Option<Cursor>,
    /// Where it ended.
    pub to: Option<Cursor>,
    pub run: RunId,
    pub written_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub struct NewCursor {
    pub app_id: String,
    pub sequence: i64,
    pub table: TableId,
    pub from: Option<Cursor>,
    pub to: Option<Cursor>,
    pub run: RunId,
}

impl Catalog {
    /// # Errors
    /// [`Error::Database`].
    pub async fn cursor(&self, app_id: &str, sequence: i64) -> Result<Option<CursorRow>, Error> {
        let _ = (app_id, sequence);
        todo!()
    }

    /// Writes the row of an intended commit. A row of the same sequence that Delta never saw committed (the process
    /// died between the two) is replaced; the caller holds the table's lease and has checked Delta's transaction version.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn write_cursor(&self, new: &NewCursor) -> Result<(), Error> {
        let _ = new;
        todo!()
    }
}

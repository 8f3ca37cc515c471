use chrono::{DateTime, Utc};
use mavis_types::{Cursor, RunId, TableId};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, values},
};

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
        let row = self
            .engine
            .one("SELECT * FROM cursors WHERE app_id = $1 AND sequence = $2", values![app_id, sequence])
            .await?;
        row.as_ref().map(read_cursor).transpose()
    }

    /// Writes the row of an intended commit. A row of the same sequence that Delta never saw committed (the process
    /// died between the two) is replaced; the caller holds the table's lease and has checked Delta's transaction version.
    /// The row is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Exists`] when a later sequence was written: a superseded row never changes.
    pub async fn write_cursor(&self, new: &NewCursor) -> Result<(), Error> {
        let written = self
            .engine
            .write(
                Durability::Disk,
                "INSERT INTO cursors (app_id, sequence, table_id, from_cursor, to_cursor, run_id, written_at)
                 SELECT $1, $2, $3, $4, $5, $6, NOW_MICROS
                 WHERE NOT EXISTS (SELECT 1 FROM cursors later WHERE later.app_id = $1 AND later.sequence > $2)
                 ON CONFLICT (app_id, sequence) DO UPDATE SET
                    table_id = excluded.table_id, from_cursor = excluded.from_cursor, to_cursor = excluded.to_cursor,
                    run_id = excluded.run_id, written_at = excluded.written_at
                 RETURNING sequence",
                values![
                    &new.app_id,
                    new.sequence,
                    new.table.to_string(),
                    new.from.as_ref().map(Cursor::to_json),
                    new.to.as_ref().map(Cursor::to_json),
                    new.run.to_string(),
                ],
            )
            .await?;
        if written.is_empty() {
            return Err(Error::Exists {
                what: "a later cursor than",
                name: format!("{} {}", new.app_id, new.sequence),
            });
        }
        Ok(())
    }

    /// The rows written last, newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn cursors(&self, limit: u32) -> Result<Vec<CursorRow>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM cursors ORDER BY written_at DESC, app_id DESC, sequence DESC LIMIT $1", values![limit])
            .await?;
        rows.iter().map(read_cursor).collect()
    }

    /// The row of the highest sequence that was written for `app_id`, committed to Delta or not.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest_cursor(&self, app_id: &str) -> Result<Option<CursorRow>, Error> {
        let row = self
            .engine
            .one("SELECT * FROM cursors WHERE app_id = $1 ORDER BY sequence DESC LIMIT 1", values![app_id])
            .await?;
        row.as_ref().map(read_cursor).transpose()
    }
}

fn read_cursor(row: &Row) -> Result<CursorRow, Error> {
    Ok(CursorRow {
        app_id: row.text("cursors.app_id")?,
        sequence: row.int("cursors.sequence")?,
        table: row.parse("cursors.table_id")?,
        from: row.opt_json("cursors.from_cursor")?,
        to: row.opt_json("cursors.to_cursor")?,
        run: row.parse("cursors.run_id")?,
        written_at: row.time("cursors.written_at")?,
    })
}

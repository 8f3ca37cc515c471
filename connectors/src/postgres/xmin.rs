//! Reading the rows that were written since the last reading, by the transaction number that PostgreSQL keeps of each row.
//!
//! A reading remembers the oldest transaction that was open while it ran (`xmin` of its snapshot): whatever it did not see was
//! written by that one or a later one. The next reading takes every row of those, some of which it had (the lake finds them
//! unchanged). A row's number has 32 bits and the count goes on: numbers are compared on the circle, as long as fewer than
//! 2^31 transactions lie between, and otherwise everything is read. Deletions leave nothing to be found.

use mavis_types::Cursor;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};

use super::{Inner, discover, session};
use crate::{Error, ReadRequest, Stage};

/// Transactions after which numbers on rows say nothing any more, with some room.
const HALF: u64 = (1 << 31) - (1 << 24);

/// What a cursor holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Transactions before this one were seen; 64 bits.
    xmin: u64,
    /// The cluster whose transactions they are.
    system: String,
}

/// How a reading goes on.
#[derive(Debug)]
pub(super) struct Since {
    from: Option<Place>,
    now: Place,
    /// The first transaction that this reading cannot see.
    xmax: u64,
}

impl Since {
    /// `None` for what has no rows of its own (views, foreign tables): it is read whole.
    ///
    /// # Errors
    /// [`Error::Params`] for a table without a key.
    pub(super) async fn new(
        inner: &Inner,
        connection: &mut PgConnection,
        request: &ReadRequest,
    ) -> Result<Option<Self>, Error> {
        let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
        let row = sqlx::query(
            "SELECT txid_snapshot_xmin(s) AS xmin, txid_snapshot_xmax(s) AS xmax,
                    (SELECT system_identifier::text FROM pg_control_system()) AS system,
                    EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'm', 'p')) AS has_rows
             FROM txid_current_snapshot() AS s",
        )
        .bind(inner.schema_of(&request.table))
        .bind(&request.table.name)
        .fetch_one(&mut *connection)
        .await
        .map_err(broken)?;
        if !row.try_get::<bool, _>("has_rows").map_err(broken)? {
            return Ok(None);
        }
        if discover::key(inner, connection, &request.table).await?.is_empty() {
            // As discovery has it.
            return Ok(None);
        }
        let number = |name: &str| row.try_get::<i64, _>(name).map(|value| u64::try_from(value).unwrap_or(0));
        let now = Place { xmin: number("xmin").map_err(broken)?, system: row.try_get("system").map_err(broken)? };
        let from = request.from.as_ref().and_then(|cursor| serde_json::from_value::<Place>(cursor.0.clone()).ok());
        let xmax = number("xmax").map_err(broken)?;
        // Of another cluster, or of this one before it was restored; or too long ago.
        let from = from.filter(|from| from.system == now.system && from.xmin <= xmax && xmax - from.xmin < HALF);
        Ok(Some(Self { from, now, xmax }))
    }

    /// Which rows.
    pub(super) fn condition(&self) -> String {
        let Some(from) = &self.from else { return String::new() };
        // Numbers below 3 are those of rows that are older than all transactions.
        format!(
            "WHERE t.xmin::text::int8 > 2 AND ((t.xmin::text::int8 - {}) & 4294967295) < {}",
            from.xmin & 0xffff_ffff,
            self.xmax - from.xmin
        )
    }

    pub(super) fn is_whole(&self) -> bool {
        self.from.is_none()
    }

    pub(super) fn end(&self) -> Option<Cursor> {
        serde_json::to_value(&self.now).ok().map(Cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_across_the_end_of_32_bits() {
        let place = |xmin| Place { xmin, system: "1".into() };
        let from = (1_u64 << 32) - 10;
        let since = Since { from: Some(place(from)), now: place(from + 30), xmax: from + 40 };
        assert_eq!(
            since.condition(),
            "WHERE t.xmin::text::int8 > 2 AND ((t.xmin::text::int8 - 4294967286) & 4294967295) < 40"
        );
    }
}

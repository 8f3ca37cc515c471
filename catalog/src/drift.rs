use chrono::{DateTime, Utc};
use mavis_types::{RunId, SourceId};
use serde::{Deserialize, Serialize};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, values, word},
};

/// Something that became different in a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    pub id: i64,
    pub source: SourceId,
    pub run: Option<RunId>,
    pub found_at: DateTime<Utc>,
    pub change: NewDrift,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDrift {
    pub schema: Option<String>,
    pub table: String,
    /// `None`: the change is the whole table's.
    pub column: Option<String>,
    pub kind: DriftKind,
    /// The type or key before and after, where that is what changed.
    pub was: Option<String>,
    pub became: Option<String>,
    pub state: DriftState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    TableAdded,
    TableDropped,
    ColumnAdded,
    ColumnDropped,
    ColumnAltered,
    KeyChanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// The lake follows from the next reading on.
    Applied,
    /// Waits for somebody to accept it.
    Held,
    /// Was held, and somebody accepted it.
    Accepted,
    /// Was held, and is no longer there: the source changed again.
    Gone,
}

impl Catalog {
    /// Writes changes down, in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_drift(&self, source: SourceId, run: Option<RunId>, changes: &[NewDrift]) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let many = i64::try_from(changes.len()).unwrap_or(i64::MAX);
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let last = tx.count("drift", many).await?;
        let now = tx.now().await?;
        let mut rows = Vec::with_capacity(changes.len());
        for (change, id) in changes.iter().zip(last - many + 1..) {
            rows.push(values![
                id,
                source.to_string(),
                run.map(|id| id.to_string()),
                now,
                &change.schema,
                &change.table,
                &change.column,
                word(&change.kind, "drift.change")?,
                &change.was,
                &change.became,
                word(&change.state, "drift.state")?,
            ]);
        }
        tx.insert_many(
            "INSERT INTO drift (id, source_id, run_id, found_at, source_schema, source_table, source_column, change, was,
                                became, state)",
            "",
            rows,
        )
        .await?;
        tx.commit().await
    }

    /// Changes, newest first; of one source or of all.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn drift(&self, source: Option<SourceId>, limit: u32) -> Result<Vec<Drift>, Error> {
        let rows = match source {
            Some(source) => {
                self.engine
                    .all(
                        "SELECT * FROM drift WHERE source_id = $1 ORDER BY id DESC LIMIT $2",
                        values![source.to_string(), limit],
                    )
                    .await?
            }
            None => self.engine.all("SELECT * FROM drift ORDER BY id DESC LIMIT $1", values![limit]).await?,
        };
        rows.iter().map(read_drift).collect()
    }

    /// Changes of a source that wait for somebody, in the order in which they were found.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn held_drift(&self, source: SourceId) -> Result<Vec<Drift>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM drift WHERE source_id = $1 AND state = 'held' ORDER BY id", values![source.to_string()])
            .await?;
        rows.iter().map(read_drift).collect()
    }

    /// Gives changes another state; how many there were.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn settle_drift(&self, ids: &[i64], state: DriftState) -> Result<u64, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let mut settled = 0;
        for id in ids {
            let row = tx
                .one(
                    "UPDATE drift SET state = $2 WHERE id = $1 AND state = 'held' RETURNING id",
                    values![*id, word(&state, "drift.state")?],
                )
                .await?;
            settled += u64::from(row.is_some());
        }
        tx.commit().await?;
        Ok(settled)
    }
}

fn read_drift(row: &Row) -> Result<Drift, Error> {
    Ok(Drift {
        id: row.int("drift.id")?,
        source: row.parse("drift.source_id")?,
        run: row.opt_parse("drift.run_id")?,
        found_at: row.time("drift.found_at")?,
        change: NewDrift {
            schema: row.opt_text("drift.source_schema")?,
            table: row.text("drift.source_table")?,
            column: row.opt_text("drift.source_column")?,
            kind: row.word("drift.change")?,
            was: row.opt_text("drift.was")?,
            became: row.opt_text("drift.became")?,
            state: row.word("drift.state")?,
        },
    })
}

use chrono::{DateTime, Utc};
use mavis_types::{RunId, SourceId};

use crate::{
    Catalog, Error, UnitState,
    engine::Durability,
    value::{Row, signed, values, word},
};

/// One source of a discovery of many.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoveryItem {
    pub run: RunId,
    pub source: SourceId,
    pub state: UnitState,
    /// Tables that it has, and how many of them could not be described.
    pub tables: Option<u64>,
    pub failures: Option<u64>,
    /// What is different from the discovery before.
    pub changes: Option<u64>,
    pub error: Option<String>,
    pub millis: Option<u64>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Catalog {
    /// Writes down what a discovery of many is about; sources that it has already stay as they are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_discovery_items(&self, run: RunId, sources: &[SourceId]) -> Result<(), Error> {
        let rows = sources
            .iter()
            .zip(0_i64..)
            .map(|(source, ordinal)| values![run.to_string(), source.to_string(), ordinal, "pending"])
            .collect();
        let mut tx = self.engine.begin(Durability::Disk).await?;
        tx.insert_many(
            "INSERT INTO discovery_items (run_id, source_id, ordinal, state)",
            "ON CONFLICT (run_id, source_id) DO NOTHING",
            rows,
        )
        .await?;
        tx.commit().await
    }

    /// Tells how a source of a discovery stands; a final state gets its time.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_discovery_item(&self, item: &DiscoveryItem) -> Result<(), Error> {
        let is_final = !matches!(item.state, UnitState::Pending | UnitState::Running);
        self.engine
            .write(
                Durability::System,
                "UPDATE discovery_items SET
                    state = $3, tables = $4, failures = $5, changes = $6, error = $7, millis = $8,
                    finished_at = CASE WHEN $9 = 1 THEN NOW_MICROS END
                 WHERE run_id = $1 AND source_id = $2",
                values![
                    item.run.to_string(),
                    item.source.to_string(),
                    word(&item.state, "discovery_items.state")?,
                    item.tables.map(signed),
                    item.failures.map(signed),
                    item.changes.map(signed),
                    &item.error,
                    item.millis.map(signed),
                    is_final,
                ],
            )
            .await?;
        Ok(())
    }

    /// The sources of a discovery, in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn discovery_items(&self, run: RunId) -> Result<Vec<DiscoveryItem>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM discovery_items WHERE run_id = $1 ORDER BY ordinal", values![run.to_string()])
            .await?;
        rows.iter().map(read_item).collect()
    }

    /// The sources of all discoveries of many: those of the newest run first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn all_discovery_items(&self, limit: u32) -> Result<Vec<DiscoveryItem>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT i.* FROM discovery_items i JOIN runs r ON r.id = i.run_id
                 ORDER BY r.created_at DESC, r.id DESC, i.ordinal LIMIT $1",
                values![limit],
            )
            .await?;
        rows.iter().map(read_item).collect()
    }
}

fn read_item(row: &Row) -> Result<DiscoveryItem, Error> {
    Ok(DiscoveryItem {
        run: row.parse("discovery_items.run_id")?,
        source: row.parse("discovery_items.source_id")?,
        state: row.word("discovery_items.state")?,
        tables: row.opt_count("discovery_items.tables")?,
        failures: row.opt_count("discovery_items.failures")?,
        changes: row.opt_count("discovery_items.changes")?,
        error: row.opt_text("discovery_items.error")?,
        millis: row.opt_count("discovery_items.millis")?,
        finished_at: row.opt_time("discovery_items.finished_at")?,
    })
}

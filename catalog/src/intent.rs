//! Promises to write several tables: all of it will be done and published at once, whoever dies in between.
//!
//! A table that an open intent names is not published by anybody else: the state between its commits is never seen.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use mavis_types::{RunId, TableId};

use crate::{
    Catalog, Error, LakeSnapshot,
    engine::{Durability, Tx},
    snapshot,
    value::values,
};

/// A promise that has not been published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub id: RunId,
    /// The tables of which versions will be published together.
    pub tables: BTreeSet<TableId>,
    /// What to write, as its maker stores it.
    pub payload: Vec<u8>,
    pub written_at: DateTime<Utc>,
}

impl Catalog {
    /// Writes a promise; from here on it is kept. On disk when this returns.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Database`].
    pub async fn write_intent(&self, id: RunId, tables: &BTreeSet<TableId>, payload: &[u8]) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let written = tx
            .all(
                "INSERT INTO intents (id, payload, written_at) VALUES ($1, $2, NOW_MICROS)
                 ON CONFLICT (id) DO NOTHING RETURNING id",
                values![id.to_string(), payload.to_vec()],
            )
            .await?;
        if written.is_empty() {
            return Err(Error::Exists { what: "intent", name: id.to_string() });
        }
        let rows = tables.iter().map(|table| values![id.to_string(), table.to_string()]).collect();
        tx.insert_many("INSERT INTO intent_tables (intent_id, table_id)", "", rows).await?;
        tx.commit().await
    }

    /// Promises that are open, oldest first, without what they promise.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open_intents(&self) -> Result<Vec<(RunId, BTreeSet<TableId>)>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT intent_tables.intent_id, intent_tables.table_id FROM intent_tables
                 JOIN intents ON intents.id = intent_tables.intent_id ORDER BY intents.written_at, intents.id",
                values![],
            )
            .await?;
        let mut open: Vec<(RunId, BTreeSet<TableId>)> = Vec::new();
        for row in &rows {
            let id: RunId = row.parse("intent_tables.intent_id")?;
            let table = row.parse("intent_tables.table_id")?;
            match open.last_mut().filter(|(last, _)| *last == id) {
                Some((_, tables)) => {
                    tables.insert(table);
                }
                None => open.push((id, BTreeSet::from([table]))),
            }
        }
        Ok(open)
    }

    /// A promise with what it promises; `None` where it has been kept, or was never made.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn intent(&self, id: RunId) -> Result<Option<Intent>, Error> {
        let Some(row) = self.engine.one("SELECT * FROM intents WHERE id = $1", values![id.to_string()]).await? else {
            return Ok(None);
        };
        let tables =
            self.engine.all("SELECT table_id FROM intent_tables WHERE intent_id = $1", values![id.to_string()]).await?;
        let tables = tables.iter().map(|row| row.parse("intent_tables.table_id")).collect::<Result<_, _>>()?;
        Ok(Some(Intent {
            id,
            tables,
            payload: row.bytes("intents.payload")?,
            written_at: row.time("intents.written_at")?,
        }))
    }

    /// Publishes what a promise came to and closes it, both at once. `None` where somebody else has done so.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn publish_intent(
        &self,
        id: RunId,
        changed: &BTreeMap<TableId, i64>,
    ) -> Result<Option<LakeSnapshot>, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        if !close(&mut tx, id).await? {
            return Ok(None);
        }
        let snapshot = snapshot::publish(&mut tx, Some(id), changed).await?;
        tx.commit().await?;
        Ok(Some(snapshot))
    }

    /// Takes a promise back. Only its maker may, and only while nothing of it was written.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn discard_intent(&self, id: RunId) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        close(&mut tx, id).await?;
        tx.commit().await
    }
}

async fn close(tx: &mut Tx<'_>, id: RunId) -> Result<bool, Error> {
    tx.all("DELETE FROM intent_tables WHERE intent_id = $1", values![id.to_string()]).await?;
    let gone = tx.all("DELETE FROM intents WHERE id = $1 RETURNING id", values![id.to_string()]).await?;
    Ok(!gone.is_empty())
}

/// The first table of these that an open promise names.
pub(crate) async fn promised(tx: &mut Tx<'_>, tables: &BTreeMap<TableId, i64>) -> Result<Option<TableId>, Error> {
    for row in tx.all("SELECT DISTINCT table_id FROM intent_tables", values![]).await? {
        let table: TableId = row.parse("intent_tables.table_id")?;
        if tables.contains_key(&table) {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

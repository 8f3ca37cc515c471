use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use mavis_types::{RunId, SnapshotId, TableId};

use crate::{
    Catalog, Error,
    engine::{Durability, Tx},
    intent,
    kept::State,
    lease::micros,
    value::{Row, json, values},
};

/// The Delta versions that belong together: what a FHIR request or a query on `fhir` sees.
#[derive(Debug, Clone, PartialEq)]
pub struct LakeSnapshot {
    pub id: SnapshotId,
    pub published_at: DateTime<Utc>,
    /// Version per table of the FHIR zone, current and history. A table that is not named was not there yet.
    pub versions: BTreeMap<TableId, i64>,
}

impl Catalog {
    /// Publishes a new snapshot: the newest one's versions with `changed` put over them. Serialised by the database.
    ///
    /// A version never goes back: where two publications overtake one another, the higher version of a table stays.
    ///
    /// # Errors
    /// [`Error::Promised`] while an open intent names one of the tables: publish again when it is closed.
    pub async fn publish_snapshot(
        &self,
        run: Option<RunId>,
        changed: &BTreeMap<TableId, i64>,
    ) -> Result<LakeSnapshot, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        if let Some(table) = intent::promised(&mut tx, changed).await? {
            return Err(Error::Promised { table: table.to_string() });
        }
        let snapshot = publish(&mut tx, run, changed).await?;
        tx.commit().await?;
        Ok(snapshot)
    }

    /// The newest snapshot; `None` before the first publication.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn latest_snapshot(&self) -> Result<Option<LakeSnapshot>, Error> {
        Ok(self.newest_snapshot().await?.map(Arc::unwrap_or_clone))
    }

    /// [`Catalog::latest_snapshot`], shared.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest_snapshot(&self) -> Result<Option<Arc<LakeSnapshot>>, Error> {
        let (known, stamp) = self.kept(State::snapshot);
        if let Some(known) = known {
            return Ok(known);
        }
        let row = self.engine.one("SELECT * FROM lake_snapshots ORDER BY id DESC LIMIT 1", values![]).await?;
        let snapshot = row.as_ref().map(read_snapshot).transpose()?.map(Arc::new);
        self.keep(stamp, |kept| kept.keep_snapshot(snapshot.clone()));
        Ok(snapshot)
    }

    /// # Errors
    /// [`Error::NotFound`] when it was never published or has been forgotten.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<LakeSnapshot, Error> {
        match self.engine.one("SELECT * FROM lake_snapshots WHERE id = $1", values![id.0]).await? {
            Some(row) => read_snapshot(&row),
            None => Err(Error::NotFound { what: "snapshot", name: id.to_string() }),
        }
    }

    /// Forgets snapshots older than `age`, never the newest.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_snapshots(&self, age: Duration) -> Result<u64, Error> {
        let forgotten = self
            .engine
            .write(
                Durability::System,
                "DELETE FROM lake_snapshots
                 WHERE published_at < NOW_MICROS - $1 AND id < (SELECT MAX(id) FROM lake_snapshots)
                 RETURNING id",
                values![micros(age)],
            )
            .await?;
        Ok(forgotten.len() as u64)
    }

    /// The snapshots that are remembered, newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn snapshots(&self, limit: u32) -> Result<Vec<LakeSnapshot>, Error> {
        let rows = self.engine.all("SELECT * FROM lake_snapshots ORDER BY id DESC LIMIT $1", values![limit]).await?;
        rows.iter().map(read_snapshot).collect()
    }
}

/// Within a transaction that writes.
pub(crate) async fn publish(
    tx: &mut Tx<'_>,
    run: Option<RunId>,
    changed: &BTreeMap<TableId, i64>,
) -> Result<LakeSnapshot, Error> {
    // The counter is locked until the commit, so the newest snapshot read below stays the newest.
    let id = tx.count("snapshot", 1).await?;
    let mut versions = match tx.one("SELECT * FROM lake_snapshots ORDER BY id DESC LIMIT 1", values![]).await? {
        Some(row) => read_snapshot(&row)?.versions,
        None => BTreeMap::new(),
    };
    for (table, version) in changed {
        let newest = versions.entry(*table).or_insert(*version);
        *newest = (*newest).max(*version);
    }
    let row = tx
        .one(
            "INSERT INTO lake_snapshots (id, run_id, published_at, versions) VALUES ($1, $2, NOW_MICROS, $3)
             RETURNING *",
            values![id, run.map(|run| run.to_string()), json(&versions, "lake_snapshots.versions")?],
        )
        .await?
        .ok_or(Error::Corrupt { place: "lake_snapshots.id" })?;
    read_snapshot(&row)
}

fn read_snapshot(row: &Row) -> Result<LakeSnapshot, Error> {
    Ok(LakeSnapshot {
        id: SnapshotId(row.int("lake_snapshots.id")?),
        published_at: row.time("lake_snapshots.published_at")?,
        versions: row.json("lake_snapshots.versions")?,
    })
}

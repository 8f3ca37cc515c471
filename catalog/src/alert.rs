use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use mavis_types::SourceId;
use uuid::Uuid;

use crate::{
    Catalog, Error,
    engine::{Durability, Tx},
    lease::micros,
    value::{Row, json, values},
};

/// How long alerts that were told, or given up, stay listed.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Something that somebody outside is told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub id: Uuid,
    pub source: SourceId,
    /// What is told; names and numbers, never a row's value and never a secret.
    pub body: serde_json::Value,
    pub created_at: DateTime<Utc>,
    /// Tries until now, this one included.
    pub tries: u32,
}

/// An alert, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedAlert {
    pub alert: Alert,
    /// When it was told.
    pub told_at: Option<DateTime<Utc>>,
    /// When it is tried (again); `None`: it was told, or given up.
    pub try_at: Option<DateTime<Utc>>,
}

impl Catalog {
    /// The newest alerts, of one source or of all, the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn alerts(&self, source: Option<SourceId>, limit: u32) -> Result<Vec<ListedAlert>, Error> {
        let rows = match source {
            Some(source) => {
                self.engine
                    .all(
                        "SELECT * FROM alerts WHERE source_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
                        values![source.to_string(), limit],
                    )
                    .await?
            }
            None => {
                self.engine
                    .all("SELECT * FROM alerts ORDER BY created_at DESC, id DESC LIMIT $1", values![limit])
                    .await?
            }
        };
        let listed = |row: &Row| {
            Ok(ListedAlert {
                alert: read(row)?,
                told_at: row.opt_time("alerts.told_at")?,
                try_at: row.opt_time("alerts.try_at")?,
            })
        };
        rows.iter().map(listed).collect()
    }

    /// Takes alerts whose time has come and puts each off by `lease`: until then nobody else takes them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn take_alerts(&self, limit: u32, lease: Duration) -> Result<Vec<Alert>, Error> {
        let rows = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE alerts SET tries = tries + 1, try_at = NOW_MICROS + $2
                 WHERE try_at <= NOW_MICROS
                   AND id IN (SELECT id FROM alerts WHERE try_at <= NOW_MICROS ORDER BY try_at, id LIMIT $1)
                 RETURNING *",
                values![limit, micros(lease)],
            )
            .await?;
        let mut alerts = rows.iter().map(read).collect::<Result<Vec<Alert>, Error>>()?;
        alerts.sort_by_key(|alert| alert.created_at);
        Ok(alerts)
    }

    /// The alert was told, or is given up (`told`: which of them): nobody takes it again.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn end_alert(&self, id: Uuid, told: bool) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let now = tx.now().await?;
        tx.all(
            "UPDATE alerts SET try_at = NULL, told_at = $2 WHERE id = $1 RETURNING id",
            values![id.to_string(), told.then_some(now)],
        )
        .await?;
        tx.all(
            "DELETE FROM alerts WHERE try_at IS NULL AND created_at < $1 RETURNING id",
            values![now.saturating_sub(micros(KEPT))],
        )
        .await?;
        tx.commit().await
    }

    /// Puts the next try of an alert off from now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_off_alert(&self, id: Uuid, by: Duration) -> Result<(), Error> {
        self.engine
            .write(
                Durability::Disk,
                "UPDATE alerts SET try_at = NOW_MICROS + $2 WHERE id = $1 RETURNING id",
                values![id.to_string(), micros(by)],
            )
            .await?;
        Ok(())
    }

    /// Notes which tables of a source are late. Those that were not before make an alert of what `body` says of them, in the same
    /// transaction; whether there is one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn note_late(
        &self,
        source: SourceId,
        late: &BTreeSet<String>,
        body: impl FnOnce(&BTreeSet<String>) -> serde_json::Value + Send,
    ) -> Result<bool, Error> {
        const KNOWN: &str = "SELECT table_name FROM late_tables WHERE source_id = $1";
        let source = source.to_string();
        let names = |rows: Vec<Row>| rows.iter().map(|row| row.text("late_tables.table_name")).collect();
        let known: Result<BTreeSet<String>, Error> = names(self.engine.all(KNOWN, values![&source]).await?);
        if known? == *late {
            return Ok(false);
        }
        let mut tx = self.engine.begin(Durability::Disk).await?;
        // Whoever comes second finds what the first one noted.
        tx.all("UPDATE sources SET id = id WHERE id = $1 RETURNING id", values![&source]).await?;
        let known: Result<BTreeSet<String>, Error> = names(tx.all(KNOWN, values![&source]).await?);
        let known = known?;
        for name in known.difference(late) {
            tx.all(
                "DELETE FROM late_tables WHERE source_id = $1 AND table_name = $2 RETURNING table_name",
                values![&source, name],
            )
            .await?;
        }
        let new: BTreeSet<String> = late.difference(&known).cloned().collect();
        let now = tx.now().await?;
        for name in &new {
            tx.all(
                "INSERT INTO late_tables (source_id, table_name, since) VALUES ($1, $2, $3) RETURNING since",
                values![&source, name, now],
            )
            .await?;
        }
        if !new.is_empty() {
            add(&mut tx, &source, &body(&new)).await?;
        }
        tx.commit().await?;
        Ok(!new.is_empty())
    }
}

/// Adds an alert that is to be told at once.
pub(crate) async fn add(tx: &mut Tx<'_>, source: &str, body: &serde_json::Value) -> Result<(), Error> {
    let now = tx.now().await?;
    tx.all(
        "INSERT INTO alerts (id, source_id, body, created_at, tries, try_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        values![Uuid::now_v7().to_string(), source, json(body, "alerts.body")?, now, 0_i64, now],
    )
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<Alert, Error> {
    Ok(Alert {
        id: row.parse("alerts.id")?,
        source: row.parse("alerts.source_id")?,
        body: row.json("alerts.body")?,
        created_at: row.time("alerts.created_at")?,
        tries: u32::try_from(row.int("alerts.tries")?).unwrap_or(u32::MAX),
    })
}

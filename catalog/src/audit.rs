use chrono::{DateTime, Utc};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, signed, values},
};

/// Who did what, when, and whether it was allowed. Append-only; never a patient's value, never SQL text with literals.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// Name of the principal; `anonymous` for a failed login.
    pub actor: String,
    /// Such as `source.add`, `token.revoke`, `login.failed`, `query`.
    pub action: String,
    /// What it was done to.
    pub object: String,
    pub allowed: bool,
    /// The door: `http`, `grpc`, `flight`, `fhir`.
    pub door: String,
    pub rows: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct NewAudit {
    pub actor: String,
    pub action: String,
    pub object: String,
    pub allowed: bool,
    pub door: String,
    pub rows: Option<u64>,
}

impl Catalog {
    /// A crash of the process loses no entry; a loss of power may take those of the last moments.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit(&self, entry: &NewAudit) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::System).await?;
        let id = tx.count("audit", 1).await?;
        tx.all(
            "INSERT INTO audit (id, at, actor, action, object, allowed, door, row_count)
             VALUES ($1, NOW_MICROS, $2, $3, $4, $5, $6, $7)",
            values![
                id,
                &entry.actor,
                &entry.action,
                &entry.object,
                entry.allowed,
                &entry.door,
                entry.rows.map(signed),
            ],
        )
        .await?;
        tx.commit().await
    }

    /// Several entries in one transaction, in their order; otherwise as [`Catalog::audit`].
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_many(&self, entries: &[NewAudit]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.begin(Durability::System).await?;
        let now = tx.now().await?;
        let last = tx.count("audit", i64::try_from(entries.len()).unwrap_or(i64::MAX)).await?;
        let rows = entries.iter().rev().zip((0..=last).rev()).map(|(entry, id)| {
            values![
                id,
                now,
                &entry.actor,
                &entry.action,
                &entry.object,
                entry.allowed,
                &entry.door,
                entry.rows.map(signed),
            ]
        });
        let head = "INSERT INTO audit (id, at, actor, action, object, allowed, door, row_count)";
        tx.insert_many(head, "", rows.collect()).await?;
        tx.commit().await
    }

    /// Newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let rows = self.engine.all("SELECT * FROM audit ORDER BY id DESC LIMIT $1", values![limit]).await?;
        rows.iter().map(read_entry).collect()
    }
}

fn read_entry(row: &Row) -> Result<AuditEntry, Error> {
    Ok(AuditEntry {
        id: row.int("audit.id")?,
        at: row.time("audit.at")?,
        actor: row.text("audit.actor")?,
        action: row.text("audit.action")?,
        object: row.text("audit.object")?,
        allowed: row.flag("audit.allowed")?,
        door: row.text("audit.door")?,
        rows: row.opt_count("audit.row_count")?,
    })
}

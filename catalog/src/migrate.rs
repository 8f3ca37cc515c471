//! Brings the database's shape up to what this program knows, once, however many programs open it at the same time.

use sha2::{Digest, Sha256};

use crate::{
    Error,
    engine::{Durability, Engine},
    value::values,
};

struct Migration {
    version: i64,
    sql: &'static str,
    /// In the place of `sql`, where PostgreSQL says it in another way.
    postgres: Option<&'static str>,
}

impl Migration {
    const fn both(version: i64, sql: &'static str) -> Self {
        Self { version, sql, postgres: None }
    }

    fn sql(&self, engine: &Engine) -> &'static str {
        match engine {
            Engine::Sqlite(_) => self.sql,
            Engine::Postgres(_) => self.postgres.unwrap_or(self.sql),
        }
    }
}

/// In order; a migration that was released is never changed, only followed by another one.
const MIGRATIONS: &[Migration] = &[
    Migration::both(1, include_str!("../migrations/0001_catalog.sql")),
    Migration::both(2, include_str!("../migrations/0002_intents.sql")),
    Migration::both(3, include_str!("../migrations/0003_views.sql")),
    Migration::both(4, include_str!("../migrations/0004_rights.sql")),
    Migration::both(5, include_str!("../migrations/0005_work.sql")),
    Migration::both(6, include_str!("../migrations/0006_tables_by_table.sql")),
    Migration {
        version: 7,
        sql: include_str!("../migrations/0007_audit.sql"),
        postgres: Some(include_str!("../migrations/0007_audit.postgres.sql")),
    },
    Migration::both(8, include_str!("../migrations/0008_schedules.sql")),
    Migration::both(9, include_str!("../migrations/0009_known_hosts.sql")),
    Migration::both(10, include_str!("../migrations/0010_alerts.sql")),
];

/// Why a database could not be migrated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error("it was made by a newer version of mavis (shape {found}, this one knows {known}): use that version")]
    Newer { found: i64, known: i64 },
    #[error("its shape {version} is not the one this version made: it was changed by hand or by another program")]
    Changed { version: i64 },
    #[error("{}", describe(.0))]
    Database(#[from] Error),
}

fn describe(error: &Error) -> String {
    match error {
        Error::Database(sqlx) => sqlx.to_string(),
        other => other.to_string(),
    }
}

/// All of it is one transaction, which holds a lock that a second opener waits for: SQLite's write lock, and on
/// PostgreSQL an advisory lock of the transaction.
pub(crate) async fn migrate(engine: &Engine) -> Result<(), MigrateError> {
    let mut tx = engine.begin(Durability::Disk).await?;
    if matches!(engine, Engine::Postgres(_)) {
        // An arbitrary number that no other program has reason to lock.
        tx.script("SELECT pg_advisory_xact_lock(7236837700091153)").await?;
    }
    tx.script("CREATE TABLE IF NOT EXISTS migrations (version BIGINT NOT NULL PRIMARY KEY, hash TEXT NOT NULL, applied_at BIGINT NOT NULL)")
        .await?;
    let mut found = Vec::new();
    for row in tx.all("SELECT version, hash FROM migrations ORDER BY version", Vec::new()).await? {
        found.push((row.int("migrations.version")?, row.text("migrations.hash")?));
    }
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if let Some((found, _)) = found.last().filter(|(version, _)| *version > known) {
        return Err(MigrateError::Newer { found: *found, known });
    }
    for migration in MIGRATIONS {
        let sql = migration.sql(engine);
        let hash = hex::encode(Sha256::digest(sql.as_bytes()));
        match found.iter().find(|(version, _)| *version == migration.version) {
            Some((_, applied)) if *applied == hash => {}
            Some((version, _)) => return Err(MigrateError::Changed { version: *version }),
            None => {
                tx.script(dialect(engine, sql)).await?;
                tx.all(
                    "INSERT INTO migrations (version, hash, applied_at) VALUES ($1, $2, NOW_MICROS)",
                    values![migration.version, hash],
                )
                .await?;
                tracing::info!(version = migration.version, "brought the catalog to shape {}", migration.version);
            }
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Text compares by bytes on both: a PostgreSQL database's own collation may skip `_` and mix cases, and names would
/// page in another order.
fn dialect(engine: &Engine, sql: &str) -> String {
    match engine {
        Engine::Sqlite(_) => sql.to_owned(),
        Engine::Postgres(_) => sql.replace(" TEXT", " TEXT COLLATE \"C\""),
    }
}

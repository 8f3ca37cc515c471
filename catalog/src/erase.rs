use sqlx::Row as _;

use crate::{
    Catalog, Error,
    engine::{Durability, Engine},
    value::{Value, values},
};

/// Tries to empty the log, a tenth of a second apart.
const SCRUBS: usize = 50;

/// Rows that are deleted by one statement.
const TOGETHER: usize = 500;

impl Catalog {
    /// Deletes quarantined rows in whatever state, with what they hold; answers how many there were.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn erase_quarantined(&self, ids: &[i64]) -> Result<u64, Error> {
        let mut erased = 0;
        for ids in ids.chunks(TOGETHER) {
            let places: Vec<String> = (1..=ids.len()).map(|place| format!("${place}")).collect();
            let sql = format!("DELETE FROM quarantine WHERE id IN ({}) RETURNING id", places.join(", "));
            let mut args: Vec<Value> = values![];
            args.extend(ids.iter().map(|id| Value::from(*id)));
            erased += self.engine.write(Durability::Disk, sql, args).await?.len() as u64;
        }
        Ok(erased)
    }

    /// Frees the database of what deleted rows have left in its files: SQLite's file is written anew and its log emptied, in
    /// PostgreSQL the tables that hold patients' data are vacuumed. Waits for whoever writes; readers go on.
    ///
    /// `false`: somebody reads for so long that the log could not be emptied; what was deleted is still in it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn scrub(&self) -> Result<bool, Error> {
        match &self.engine {
            Engine::Sqlite(engine) => {
                let _turn = engine.turn.lock().await;
                sqlx::query("VACUUM").execute(&engine.disk).await?;
                // Who reads keeps the log from being emptied: it says so in a row.
                for _ in 0..SCRUBS {
                    let told = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&engine.disk).await?;
                    if told.try_get::<i64, _>(0)? == 0 {
                        return Ok(true);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                return Ok(false);
            }
            Engine::Postgres(pool) => {
                for sql in ["VACUUM quarantine", "VACUUM intents"] {
                    sqlx::query(sql).execute(pool).await?;
                }
            }
        }
        Ok(true)
    }
}

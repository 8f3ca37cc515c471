use std::time::Duration;

use chrono::{DateTime, Utc};
use mavis_types::TableId;

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, signed, values},
};

/// A century: longer than that is for ever, and still fits beside the time of day.
const FOREVER_MICROS: i64 = 100 * 366 * 86_400 * 1_000_000;

/// What lasts longer than this from now on was written before the database's clock was put back, and counts for no longer.
/// Nothing is held for so long without saying so again.
pub(crate) const LONGEST_HOLD: Duration = Duration::from_secs(3_600);

/// The right to commit to one table until `expires_at`. Dropping it does not give it back: call [`Catalog::release`].
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    pub table: TableId,
    /// Who holds it: a run, or a maintenance job, with a part that is unique to the process.
    pub holder: String,
    /// Grows each time the lease changes hands; a commit that carries an old one is refused by its holder.
    pub epoch: i64,
    pub expires_at: DateTime<Utc>,
}

impl Catalog {
    /// Takes the lease if it is free or has run out, in one statement. Times are the database's own; where its clock was put
    /// back, what was held before does not last until it has come so far again.
    ///
    /// # Errors
    /// [`Error::Leased`] when somebody holds it.
    pub async fn lease(&self, table: TableId, holder: &str, ttl: Duration) -> Result<Lease, Error> {
        let longest = micros(LONGEST_HOLD.max(ttl));
        // More than once: the holder may give it back between the two statements.
        for _ in 0..3 {
            let taken = self
                .engine
                .write(
                    Durability::System,
                    "INSERT INTO leases (table_id, holder, epoch, expires_at) VALUES ($1, $2, 1, NOW_MICROS + $3)
                     ON CONFLICT (table_id) DO UPDATE SET
                        holder = excluded.holder, epoch = leases.epoch + 1, expires_at = excluded.expires_at
                     WHERE leases.expires_at <= NOW_MICROS OR leases.expires_at > NOW_MICROS + $4
                     RETURNING holder, epoch, expires_at",
                    values![table.to_string(), holder, micros(ttl), longest],
                )
                .await?;
            if let Some(row) = taken.first() {
                return read_lease(table, row);
            }
            let held = self
                .engine
                .one(
                    "SELECT holder, epoch, expires_at FROM leases
                     WHERE table_id = $1 AND expires_at > NOW_MICROS AND expires_at <= NOW_MICROS + $2",
                    values![table.to_string(), longest],
                )
                .await?;
            if let Some(row) = held {
                let Lease { holder, expires_at, .. } = read_lease(table, &row)?;
                return Err(Error::Leased { target: table.to_string(), holder, expires_at });
            }
        }
        Err(Error::Leased { target: table.to_string(), holder: "another".to_owned(), expires_at: Utc::now() })
    }

    /// Makes the lease last `ttl` from now. One that has run out is still its holder's while nobody else has taken it, which the
    /// epoch tells: a clock that jumps forward takes no table from who is writing it.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when it is no longer ours.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, Error> {
        let renewed = self
            .engine
            .write(
                Durability::System,
                "UPDATE leases SET expires_at = NOW_MICROS + $4
                 WHERE table_id = $1 AND holder = $2 AND epoch = $3 AND expires_at > 0
                 RETURNING holder, epoch, expires_at",
                values![lease.table.to_string(), &lease.holder, lease.epoch, micros(ttl)],
            )
            .await?;
        match renewed.first() {
            Some(row) => read_lease(lease.table, row),
            None => Err(Error::LeaseLost { target: lease.table.to_string() }),
        }
    }

    /// Gives it back; a lease that was lost is none of our business any more.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.engine
            .write(
                Durability::System,
                "UPDATE leases SET expires_at = 0 WHERE table_id = $1 AND holder = $2 AND epoch = $3",
                values![lease.table.to_string(), &lease.holder, lease.epoch],
            )
            .await?;
        Ok(())
    }

    /// Ends every lease of holders that start with `prefix`: at start, those of this server's earlier life.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release_all(&self, prefix: &str) -> Result<u64, Error> {
        let released = self
            .engine
            .write(
                Durability::System,
                "UPDATE leases SET expires_at = 0
                 WHERE SUBSTR(holder, 1, LENGTH($1)) = $1 AND expires_at > 0
                 RETURNING table_id",
                values![prefix],
            )
            .await?;
        Ok(released.len() as u64)
    }

    /// Leases that somebody holds now, by the time at which they end.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn leases(&self) -> Result<Vec<Lease>, Error> {
        let rows = self
            .engine
            .all("SELECT * FROM leases WHERE expires_at > NOW_MICROS ORDER BY expires_at, table_id", values![])
            .await?;
        rows.iter().map(|row| read_lease(row.parse("leases.table_id")?, row)).collect()
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    signed(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)).min(FOREVER_MICROS)
}

fn read_lease(table: TableId, row: &Row) -> Result<Lease, Error> {
    Ok(Lease {
        table,
        holder: row.text("leases.holder")?,
        epoch: row.int("leases.epoch")?,
        expires_at: row.time("leases.expires_at")?,
    })
}

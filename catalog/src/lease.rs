use std::time::Duration;

use chrono::{DateTime, Utc};
use mavis_types::TableId;

use crate::{Catalog, Error};

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
    /// Takes the lease if it is free or has run out, in one statement. Times are the database's own.
    ///
    /// # Errors
    /// [`Error::Leased`] when somebody holds it.
    pub async fn lease(&self, table: TableId, holder: &str, ttl: Duration) -> Result<Lease, Error> {
        let _ = (table, holder, ttl);
        todo!()
    }

    /// Makes the lease last `ttl` from now.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when it is no longer ours.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, Error> {
        let _ = (lease, ttl);
        todo!()
    }

    /// Gives it back; a lease that was lost is none of our business any more.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release(&self, lease: &Lease) -> Result<(), Error> {
        let _ = lease;
        todo!()
    }

    /// Ends every lease of holders that start with `prefix`: at start, those of this server's earlier life.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release_all(&self, prefix: &str) -> Result<u64, Error> {
        let _ = prefix;
        todo!()
    }
}

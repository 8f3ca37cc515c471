use chrono::{DateTime, Utc};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, values},
};

/// The host key of an SSH server that was trusted when it was first seen.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownHost {
    /// As it is declared, in lower case.
    pub host: String,
    pub port: u16,
    pub algorithm: String,
    /// `SHA256:...`.
    pub fingerprint: String,
    /// As a `known_hosts` file has it, without the host.
    pub public_key: String,
    pub recorded_at: DateTime<Utc>,
}

impl Catalog {
    /// # Errors
    /// [`Error::Database`].
    pub async fn known_host(&self, host: &str, port: u16) -> Result<Option<KnownHost>, Error> {
        let row = self
            .engine
            .one(
                "SELECT * FROM known_hosts WHERE host = $1 AND port = $2",
                values![host.to_ascii_lowercase(), i64::from(port)],
            )
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// All of them, by host and port.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn known_hosts(&self) -> Result<Vec<KnownHost>, Error> {
        let rows = self.engine.all("SELECT * FROM known_hosts ORDER BY host, port", values![]).await?;
        rows.iter().map(read).collect()
    }

    /// Records the key of a server that has none. Answers what stands there afterwards: who was first, stays.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn record_known_host(
        &self,
        host: &str,
        port: u16,
        algorithm: &str,
        fingerprint: &str,
        public_key: &str,
    ) -> Result<KnownHost, Error> {
        let host = host.to_ascii_lowercase();
        self.engine
            .write(
                Durability::Disk,
                "INSERT INTO known_hosts (host, port, algorithm, fingerprint, public_key, recorded_at)
                 VALUES ($1, $2, $3, $4, $5, NOW_MICROS)
                 ON CONFLICT DO NOTHING
                 RETURNING host",
                values![&host, i64::from(port), algorithm, fingerprint, public_key],
            )
            .await?;
        self.known_host(&host, port)
            .await?
            .ok_or_else(|| Error::NotFound { what: "host key", name: format!("{host}:{port}") })
    }

    /// Forgets a server's key: the next one that it shows is trusted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn forget_known_host(&self, host: &str, port: u16) -> Result<(), Error> {
        let host = host.to_ascii_lowercase();
        let gone = self
            .engine
            .write(
                Durability::Disk,
                "DELETE FROM known_hosts WHERE host = $1 AND port = $2 RETURNING host",
                values![&host, i64::from(port)],
            )
            .await?;
        if gone.is_empty() {
            return Err(Error::NotFound { what: "host key", name: format!("{host}:{port}") });
        }
        Ok(())
    }
}

fn read(row: &Row) -> Result<KnownHost, Error> {
    Ok(KnownHost {
        host: row.text("known_hosts.host")?,
        port: u16::try_from(row.int("known_hosts.port")?).map_err(|_| Error::Corrupt { place: "known_hosts.port" })?,
        algorithm: row.text("known_hosts.algorithm")?,
        fingerprint: row.text("known_hosts.fingerprint")?,
        public_key: row.text("known_hosts.public_key")?,
        recorded_at: row.time("known_hosts.recorded_at")?,
    })
}

/// Why the catalog could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {what} `{name}`")]
    NotFound { what: &'static str, name: String },
    #[error("{what} `{name}` exists already")]
    Exists { what: &'static str, name: String },
    /// Somebody else holds the lease; try again after `expires_at_micros`.
    #[error("`{target}` is in use by run {holder}; its lease ends at {expires_at}")]
    Leased { target: String, holder: String, expires_at: chrono::DateTime<chrono::Utc> },
    /// The lease was lost to somebody else, or ran out, before it was renewed.
    #[error("the lease on `{target}` was lost")]
    LeaseLost { target: String },
    #[error("cannot open the catalog at {url}: {reason}")]
    Open { url: String, reason: String },
    #[error("the catalog holds a value that cannot be read in {place}")]
    Corrupt { place: &'static str },
    #[error("the catalog database failed")]
    Database(#[from] sqlx::Error),
}

use sqlx::error::ErrorKind;

/// Why the catalog could not do what was asked. No variant prints a stored value of a row: details of the database stay
/// in the `source` of [`Error::Database`], for the log of whoever handles it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {what} `{name}`")]
    NotFound { what: &'static str, name: String },
    #[error("{what} `{name}` exists already")]
    Exists { what: &'static str, name: String },
    /// Somebody else holds the lease; try again after `expires_at`.
    #[error("`{target}` is in use by run {holder}; its lease ends at {expires_at}")]
    Leased { target: String, holder: String, expires_at: chrono::DateTime<chrono::Utc> },
    /// The lease was lost to somebody else, or ran out, before it was renewed.
    #[error("the lease on `{target}` was lost")]
    LeaseLost { target: String },
    /// A write to several tables is on its way and names this one; it is published first.
    #[error("a write to table `{table}` is not published yet; try again")]
    Promised { table: String },
    #[error("cannot open the catalog at {url}: {reason}")]
    Open { url: String, reason: String },
    #[error("the catalog holds a value that cannot be read in {place}")]
    Corrupt { place: &'static str },
    /// A rule of the database was broken. Its own message is dropped, for it may quote the row.
    #[error("the catalog refused a row: {rule}")]
    Refused { rule: &'static str },
    /// The database has no room left.
    #[error("the disk of the catalog database is full: nothing was changed, make room there and try again")]
    Full,
    #[error("the catalog database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_FULL (https://www.sqlite.org/rescode.html) and PostgreSQL's disk_full.
        if let Some("13" | "53100") = error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
            return Self::Full;
        }
        let rule = match error.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(ErrorKind::UniqueViolation) => "a value that must be unique is taken",
            Some(ErrorKind::ForeignKeyViolation) => "it names something that is not there",
            Some(ErrorKind::NotNullViolation) => "a value that must be there is missing",
            Some(ErrorKind::CheckViolation | ErrorKind::ExclusionViolation) => "a value is outside its limits",
            _ => return Self::Database(error),
        };
        Self::Refused { rule }
    }
}

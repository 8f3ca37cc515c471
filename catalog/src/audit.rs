use chrono::{DateTime, Utc};

use crate::{Catalog, Error};

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
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit(&self, entry: &NewAudit) -> Result<(), Error> {
        let _ = entry;
        todo!()
    }

    /// Newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let _ = limit;
        todo!()
    }
}

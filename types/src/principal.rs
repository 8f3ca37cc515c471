use serde::{Deserialize, Serialize};

use crate::{TableName, TokenId, Zone};

/// Who asks. Every door makes one from a token before anything else happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub token: TokenId,
    /// The token's name; safe to log.
    pub name: String,
    pub role: Role,
    pub scope: Scope,
}

/// What a principal may do besides reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, tokens included.
    Admin,
    /// Sources, runs, mappings, quarantine and maintenance.
    Engineer,
    /// Queries only.
    Reader,
}

/// What a principal may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    All,
    /// Only the tables of these schemas.
    Schemas(Vec<SchemaGrant>),
}

/// Leave to read one schema of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaGrant {
    pub zone: Zone,
    pub schema: String,
}

impl Principal {
    /// Whether the principal may see that this schema exists and read its tables.
    #[must_use]
    pub fn may_read_schema(&self, zone: Zone, schema: &str) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Schemas(grants) => grants.iter().any(|grant| grant.zone == zone && grant.schema == schema),
        }
    }

    #[must_use]
    pub fn may_read(&self, table: &TableName) -> bool {
        self.may_read_schema(table.zone, &table.schema)
    }

    /// Whether the principal may change sources, runs, mappings and quarantine.
    #[must_use]
    pub fn may_engineer(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Engineer)
    }

    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.role == Role::Admin
    }
}

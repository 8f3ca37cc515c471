//! What a source declares of its replication.

use schemars::JsonSchema;
use serde::Deserialize;

/// Changes by logical replication.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicationParams {
    /// The replication slot; one for each source. It is made by the first ingest and holds the server's log from then on.
    pub slot: String,
    /// The publication, made by an owner of the tables: `CREATE PUBLICATION mavis FOR TABLE a, b`. Tables of the source that
    /// are not in it are compared whole.
    pub publication: String,
    /// Whether the slot is made where it is missing and no table was read from it yet.
    #[serde(default = "yes")]
    pub create: bool,
    /// Changes that one run reads at most, up to the end of a transaction; the next run goes on.
    #[serde(default = "default_changes")]
    pub max_changes_per_run: u32,
    /// Megabytes of changes that one run spools at most, up to the end of a transaction.
    #[serde(default = "default_megabytes")]
    pub max_megabytes_per_run: u64,
    /// Megabytes of log held back by the slot from which on each run warns.
    #[serde(default = "default_warning")]
    pub warn_megabytes: u64,
}

fn yes() -> bool {
    true
}

fn default_changes() -> u32 {
    2_000_000
}

fn default_megabytes() -> u64 {
    4096
}

fn default_warning() -> u64 {
    1024
}

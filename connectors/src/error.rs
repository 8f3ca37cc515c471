use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a connection gets before it fails; a connection test reports them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The secrets that the connection needs are there.
    Secret,
    /// The host's name resolves (for files: the URL is one).
    Name,
    /// Something listens there (for files: the store answers).
    Route,
    Ssh,
    /// The server speaks the protocol and the database exists.
    Database,
    Login,
    /// What is asked for can be read.
    Read,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Secret => "secret",
            Stage::Name => "name",
            Stage::Route => "route",
            Stage::Ssh => "ssh",
            Stage::Database => "database",
            Stage::Login => "login",
            Stage::Read => "read",
        })
    }
}

/// Why a source could not be read. Messages name hosts, tables, files and lines; never a cell, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no connector kind `{kind}`: use one of {}", known.join(", "))]
    UnknownKind { kind: String, known: Vec<String> },
    #[error("parameters of source `{source_name}`: {reason}")]
    Params { source_name: String, reason: String },
    #[error("a secret of source `{source_name}` is missing: set {place}")]
    MissingSecret { source_name: String, place: String },
    /// Nothing can be read for now; worth another try.
    #[error("cannot reach `{endpoint}` ({stage}): {reason}")]
    Unreachable { endpoint: String, stage: Stage, reason: String },
    /// The other side said no; trying again will not help.
    #[error("`{endpoint}` refused ({stage}): {reason}")]
    Refused { endpoint: String, stage: Stage, reason: String },
    #[error("there is no table `{table}` in the source (any more); discover the source again")]
    NoSuchTable { table: String },
    /// The table's content cannot be read at all: a broken workbook, a file cut in half.
    #[error("{place}: {reason}")]
    Malformed { place: String, reason: String },
    /// The connection broke while reading; reading on from the last cursor is safe.
    #[error("reading {place} was interrupted: {reason}")]
    Interrupted { place: String, reason: String },
    #[error("{what} is not supported: {instead}")]
    Unsupported { what: String, instead: String },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Interrupted { .. })
    }
}

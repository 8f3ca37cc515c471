/// What the text of every [`Error::Refused`] begins with.
pub const REFUSED: &str = "not allowed";

/// Why a query was not answered. Messages may repeat the caller's own SQL identifiers, never a value of a row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The statement cannot be parsed or planned. `line` and `column` count from 1 where they are known.
    #[error("{message}")]
    Invalid { message: String, line: Option<u64>, column: Option<u64> },
    #[error("there is no table `{table}`{hint}")]
    NoSuchTable { table: String, hint: String },
    /// The statement writes, or asks for something that no principal may do here.
    #[error("{}: {reason}", REFUSED)]
    Refused { reason: String },
    #[error("{limit} reached: {detail}")]
    Limit { limit: &'static str, detail: String },
    #[error("the query was cancelled")]
    Cancelled,
    #[error("snapshot {id} is no longer kept: start again from the newest")]
    SnapshotGone { id: i64 },
    #[error(transparent)]
    Catalog(#[from] mavis_catalog::Error),
    #[error(transparent)]
    Lake(#[from] mavis_lake::Error),
    /// The statement is good but a value that it met is not: a cast, a division by zero. The message never repeats it.
    #[error("the query failed on a value: {message}")]
    Value { message: String },
    /// Failed while running; the detail is for the log only.
    #[error("the query failed while running: {message}")]
    Execution { message: String },
}

impl Error {
    /// Line and column of the statement's text, from 1, where the error is in one place of it.
    #[must_use]
    pub fn place(&self, sql: &str) -> Option<(u64, u64)> {
        match self {
            Self::Invalid { line, column, .. } => line.zip(*column),
            Self::NoSuchTable { table, .. } => crate::dialect::place_of_name(sql, table),
            _ => None,
        }
    }
}

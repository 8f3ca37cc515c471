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
        .or_else(|| self.place_of_column(sql))
    }

    /// Of a column that is not there, in the clauses for which the planner does not say where it read them.
    fn place_of_column(&self, sql: &str) -> Option<(u64, u64)> {
        let Self::Invalid { message, line: None, .. } = self else { return None };
        let rest = message.strip_prefix("No field named ")?;
        let end = rest.find(|letter: char| letter.is_whitespace()).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('.');
        crate::dialect::place_of_name(sql, &name.replace('"', ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("No field named nothing.\nValid fields are t.id.", "SELECT id\nFROM t ORDER BY nothing", Some((2, 17)))]
    #[case("No field named t.nothing. Did you mean 't.id'?", "SELECT id FROM t GROUP BY t.nothing", Some((1, 27)))]
    #[case("No field named t.nothing.", "SELECT id FROM t GROUP BY t.nothing", Some((1, 27)))]
    #[case("No field named \"Nothing\".\nValid fields are t.id.", "SELECT id FROM t GROUP BY \"Nothing\"", Some((1, 27)))]
    #[case("view `work.a.v` cannot be planned for you", "SELECT * FROM v", None)]
    fn a_column_that_is_not_there_has_a_place(
        #[case] message: &str,
        #[case] sql: &str,
        #[case] place: Option<(u64, u64)>,
    ) {
        let error = Error::Invalid { message: message.to_owned(), line: None, column: None };
        assert_eq!(error.place(sql), place);
    }
}

//! What a client is told of an error: a SQLSTATE, a sentence, and where in the text.

use bytes::BytesMut;
use mavis_sql::Error;
use pgwire::messages::{PgWireBackendMessage, response::ErrorResponse};

use crate::auth::Denied;

/// SQLSTATEs (appendix A of PostgreSQL's manual).
pub(super) mod state {
    pub(crate) const PROTOCOL: &str = "08P01";
    pub(crate) const UNSUPPORTED: &str = "0A000";
    pub(crate) const BAD_ENCODING: &str = "22021";
    pub(crate) const BAD_VALUE: &str = "22P02";
    pub(crate) const BAD_BINARY: &str = "22P03";
    pub(crate) const TIME: &str = "22008";
    pub(crate) const BAD_SETTING: &str = "22023";
    pub(crate) const NO_TRANSACTION: &str = "25P01";
    pub(crate) const FAILED_TRANSACTION: &str = "25P02";
    pub(crate) const READ_ONLY: &str = "25006";
    pub(crate) const NO_STATEMENT: &str = "26000";
    pub(crate) const NO_ENCRYPTION: &str = "28000";
    pub(crate) const BAD_PASSWORD: &str = "28P01";
    pub(crate) const NO_CURSOR: &str = "34000";
    pub(crate) const NO_DATABASE: &str = "3D000";
    pub(crate) const NO_SAVEPOINT: &str = "3B001";
    pub(crate) const FORBIDDEN: &str = "42501";
    pub(crate) const SYNTAX: &str = "42601";
    pub(crate) const NO_COLUMN: &str = "42703";
    pub(crate) const NO_FUNCTION: &str = "42883";
    pub(crate) const NO_TABLE: &str = "42P01";
    pub(crate) const TAKEN_CURSOR: &str = "42P03";
    pub(crate) const TAKEN_STATEMENT: &str = "42P05";
    pub(crate) const NO_SETTING: &str = "42704";
    pub(crate) const TYPES: &str = "42804";
    pub(crate) const TOO_MANY: &str = "53300";
    pub(crate) const TOO_LARGE: &str = "54000";
    pub(crate) const CANCELLED: &str = "57014";
    pub(crate) const STOPPING: &str = "57P01";
    pub(crate) const UNAVAILABLE: &str = "57P03";
    /// An object is not in the state that is needed: one that somebody else changed.
    pub(crate) const WRONG_STATE: &str = "55000";
    pub(crate) const INTERNAL: &str = "XX000";
}

/// An error as it goes over the wire.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    severity: &'static str,
    pub(super) code: &'static str,
    message: String,
    hint: Option<&'static str>,
    /// Line and column in the statement, from 1.
    place: Option<(u64, u64)>,
    /// Character in the text that the client sent, from 1.
    position: Option<usize>,
}

impl Failure {
    pub(super) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "ERROR", code, message: message.into(), hint: None, place: None, position: None }
    }

    /// One after which the connection is closed.
    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "FATAL", ..Self::error(code, message) }
    }

    pub(super) fn with_hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.severity == "FATAL"
    }

    /// Says where in the client's text the place is. `statement` stands in it after `before` characters.
    pub(super) fn located(mut self, statement: &str, before: usize) -> Self {
        if let Some((line, column)) = self.place.take() {
            let lines = usize::try_from(line.saturating_sub(1)).unwrap_or_default();
            let above: usize = statement.split_inclusive('\n').take(lines).map(|line| line.chars().count()).sum();
            self.position = Some(before + above + usize::try_from(column).unwrap_or(1));
        }
        self
    }

    pub(super) fn write(self, out: &mut BytesMut) {
        let mut fields = vec![
            (b'S', self.severity.to_owned()),
            (b'V', self.severity.to_owned()),
            (b'C', self.code.to_owned()),
            (b'M', self.message),
        ];
        fields.extend(self.hint.map(|hint| (b'H', hint.to_owned())));
        fields.extend(self.position.map(|position| (b'P', position.to_string())));
        super::output::put(out, &PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields)));
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Missing => Self::fatal(state::BAD_PASSWORD, "no password: give the token as the password"),
            denied if denied.is_forbidden() => Self::fatal(state::FORBIDDEN, denied.to_string()),
            denied if denied.is_passing() => Self::fatal(state::UNAVAILABLE, denied.to_string()),
            denied => Self::fatal(state::BAD_PASSWORD, denied.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { message, line, column } => {
                let code = of_invalid(&message);
                Self { place: line.zip(column), ..Self::error(code, message) }
            }
            Error::NoSuchTable { .. } => Self::error(state::NO_TABLE, error.to_string()),
            Error::Refused { ref reason } if reason.contains("read-only") => {
                Self::error(state::READ_ONLY, error.to_string())
            }
            Error::Refused { .. } => Self::error(state::FORBIDDEN, error.to_string()),
            Error::Limit { limit, .. } => Self::error(of_limit(limit), error.to_string()),
            Error::Cancelled => Self::error(state::CANCELLED, error.to_string()),
            Error::SnapshotGone { .. } => Self::error("72000", error.to_string()),
            Error::Lake(mavis_lake::Error::Changed { .. } | mavis_lake::Error::InPlace { .. }) => {
                Self::error(state::WRONG_STATE, error.to_string())
            }
            Error::Value { ref message } => Self::error(of_value(message), error.to_string()),
            error => {
                let code = match &error {
                    Error::Catalog(inner) | Error::Lake(mavis_lake::Error::Catalog(inner)) => of_catalog(inner),
                    _ => state::INTERNAL,
                };
                // What went wrong inside is decided at one place for all doors that speak in sentences.
                Self::error(code, crate::grpc::status(error).message().to_owned())
            }
        }
    }
}

/// The planner's sentences, as the conditions that drivers know.
fn of_invalid(message: &str) -> &'static str {
    let has = |text: &str| message.contains(text);
    if has("No field named") || has("is ambiguous") || has("no column") || has("no such column") {
        if has("is ambiguous") { "42702" } else { state::NO_COLUMN }
    } else if has("Invalid function") || has("no function") || has("no table function") {
        state::NO_FUNCTION
    } else if has("not supported") || has("not implemented") || has("Unsupported") {
        state::UNSUPPORTED
    } else if has("the value of parameter") {
        state::BAD_VALUE
    } else if has("coerce") || has("type mismatch") || has("signature") || has("cannot be cast") {
        state::TYPES
    } else {
        state::SYNTAX
    }
}

fn of_catalog(error: &mavis_catalog::Error) -> &'static str {
    use mavis_catalog::Error;
    match error {
        Error::Exists { what: "table" | "view", .. } => "42P07",
        Error::Exists { what: "schema", .. } => "42P06",
        Error::Exists { .. } => "42710",
        Error::NotFound { what: "table" | "view", .. } => state::NO_TABLE,
        Error::Leased { .. } | Error::LeaseLost { .. } | Error::Promised { .. } => "55P03",
        _ => state::INTERNAL,
    }
}

fn of_limit(limit: &str) -> &'static str {
    match limit {
        "time limit" | mavis_sql::OWN_TIME => state::CANCELLED,
        "memory limit" => "53200",
        "queue limit" => state::TOO_MANY,
        _ => "53400",
    }
}

fn of_value(message: &str) -> &'static str {
    let has = |text: &str| message.contains(text);
    if message.ends_with("may not be null") {
        "23502"
    } else if has("division by zero") {
        "22012"
    } else if has("out of the range of times") || has("times here are finite") {
        state::TIME
    } else if has("too large") {
        "22003"
    } else if has("more than one row") {
        "21000"
    } else if has("cast") || has("parsed") {
        state::BAD_VALUE
    } else {
        "22000"
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn invalid(message: &str) -> Error {
        Error::Invalid { message: message.to_owned(), line: Some(2), column: Some(3) }
    }

    fn exists(what: &'static str) -> Error {
        Error::Lake(mavis_lake::Error::Catalog(mavis_catalog::Error::Exists { what, name: "work.a.t".to_owned() }))
    }

    #[rstest]
    #[case(invalid("Expected: an expression, found: FROM"), "42601")]
    #[case(invalid("Schema error: No field named x"), "42703")]
    #[case(Error::NoSuchTable { table: "t".to_owned(), hint: String::new() }, "42P01")]
    #[case(Error::Refused { reason: "a table that is not guarded".to_owned() }, "42501")]
    #[case(Error::Limit { limit: "time limit", detail: String::new() }, "57014")]
    #[case(Error::Limit { limit: "queue limit", detail: String::new() }, "53300")]
    #[case(Error::Cancelled, "57014")]
    #[case(Error::Value { message: "division by zero".to_owned() }, "22012")]
    #[case(Error::Value { message: mavis_sql::out_of_range("infinity").unwrap().to_owned() }, "22008")]
    #[case(Error::Value { message: mavis_sql::out_of_range("0044-03-15 BC").unwrap().to_owned() }, "22008")]
    #[case(Error::Value { message: "column `cast` may not be null".to_owned() }, "23502")]
    #[case(exists("table"), "42P07")]
    #[case(exists("schema"), "42P06")]
    #[case(Error::Catalog(mavis_catalog::Error::NotFound { what: "table", name: "t".to_owned() }), "42P01")]
    fn an_error_has_the_state_that_drivers_know(#[case] error: Error, #[case] code: &str) {
        assert_eq!(Failure::from(error).code, code);
    }

    #[test]
    fn a_place_is_told_in_characters_of_the_whole_text() {
        let failure = Failure::from(invalid("x")).located("é\nab c", 10);
        assert_eq!(failure.position, Some(10 + 2 + 3));
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        let error = Error::Execution { message: "cannot cast 'Jeanne Martin' to a date".to_owned() };
        assert!(!Failure::from(error).message.contains("Jeanne"));
    }
}

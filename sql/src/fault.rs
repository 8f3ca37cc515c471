//! What DataFusion and the parser report, as the error that a caller reads: with a place in the SQL, without a value of a
//! row.

mod mismatch;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::Error;

/// A statement that cannot be planned, at no particular place.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid { message: message.into(), line: None, column: None }
}

/// A statement that cannot be parsed; the parser writes the place at the end of its message.
pub(crate) fn located(message: &str) -> Error {
    let place = message.rfind(" at Line: ").and_then(|at| {
        let (line, column) = message[at + " at Line: ".len()..].split_once(", Column: ")?;
        Some((at, line.trim().parse().ok()?, column.trim().parse().ok()?))
    });
    match place {
        Some((at, line, column)) => {
            Error::Invalid { message: message[..at].to_owned(), line: Some(line), column: Some(column) }
        }
        None => invalid(message),
    }
}

/// An error of planning. Its message repeats the caller's own SQL and the names of columns, nothing that was read.
pub(crate) fn planning(error: &DataFusionError) -> Error {
    if let Some(trouble) = mavis_lake::in_place::trouble(error) {
        return Error::Lake(trouble);
    }
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let root = error.find_root();
    match root {
        DataFusionError::ResourcesExhausted(_) => memory(),
        DataFusionError::External(source) => external(source.as_ref()),
        DataFusionError::NotImplemented(message) => unsupported(message),
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            let message = mistaken(&root.message()).unwrap_or_else(|| told(root));
            Error::Invalid { message, line: None, column: None }
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            execution(error)
        }
        DataFusionError::Internal(message) => match mistaken(message) {
            Some(mistake) => invalid(mistake),
            None => Error::Execution {
                message: "the planner met a case that it does not know; put the statement differently".to_owned(),
            },
        },
        _ => {
            let message = first_sentence(&root.message());
            let message = twice(&message).or_else(|| mismatch::mismatch(&message)).unwrap_or(message);
            match span {
                Some(span) => Error::Invalid {
                    message,
                    line: Some(span.start.line).filter(|line| *line > 0),
                    column: Some(span.start.column).filter(|column| *column > 0),
                },
                None => located(&message),
            }
        }
    }
}

/// An error of execution. Messages of the engine quote the values that it stumbled over, so none of them is passed on:
/// only what kind of thing went wrong.
pub(crate) fn execution(error: &DataFusionError) -> Error {
    if let Some(trouble) = mavis_lake::in_place::trouble(error) {
        return Error::Lake(trouble);
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => memory(),
        DataFusionError::External(source) => external(source.as_ref()),
        DataFusionError::NotImplemented(message) => unsupported(message),
        // The text of these is a value of a row, whatever it reads like.
        root @ DataFusionError::ArrowError(arrow, _)
            if matches!(**arrow, ArrowError::CastError(_) | ArrowError::ParseError(_)) =>
        {
            Error::Value { message: told(root) }
        }
        root => match mistaken(&root.message()) {
            Some(mistake) => invalid(mistake),
            None if is_of_a_value(root) => Error::Value { message: told(root) },
            None => Error::Execution { message: told(root) },
        },
    }
}

/// What the engine finds out about a statement only when its constants are known, in words of ours: its own repeat them, and
/// a row filter's constants are not the caller's.
const MISTAKES: [(&str, &str); 7] = [
    ("LIMIT must be >=", "LIMIT takes a number that is not below 0"),
    ("OFFSET must be >=", "OFFSET takes a number that is not below 0"),
    ("nvalid window frame", "a window frame ends where it begins or later, and its distances are not below 0"),
    ("ercentile value", "the fraction of a percentile is a constant between 0 and 1"),
    ("no built-in encoding", "an encoding is one of base64, base64pad and hex"),
    ("must be a literal", "a function takes a constant where it was given something else"),
    ("must be a scalar", "a function takes a constant where it was given something else"),
];

/// The mistake of a statement that a message is about.
fn mistaken(message: &str) -> Option<String> {
    if let Some(reason) = pattern(message) {
        return Some(reason);
    }
    let found = MISTAKES.iter().find(|(words, _)| message.contains(words));
    found.map(|(_, mistake)| (*mistake).to_owned())
}

/// What is wrong with a regular expression, where a message is about one; the expression is not repeated, for it may be a
/// value of a row.
fn pattern(message: &str) -> Option<String> {
    if message.contains("Compiled regex exceeds size limit") {
        return Some("a regular expression is too large".to_owned());
    }
    let is_one =
        ["regex parse error", "egular expression did not compile", "nvalid regular expression", "regexp_is_match"];
    if !is_one.iter().any(|words| message.contains(words)) {
        return None;
    }
    // The last line of such a message names the kind of mistake, in fixed words.
    let reason = message.rsplit_once("\nerror: ").and_then(|(_, reason)| reason.lines().next());
    Some(match reason.map(str::trim).filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("a regular expression cannot be read: {reason}"),
        None => "a regular expression cannot be read".to_owned(),
    })
}

/// A form of SQL that the engine cannot run; what follows the first bracket of its message is its own debug text.
fn unsupported(message: &str) -> Error {
    if message.contains("support logical expression") {
        // (What it calls a logical expression is a part of a subquery that it could not turn into a join.)
        return invalid(
            "not supported: a subquery that compares columns of the query around it by other than `=`, or takes only some of its \
             rows; write it as a join",
        );
    }
    let told = message.split('(').next().unwrap_or_default().trim();
    invalid(format!("not supported: {told}"))
}

fn external(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    match source.downcast_ref::<Error>() {
        Some(Error::Refused { reason }) => Error::Refused { reason: reason.clone() },
        Some(Error::Cancelled) => Error::Cancelled,
        Some(Error::Limit { limit, detail }) => Error::Limit { limit, detail: detail.clone() },
        Some(Error::Execution { message }) => Error::Execution { message: message.clone() },
        Some(Error::Value { message }) => Error::Value { message: message.clone() },
        // of a view, which says where in the view
        Some(Error::Invalid { message, .. }) => invalid(message.clone()),
        _ => match pattern(&source.to_string()) {
            Some(mistake) => invalid(mistake),
            None => Error::Execution { message: "the lake's store could not be read".to_owned() },
        },
    }
}

fn memory() -> Error {
    Error::Limit {
        limit: "memory limit",
        detail: "the query needs more memory than it may use; read fewer rows or columns, or group by less".to_owned(),
    }
}

/// Whether more memory, or a plan that needs less, would help.
pub(crate) fn is_exhausted(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Whether the statement met a value that it cannot work with, rather than the server failing.
fn is_of_a_value(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::ComputeError(_)
                | ArrowError::InvalidArgumentError(_)
        ),
        // Plans are made of constants too, and some are refused only when they run.
        DataFusionError::Execution(_) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => true,
        _ => false,
    }
}

fn told(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(message) => return cast(message),
            ArrowError::ParseError(_) => "a value could not be parsed as the type asked for",
            ArrowError::DivideByZero => "division by zero",
            ArrowError::ArithmeticOverflow(_) => "a number is too large for its type",
            ArrowError::ComputeError(_) => "a value could not be computed",
            ArrowError::SchemaError(_) => "the columns of two parts of the query do not fit together",
            ArrowError::ParquetError(_) | ArrowError::IoError(..) => "a file of the lake could not be read",
            ArrowError::OffsetOverflowError(_) => "a column grew larger than 2 GiB in one batch",
            _ => "a value could not be processed",
        },
        DataFusionError::Execution(message) if message.contains("subquery") || message.contains("Subquery") => {
            "a subquery used as a value gave more than one row"
        }
        DataFusionError::Execution(message) if message.contains("parsing") || message.contains("parse") => {
            "a value could not be parsed as the type asked for"
        }
        DataFusionError::Execution(message) if message.contains("cast") || message.contains("Cast") => {
            return cast(message);
        }
        DataFusionError::ParquetError(_) | DataFusionError::IoError(_) => "a file of the lake could not be read",
        DataFusionError::ObjectStore(_) => "the lake's store could not be read",
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => "the engine failed inside",
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => {
            "a function or a clause was given something that it does not take"
        }
        _ => "a function refused a value of a row",
    };
    text.to_owned()
}

/// The type that a cast aimed at is the caller's own word; the value is not.
fn cast(message: &str) -> String {
    let target = message.rfind(" to value of ").map(|at| &message[at + " to value of ".len()..]);
    let target = target.and_then(|rest| rest.split(" type").next()).filter(|name| {
        name.len() < 60
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '(' | ')' | ',' | ' ' | '_' | ':'))
    });
    match target {
        Some(name) => format!("a value could not be cast to {name}; try_cast gives null instead"),
        None => "a value could not be cast to the type asked for; try_cast gives null instead".to_owned(),
    }
}

/// What is said of two columns of one name.
fn twice(message: &str) -> Option<String> {
    let rest = message.strip_prefix("Projections require unique expression names but the expression \"")?;
    let name = rest.split_once("\" at position").map_or(rest, |(name, _)| name);
    // (The word stands in casts, too.)
    let name = name.rsplit_once(" AS ").map(|(_, alias)| alias).filter(|alias| !alias.contains(')')).unwrap_or(name);
    Some(format!("two columns of the SELECT are called `{name}`: give one of them another name with AS"))
}

/// Without back traces, and without what DataFusion says of itself.
fn first_sentence(message: &str) -> String {
    let text = message.split("\n\nbacktrace").next().unwrap_or(message);
    // It takes some mistakes for defects of its own, and asks to be told of them.
    let mut text = text.replace("Internal error: ", "").replace("Error during planning: ", "");
    while let Some(start) = text.find("\nThis issue was likely caused by a bug in DataFusion") {
        let asked = "https://github.com/apache/datafusion/issues";
        let end = text[start..].find(asked).map_or(text.len(), |at| start + at + asked.len());
        text.replace_range(start..end, "");
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(ArrowError::CastError("Cannot cast string 'Durand' to value of Int32 type".to_owned()))]
    #[case(ArrowError::ParseError("Error parsing timestamp from '1950-13-01': Durand".to_owned()))]
    #[case(ArrowError::ArithmeticOverflow("Overflow happened on: 2147483647 + Durand".to_owned()))]
    #[case(ArrowError::CastError("Failed to convert 1950 Durand to value of Durand '' type".to_owned()))]
    #[case(ArrowError::InvalidArgumentError("Durand 1950".to_owned()))]
    fn a_value_of_a_row_is_never_repeated(#[case] error: ArrowError) {
        let text = execution(&DataFusionError::from(error)).to_string();
        assert!(!text.contains("Durand") && !text.contains("1950") && !text.contains("2147483647"), "{text}");
        let text = execution(&DataFusionError::Execution("Durand 1950".to_owned())).to_string();
        assert!(!text.contains("Durand") && !text.contains("1950"), "{text}");
    }

    #[rstest]
    #[case(ArrowError::CastError("Cannot cast string 'x' to value of Int32 type".to_owned()), true)]
    #[case(ArrowError::DivideByZero, true)]
    #[case(ArrowError::IoError("disk".to_owned(), std::io::Error::other("disk")), false)]
    #[case(ArrowError::MemoryError("x".to_owned()), false)]
    fn what_a_value_did_is_told_from_what_the_server_did(#[case] error: ArrowError, #[case] value: bool) {
        let told = execution(&DataFusionError::from(error));
        assert_eq!(matches!(told, Error::Value { .. }), value, "{told}");
    }

    #[rstest]
    #[case(DataFusionError::External("regex parse error:\n    Durand(\n          ^\nerror: unclosed group".into()), "unclosed group")]
    #[case(
        DataFusionError::ArrowError(
            Box::new(ArrowError::ComputeError("Regular expression did not compile: CompiledTooBig(1950)".to_owned())),
            None
        ),
        "regular expression"
    )]
    #[case(DataFusionError::Plan("LIMIT must be >= 0, '-1950' was provided.".to_owned()), "LIMIT")]
    #[case(DataFusionError::Execution("Invalid window frame: Durand".to_owned()), "window frame")]
    #[case(DataFusionError::Plan("Durand 1950".to_owned()), "was given something")]
    fn a_mistake_that_is_found_late_is_the_statements(#[case] error: DataFusionError, #[case] expected: &str) {
        let told = execution(&error);
        assert!(matches!(told, Error::Invalid { .. } | Error::Value { .. }), "{told:?}");
        let text = told.to_string();
        assert!(text.contains(expected) && !text.contains("Durand") && !text.contains("1950"), "{text}");
    }

    #[test]
    fn a_subquery_that_is_no_join_is_told_of() {
        let error = DataFusionError::NotImplemented(
            "Physical plan does not support logical expression ScalarSubquery(<subquery>)".to_owned(),
        );
        assert!(planning(&error).to_string().contains("write it as a join"));
    }

    #[test]
    fn nobody_is_asked_to_report_a_mistake_of_their_own() {
        let message = "Internal error: Function 'sum' failed to match any signature.\nThis issue was likely caused by a bug in \
                       DataFusion's code. Please help us to resolve this by filing a bug report in our issue tracker: \
                       https://github.com/apache/datafusion/issues. No function matches.";
        assert_eq!(first_sentence(message), "Function 'sum' failed to match any signature.. No function matches.");
    }

    #[test]
    fn the_type_of_a_failed_cast_is_told() {
        let error = ArrowError::CastError("Cannot cast string 'Durand' to value of Int32 type".to_owned());
        assert!(execution(&DataFusionError::from(error)).to_string().contains("Int32"));
    }

    #[test]
    fn the_place_is_taken_out_of_a_message() {
        let Error::Invalid { message, line, column } = located("Expected: x, found: y at Line: 3, Column: 14") else {
            panic!("another error")
        };
        assert_eq!((message.as_str(), line, column), ("Expected: x, found: y", Some(3), Some(14)));
    }
}

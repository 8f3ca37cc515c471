//! What DataFusion and the parser report, as the error that a caller reads: with a place in the SQL, without a value of a
//! row.

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
            Error::Invalid { message: told(root), line: None, column: None }
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            execution(error)
        }
        DataFusionError::Internal(_) => Error::Execution {
            message: "the planner met a case that it does not know; put the statement differently".to_owned(),
        },
        _ => {
            let message = first_sentence(&root.message());
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
        root if is_of_a_value(root) => Error::Value { message: told(root) },
        root => Error::Execution { message: told(root) },
    }
}

/// A form of SQL that the engine cannot run; what follows the first bracket of its message is its own debug text.
fn unsupported(message: &str) -> Error {
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
        _ => Error::Execution { message: "the lake's store could not be read".to_owned() },
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
        DataFusionError::Execution(_) => true,
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

/// Without back traces and without the lists of candidates that DataFusion puts after a newline.
fn first_sentence(message: &str) -> String {
    let text = message.split("\n\nbacktrace").next().unwrap_or(message);
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

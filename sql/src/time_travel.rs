//! `VERSION AS OF` and `TIMESTAMP AS OF`: which state of a table one place of a statement means.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use datafusion::sql::sqlparser::ast::{DataType, Expr, TableVersion, TypedString, Value};

use crate::{Error, fault};

/// A state of a table that a statement asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AsOf {
    /// A Delta version.
    Version(i64),
    /// What was newest at a time.
    Time(DateTime<Utc>),
}

impl AsOf {
    /// Reads the clause of a table.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it holds something else than a literal.
    pub(crate) fn read(clause: &TableVersion) -> Result<Self, Error> {
        match clause {
            TableVersion::VersionAsOf(expr) => version(expr),
            TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => time(expr),
            TableVersion::Function(_) | TableVersion::Changes { .. } => Err(fault::invalid(
                "write `VERSION AS OF 3` or `TIMESTAMP AS OF '2024-05-01 12:00:00'` after the table",
            )),
        }
    }

    /// What is put after a table's name in a plan, so that two states of one table are two relations.
    pub(crate) fn mark(self) -> String {
        match self {
            AsOf::Version(version) => format!("@v{version}"),
            AsOf::Time(at) => format!("@{}", at.to_rfc3339()),
        }
    }
}

fn version(expr: &Expr) -> Result<AsOf, Error> {
    let number = match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    number.map(AsOf::Version).ok_or_else(|| fault::invalid("VERSION AS OF takes a whole number"))
}

fn time(expr: &Expr) -> Result<AsOf, Error> {
    let text = match expr {
        Expr::Value(value) => text_of(&value.value),
        Expr::TypedString(TypedString { data_type: DataType::Timestamp(..) | DataType::Date, value, .. }) => {
            text_of(&value.value)
        }
        _ => None,
    };
    text.and_then(instant).map(AsOf::Time).ok_or_else(|| {
        fault::invalid(
            "TIMESTAMP AS OF takes a text such as '2024-05-01', '2024-05-01 12:00:00' or '2024-05-01T12:00:00+02:00'",
        )
    })
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

/// A time without an offset is UTC; a date is its first moment.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(at) =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
    {
        return Some(at.with_timezone(&Utc));
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    Some(naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2024-05-01", "2024-05-01T00:00:00Z")]
    #[case("2024-05-01 12:30:00", "2024-05-01T12:30:00Z")]
    #[case("2024-05-01T12:30:00.250", "2024-05-01T12:30:00.250Z")]
    #[case("2024-05-01T12:30:00+02:00", "2024-05-01T10:30:00Z")]
    #[case("2024-05-01 12:30:00+02", "2024-05-01T10:30:00Z")]
    fn a_time_is_read_as_utc_unless_it_says_otherwise(#[case] text: &str, #[case] at: &str) {
        assert_eq!(instant(text), Some(at.parse().unwrap()));
    }

    #[test]
    fn a_text_that_is_no_time_is_none() {
        assert_eq!(instant("yesterday"), None);
    }
}

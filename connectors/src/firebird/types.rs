//! How each column travels: the SQL that selects it, what the driver hands over, the Arrow type it becomes.
//!
//! The driver turns exact numbers into doubles. That is exact up to 15 digits, so numbers that are stored in 16 or 32 bits
//! come that way and are scaled back; longer ones are written as text by the server.

use arrow::datatypes::{DataType, TimeUnit};

use super::charset::{self, Charset};

/// A column's type as `RDB$FIELDS` tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ColumnType {
    /// `RDB$FIELD_TYPE` (Firebird Language Reference, appendix "System Tables").
    pub(super) code: i64,
    /// `RDB$FIELD_SUB_TYPE`: 1 is NUMERIC or text, 2 is DECIMAL.
    pub(super) sub_type: i64,
    /// `RDB$FIELD_SCALE`: none or negative.
    pub(super) scale: i64,
    pub(super) precision: Option<i64>,
    /// Bytes.
    pub(super) length: i64,
    pub(super) characters: Option<i64>,
    pub(super) character_set: Option<String>,
    pub(super) is_array: bool,
}

/// What comes, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire {
    Int(u8),
    /// A whole number of 128 bits.
    Int128,
    /// A double that is a decimal of so many digits at most.
    Scaled {
        digits: u8,
        scale: u8,
    },
    /// Digits of a decimal.
    Digits {
        digits: u8,
        scale: u8,
    },
    Float32,
    Float64,
    Bool,
    Date,
    /// A moment of some day; Arrow's times of day have no place in a Delta table, so that it becomes text.
    Time,
    Timestamp,
    TimestampTz,
    Text {
        charset: Charset,
        /// A CHAR is filled up with spaces that are not part of the value.
        padded: bool,
    },
    Bytes,
    /// Two fields: what is short as bytes, else the BLOB itself.
    BlobText(Charset),
    BlobBytes,
}

impl Wire {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Wire::Int(16) => DataType::Int16,
            Wire::Int(32) => DataType::Int32,
            Wire::Int(_) => DataType::Int64,
            Wire::Int128 => DataType::Decimal128(38, 0),
            Wire::Scaled { digits, scale } | Wire::Digits { digits, scale } => {
                DataType::Decimal128(digits, i8::try_from(scale).unwrap_or(i8::MAX))
            }
            Wire::Float32 => DataType::Float32,
            Wire::Float64 => DataType::Float64,
            Wire::Bool => DataType::Boolean,
            Wire::Date => DataType::Date32,
            Wire::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Wire::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Wire::Time | Wire::Text { .. } | Wire::BlobText(_) => DataType::Utf8,
            Wire::Bytes | Wire::BlobBytes => DataType::Binary,
        }
    }

    pub(super) fn is_blob(self) -> bool {
        matches!(self, Wire::BlobText(_) | Wire::BlobBytes)
    }
}

const SMALLINT: i64 = 7;
const INTEGER: i64 = 8;
const FLOAT: i64 = 10;
const DATE: i64 = 12;
const TIME: i64 = 13;
const CHAR: i64 = 14;
const BIGINT: i64 = 16;
const BOOLEAN: i64 = 23;
const DECFLOAT_16: i64 = 24;
const DECFLOAT_34: i64 = 25;
const INT128: i64 = 26;
const DOUBLE: i64 = 27;
const TIME_TZ: i64 = 28;
const TIMESTAMP_TZ: i64 = 29;
const TIMESTAMP: i64 = 35;
const VARCHAR: i64 = 37;
const BLOB: i64 = 261;

/// A column as it is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Travel {
    pub(super) wire: Wire,
    /// The expression to select; that of a BLOB is made when it is known how many there are.
    pub(super) expression: String,
}

/// Decides how a column travels, or says why it cannot.
pub(super) fn travel(column: &str, of: &ColumnType, none_charset: Charset) -> Result<Travel, String> {
    let quoted = quote(column);
    let as_is = |wire| Ok(Travel { wire, expression: quoted.clone() });
    let cast = |wire, to: &str| Ok(Travel { wire, expression: format!("CAST({quoted} AS {to})") });
    if of.is_array {
        return Err("an ARRAY, which the protocol has no form for".to_owned());
    }
    let scale = u8::try_from(-of.scale).unwrap_or(0);
    match of.code {
        SMALLINT if scale == 0 => as_is(Wire::Int(16)),
        INTEGER if scale == 0 => as_is(Wire::Int(32)),
        BIGINT if scale == 0 => as_is(Wire::Int(64)),
        INT128 if scale == 0 && of.sub_type == 0 => as_is(Wire::Int128),
        // What is stored may have more digits than were declared.
        SMALLINT => as_is(Wire::Scaled { digits: 5.max(scale), scale }),
        INTEGER => as_is(Wire::Scaled { digits: 10.max(scale), scale }),
        BIGINT => cast(Wire::Digits { digits: 19.max(scale), scale }, "VARCHAR(24)"),
        INT128 => cast(Wire::Digits { digits: 38, scale }, "VARCHAR(48)"),
        FLOAT => as_is(Wire::Float32),
        DOUBLE => as_is(Wire::Float64),
        DECFLOAT_16 | DECFLOAT_34 => cast(Wire::Text { charset: Charset::Utf8, padded: false }, "VARCHAR(64)"),
        BOOLEAN => as_is(Wire::Bool),
        DATE => as_is(Wire::Date),
        TIME => as_is(Wire::Time),
        TIMESTAMP => as_is(Wire::Timestamp),
        TIME_TZ => cast(Wire::Text { charset: Charset::Utf8, padded: false }, "VARCHAR(64)"),
        TIMESTAMP_TZ => Ok(Travel {
            wire: Wire::TimestampTz,
            expression: format!("CAST({quoted} AT TIME ZONE '+00:00' AS TIMESTAMP)"),
        }),
        CHAR | VARCHAR => text(of, none_charset, quoted.clone()),
        BLOB if of.sub_type == 1 => match charset_of(of, none_charset) {
            Some(Charset::Octets) => as_is(Wire::BlobBytes),
            Some(charset) => as_is(Wire::BlobText(charset)),
            None => Err(untranslated(of)),
        },
        BLOB => as_is(Wire::BlobBytes),
        code => Err(format!("of a type ({code}) that this version does not know")),
    }
}

fn text(of: &ColumnType, none_charset: Charset, quoted: String) -> Result<Travel, String> {
    let padded = of.code == CHAR;
    match charset_of(of, none_charset) {
        Some(Charset::Octets) => Ok(Travel { wire: Wire::Bytes, expression: quoted }),
        Some(charset) => Ok(Travel { wire: Wire::Text { charset, padded }, expression: quoted }),
        // The server translates what fits into the longest VARCHAR of UTF-8.
        None => match of.characters {
            Some(length @ 1..=8191) => Ok(Travel {
                wire: Wire::Text { charset: Charset::Utf8, padded },
                expression: format!("CAST({quoted} AS VARCHAR({length}) CHARACTER SET UTF8)"),
            }),
            _ => Err(untranslated(of)),
        },
    }
}

fn charset_of(of: &ColumnType, none_charset: Charset) -> Option<Charset> {
    match of.character_set.as_deref() {
        None | Some("NONE") => Some(none_charset),
        Some(name) => charset::named(name),
    }
}

fn untranslated(of: &ColumnType) -> String {
    let name = of.character_set.as_deref().unwrap_or_default();
    format!("of the character set {name}, which this version cannot translate")
}

/// The type as SQL writes it.
pub(super) fn written(of: &ColumnType) -> String {
    let exact = |bytes: &str| match (of.sub_type, of.scale) {
        (0, 0) => bytes.to_owned(),
        (2, scale) => format!("DECIMAL({}, {})", of.precision.unwrap_or(18), -scale),
        (_, scale) => format!("NUMERIC({}, {})", of.precision.unwrap_or(18), -scale),
    };
    let charset = of.character_set.as_ref().map(|name| format!(" CHARACTER SET {name}")).unwrap_or_default();
    let length = of.characters.unwrap_or(of.length);
    let name = match of.code {
        SMALLINT => exact("SMALLINT"),
        INTEGER => exact("INTEGER"),
        BIGINT => exact("BIGINT"),
        INT128 => exact("INT128"),
        FLOAT => "FLOAT".to_owned(),
        DOUBLE => "DOUBLE PRECISION".to_owned(),
        DECFLOAT_16 => "DECFLOAT(16)".to_owned(),
        DECFLOAT_34 => "DECFLOAT(34)".to_owned(),
        BOOLEAN => "BOOLEAN".to_owned(),
        DATE => "DATE".to_owned(),
        TIME => "TIME".to_owned(),
        TIMESTAMP => "TIMESTAMP".to_owned(),
        TIME_TZ => "TIME WITH TIME ZONE".to_owned(),
        TIMESTAMP_TZ => "TIMESTAMP WITH TIME ZONE".to_owned(),
        CHAR => format!("CHAR({length}){charset}"),
        VARCHAR => format!("VARCHAR({length}){charset}"),
        BLOB if of.sub_type == 1 => format!("BLOB SUB_TYPE TEXT{charset}"),
        BLOB => format!("BLOB SUB_TYPE {}", of.sub_type),
        code => format!("type {code}"),
    };
    if of.is_array { format!("{name}[]") } else { name }
}

/// Whether a column of the type can say how far a table was read.
pub(super) fn orders(of: &ColumnType) -> bool {
    !of.is_array
        && matches!(of.code, SMALLINT | INTEGER | BIGINT | INT128 | DATE | TIMESTAMP | TIMESTAMP_TZ | CHAR | VARCHAR)
}

pub(super) const UNORDERED: &str = "a cursor column is a whole or decimal number, a DATE, a TIMESTAMP or text";

/// How the last value of a cursor column is written in a statement: numbers and moments as [`super::value::note`] notes
/// them, text as the hexadecimal of its bytes.
pub(super) fn cursor_literal(of: &ColumnType, last: &str) -> Option<String> {
    let all = |allowed: &str| !last.is_empty() && last.chars().all(|c| allowed.contains(c));
    let moment = all("0123456789-:. ");
    match of.code {
        SMALLINT | INTEGER | BIGINT | INT128 => all("0123456789-.").then(|| last.to_owned()),
        DATE => moment.then(|| format!("CAST('{last}' AS DATE)")),
        TIMESTAMP => moment.then(|| format!("CAST('{last}' AS TIMESTAMP)")),
        TIMESTAMP_TZ => moment.then(|| format!("CAST('{last} +00:00' AS TIMESTAMP WITH TIME ZONE)")),
        CHAR | VARCHAR => {
            let name = of.character_set.as_deref().unwrap_or("NONE");
            let safe = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let hex = last.is_empty() || all("0123456789abcdef");
            (safe && hex).then(|| format!("_{name} x'{last}'"))
        }
        _ => None,
    }
}

/// The two expressions of a BLOB: what is short comes with its row, the rest in steps of its own.
pub(super) fn blob_expressions(quoted: &str, inline_bytes: usize) -> [String; 2] {
    [
        format!(
            "CASE WHEN OCTET_LENGTH({quoted}) <= {inline_bytes} THEN CAST({quoted} AS VARCHAR({inline_bytes}) CHARACTER SET OCTETS) END"
        ),
        format!("CASE WHEN OCTET_LENGTH({quoted}) > {inline_bytes} THEN {quoted} END"),
    ]
}

/// An identifier in double quotes.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text literal of UTF-8 as hexadecimal, whatever is in it.
pub(super) fn literal(text: &str) -> String {
    format!("_UTF8 x'{}'", hex(text.as_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(code: i64, sub_type: i64, scale: i64) -> ColumnType {
        ColumnType { code, sub_type, scale, ..ColumnType::default() }
    }

    #[rstest]
    #[case(of(SMALLINT, 0, 0), Wire::Int(16))]
    #[case(of(SMALLINT, 1, -2), Wire::Scaled { digits: 5, scale: 2 })]
    #[case(of(INTEGER, 2, -9), Wire::Scaled { digits: 10, scale: 9 })]
    #[case(of(BIGINT, 1, -4), Wire::Digits { digits: 19, scale: 4 })]
    #[case(of(BIGINT, 1, 0), Wire::Int(64))]
    #[case(of(INT128, 1, -10), Wire::Digits { digits: 38, scale: 10 })]
    #[case(of(INT128, 0, 0), Wire::Int128)]
    #[case(of(INT128, 1, 0), Wire::Digits { digits: 38, scale: 0 })]
    #[case(of(BLOB, 0, 0), Wire::BlobBytes)]
    #[case(of(BLOB, -3, 0), Wire::BlobBytes)]
    fn types_travel_as_what_holds_them_exactly(#[case] of: ColumnType, #[case] wire: Wire) {
        assert_eq!(travel("C", &of, Charset::Utf8).unwrap().wire, wire);
    }

    #[test]
    fn a_character_set_that_only_the_server_knows_is_translated_there() {
        let of = |characters| ColumnType {
            code: VARCHAR,
            characters: Some(characters),
            character_set: Some("GBK".into()),
            ..ColumnType::default()
        };
        let travel_of = |characters| travel("C", &of(characters), Charset::Utf8);
        assert_eq!(travel_of(20).unwrap().expression, "CAST(\"C\" AS VARCHAR(20) CHARACTER SET UTF8)");
        assert!(travel_of(20_000).unwrap_err().contains("GBK"));
    }

    #[test]
    fn names_and_values_are_written_so_that_nothing_escapes() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "_UTF8 x'69742773'");
        assert_eq!(cursor_literal(&of(INTEGER, 0, 0), "1 OR 1=1"), None);
        assert_eq!(cursor_literal(&of(TIMESTAMP, 0, 0), "' OR '"), None);
        assert_eq!(cursor_literal(&of(INTEGER, 1, -2), "-1.50").as_deref(), Some("-1.50"));
        assert_eq!(cursor_literal(&of(VARCHAR, 0, 0), "cff0").as_deref(), Some("_NONE x'cff0'"));
        assert_eq!(cursor_literal(&of(DOUBLE, 0, 0), "1"), None);
    }
}

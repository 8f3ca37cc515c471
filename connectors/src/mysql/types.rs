//! How each column travels: the SQL that selects it, the text that comes, the Arrow type it becomes.

use arrow::datatypes::{DataType, TimeUnit};

use super::ZeroDates;

/// A column's type as `information_schema.COLUMNS` tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnType {
    /// `DATA_TYPE`, lower case: `int`, `varchar`.
    pub(super) name: String,
    /// `COLUMN_TYPE`: `int(10) unsigned zerofill`.
    pub(super) written: String,
    pub(super) precision: Option<u64>,
    pub(super) scale: Option<u64>,
    /// `CHARACTER_SET_NAME`; none for what is not text.
    pub(super) character_set: Option<String>,
}

/// How a value is written in the text protocol, and what it is decoded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// Decimal digits of an integer of so many bits.
    Int(u8),
    /// Decimal digits of a number of 64 bits without a sign.
    Unsigned,
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// One bit as a byte.
    Bit,
    /// Up to 63 bits, the first byte first.
    Bits,
    /// 64 bits, the first byte first.
    Bits64,
    /// `2024-01-31`
    Date,
    /// `2024-01-31 12:00:00[.123456]`, without a zone.
    Timestamp,
    /// The same, in UTC: the session's zone.
    TimestampTz,
    /// Bytes of UTF-8, whatever the column's character set: the session's is `utf8mb4`.
    Text,
    Bytes,
    /// Four bytes of a spatial reference system, then WKB.
    Geometry,
}

impl Wire {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Wire::Int(8) => DataType::Int8,
            Wire::Int(16) => DataType::Int16,
            Wire::Int(32) => DataType::Int32,
            Wire::Int(_) | Wire::Bits => DataType::Int64,
            Wire::Unsigned | Wire::Bits64 => DataType::Decimal128(20, 0),
            Wire::Float32 => DataType::Float32,
            Wire::Float64 => DataType::Float64,
            Wire::Decimal { precision, scale } => {
                DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX))
            }
            Wire::Bit => DataType::Boolean,
            Wire::Date => DataType::Date32,
            Wire::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Wire::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Wire::Text => DataType::Utf8,
            Wire::Bytes | Wire::Geometry => DataType::Binary,
        }
    }
}

/// A column as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Travel {
    pub(super) wire: Wire,
    /// The expression to select, over the quoted column name.
    pub(super) expression: String,
}

/// Decides how a column travels. A TIME travels as text: it reaches from -838 to 838 hours.
pub(super) fn travel(column: &str, of: &ColumnType, zero_dates: ZeroDates) -> Travel {
    let quoted = quote(column);
    let unsigned = of.written.contains("unsigned");
    let int = |bits: u8| Wire::Int(if unsigned { bits * 2 } else { bits });
    let date = |wire| if zero_dates == ZeroDates::Text { Wire::Text } else { wire };
    let wire = match of.name.as_str() {
        "tinyint" => int(8),
        "smallint" => int(16),
        // 24 bits
        "mediumint" => Wire::Int(32),
        "int" | "integer" => int(32),
        "bigint" => {
            if unsigned {
                Wire::Unsigned
            } else {
                Wire::Int(64)
            }
        }
        "year" => Wire::Int(16),
        "float" => Wire::Float32,
        "double" | "real" => Wire::Float64,
        "decimal" | "numeric" => declared(of).unwrap_or(Wire::Text),
        "bit" => match of.precision {
            Some(1) => Wire::Bit,
            Some(2..=63) => Wire::Bits,
            _ => Wire::Bits64,
        },
        "date" => date(Wire::Date),
        "datetime" => date(Wire::Timestamp),
        "timestamp" => date(Wire::TimestampTz),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => Wire::Bytes,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => Wire::Geometry,
        // char, varchar, text, enum, set, json, time, uuid, inet4, inet6 and what later versions add.
        _ if of.character_set.as_deref() == Some("binary") => Wire::Bytes,
        _ => Wire::Text,
    };
    let expression = match wire {
        // As it is, a FLOAT is written with six digits.
        Wire::Float32 => format!("{quoted} + 0e0"),
        _ => quoted,
    };
    Travel { wire, expression }
}

fn declared(of: &ColumnType) -> Option<Wire> {
    let precision = of.precision.and_then(|precision| u8::try_from(precision).ok()).filter(|p| *p <= 38)?;
    let scale = of.scale.and_then(|scale| u8::try_from(scale).ok()).filter(|scale| *scale <= precision)?;
    Some(Wire::Decimal { precision, scale })
}

/// How the last value of a cursor column is written in a statement; `None` for a type whose order is not that of its text.
pub(super) fn cursor_literal(of: &ColumnType, last: &str) -> Option<String> {
    match of.name.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "year" | "decimal" | "numeric" => {
            // Digits, not quoted: a number in quotes is compared as a double.
            let digits = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.');
            last.as_bytes().iter().all(digits).then(|| last.to_owned()).filter(|last| !last.is_empty())
        }
        "date" | "datetime" | "timestamp" | "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
        | "uuid" => Some(literal(last)),
        _ => None,
    }
}

/// Whether a column of the type can say how far a table was read.
pub(super) fn orders(of: &ColumnType) -> bool {
    cursor_literal(of, "0").is_some()
}

/// An identifier in back quotes.
pub(super) fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// A text literal; sessions are opened with NO_BACKSLASH_ESCAPES.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(name: &str, written: &str, precision: u64, scale: u64) -> ColumnType {
        ColumnType {
            name: name.to_owned(),
            written: written.to_owned(),
            precision: Some(precision),
            scale: Some(scale),
            character_set: None,
        }
    }

    #[rstest]
    #[case(of("tinyint", "tinyint(4)", 3, 0), Wire::Int(8))]
    #[case(of("tinyint", "tinyint(3) unsigned", 3, 0), Wire::Int(16))]
    #[case(of("mediumint", "mediumint(8) unsigned zerofill", 7, 0), Wire::Int(32))]
    #[case(of("int", "int(10) unsigned", 10, 0), Wire::Int(64))]
    #[case(of("bigint", "bigint(20) unsigned", 20, 0), Wire::Unsigned)]
    #[case(of("decimal", "decimal(38,10)", 38, 10), Wire::Decimal { precision: 38, scale: 10 })]
    #[case(of("decimal", "decimal(65,30)", 65, 30), Wire::Text)]
    #[case(of("bit", "bit(1)", 1, 0), Wire::Bit)]
    #[case(of("bit", "bit(63)", 63, 0), Wire::Bits)]
    #[case(of("bit", "bit(64)", 64, 0), Wire::Bits64)]
    #[case(of("time", "time(6)", 0, 0), Wire::Text)]
    #[case(of("something_new", "something_new", 0, 0), Wire::Text)]
    fn types_travel_as_what_holds_them_exactly(#[case] of: ColumnType, #[case] wire: Wire) {
        assert_eq!(travel("c", &of, ZeroDates::Reject).wire, wire);
    }

    #[test]
    fn dates_travel_as_text_where_zero_dates_are_to_stay_as_they_are() {
        assert_eq!(travel("c", &of("date", "date", 0, 0), ZeroDates::Text).wire, Wire::Text);
        assert_eq!(travel("c", &of("date", "date", 0, 0), ZeroDates::Null).wire, Wire::Date);
    }

    #[test]
    fn names_and_literals_are_quoted_so_that_nothing_escapes() {
        assert_eq!(quote("a`b"), "`a``b`");
        assert_eq!(literal(r"it's \ here"), r"'it''s \ here'");
        assert_eq!(cursor_literal(&of("int", "int", 0, 0), "1 OR 1=1"), None);
        assert_eq!(cursor_literal(&of("decimal", "", 0, 0), "-1.50").as_deref(), Some("-1.50"));
        assert_eq!(cursor_literal(&of("float", "", 0, 0), "1"), None);
    }
}

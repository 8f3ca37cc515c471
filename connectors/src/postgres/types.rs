//! How each column travels: the SQL that selects it, the bytes that come, the Arrow type it becomes.

use arrow::datatypes::{DataType, TimeUnit};

/// A column's type as `pg_attribute` and `pg_type` tell it, domains already taken down to their base.
#[derive(Debug, Clone)]
pub(super) struct ColumnType {
    /// `pg_type.typname` of the base type.
    pub(super) name: String,
    /// `pg_type.typtype`: `b`ase, `c`omposite, `e`num, `r`ange, `m`ultirange.
    pub(super) kind: char,
    /// `pg_type.typcategory`; `A` is an array.
    pub(super) category: char,
    /// `atttypmod`, or the domain's; -1 where there is none.
    pub(super) modifier: i32,
}

/// How a value is written in the binary COPY stream, and what it is decoded into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// Bytes of UTF-8.
    Text,
    Bytes,
    /// Days since 2000-01-01.
    Date,
    /// Microseconds since 2000-01-01, without a zone.
    Timestamp,
    /// The same, in UTC.
    TimestampTz,
    Uuid,
    /// NUMERIC with a declared precision of at most 38.
    Numeric {
        precision: u8,
        scale: u8,
    },
    /// An unsigned 32-bit object id.
    Oid,
}

impl Wire {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Wire::Bool => DataType::Boolean,
            Wire::Int16 => DataType::Int16,
            Wire::Int32 => DataType::Int32,
            Wire::Int64 | Wire::Oid => DataType::Int64,
            Wire::Float32 => DataType::Float32,
            Wire::Float64 => DataType::Float64,
            Wire::Text | Wire::Uuid => DataType::Utf8,
            Wire::Bytes => DataType::Binary,
            Wire::Date => DataType::Date32,
            Wire::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Wire::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Wire::Numeric { precision, scale } => {
                DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX))
            }
        }
    }
}

/// A column as it is read.
#[derive(Debug, Clone)]
pub(super) struct Travel {
    pub(super) wire: Wire,
    /// The expression to select, over the quoted column name.
    pub(super) expression: String,
    /// Whether the expression does more than write the value as its type is written.
    pub(super) relay: bool,
}

/// Types whose text, cast to text, stays what it was.
const WRITTEN: [&str; 25] = [
    "text", "varchar", "name", "json", "jsonb", "numeric", "interval", "time", "timetz", "macaddr", "macaddr8", "cidr",
    "bit", "varbit", "point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery", "pg_lsn",
    "citext",
];

/// Decides how a column travels. A time of day travels as text: PostgreSQL has a `24:00:00`, Arrow has none.
pub(super) fn travel(column: &str, of: &ColumnType) -> Travel {
    let quoted = quote(column);
    let as_is = |wire| Travel { wire, expression: quoted.clone(), relay: false };
    let relay = !matches!(of.kind, 'e' | 'r' | 'm') && !WRITTEN.contains(&of.name.as_str());
    let as_text = || Travel { wire: Wire::Text, expression: format!("{quoted}::text"), relay };
    if of.category == 'A' || of.kind == 'c' {
        return Travel { wire: Wire::Text, expression: format!("to_json({quoted})::text"), relay: true };
    }
    if of.kind != 'b' {
        return as_text();
    }
    match of.name.as_str() {
        "bool" => as_is(Wire::Bool),
        "int2" => as_is(Wire::Int16),
        "int4" => as_is(Wire::Int32),
        "int8" => as_is(Wire::Int64),
        "float4" => as_is(Wire::Float32),
        "float8" => as_is(Wire::Float64),
        "text" | "varchar" | "name" | "json" => as_is(Wire::Text),
        "bytea" => as_is(Wire::Bytes),
        "date" => as_is(Wire::Date),
        "timestamp" => as_is(Wire::Timestamp),
        "timestamptz" => as_is(Wire::TimestampTz),
        "uuid" => as_is(Wire::Uuid),
        "oid" => as_is(Wire::Oid),
        "numeric" => match declared(of.modifier) {
            Some((precision, scale)) => as_is(Wire::Numeric { precision, scale }),
            None => as_text(),
        },
        _ => as_text(),
    }
}

/// Precision and scale of a NUMERIC's type modifier, where a 128-bit decimal holds them. A negative scale (PostgreSQL 15)
/// and a scale above the precision travel as text.
fn declared(modifier: i32) -> Option<(u8, u8)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let precision = u8::try_from((packed >> 16) & 0xffff).ok().filter(|precision| *precision <= 38)?;
    // 11 bits, signed.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= precision)?;
    Some((precision, scale))
}

/// An identifier in double quotes.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text literal, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(name: &str, modifier: i32) -> ColumnType {
        ColumnType { name: name.to_owned(), kind: 'b', category: 'N', modifier }
    }

    #[rstest]
    #[case(of("numeric", ((10 << 16) | 2) + 4), Wire::Numeric { precision: 10, scale: 2 })]
    #[case(of("numeric", -1), Wire::Text)]
    #[case(of("numeric", ((60 << 16) | 2) + 4), Wire::Text)]
    #[case(of("numeric", ((5 << 16) | (0x7ff & -2)) + 4), Wire::Text)]
    #[case(of("timestamptz", -1), Wire::TimestampTz)]
    #[case(of("inet", -1), Wire::Text)]
    #[case(of("time", -1), Wire::Text)]
    fn types_that_arrow_holds_exactly_travel_in_binary(#[case] of: ColumnType, #[case] wire: Wire) {
        assert_eq!(travel("c", &of).wire, wire);
    }

    #[test]
    fn names_and_literals_are_quoted_so_that_nothing_escapes() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal(r"it's \ here"), r"E'it\'s \\ here'");
    }
}

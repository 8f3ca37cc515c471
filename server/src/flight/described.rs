//! What Flight SQL says of a table's columns beside their types (`CommandGetTables`, fields of `table_schema`).

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema};
use mavis_types::Zone;

/// What the keys of the definition begin with.
const PREFIX: &str = "ARROW:FLIGHT:SQL:";

/// The columns of a table, each with the table's name and the words of its type.
pub(super) fn described(columns: &Schema, catalog: &str, schema: &str, table: &str) -> Schema {
    let read_only = flag(catalog != Zone::Work.as_str());
    let field = |field: &Field| {
        let kind = SqlType::of(field.data_type());
        let mut told = vec![
            ("CATALOG_NAME", catalog.to_owned()),
            // The definition says the one, clients of Java and C++ read the other.
            ("DB_SCHEMA_NAME", schema.to_owned()),
            ("SCHEMA_NAME", schema.to_owned()),
            ("TABLE_NAME", table.to_owned()),
            ("TYPE_NAME", kind.name),
            ("IS_AUTO_INCREMENT", flag(false)),
            ("IS_CASE_SENSITIVE", flag(kind.is_text)),
            ("IS_READ_ONLY", read_only.clone()),
            ("IS_SEARCHABLE", flag(true)),
        ];
        told.extend(kind.precision.map(|digits| ("PRECISION", digits.to_string())));
        told.extend(kind.scale.map(|digits| ("SCALE", digits.to_string())));
        let told: HashMap<String, String> =
            told.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect();
        field.clone().with_metadata(told)
    };
    Schema::new(columns.fields().iter().map(|one| field(one)).collect::<Vec<_>>())
}

fn flag(is: bool) -> String {
    if is { "1" } else { "0" }.to_owned()
}

/// A type as SQL calls it, by the names of `CommandGetXdbcTypeInfo`.
#[derive(Debug, PartialEq, Eq)]
struct SqlType {
    name: String,
    /// Digits, or letters of a time's text.
    precision: Option<u8>,
    scale: Option<i8>,
    is_text: bool,
}

impl SqlType {
    fn of(data_type: &DataType) -> Self {
        let (name, precision, scale) = match data_type {
            DataType::Boolean => ("BOOLEAN", Some(1), None),
            DataType::Int8 => ("TINYINT", Some(3), Some(0)),
            DataType::Int16 => ("SMALLINT", Some(5), Some(0)),
            DataType::Int32 => ("INTEGER", Some(10), Some(0)),
            DataType::Int64 => ("BIGINT", Some(19), Some(0)),
            DataType::UInt8 => ("TINYINT UNSIGNED", Some(3), Some(0)),
            DataType::UInt16 => ("SMALLINT UNSIGNED", Some(5), Some(0)),
            DataType::UInt32 => ("INTEGER UNSIGNED", Some(10), Some(0)),
            DataType::UInt64 => ("BIGINT UNSIGNED", Some(20), Some(0)),
            DataType::Float16 | DataType::Float32 => ("REAL", Some(24), None),
            DataType::Float64 => ("DOUBLE", Some(53), None),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => ("DECIMAL", Some(*precision), Some(*scale)),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ("VARCHAR", None, None),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                ("VARBINARY", None, None)
            }
            DataType::Date32 | DataType::Date64 => ("DATE", Some(10), None),
            DataType::Time32(_) | DataType::Time64(_) => ("TIME", Some(15), None),
            DataType::Timestamp(_, None) => ("TIMESTAMP", Some(29), None),
            DataType::Timestamp(..) => ("TIMESTAMP WITH TIME ZONE", Some(35), None),
            DataType::Interval(_) | DataType::Duration(_) => ("INTERVAL", None, None),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_) => ("ARRAY", None, None),
            DataType::Struct(_) => ("STRUCT", None, None),
            DataType::Map(..) => ("MAP", None, None),
            DataType::Dictionary(_, value) => return Self::of(value),
            DataType::RunEndEncoded(_, values) => return Self::of(values.data_type()),
            DataType::Null => ("NULL", None, None),
            DataType::Union(..) => ("UNION", None, None),
        };
        Self { name: name.to_owned(), precision, scale, is_text: name == "VARCHAR" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_tell_their_table_and_their_type() {
        let columns = Schema::new(vec![
            Field::new("amount", DataType::Decimal128(10, 2), true),
            Field::new("t", DataType::Utf8, true),
        ]);
        let told = described(&columns, "raw", "hms", "bill");
        let of = |column: usize, key: &str| told.field(column).metadata().get(&format!("{PREFIX}{key}")).cloned();
        for (key, value) in [("CATALOG_NAME", "raw"), ("DB_SCHEMA_NAME", "hms"), ("TABLE_NAME", "bill")] {
            assert_eq!(of(0, key).as_deref(), Some(value), "{key}");
        }
        let decimal = [of(0, "TYPE_NAME"), of(0, "PRECISION"), of(0, "SCALE"), of(0, "IS_READ_ONLY")];
        assert_eq!(decimal.map(Option::unwrap), ["DECIMAL", "10", "2", "1"]);
        assert_eq!((of(1, "IS_CASE_SENSITIVE").as_deref(), of(1, "PRECISION")), (Some("1"), None));
        let own = described(&columns, "work", "ana", "t");
        assert_eq!(own.field(0).metadata()[&format!("{PREFIX}IS_READ_ONLY")], "0");
    }
}

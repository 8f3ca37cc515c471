use arrow::datatypes::{DataType, Field, Schema};
use pgwire::{
    api::Type,
    messages::data::{FieldDescription, RowDescription},
};

use super::Format;

/// The PostgreSQL type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pgwire) enum Kind {
    Plain(Type),
    /// Digits and, of them, those after the point.
    Numeric(Option<(u8, i8)>),
    List(Box<Kind>),
    Json,
}

impl Kind {
    pub(in crate::pgwire) fn of(data_type: &DataType) -> Self {
        Kind::Plain(match data_type {
            DataType::Boolean => Type::BOOL,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
            DataType::Int32 | DataType::UInt16 => Type::INT4,
            DataType::Int64 => Type::INT8,
            DataType::UInt32 => Type::OID,
            DataType::UInt64 => return Kind::Numeric(None),
            DataType::Float16 | DataType::Float32 => Type::FLOAT4,
            DataType::Float64 => Type::FLOAT8,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => return Kind::Numeric(Some((*precision, *scale))),
            DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => Type::BYTEA,
            DataType::Date32 | DataType::Date64 => Type::DATE,
            DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
            DataType::Timestamp(_, None) => Type::TIMESTAMP,
            DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
            DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
            // The catalogs' vectors; no other column has these types.
            DataType::LargeList(item) if *item.data_type() == DataType::Int16 => Type::INT2_VECTOR,
            DataType::LargeList(item) if *item.data_type() == DataType::UInt32 => Type::OID_VECTOR,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                return match Kind::of(item.data_type()) {
                    Kind::Json => Kind::Json,
                    // PostgreSQL's arrays have one type however many dimensions.
                    Kind::List(inner) => Kind::List(inner),
                    item => Kind::List(Box::new(item)),
                };
            }
            DataType::Struct(_) | DataType::Map(..) => return Kind::Json,
            _ => Type::TEXT,
        })
    }

    /// The type as the wire tells it.
    pub(in crate::pgwire) fn pg(&self) -> Type {
        match self {
            Kind::Plain(plain) => plain.clone(),
            Kind::Numeric(_) => Type::NUMERIC,
            Kind::Json => Type::JSON,
            Kind::List(item) => match item.pg() {
                Type::BOOL => Type::BOOL_ARRAY,
                Type::INT2 => Type::INT2_ARRAY,
                Type::INT4 => Type::INT4_ARRAY,
                Type::INT8 => Type::INT8_ARRAY,
                Type::OID => Type::OID_ARRAY,
                Type::NUMERIC => Type::NUMERIC_ARRAY,
                Type::FLOAT4 => Type::FLOAT4_ARRAY,
                Type::FLOAT8 => Type::FLOAT8_ARRAY,
                Type::BYTEA => Type::BYTEA_ARRAY,
                Type::DATE => Type::DATE_ARRAY,
                Type::TIME => Type::TIME_ARRAY,
                Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
                Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
                Type::INTERVAL => Type::INTERVAL_ARRAY,
                _ => Type::TEXT_ARRAY,
            },
        }
    }

    /// Bytes of a value, -1 where they differ.
    fn size(&self) -> i16 {
        match self {
            Kind::Plain(plain) => match *plain {
                Type::BOOL => 1,
                Type::INT2 => 2,
                Type::INT4 | Type::OID | Type::FLOAT4 | Type::DATE => 4,
                Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
                Type::INTERVAL => 16,
                _ => -1,
            },
            Kind::Numeric(_) | Kind::List(_) | Kind::Json => -1,
        }
    }

    fn modifier(&self) -> i32 {
        match self {
            Kind::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
            }
            _ => -1,
        }
    }
}

/// What stands after this in a column's name only keeps names apart that the client wrote alike.
const APART: char = '\0';

/// The name of a column as the client wrote it.
pub(super) fn shown(field: &Field) -> &str {
    field.name().split(APART).next().unwrap_or_default()
}

fn field(field: &Field, format: Format) -> FieldDescription {
    let kind = Kind::of(field.data_type());
    FieldDescription::new(shown(field).to_owned(), 0, 0, kind.pg().oid(), kind.size(), kind.modifier(), format.code())
}

/// The columns of an answer.
pub(in crate::pgwire) fn describe(schema: &Schema, formats: &[i16]) -> RowDescription {
    let fields = schema.fields().iter().enumerate();
    RowDescription::new(fields.map(|(number, own)| field(own, Format::of(formats, number))).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;
    use rstest::rstest;

    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("element", item, true)))
    }

    #[rstest]
    #[case(DataType::Utf8, Type::TEXT)]
    #[case(DataType::Null, Type::TEXT)]
    #[case(DataType::UInt64, Type::NUMERIC)]
    #[case(DataType::Decimal256(60, 2), Type::NUMERIC)]
    #[case(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), Type::TIMESTAMPTZ)]
    #[case(list(DataType::Int64), Type::INT8_ARRAY)]
    #[case(list(list(DataType::Utf8)), Type::TEXT_ARRAY)]
    #[case(DataType::LargeList(Arc::new(Field::new("item", DataType::Int16, true))), Type::INT2_VECTOR)]
    #[case(DataType::Struct(Vec::<Field>::new().into()), Type::JSON)]
    #[case(list(DataType::Struct(Vec::<Field>::new().into())), Type::JSON)]
    fn a_column_has_the_type(#[case] data_type: DataType, #[case] expected: Type) {
        assert_eq!(Kind::of(&data_type).pg(), expected);
    }
}

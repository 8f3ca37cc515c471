//! Types that the engine's planner has no word for: maps, and the other spellings of bytes and text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::{
    common::{Result, not_impl_err},
    logical_expr::planner::TypePlanner,
    sql::sqlparser::ast::{ArrayElemTypeDef, DataType as Sql, ExactNumberInfo, StructField, TimezoneInfo},
};

/// Digits of a decimal that does not say how many, and of its fraction, as the planner has them.
const DIGITS: (u8, i8) = (38, 10);

/// Reads them; whatever else there is, the planner reads by itself.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql: &Sql) -> Result<Option<FieldRef>> {
        let own = match sql {
            Sql::Map(key, value) => map(key, value)?,
            Sql::Binary(_) | Sql::Varbinary(_) | Sql::Blob(_) | Sql::Bytes(_) => DataType::Binary,
            Sql::Character(_) | Sql::CharacterVarying(_) | Sql::CharVarying(_) | Sql::Clob(_) => DataType::Utf8,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", own, true))))
    }
}

fn map(key: &Sql, value: &Sql) -> Result<DataType> {
    let pair = Fields::from(vec![Field::new("key", inner(key)?, false), Field::new("value", inner(value)?, true)]);
    Ok(DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(pair), false)), false))
}

/// A type within a map, where the planner does not come.
fn inner(sql: &Sql) -> Result<DataType> {
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) | Sql::Int2(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) => DataType::Int64,
        Sql::Real | Sql::Float(_) | Sql::Float4 => DataType::Float32,
        Sql::Double(ExactNumberInfo::None) | Sql::DoublePrecision | Sql::Float8 => DataType::Float64,
        Sql::Varchar(_) | Sql::Char(_) | Sql::Text | Sql::String(_) => DataType::Utf8,
        Sql::Date => DataType::Date32,
        Sql::Timestamp(None | Some(6), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        Sql::Timestamp(None | Some(6), _) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Sql::Decimal(info) | Sql::Numeric(info) => decimal(info)?,
        Sql::Bytea => DataType::Binary,
        Sql::Array(ArrayElemTypeDef::AngleBracket(item) | ArrayElemTypeDef::SquareBracket(item, None)) => {
            DataType::List(Arc::new(Field::new_list_field(inner(item)?, true)))
        }
        Sql::Struct(fields, _) => DataType::Struct(fields.iter().map(field).collect::<Result<_>>()?),
        other => match Types.plan_type_field(other)? {
            Some(field) => field.data_type().clone(),
            None => return not_impl_err!("`{other}` within a MAP"),
        },
    })
}

fn field(field: &StructField) -> Result<Field> {
    let Some(name) = &field.field_name else { return not_impl_err!("a field of a STRUCT without a name") };
    let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
    Ok(Field::new(name, inner(&field.field_type)?, true))
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType> {
    let digits = match *info {
        ExactNumberInfo::None => Some(DIGITS),
        ExactNumberInfo::Precision(precision) => u8::try_from(precision).ok().map(|precision| (precision, 0)),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            u8::try_from(precision).ok().zip(i8::try_from(scale).ok())
        }
    };
    match digits {
        Some((precision @ 1..=38, scale)) if scale.unsigned_abs() <= precision => {
            Ok(DataType::Decimal128(precision, scale))
        }
        _ => not_impl_err!("`DECIMAL{info}`: a decimal has 38 digits at most"),
    }
}

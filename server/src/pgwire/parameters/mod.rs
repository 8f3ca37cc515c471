//! Values that a client binds, by the types that were declared for them, or that it was told.

mod binary;
mod numeric;
mod text;

use std::sync::Arc;

use arrow::{
    array::Array as _,
    datatypes::{DataType, Field, IntervalUnit, TimeUnit},
};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use pgwire::api::Type;

use super::{
    failure::{Failure, state},
    values::{Format, Kind},
};

const DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// Digits of a numeric, and of them those after the point, where its value does not need more of those: the engine's own.
const DIGITS: (u8, i8) = (38, 10);

/// The Arrow type of a declared type; `None` for those that travel as text.
fn arrow(of: &Type) -> Option<DataType> {
    Some(match *of {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::OID => DataType::UInt32,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(DIGITS.0, DIGITS.1),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => {
            let item = arrow(&item(of)?).unwrap_or(DataType::Utf8);
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        }
    })
}

/// The type of an array's items.
fn item(of: &Type) -> Option<Type> {
    Some(match *of {
        Type::BOOL_ARRAY => Type::BOOL,
        Type::INT2_ARRAY => Type::INT2,
        Type::INT4_ARRAY => Type::INT4,
        Type::INT8_ARRAY => Type::INT8,
        Type::OID_ARRAY => Type::OID,
        Type::FLOAT4_ARRAY => Type::FLOAT4,
        Type::FLOAT8_ARRAY => Type::FLOAT8,
        Type::NUMERIC_ARRAY => Type::NUMERIC,
        Type::BYTEA_ARRAY => Type::BYTEA,
        Type::DATE_ARRAY => Type::DATE,
        Type::TIME_ARRAY => Type::TIME,
        Type::TIMESTAMP_ARRAY => Type::TIMESTAMP,
        Type::TIMESTAMPTZ_ARRAY => Type::TIMESTAMPTZ,
        Type::INTERVAL_ARRAY => Type::INTERVAL,
        Type::TEXT_ARRAY => Type::TEXT,
        Type::VARCHAR_ARRAY => Type::VARCHAR,
        Type::BPCHAR_ARRAY => Type::BPCHAR,
        Type::NAME_ARRAY => Type::NAME,
        Type::CHAR_ARRAY => Type::CHAR,
        Type::UUID_ARRAY => Type::UUID,
        Type::JSON_ARRAY => Type::JSON,
        Type::JSONB_ARRAY => Type::JSONB,
        _ => return None,
    })
}

/// What the engine takes parameters for, by the oids that were declared for them. A number may keep more digits after the
/// point than most.
pub(super) fn types(declared: &[u32], values: &[ScalarValue]) -> Vec<Option<DataType>> {
    let of = |(place, oid): (usize, &u32)| {
        let known = arrow(&Type::from_oid(*oid)?)?;
        match (&known, values.get(place)) {
            (DataType::Decimal128(_, scale), Some(ScalarValue::Decimal128(Some(_), precision, own))) if own > scale => {
                Some(DataType::Decimal128(*precision, *own))
            }
            (DataType::List(_), Some(ScalarValue::List(list))) if *oid == Type::NUMERIC_ARRAY.oid() => {
                Some(list.data_type().clone())
            }
            _ => Some(known),
        }
    };
    declared.iter().enumerate().map(of).collect()
}

/// The type that a client is told for a parameter: the one that it declared, or the one that the statement wants.
pub(super) fn told(declared: Option<u32>, field: &Field) -> Type {
    let declared = declared.filter(|oid| *oid != 0 && *oid != Type::UNKNOWN.oid()).and_then(Type::from_oid);
    let named = field.metadata().get(mavis_sql::NAMED_TYPE).and_then(|name| match name.as_str() {
        "uuid" => Some(Type::UUID),
        "json" => Some(Type::JSON),
        "jsonb" => Some(Type::JSONB),
        "uuid[]" => Some(Type::UUID_ARRAY),
        "json[]" => Some(Type::JSON_ARRAY),
        "jsonb[]" => Some(Type::JSONB_ARRAY),
        _ => None,
    });
    declared.or(named).unwrap_or_else(|| Kind::of(field.data_type()).pg())
}

/// Reads a value of the parameter with this number, from 1.
///
/// # Errors
/// 22P02, 22P03: the value does not fit its type; it is not repeated.
pub(super) fn read(number: usize, of: &Type, format: Format, value: Option<&Bytes>) -> Result<ScalarValue, Failure> {
    if let Some(reason) = value.and_then(|value| out_of_range(of, format, value)) {
        return Err(Failure::error(
            state::TIME,
            format!("the value of parameter ${number} is no {}: {reason}", of.name()),
        ));
    }
    let (read, code) = match (value, format) {
        (None, _) => (null(of), state::BAD_VALUE),
        (Some(value), Format::Text) => {
            (std::str::from_utf8(value).ok().and_then(|value| text::read(of, value)), state::BAD_VALUE)
        }
        (Some(value), Format::Binary) => (binary::read(of, value.clone()), state::BAD_BINARY),
    };
    read.ok_or_else(|| Failure::error(code, format!("the value of parameter ${number} is not a {}", of.name())))
}

/// Why a time that PostgreSQL has is none here.
fn out_of_range(of: &Type, format: Format, value: &Bytes) -> Option<&'static str> {
    let is_moment = matches!(*of, Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ);
    if !is_moment && *of != Type::TIME {
        return None;
    }
    let known = match format {
        Format::Text => std::str::from_utf8(value).ok()?,
        Format::Binary if *of == Type::TIME && **value == DAY.to_be_bytes() => "24:00",
        Format::Binary if **value == i64::MAX.to_be_bytes() || **value == i32::MAX.to_be_bytes() => "infinity",
        Format::Binary if **value == i64::MIN.to_be_bytes() || **value == i32::MIN.to_be_bytes() => "-infinity",
        Format::Binary => return None,
    };
    mavis_sql::out_of_range(known)
}

fn null(of: &Type) -> Option<ScalarValue> {
    arrow(of).map_or(Some(ScalarValue::Utf8(None)), |of| ScalarValue::try_from(&of).ok())
}

/// A list of values as an array has them, none of which may become another one.
fn list(of: &Type, items: Vec<Option<ScalarValue>>) -> Option<ScalarValue> {
    let of = match arrow(of).unwrap_or(DataType::Utf8) {
        DataType::Decimal128(digits, scale) => {
            let own = items.iter().flatten().filter_map(|item| match item {
                ScalarValue::Decimal128(_, _, own) => Some(*own),
                _ => None,
            });
            DataType::Decimal128(digits, own.fold(scale, i8::max))
        }
        other => other,
    };
    let fitted = items.into_iter().map(|value| match value {
        None => ScalarValue::try_from(&of).ok(),
        Some(value) => {
            let put = value.cast_to(&of).ok().filter(|put| !put.is_null())?;
            let is_kept = !matches!(value, ScalarValue::Decimal128(..))
                || put.cast_to(&value.data_type()).is_ok_and(|back| back == value);
            is_kept.then_some(put)
        }
    });
    let fitted = fitted.collect::<Option<Vec<ScalarValue>>>()?;
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&fitted, &of)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rstest::rstest;

    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_not_repeated() {
        let failure = read(2, &Type::BOOL, Format::Text, Some(&Bytes::from_static(b"Durand"))).unwrap_err();
        assert!(!format!("{failure:?}").contains("Durand"));
    }

    #[rstest]
    #[case(Type::DATE, Format::Text, b"infinity", "22008")]
    #[case(Type::TIMESTAMP, Format::Text, b"0044-03-15 12:00 BC", "22008")]
    #[case(Type::TIME, Format::Text, b"24:00", "22008")]
    #[case(Type::DATE, Format::Binary, b"\x80\0\0\0", "22008")]
    #[case(Type::TIMESTAMPTZ, Format::Binary, b"\x7f\xff\xff\xff\xff\xff\xff\xff", "22008")]
    #[case(Type::TIMESTAMP, Format::Binary, b"\x80\0\0\0\0\0\0\0", "22008")]
    #[case(Type::BOOL, Format::Text, b"infinity", "22P02")]
    fn a_time_out_of_range_is_said_to_be_one(
        #[case] of: Type,
        #[case] format: Format,
        #[case] value: &'static [u8],
        #[case] code: &str,
    ) {
        assert_eq!(read(1, &of, format, Some(&Bytes::from_static(value))).unwrap_err().code, code);
    }

    #[rstest]
    #[case(Type::INT8, ScalarValue::Int64(None))]
    #[case(Type::TEXT, ScalarValue::Utf8(None))]
    #[case(Type::UUID, ScalarValue::Utf8(None))]
    fn nothing_has_a_type(#[case] of: Type, #[case] expected: ScalarValue) {
        assert_eq!(read(1, &of, Format::Binary, None).unwrap(), expected);
        let list = read(1, &Type::INT4_ARRAY, Format::Text, None).unwrap();
        assert!(list.is_null() && matches!(list, ScalarValue::List(_)));
    }

    #[test]
    fn a_number_keeps_its_digits() {
        let declared = [Type::NUMERIC.oid(), Type::NUMERIC.oid(), Type::TEXT.oid(), 0];
        let values = [ScalarValue::Decimal128(Some(15), 38, 1), ScalarValue::Decimal128(Some(15), 38, 12)];
        let expected = [Some(DataType::Decimal128(38, 10)), Some(DataType::Decimal128(38, 12)), None, None];
        assert_eq!(types(&declared, &values), expected);
    }

    #[test]
    fn numbers_of_a_list_keep_their_digits() {
        let list =
            |text: &'static [u8]| read(1, &Type::NUMERIC_ARRAY, Format::Text, Some(&Bytes::from_static(text))).unwrap();
        let of = |scale| DataType::List(Arc::new(Field::new_list_field(DataType::Decimal128(38, scale), true)));
        let declared = [Type::NUMERIC_ARRAY.oid(), Type::NUMERIC_ARRAY.oid()];
        let values = [list(b"{1.5}"), list(b"{1.123456789012,NULL,2}")];
        assert_eq!(types(&declared, &values), [Some(of(10)), Some(of(12))]);
    }

    #[rstest]
    #[case(Some(0), "", Type::TEXT)]
    #[case(Some(Type::UNKNOWN.oid()), "", Type::TEXT)]
    #[case(Some(Type::VARCHAR.oid()), "uuid", Type::VARCHAR)]
    #[case(None, "uuid", Type::UUID)]
    #[case(None, "jsonb[]", Type::JSONB_ARRAY)]
    fn a_client_is_told_the_type_that_it_knows(
        #[case] declared: Option<u32>,
        #[case] named: &str,
        #[case] expected: Type,
    ) {
        let metadata = HashMap::from([(mavis_sql::NAMED_TYPE.to_owned(), named.to_owned())]);
        let field = Field::new("$1", DataType::Utf8, true).with_metadata(metadata);
        assert_eq!(told(declared, &field), expected);
    }
}

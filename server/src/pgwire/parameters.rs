//! Values that a client binds, by the types that were declared for them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::{Buf, Bytes};
use datafusion::scalar::ScalarValue;
use pgwire::api::Type;

use super::{
    failure::{Failure, state},
    values::Format,
};

const DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// Groups of a numeric that are read, so that a few bytes cannot ask for gigabytes of zeros.
const GROUPS: i64 = 2_000;

/// The Arrow type of a declared type; `None` for those that travel as text.
pub(super) fn arrow(oid: u32) -> Option<DataType> {
    let list = |item| Some(DataType::List(Arc::new(Field::new_list_field(item, true))));
    Some(match Type::from_oid(oid)? {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::OID => DataType::UInt32,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::BOOL_ARRAY => return list(DataType::Boolean),
        Type::INT2_ARRAY => return list(DataType::Int16),
        Type::INT4_ARRAY => return list(DataType::Int32),
        Type::INT8_ARRAY => return list(DataType::Int64),
        Type::OID_ARRAY => return list(DataType::UInt32),
        Type::FLOAT4_ARRAY => return list(DataType::Float32),
        Type::FLOAT8_ARRAY => return list(DataType::Float64),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::NAME_ARRAY | Type::UUID_ARRAY | Type::BPCHAR_ARRAY => {
            return list(DataType::Utf8);
        }
        _ => return None,
    })
}

/// Reads a value of the parameter with this number, from 1.
///
/// # Errors
/// 22P02, 22P03: the value does not fit its type; it is not repeated.
pub(super) fn read(number: usize, of: &Type, format: Format, value: Option<&Bytes>) -> Result<ScalarValue, Failure> {
    let Some(value) = value else { return Ok(ScalarValue::Utf8(None)) };
    let (read, code) = match format {
        Format::Text => (text(of, value), state::BAD_VALUE),
        Format::Binary => (binary(of, value.clone()), state::BAD_BINARY),
    };
    read.ok_or_else(|| Failure::error(code, format!("the value of parameter ${number} is not a {}", of.name())))
}

/// A text; the engine casts it to what the statement expects.
fn text(of: &Type, value: &[u8]) -> Option<ScalarValue> {
    let text = std::str::from_utf8(value).ok()?;
    match *of {
        Type::BOOL => match text.trim().to_lowercase().as_str() {
            "t" | "true" | "1" | "y" | "yes" | "on" => Some(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "0" | "n" | "no" | "off" => Some(ScalarValue::Boolean(Some(false))),
            _ => None,
        },
        Type::BYTEA => Some(ScalarValue::Binary(Some(match text.strip_prefix("\\x") {
            Some(digits) => hex::decode(digits).ok()?,
            None => text.as_bytes().to_vec(),
        }))),
        _ => match arrow(of.oid()) {
            Some(DataType::List(field)) => {
                let items = array_text(text)?.into_iter().map(|item| {
                    let item = ScalarValue::Utf8(item);
                    if *field.data_type() == DataType::Utf8 { Some(item) } else { item.cast_to(field.data_type()).ok() }
                });
                Some(list(&items.collect::<Option<Vec<_>>>()?, field.data_type()))
            }
            _ => Some(ScalarValue::Utf8(Some(text.to_owned()))),
        },
    }
}

fn binary(of: &Type, mut value: Bytes) -> Option<ScalarValue> {
    let length = value.len();
    let sized = |size: usize| (length == size).then_some(());
    Some(match *of {
        Type::BOOL => {
            sized(1)?;
            ScalarValue::Boolean(Some(value.get_u8() != 0))
        }
        Type::INT2 => {
            sized(2)?;
            ScalarValue::Int16(Some(value.get_i16()))
        }
        Type::INT4 => {
            sized(4)?;
            ScalarValue::Int32(Some(value.get_i32()))
        }
        Type::OID => {
            sized(4)?;
            ScalarValue::UInt32(Some(value.get_u32()))
        }
        Type::INT8 => {
            sized(8)?;
            ScalarValue::Int64(Some(value.get_i64()))
        }
        Type::FLOAT4 => {
            sized(4)?;
            ScalarValue::Float32(Some(value.get_f32()))
        }
        Type::FLOAT8 => {
            sized(8)?;
            ScalarValue::Float64(Some(value.get_f64()))
        }
        Type::BYTEA => ScalarValue::Binary(Some(value.to_vec())),
        Type::DATE => {
            sized(4)?;
            ScalarValue::Date32(Some(value.get_i32().checked_add(EPOCH_DAYS)?))
        }
        Type::TIME => {
            sized(8)?;
            ScalarValue::Time64Microsecond(Some(value.get_i64()))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            sized(8)?;
            let micros = value.get_i64().checked_add(i64::from(EPOCH_DAYS) * DAY)?;
            let zone = (*of == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        Type::NUMERIC => numeric(value)?,
        Type::UUID => {
            let bytes: [u8; 16] = value.as_ref().try_into().ok()?;
            ScalarValue::Utf8(Some(uuid::Uuid::from_bytes(bytes).to_string()))
        }
        Type::JSONB => {
            // a byte that tells the version, then JSON
            let text = value.get(1..)?;
            ScalarValue::Utf8(Some(String::from_utf8(text.to_vec()).ok()?))
        }
        _ => match arrow(of.oid()) {
            Some(DataType::List(field)) => array_binary(value, field.data_type())?,
            _ => ScalarValue::Utf8(Some(String::from_utf8(value.to_vec()).ok()?)),
        },
    })
}

fn list(items: &[ScalarValue], of: &DataType) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list_nullable(items, of))
}

/// Groups of four decimal digits, as `values::numeric` writes them.
fn numeric(mut value: Bytes) -> Option<ScalarValue> {
    if value.len() < 8 {
        return None;
    }
    let (count, weight) = (usize::from(value.get_u16()), i64::from(value.get_i16()));
    let (sign, scale) = (value.get_u16(), usize::from(value.get_u16()));
    if sign == 0xC000 {
        return Some(ScalarValue::Float64(Some(f64::NAN)));
    }
    if value.len() != 2 * count || weight.abs() > GROUPS {
        return None;
    }
    let groups: Vec<u16> = (0..count).map(|_| value.get_u16()).collect();
    let group =
        |place: i64| usize::try_from(weight - place).ok().and_then(|at| groups.get(at)).copied().unwrap_or_default();
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    text.push_str(&(0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect::<String>());
    if scale > 0 {
        let fraction: String = (1..=scale.div_ceil(4) as i64).map(|place| format!("{:04}", group(-place))).collect();
        text.push('.');
        text.push_str(fraction.get(..scale)?);
    }
    let digits = text.replace(['.', '-'], "");
    let digits = digits.trim_start_matches('0');
    match (digits.len() <= 38 && scale <= 38, digits.parse::<i128>()) {
        (true, parsed) => {
            let number = if digits.is_empty() { 0 } else { parsed.ok()? };
            let number = if sign == 0x4000 { -number } else { number };
            Some(ScalarValue::Decimal128(Some(number), 38, i8::try_from(scale).ok()?))
        }
        (false, _) => Some(ScalarValue::Utf8(Some(text))),
    }
}

/// Dimensions, whether there are NULLs, the items' type, and for each dimension how many; then the items.
fn array_binary(mut value: Bytes, of: &DataType) -> Option<ScalarValue> {
    if value.len() < 12 {
        return None;
    }
    let dimensions = value.get_i32();
    value.advance(4);
    let item = Type::from_oid(value.get_u32())?;
    if dimensions == 0 {
        return Some(list(&[], of));
    }
    if dimensions != 1 || value.len() < 8 {
        return None;
    }
    let count = usize::try_from(value.get_i32()).ok()?;
    value.advance(4);
    let mut items = Vec::new();
    for _ in 0..count {
        if value.len() < 4 {
            return None;
        }
        items.push(match usize::try_from(value.get_i32()) {
            Err(_) => ScalarValue::try_from(of).ok()?,
            Ok(length) if length <= value.len() => binary(&item, value.split_to(length))?.cast_to(of).ok()?,
            Ok(_) => return None,
        });
    }
    Some(list(&items, of))
}

/// `{a,"b c",NULL}`.
fn array_text(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let (mut item, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => item.push(letters.next()?),
            '"' => (quoted, was_quoted) = (!quoted, true),
            ',' if !quoted => {
                items.push(taken(&item, was_quoted));
                (item, was_quoted) = (String::new(), false);
            }
            '{' | '}' if !quoted => return None,
            letter => item.push(letter),
        }
    }
    if quoted {
        return None;
    }
    if !inner.trim().is_empty() {
        items.push(taken(&item, was_quoted));
    }
    Some(items)
}

fn taken(item: &str, was_quoted: bool) -> Option<String> {
    if was_quoted {
        return Some(item.to_owned());
    }
    let item = item.trim();
    (!item.eq_ignore_ascii_case("null")).then(|| item.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rstest::rstest;

    use super::*;
    use crate::pgwire::values;

    #[rstest]
    #[case("0", 0, 0)]
    #[case("-12345.678", -12_345_678, 3)]
    #[case("0.0001", 1, 4)]
    #[case("1000000", 1_000_000, 0)]
    fn a_numeric_is_read_as_it_was_written(#[case] text: &str, #[case] number: i128, #[case] scale: i8) {
        let mut out = BytesMut::new();
        values::numeric(text, &mut out);
        let read = binary(&Type::NUMERIC, out.freeze()).unwrap();
        assert_eq!(read, ScalarValue::Decimal128(Some(number), 38, scale));
    }

    #[rstest]
    #[case(Type::INT4, b"\0\0\0\x05", Some(ScalarValue::Int32(Some(5))))]
    #[case(Type::INT4, b"\0\0\x05", None)]
    #[case(Type::DATE, b"\0\0\0\0", Some(ScalarValue::Date32(Some(10_957))))]
    #[case(Type::TEXT, b"\xc3\xa9", Some(ScalarValue::Utf8(Some("é".to_owned()))))]
    #[case(Type::TEXT, b"\xff", None)]
    #[case(Type::NUMERIC, b"\0\x01\x7f\xff\0\0\0\0\0\x01", None)]
    #[case(Type::INT4_ARRAY, b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01", None)]
    fn a_binary_value_is_read_or_refused(
        #[case] of: Type,
        #[case] bytes: &'static [u8],
        #[case] expected: Option<ScalarValue>,
    ) {
        assert_eq!(binary(&of, Bytes::from_static(bytes)), expected);
    }

    #[rstest]
    #[case("{}", &[])]
    #[case("{a,NULL,\"b \\\"c\", d }", &[Some("a"), None, Some("b \"c"), Some("d")])]
    fn an_array_is_read_from_its_text(#[case] text: &str, #[case] expected: &[Option<&str>]) {
        let items: Vec<Option<String>> = expected.iter().map(|item| item.map(str::to_owned)).collect();
        assert_eq!(array_text(text), Some(items));
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_repeated() {
        let failure = read(2, &Type::BOOL, Format::Text, Some(&Bytes::from_static(b"Durand"))).unwrap_err();
        assert!(!format!("{failure:?}").contains("Durand"));
    }
}

use bytes::{Buf, Bytes};
use datafusion::scalar::ScalarValue;
use mavis_sql::Interval;
use pgwire::api::Type;

use super::{DAY, EPOCH_DAYS, item, list, numeric, text::interval};

/// Reads a value in PostgreSQL's own form.
pub(super) fn read(of: &Type, mut value: Bytes) -> Option<ScalarValue> {
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
            // The least number is an infinity.
            let days = Some(value.get_i32()).filter(|days| *days != i32::MIN)?;
            ScalarValue::Date32(Some(days.checked_add(EPOCH_DAYS)?))
        }
        Type::TIME => {
            sized(8)?;
            ScalarValue::Time64Microsecond(Some(value.get_i64()))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            sized(8)?;
            let micros = Some(value.get_i64()).filter(|micros| *micros != i64::MIN)?;
            let micros = micros.checked_add(i64::from(EPOCH_DAYS) * DAY)?;
            let zone = (*of == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        Type::INTERVAL => {
            sized(16)?;
            let (micros, days, months) = (value.get_i64(), value.get_i32(), value.get_i32());
            interval(Interval { months, days, micros })?
        }
        Type::NUMERIC => numeric::read(value)?,
        Type::UUID => {
            let bytes: [u8; 16] = value.as_ref().try_into().ok()?;
            ScalarValue::Utf8(Some(uuid::Uuid::from_bytes(bytes).to_string()))
        }
        Type::JSONB => {
            // a byte that tells the version, then JSON
            let text = value.get(1..)?;
            ScalarValue::Utf8(Some(String::from_utf8(text.to_vec()).ok()?))
        }
        _ => match item(of) {
            Some(item) => array(value, &item)?,
            None => ScalarValue::Utf8(Some(String::from_utf8(value.to_vec()).ok()?)),
        },
    })
}

/// Dimensions, whether there are NULLs, the items' type, and for each dimension how many; then the items.
fn array(mut value: Bytes, of: &Type) -> Option<ScalarValue> {
    if value.len() < 12 {
        return None;
    }
    let dimensions = value.get_i32();
    value.advance(4);
    // Items that are arrays would nest as deep as a message is long.
    let item = Type::from_oid(value.get_u32()).filter(|own| item(own).is_none())?;
    if dimensions == 0 {
        return list(of, Vec::new());
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
            Err(_) => None,
            Ok(length) if length <= value.len() => Some(read(&item, value.split_to(length))?),
            Ok(_) => return None,
        });
    }
    list(of, items)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Type::INT4, b"\0\0\0\x05", Some(ScalarValue::Int32(Some(5))))]
    #[case(Type::INT4, b"\0\0\x05", None)]
    #[case(Type::DATE, b"\0\0\0\0", Some(ScalarValue::Date32(Some(10_957))))]
    #[case(Type::TEXT, b"\xc3\xa9", Some(ScalarValue::Utf8(Some("é".to_owned()))))]
    #[case(Type::TEXT, b"\xff", None)]
    #[case(Type::NUMERIC, b"\0\x01\x7f\xff\0\0\0\0\0\x01", None)]
    #[case(Type::INTERVAL, b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03", interval(Interval { months: 3, days: 2, micros: 1 }))]
    #[case(Type::INT4_ARRAY, b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01", None)]
    #[case(Type::INT4_ARRAY, b"\0\0\0\x02\0\0\0\0\0\0\0\x17\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01", None)]
    #[case(Type::INT8_ARRAY, b"\0\0\0\0\0\0\0\0\0\0\0\x14", list(&Type::INT8, Vec::new()))]
    #[case(
        Type::INT8_ARRAY,
        b"\0\0\0\x01\0\0\0\x01\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x05\xff\xff\xff\xff",
        list(&Type::INT8, vec![Some(ScalarValue::Int64(Some(5))), None])
    )]
    #[case(
        Type::DATE_ARRAY,
        b"\0\0\0\x01\0\0\0\0\0\0\x04\x3a\0\0\0\x01\0\0\0\x01\0\0\0\x04\0\0\0\x01",
        list(&Type::DATE, vec![Some(ScalarValue::Date32(Some(10_958)))])
    )]
    fn a_binary_value_is_read_or_refused(
        #[case] of: Type,
        #[case] bytes: &'static [u8],
        #[case] expected: Option<ScalarValue>,
    ) {
        assert_eq!(read(&of, Bytes::from_static(bytes)), expected);
    }
}

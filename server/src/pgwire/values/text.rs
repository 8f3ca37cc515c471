use std::fmt::Write;

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type,
        Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use bytes::{BufMut, BytesMut};

use super::{items, number::float, time};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a value that is not NULL. Writing to memory cannot fail.
pub(super) fn write(array: &dyn Array, row: usize, out: &mut BytesMut) {
    let written = match array.data_type() {
        DataType::Boolean => out.write_str(if array.as_boolean().value(row) { "t" } else { "f" }),
        DataType::Int8 => write!(out, "{}", array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => write!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => write!(out, "{}", array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => write!(out, "{}", array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => write!(out, "{}", array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => write!(out, "{}", array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f32(), 6, out),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row), 6, out),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row), 15, out),
        DataType::Utf8 => out.write_str(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => out.write_str(array.as_string::<i64>().value(row)),
        DataType::Utf8View => out.write_str(array.as_string_view().value(row)),
        DataType::Binary => hex(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => hex(array.as_binary_view().value(row), out),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row), out),
        DataType::LargeList(item) if matches!(item.data_type(), DataType::Int16 | DataType::UInt32) => {
            vector(array, row, out)
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => list(array, row, out),
        _ => match (decimal(array, row), time::of(array, row)) {
            (Some(digits), _) => out.write_str(&digits),
            (_, Some(time)) => time.write(out),
            (None, None) => Ok(()),
        },
    };
    debug_assert!(written.is_ok(), "memory takes whatever is written");
}

/// A decimal with all its digits, also those after the point that are zero.
pub(super) fn decimal(array: &dyn Array, row: usize) -> Option<String> {
    Some(match array.data_type() {
        DataType::Decimal32(precision, scale) => {
            Decimal32Type::format_decimal(array.as_primitive::<Decimal32Type>().value(row), *precision, *scale)
        }
        DataType::Decimal64(precision, scale) => {
            Decimal64Type::format_decimal(array.as_primitive::<Decimal64Type>().value(row), *precision, *scale)
        }
        DataType::Decimal128(precision, scale) => {
            Decimal128Type::format_decimal(array.as_primitive::<Decimal128Type>().value(row), *precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            Decimal256Type::format_decimal(array.as_primitive::<Decimal256Type>().value(row), *precision, *scale)
        }
        _ => return None,
    })
}

fn hex(bytes: &[u8], out: &mut BytesMut) -> std::fmt::Result {
    out.reserve(2 + 2 * bytes.len());
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(HEX[usize::from(byte >> 4)]);
        out.put_u8(HEX[usize::from(byte & 15)]);
    }
    Ok(())
}

/// `1 2`, as `int2vector` and `oidvector` are written.
fn vector(array: &dyn Array, row: usize, out: &mut BytesMut) -> std::fmt::Result {
    let Some(items) = items(array, row) else { return Ok(()) };
    for place in 0..items.len() {
        if place > 0 {
            out.put_u8(b' ');
        }
        write(&items, place, out);
    }
    Ok(())
}

/// `{1,NULL,"a b"}`.
fn list(array: &dyn Array, row: usize, out: &mut BytesMut) -> std::fmt::Result {
    let Some(items) = items(array, row) else { return Ok(()) };
    out.put_u8(b'{');
    let nested = matches!(items.data_type(), DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
    let mut own = BytesMut::new();
    for item in 0..items.len() {
        if item > 0 {
            out.put_u8(b',');
        }
        if items.is_null(item) {
            out.put_slice(b"NULL");
            continue;
        }
        own.clear();
        write(&items, item, &mut own);
        if nested { out.put_slice(&own) } else { element(&own, out) }
    }
    out.put_u8(b'}');
    Ok(())
}

/// An item of a list, in quotes where it would be read as something else.
fn element(text: &[u8], out: &mut BytesMut) {
    let special = |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
    if !text.is_empty() && !text.iter().any(special) && !text.eq_ignore_ascii_case(b"null") {
        out.put_slice(text);
        return;
    }
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Decimal128Array, Int64Array, ListArray, StringArray,
        builder::{ListBuilder, StringBuilder},
    };
    use rstest::rstest;

    use super::*;

    fn texts(items: &[Option<&str>]) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new());
        builder.append_value(items.iter().copied());
        let list: ListArray = builder.finish();
        Arc::new(list)
    }

    #[rstest]
    #[case(Arc::new(Int64Array::from(vec![-7])), "-7")]
    #[case(Arc::new(StringArray::from(vec!["é"])), "é")]
    #[case(Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]])), "\\x00ff")]
    #[case(Arc::new(Decimal128Array::from(vec![-150]).with_precision_and_scale(5, 2).unwrap()), "-1.50")]
    #[case(texts(&[]), "{}")]
    #[case(texts(&[Some("a"), None, Some("b c"), Some(""), Some("null"), Some("q\"\\")]), "{a,NULL,\"b c\",\"\",\"null\",\"q\\\"\\\\\"}")]
    fn a_value_is_written_as_postgresql_writes_it(#[case] array: ArrayRef, #[case] expected: &str) {
        let mut out = BytesMut::new();
        write(&array, 0, &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }
}

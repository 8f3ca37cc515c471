use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
};
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;

use super::{
    Kind, items, text,
    time::{self, EPOCH_DAYS, Time},
};
use crate::pgwire::output::sized;

const DAY: i64 = 86_400_000_000;

/// Writes a value that is not NULL.
pub(super) fn write(array: &dyn Array, row: usize, out: &mut BytesMut) {
    match array.data_type() {
        DataType::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        DataType::Int8 => out.put_i16(i16::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::UInt8 => out.put_i16(i16::from(array.as_primitive::<UInt8Type>().value(row))),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::UInt16 => out.put_i32(i32::from(array.as_primitive::<UInt16Type>().value(row))),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::UInt32 => out.put_u32(array.as_primitive::<UInt32Type>().value(row)),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => numeric(&array.as_primitive::<UInt64Type>().value(row).to_string(), out),
        DataType::Float16 => out.put_f32(array.as_primitive::<Float16Type>().value(row).to_f32()),
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => out.put_slice(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => out.put_slice(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => out.put_slice(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => out.put_slice(array.as_fixed_size_binary().value(row)),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => list(array, row, out),
        _ => match (text::decimal(array, row), time::of(array, row)) {
            (Some(digits), _) => numeric(&digits, out),
            (_, Some(time)) => about_time(time, out),
            // Texts are the same bytes either way.
            (None, None) => text::write(array, row, out),
        },
    }
}

fn about_time(time: Time, out: &mut BytesMut) {
    match time {
        Time::Date(days) => {
            out.put_i32(i32::try_from(days - EPOCH_DAYS).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
        }
        Time::OfDay(micros) => out.put_i64(micros),
        Time::Stamp(micros, _) => out.put_i64(micros.saturating_sub(EPOCH_DAYS * DAY)),
        Time::Interval { months, days, micros } => {
            out.put_i64(micros);
            out.put_i32(days);
            out.put_i32(months);
        }
    }
}

/// A number in groups of four decimal digits: how many groups, the first one's weight, the sign, the digits after the point.
pub(in crate::pgwire) fn numeric(text: &str, out: &mut BytesMut) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let mut digits = "0".repeat((4 - whole.len() % 4) % 4) + whole;
    let groups_before = digits.len() / 4;
    digits.push_str(fraction);
    digits.push_str(&"0".repeat((4 - digits.len() % 4) % 4));
    let groups: Vec<i16> = digits
        .as_bytes()
        .chunks(4)
        .map(|four| four.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups.iter().skip(leading).rev().take_while(|group| **group == 0).count();
    let kept = &groups[leading..groups.len() - trailing];
    let weight = groups_before as i64 - 1 - leading as i64;
    out.put_i16(i16::try_from(kept.len()).unwrap_or(i16::MAX));
    out.put_i16(if kept.is_empty() { 0 } else { i16::try_from(weight).unwrap_or_default() });
    out.put_u16(if negative && !kept.is_empty() { 0x4000 } else { 0 });
    out.put_i16(i16::try_from(fraction.len()).unwrap_or(i16::MAX));
    for group in kept {
        out.put_i16(*group);
    }
}

/// Dimensions, whether there are NULLs, the items' type, and for each dimension how many; then the items.
fn list(array: &dyn Array, row: usize, out: &mut BytesMut) {
    // What the catalogs call vectors is counted from 0, all others from 1.
    let (oid, first) = match Kind::of(array.data_type()) {
        Kind::List(item) => (item.pg().oid(), 1),
        Kind::Plain(Type::INT2_VECTOR) => (Type::INT2.oid(), 0),
        Kind::Plain(Type::OID_VECTOR) => (Type::OID.oid(), 0),
        _ => return,
    };
    let mut lengths = Vec::new();
    let mut leaves = Vec::new();
    let even = flatten(array, row, 0, &mut lengths, &mut leaves);
    debug_assert!(even, "what is uneven is refused before");
    // A list without items has no dimensions, also one of such lists.
    if leaves.is_empty() {
        lengths.clear();
        leaves.clear();
    }
    out.put_i32(i32::try_from(lengths.len()).unwrap_or_default());
    out.put_i32(i32::from(leaves.iter().any(Option::is_none)));
    out.put_u32(oid);
    for length in lengths {
        out.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
        out.put_i32(first);
    }
    for leaf in leaves {
        match leaf {
            None => out.put_i32(-1),
            Some((items, item)) => sized(out, false, |out| write(&items, item, out)),
        }
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

/// Whether every value of a column is an array as PostgreSQL has them: all lists of one depth are of one length, and none of
/// them is NULL. Structs are JSON.
pub(super) fn is_even(array: &dyn Array) -> bool {
    let nested = match array.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_list(item.data_type()) && matches!(Kind::of(array.data_type()), Kind::List(_))
        }
        _ => false,
    };
    let even = |row| flatten(array, row, 0, &mut Vec::new(), &mut Vec::new());
    !nested || (0..array.len()).all(|row| array.is_null(row) || even(row))
}

type Leaf = Option<(arrow::array::ArrayRef, usize)>;

fn flatten(array: &dyn Array, row: usize, depth: usize, lengths: &mut Vec<usize>, leaves: &mut Vec<Leaf>) -> bool {
    let Some(items) = items(array, row) else { return false };
    match lengths.get(depth) {
        None => lengths.push(items.len()),
        Some(length) if *length != items.len() => return false,
        Some(_) => {}
    }
    let nested = is_list(items.data_type());
    for item in 0..items.len() {
        if !nested {
            leaves.push((!items.is_null(item)).then(|| (items.clone(), item)));
        } else if items.is_null(item) || !flatten(&items, item, depth + 1, lengths, leaves) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef,
        builder::{Int64Builder, ListBuilder},
    };
    use rstest::rstest;

    use super::*;

    /// A column with one value, a list of lists.
    fn nested(lists: &[Option<Vec<Option<i64>>>]) -> ArrayRef {
        let mut builder = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
        for list in lists {
            match list {
                Some(items) => builder.values().append_value(items.iter().copied()),
                None => builder.values().append_null(),
            }
        }
        builder.append(true);
        Arc::new(builder.finish())
    }

    #[rstest]
    #[case(vec![Some(vec![Some(1), None]), Some(vec![Some(3), Some(4)])], true)]
    #[case(vec![Some(vec![]), Some(vec![])], true)]
    #[case(vec![Some(vec![Some(1)]), Some(vec![])], false)]
    #[case(vec![Some(vec![Some(1)]), None], false)]
    fn lists_of_lists_are_an_array_where_they_are_even(
        #[case] lists: Vec<Option<Vec<Option<i64>>>>,
        #[case] even: bool,
    ) {
        assert_eq!(is_even(&nested(&lists)), even);
    }

    /// As PostgreSQL 15's `array_send` gives `{{1,NULL},{3,4}}`.
    #[test]
    fn an_array_is_written_with_its_dimensions() {
        let mut out = BytesMut::new();
        write(&nested(&[Some(vec![Some(1), None]), Some(vec![Some(3), Some(4)])]), 0, &mut out);
        let mut expected: Vec<u8> = [2, 1, 20, 2, 1, 2, 1].iter().flat_map(|word: &i32| word.to_be_bytes()).collect();
        for value in [Some(1_i64), None, Some(3), Some(4)] {
            expected.extend(value.map_or(-1_i32, |_| 8).to_be_bytes());
            expected.extend(value.iter().flat_map(|value| value.to_be_bytes()));
        }
        assert_eq!(out.to_vec(), expected);
    }

    /// As PostgreSQL 15's `numeric_send` gives them.
    #[rstest]
    #[case("0", &[0, 0, 0, 0])]
    #[case("0.00", &[0, 0, 0, 2])]
    #[case("1", &[1, 0, 0, 0, 1])]
    #[case("-12345.678", &[3, 1, 0x4000, 3, 1, 2345, 6780])]
    #[case("10000", &[1, 1, 0, 0, 1])]
    #[case("0.0001", &[1, -1, 0, 4, 1])]
    #[case("0.00000001", &[1, -2, 0, 8, 1])]
    fn a_numeric_is_written_in_groups_of_four_digits(#[case] text: &str, #[case] words: &[i16]) {
        let mut out = BytesMut::new();
        numeric(text, &mut out);
        let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(out.to_vec(), expected);
    }
}

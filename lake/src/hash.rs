//! The hash that tells whether a row changed.
//!
//! The hash of a row is the wrapping sum, over its columns whose value is not null, of
//! `xxh3_128(bytes(value), seed = xxh3_64(name || class))`. A sum does not depend on the order of the columns, and a
//! null adds nothing: a new column that is null everywhere leaves every hash as it was. `class` is one byte for the kind
//! of type and `bytes` is the same for all types of a kind, so that an integer keeps its hash when its column widens:
//!
//! | class | types | bytes |
//! |---|---|---|
//! | `i` | integers | the value as `i64`, little-endian |
//! | `f` | floats | the value as `f64` bits, little-endian; every NaN the same |
//! | `m` | decimals | unscaled `i128` without trailing zeros, little-endian, then the scale as one byte |
//! | `o` | booleans | one byte |
//! | `d` `t` `n` | dates, instants, local times | days or microseconds as `i64`, little-endian |
//! | `s` `b` | text, binary | the bytes |
//! | `{` | structs | the hash of the struct's fields, by this definition, little-endian |
//! | `[` | lists, maps | the hashes of the elements in order (a null element: sixteen zero bytes), little-endian |
//!
//! The array's encoding (offset width, views, dictionaries) plays no part. Where the value is stored it is little-endian.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::NullBuffer,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::{Error, conform::conform_array, evolve::storable};

/// Hashes of the rows over the columns of the batch for which `wanted` holds.
///
/// # Errors
/// [`Error::Query`] for a type that the lake cannot store.
pub fn hash_rows(batch: &RecordBatch, wanted: impl Fn(&str) -> bool) -> Result<Vec<u128>, Error> {
    let mut hashes = vec![0_u128; batch.num_rows()];
    let schema = batch.schema_ref();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if wanted(field.name()) {
            add_column(&mut hashes, field.name(), column)?;
        }
    }
    Ok(hashes)
}

fn unsupported(data_type: &DataType) -> Error {
    Error::arrow(arrow::error::ArrowError::NotYetImplemented(format!("hash of {data_type}")))
}

fn seed(name: &str, class: u8) -> u64 {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(class);
    xxh3_64(&bytes)
}

/// Adds `f(row)` to every row that is not null.
fn add(hashes: &mut [u128], nulls: Option<&NullBuffer>, f: impl Fn(usize) -> u128) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = hash.wrapping_add(f(row));
            }
        }
        Some(nulls) => {
            for row in nulls.valid_indices() {
                hashes[row] = hashes[row].wrapping_add(f(row));
            }
        }
    }
}

fn add_column(hashes: &mut [u128], name: &str, array: &ArrayRef) -> Result<(), Error> {
    let nulls = array.nulls();
    macro_rules! fixed {
        ($type:ty, $class:literal) => {{
            let values = array.as_primitive::<$type>().values();
            let seed = seed(name, $class);
            add(hashes, nulls, |row| xxh3_128_with_seed(&i64::from(values[row]).to_le_bytes(), seed));
        }};
    }
    macro_rules! float {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>().values();
            let seed = seed(name, b'f');
            add(hashes, nulls, |row| {
                let value = f64::from(values[row]);
                let value = if value.is_nan() { f64::NAN } else { value };
                xxh3_128_with_seed(&value.to_bits().to_le_bytes(), seed)
            });
        }};
    }
    match array.data_type() {
        DataType::Null => {}
        DataType::Int8 => fixed!(Int8Type, b'i'),
        DataType::Int16 => fixed!(Int16Type, b'i'),
        DataType::Int32 => fixed!(Int32Type, b'i'),
        DataType::Int64 => fixed!(Int64Type, b'i'),
        DataType::Date32 => fixed!(Date32Type, b'd'),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone) => {
            if zone.is_some() {
                fixed!(TimestampMicrosecondType, b't');
            } else {
                fixed!(TimestampMicrosecondType, b'n');
            }
        }
        DataType::Float32 => float!(Float32Type),
        DataType::Float64 => float!(Float64Type),
        DataType::Boolean => {
            let values = array.as_boolean().values();
            let seed = seed(name, b'o');
            add(hashes, nulls, |row| xxh3_128_with_seed(&[u8::from(values.value(row))], seed));
        }
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            let seed = seed(name, b'm');
            add(hashes, nulls, |row| xxh3_128_with_seed(&decimal_bytes(values[row], *scale), seed));
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            let (offsets, bytes) = (values.value_offsets(), values.value_data());
            let seed = seed(name, b's');
            add(hashes, nulls, |row| xxh3_128_with_seed(span(bytes, offsets, row), seed));
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            let (offsets, bytes) = (values.value_offsets(), values.value_data());
            let seed = seed(name, b'b');
            add(hashes, nulls, |row| xxh3_128_with_seed(span(bytes, offsets, row), seed));
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let mut inner = vec![0_u128; array.len()];
            for (field, column) in fields.iter().zip(columns) {
                add_column(&mut inner, field.name(), column)?;
            }
            let seed = seed(name, b'{');
            add(hashes, nulls, |row| xxh3_128_with_seed(&inner[row].to_le_bytes(), seed));
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            add_list(hashes, name, nulls, list.value_offsets(), &[("", list.values())])?;
        }
        DataType::Map(..) => {
            let map = array.as_map();
            add_list(hashes, name, nulls, map.value_offsets(), &[("k", map.keys()), ("v", map.values())])?;
        }
        other => {
            let plain = storable(other);
            if plain == *other {
                return Err(unsupported(other));
            }
            let array = conform_array(name, array, &plain).map_err(|_| unsupported(other))?;
            add_column(hashes, name, &array)?;
        }
    }
    Ok(())
}

/// Elements as the hashes of `parts` summed; a list is the hash of its elements' hashes in order.
fn add_list(
    hashes: &mut [u128],
    name: &str,
    nulls: Option<&NullBuffer>,
    offsets: &[i32],
    parts: &[(&str, &ArrayRef)],
) -> Result<(), Error> {
    let (first, last) = (index(offsets[0]), index(offsets[offsets.len() - 1]));
    let mut elements = vec![0_u128; last - first];
    for (part, values) in parts {
        add_column(&mut elements, part, &values.slice(first, last - first))?;
    }
    let bytes: Vec<u8> = elements.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let seed = seed(name, b'[');
    add(hashes, nulls, |row| {
        let (start, end) = (index(offsets[row]) - first, index(offsets[row + 1]) - first);
        xxh3_128_with_seed(&bytes[16 * start..16 * end], seed)
    });
    Ok(())
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

fn span<'a>(bytes: &'a [u8], offsets: &[i32], row: usize) -> &'a [u8] {
    &bytes[index(offsets[row])..index(offsets[row + 1])]
}

fn decimal_bytes(mut value: i128, mut scale: i8) -> [u8; 17] {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    let mut bytes = [0; 17];
    bytes[..16].copy_from_slice(&value.to_le_bytes());
    bytes[16] = scale.to_le_bytes()[0];
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray,
            StringArray, StringViewArray, StructArray,
        },
        compute::cast,
        datatypes::Field,
    };
    use rstest::rstest;

    use super::*;

    fn hash(columns: Vec<(&str, ArrayRef)>) -> Vec<u128> {
        hash_rows(
            &RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap(),
            |_| true,
        )
        .unwrap()
    }

    fn text(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn the_order_of_columns_and_new_null_columns_change_nothing() {
        let a = || ("a", text(&["x", "y"]));
        let b = || ("b", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef);
        let nulls = ("c", Arc::new(StringArray::new_null(2)) as ArrayRef);
        assert_eq!(hash(vec![a(), b()]), hash(vec![b(), nulls, a()]));
    }

    #[test]
    fn a_value_that_moves_to_another_column_or_row_changes_the_hash() {
        assert_ne!(hash(vec![("a", text(&["x"]))]), hash(vec![("b", text(&["x"]))]));
        assert_ne!(
            hash(vec![("a", text(&["x"])), ("b", text(&["y"]))]),
            hash(vec![("a", text(&["y"])), ("b", text(&["x"]))])
        );
        let [first, second] = hash(vec![("a", text(&["x", ""]))])[..] else { panic!() };
        assert_ne!(first, second);
        assert_ne!(second, 0, "empty text is not null");
    }

    #[rstest]
    #[case(text(&["é", ""]), Arc::new(LargeStringArray::from(vec!["é", ""])))]
    #[case(text(&["é", ""]), Arc::new(StringViewArray::from(vec!["é", ""])))]
    #[case(text(&["é", ""]), cast(&text(&["é", ""]), &DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))).unwrap())]
    #[case(Arc::new(Int32Array::from(vec![-1, 7])), Arc::new(Int64Array::from(vec![-1, 7])))]
    #[case(Arc::new(Float32Array::from(vec![0.5, -2.0])), Arc::new(Float64Array::from(vec![0.5, -2.0])))]
    #[case(
        Arc::new(Decimal128Array::from(vec![150, 7]).with_precision_and_scale(5, 2).unwrap()),
        Arc::new(Decimal128Array::from(vec![1500, 70]).with_precision_and_scale(9, 3).unwrap())
    )]
    fn the_encoding_of_a_value_does_not_matter(#[case] a: ArrayRef, #[case] b: ArrayRef) {
        assert_eq!(hash(vec![("x", a)]), hash(vec![("x", b)]));
    }

    #[test]
    fn slices_hash_like_whole_arrays() {
        let values: ArrayRef = Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>(vec![
            Some(vec![Some(1)]),
            Some(vec![Some(2), None]),
            None,
            Some(vec![]),
        ]));
        let whole = hash(vec![("l", Arc::clone(&values))]);
        assert_eq!(hash(vec![("l", values.slice(1, 3))]), whole[1..]);
        assert_eq!(whole[2], 0);
        assert_ne!(whole[3], 0);
    }

    #[test]
    fn a_null_field_of_a_struct_adds_nothing_and_a_null_struct_differs_from_an_empty_one() {
        let fields =
            |names: &[&str]| -> Vec<Field> { names.iter().map(|n| Field::new(*n, DataType::Utf8, true)).collect() };
        let null: ArrayRef = Arc::new(StringArray::new_null(1));
        let one = StructArray::try_new(fields(&["a"]).into(), vec![text(&["x"])], None).unwrap();
        let two =
            StructArray::try_new(fields(&["a", "b"]).into(), vec![text(&["x"]), Arc::clone(&null)], None).unwrap();
        let empty = StructArray::try_new(fields(&["a"]).into(), vec![null], None).unwrap();
        assert_eq!(hash(vec![("s", Arc::new(one))]), hash(vec![("s", Arc::new(two))]));
        assert_ne!(hash(vec![("s", Arc::new(empty))]), vec![0]);
    }
}

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray, StringBuilder},
    compute::cast,
    datatypes::{DataType, Float64Type},
};

/// A column that no key or code can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value of type {data_type} cannot be a key or a code: cast it to text")]
pub struct CanonicalError {
    pub data_type: DataType,
}

/// Values as the text that keys and codes are compared by. The same number gives the same text whatever its SQL type is
/// (`12`, `12.00` and `12.0e0` are all `12`), so that a foreign key meets its primary key across sources' types.
///
/// # Errors
/// For nested types.
pub fn canonical_text(values: &ArrayRef) -> Result<StringArray, CanonicalError> {
    let refuse = || CanonicalError { data_type: values.data_type().clone() };
    let as_text = |values: &ArrayRef| cast(values, &DataType::Utf8).map_err(|_| refuse());
    let text = match values.data_type() {
        DataType::Utf8 => Arc::clone(values),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let text = as_text(values)?;
            let text = text.as_string::<i32>();
            return Ok(text.iter().map(|text| text.map(without_trailing_zeros)).collect());
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let floats = cast(values, &DataType::Float64).map_err(|_| refuse())?;
            let mut out = StringBuilder::new();
            for value in floats.as_primitive::<Float64Type>() {
                out.append_option(value.map(|value| value.to_string()));
            }
            return Ok(out.finish());
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = cast(values, &DataType::Binary).map_err(|_| refuse())?;
            return Ok(bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(hex)).collect());
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..)
        | DataType::Struct(_)
        | DataType::Map(..)
        | DataType::Union(..) => return Err(refuse()),
        _ => as_text(values)?,
    };
    Ok(text.as_string::<i32>().clone())
}

pub(crate) fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

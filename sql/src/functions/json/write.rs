use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Float32Type, Float64Type},
    util::display::array_value_to_string,
};
use datafusion::common::{Result, exec_datafusion_err};

use super::{super::own::Given, read};

/// Writes the value of a row as JSON; what is JSON stays as it is.
pub(super) fn value(out: &mut String, given: &Given, row: usize) -> Result<()> {
    if given.is_json && given.array.data_type().is_string() && given.array.is_valid(row) {
        // (A column of a UNION may have other texts beside JSON.)
        let json = array_value_to_string(&given.array, row)?;
        if read::whole(&json).is_some() {
            out.push_str(&json);
            return Ok(());
        }
    }
    of_array(out, &given.array, row)
}

fn of_array(out: &mut String, array: &ArrayRef, row: usize) -> Result<()> {
    if array.is_null(row) || array.data_type().is_null() {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Float64 => number(out, array.as_primitive::<Float64Type>().value(row))?,
        // (By its own digits, not by those that it gets as a double.)
        DataType::Float32 => {
            let short = array.as_primitive::<Float32Type>().value(row).to_string();
            number(out, short.parse().map_err(|_| exec_datafusion_err!("a number is none"))?)?;
        }
        data_type if data_type.is_numeric() => out.push_str(&array_value_to_string(array, row)?),
        DataType::List(_) => items(out, &array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => items(out, &array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => items(out, &array.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            object(out, fields.len(), |out, place| {
                text(out, fields[place].name())?;
                out.push_str(": ");
                of_array(out, columns.column(place), row)
            })?;
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let [keys, values] = entries.columns() else { return Err(exec_datafusion_err!("a map has no values")) };
            object(out, entries.len(), |out, place| {
                text(out, &array_value_to_string(keys, place)?)?;
                out.push_str(": ");
                of_array(out, values, place)
            })?;
        }
        DataType::Timestamp(_, zone) => {
            let written = array_value_to_string(array, row)?;
            match (zone, written.strip_suffix('Z')) {
                (Some(_), Some(time)) => text(out, &format!("{time}+00:00"))?,
                _ => text(out, &written)?,
            }
        }
        _ => text(out, &array_value_to_string(array, row)?)?,
    }
    Ok(())
}

fn items(out: &mut String, items: &ArrayRef) -> Result<()> {
    out.push('[');
    for place in 0..items.len() {
        if place > 0 {
            out.push_str(", ");
        }
        of_array(out, items, place)?;
    }
    out.push(']');
    Ok(())
}

/// Writes an object of so many members.
pub(super) fn object(
    out: &mut String,
    members: usize,
    mut write: impl FnMut(&mut String, usize) -> Result<()>,
) -> Result<()> {
    out.push('{');
    for place in 0..members {
        if place > 0 {
            out.push_str(", ");
        }
        write(out, place)?;
    }
    out.push('}');
    Ok(())
}

/// JSON has no word for what is no number, and for what is infinite: they are texts.
fn number(out: &mut String, number: f64) -> Result<()> {
    match number {
        number if number.is_nan() => text(out, "NaN"),
        number if number.is_infinite() => text(out, if number > 0.0 { "Infinity" } else { "-Infinity" }),
        number if number != 0.0 && !(1e-5..1e15).contains(&number.abs()) => {
            out.push_str(&format!("{number:e}"));
            Ok(())
        }
        number => {
            out.push_str(&number.to_string());
            Ok(())
        }
    }
}

pub(super) fn text(out: &mut String, text: &str) -> Result<()> {
    out.push_str(&serde_json::to_string(text).map_err(|_| exec_datafusion_err!("a text is no JSON"))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Decimal128Array, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray},
        datatypes::Int64Type,
    };
    use rstest::rstest;

    use super::*;

    fn decimal() -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![150]).with_precision_and_scale(5, 2).unwrap())
    }

    #[rstest]
    #[case(Arc::new(Int64Array::from(vec![7])), "7")]
    #[case(Arc::new(Int64Array::from(vec![None])), "null")]
    #[case(decimal(), "1.50")]
    #[case(Arc::new(Float64Array::from(vec![1.0])), "1")]
    #[case(Arc::new(Float64Array::from(vec![1e300])), "1e300")]
    #[case(Arc::new(Float64Array::from(vec![f64::NAN])), "\"NaN\"")]
    #[case(Arc::new(StringArray::from(vec!["x\"y"])), r#""x\"y""#)]
    #[case(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])])), "[1, null]")]
    #[case(Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("+00:00")), "\"1970-01-01T00:00:00+00:00\"")]
    fn a_value_is_written(#[case] array: ArrayRef, #[case] expected: &str) {
        let mut out = String::new();
        value(&mut out, &Given { array, is_json: false }, 0).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn json_is_not_quoted_again() {
        let mut out = String::new();
        let array: ArrayRef = Arc::new(StringArray::from(vec!["{\"a\":1}"]));
        value(&mut out, &Given { array, is_json: true }, 0).unwrap();
        assert_eq!(out, "{\"a\":1}");
        out.clear();
        let array: ArrayRef = Arc::new(StringArray::from(vec!["no json"]));
        value(&mut out, &Given { array, is_json: true }, 0).unwrap();
        assert_eq!(out, "\"no json\"");
    }
}

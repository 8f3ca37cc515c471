//! Arrow batches to polars frames and back, over the Arrow C data interface.
//!
//! Buffers are handed over, not copied, with these exceptions: text becomes plain `Utf8` on the way out and string views
//! on the way in (polars knows only views), categories become text, times of day microseconds. Points in time come out in
//! microseconds; on the way in a zoned timestamp stays the same instant and loses its zone's name. Decimals have no
//! counterpart in this build of polars: they go in as their exact text.
#![allow(unsafe_code, reason = "the Arrow C data interface hands buffers between two arrow libraries as raw structs")]

use std::{mem::transmute, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, make_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Fields, Schema, TimeUnit},
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi},
};
use polars::prelude::{Column, CompatLevel, DataFrame, PlSmallStr, Series};
use polars_arrow::{
    array::Array as PolarsArray,
    datatypes::Field as PolarsField,
    ffi::{
        ArrowArray as PolarsFfiArray, ArrowSchema as PolarsFfiSchema, export_array_to_c, export_field_to_c,
        import_array_from_c, import_field_from_c,
    },
};

use crate::Error;

/// The rows of a frame as Arrow batches; one batch, except that a frame without columns gives none.
///
/// # Errors
/// When a column's type has no counterpart.
pub fn to_batches(mut frame: DataFrame) -> Result<Vec<RecordBatch>, Error> {
    if frame.columns().is_empty() {
        return Ok(Vec::new());
    }
    frame.rechunk_mut();
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for column in frame.into_columns() {
        let name = column.name().to_string();
        let place = |reason: String| Error::Malformed { place: format!("column `{name}`"), reason };
        let chunk = column.rechunk_to_arrow(CompatLevel::newest());
        let array = import(chunk).map_err(|error| place(error.to_string()))?;
        let target = plain(array.data_type());
        let array = cast(&array, &target).map_err(|error| place(error.to_string()))?;
        fields.push(Field::new(name, target, true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Error::Malformed { place: "frame".to_owned(), reason: error.to_string() })?;
    Ok(vec![batch])
}

/// The rows of an Arrow batch as a frame.
///
/// # Errors
/// When a column's type has no counterpart.
pub fn from_batch(batch: &RecordBatch) -> Result<DataFrame, Error> {
    let schema = batch.schema();
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let place = |reason: String| Error::Malformed { place: format!("column `{}`", field.name()), reason };
        let target = acceptable(field.data_type())
            .ok_or_else(|| place(format!("the type {} has no counterpart in a frame", field.data_type())))?;
        let array = cast(array, &target).map_err(|error| place(error.to_string()))?;
        let (polars_field, array) = export(field.name(), &array).map_err(&place)?;
        let series = Series::try_from((&polars_field, array)).map_err(|error| place(error.to_string()))?;
        columns.push(Column::from(series));
    }
    DataFrame::new(batch.num_rows(), columns)
        .map_err(|error| Error::Malformed { place: "batch".to_owned(), reason: error.to_string() })
}

pub(crate) fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
}

/// The type that leaves for the pipeline: what polars invents (views, large offsets, categories) made ordinary.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    let inner = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::LargeList(field) | DataType::List(field) => DataType::List(inner(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Fields>()),
        other => other.clone(),
    }
}

/// The type that polars takes in the place of this one; `None` where it has none.
fn acceptable(data_type: &DataType) -> Option<DataType> {
    let inner =
        |field: &Arc<Field>| Some(Arc::new(field.as_ref().clone().with_data_type(acceptable(field.data_type())?)));
    Some(match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Utf8View
        | DataType::BinaryView => data_type.clone(),
        DataType::UInt8 | DataType::UInt16 => DataType::UInt32,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::BinaryView,
        DataType::Dictionary(_, values) => acceptable(values)?,
        DataType::Date64 | DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Nanosecond),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            DataType::Utf8View
        }
        DataType::List(field) | DataType::LargeList(field) => DataType::LargeList(inner(field)?),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Option<Fields>>()?),
        _ => return None,
    })
}

fn import(array: Box<dyn PolarsArray>) -> Result<ArrayRef, arrow::error::ArrowError> {
    let field = PolarsField::new(PlSmallStr::EMPTY, array.dtype().clone(), true);
    let schema = export_field_to_c(&field);
    let array = export_array_to_c(array);
    // SAFETY: both libraries declare the structs of the Arrow C data interface with `repr(C)`, so the layouts are the
    // same; ownership (the release callback) moves with the value, and the schema was exported from the same array.
    let data = unsafe {
        let schema = transmute::<PolarsFfiSchema, FFI_ArrowSchema>(schema);
        let array = transmute::<PolarsFfiArray, FFI_ArrowArray>(array);
        from_ffi(array, &schema)?
    };
    Ok(make_array(data))
}

fn export(name: &str, array: &ArrayRef) -> Result<(PolarsField, Box<dyn PolarsArray>), String> {
    let (array, schema) = to_ffi(&array.to_data()).map_err(|error| error.to_string())?;
    // SAFETY: as in `import`, in the other direction: the same `repr(C)` structs, exported together by arrow, valid until
    // their release callback runs, which polars calls when it drops the array.
    let (field, array) = unsafe {
        let schema = transmute::<FFI_ArrowSchema, PolarsFfiSchema>(schema);
        let array = transmute::<FFI_ArrowArray, PolarsFfiArray>(array);
        let field = import_field_from_c(&schema).map_err(|error| error.to_string())?;
        let array = import_array_from_c(array, field.dtype().clone()).map_err(|error| error.to_string())?;
        (field, array)
    };
    Ok((PolarsField::new(PlSmallStr::from_str(name), field.dtype().clone(), true), array))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray, StringDictionaryBuilder,
        TimestampMicrosecondArray, TimestampNanosecondArray, UInt16Array,
    };
    use arrow::datatypes::Int32Type;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn round_trip(batch: &RecordBatch) -> RecordBatch {
        to_batches(from_batch(batch).unwrap()).unwrap().remove(0)
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let batch = batch(vec![
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
            ("x", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::MAX), None]))),
            ("t", Arc::new(StringArray::from(vec![Some("é"), None, Some("a text of more than twelve bytes")]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("d", Arc::new(Date32Array::from(vec![Some(0), Some(-1), None]))),
            ("s", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)]))),
        ]);
        assert_eq!(round_trip(&batch), batch);
        let part = batch.slice(1, 2);
        assert_eq!(round_trip(&part), part);
        let none = batch.slice(0, 0);
        assert_eq!(round_trip(&none), none);
    }

    #[test]
    fn types_that_polars_lacks_come_back_as_their_nearest_exact_one() {
        let mut category = StringDictionaryBuilder::<Int32Type>::new();
        category.extend([Some("f"), None, Some("f")]);
        let decimals = Decimal128Array::from(vec![Some(1250), None, Some(-1)]).with_precision_and_scale(10, 2).unwrap();
        let before = batch(vec![
            ("category", Arc::new(category.finish())),
            ("amount", Arc::new(decimals)),
            ("small", Arc::new(UInt16Array::from(vec![Some(1), None, Some(2)]))),
            ("at", Arc::new(TimestampNanosecondArray::from(vec![Some(5000), None, Some(0)]).with_timezone("+00:00"))),
        ]);
        let after = round_trip(&before);
        assert_eq!(after.column(0).as_ref(), &StringArray::from(vec![Some("f"), None, Some("f")]));
        assert_eq!(after.column(1).as_ref(), &StringArray::from(vec![Some("12.50"), None, Some("-0.01")]));
        assert_eq!(after.schema().field(2).data_type(), &DataType::UInt32);
        assert_eq!(after.column(3).as_ref(), &TimestampMicrosecondArray::from(vec![Some(5), None, Some(0)]));
    }
}

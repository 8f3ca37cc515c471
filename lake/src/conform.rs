//! Brings a batch to a table's schema: columns by name, missing ones null, types widened, no value lost on the way.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
    },
    compute::{CastOptions, cast_with_options, kernels::cmp::not_distinct},
    datatypes::{DataType, Fields, SchemaRef, TimeUnit},
    error::ArrowError,
};

use crate::evolve::Refused;

const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// The batch with exactly the columns of `schema`, in its order.
///
/// # Errors
/// [`Refused`] when a value has no equal in the column's type.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Refused> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match batch.column_by_name(field.name()) {
            Some(column) => conform_array(field.name(), column, field.data_type())?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| Refused {
        column: "*".to_owned(),
        from: DataType::Null,
        to: DataType::Null,
        instead: error.to_string(),
    })
}

fn lost(column: &str, from: &DataType, to: &DataType) -> Refused {
    Refused {
        column: column.to_owned(),
        from: from.clone(),
        to: to.clone(),
        instead: "a value would change; read the column as text, or give it a column of its own".to_owned(),
    }
}

pub(crate) fn conform_array(column: &str, array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Refused> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    let failed = |_: ArrowError| lost(column, from, to);
    match (from, to) {
        (DataType::Dictionary(_, values), _) => {
            let plain = cast_with_options(array, values, &EXACT).map_err(failed)?;
            conform_array(column, &plain, to)
        }
        (DataType::RunEndEncoded(_, values), _) => {
            let plain = cast_with_options(array, values.data_type(), &EXACT).map_err(failed)?;
            conform_array(column, &plain, to)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => conform_struct(column, array.as_struct(), fields),
        (
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _),
            DataType::List(wanted),
        ) => {
            let list = cast_with_options(array, &DataType::List(Arc::clone(item)), &EXACT).map_err(failed)?;
            let list: &ListArray = list.as_list();
            let values = conform_array(column, list.values(), wanted.data_type())?;
            ListArray::try_new(Arc::clone(wanted), list.offsets().clone(), values, list.nulls().cloned())
                .map(|list| Arc::new(list) as ArrayRef)
                .map_err(failed)
        }
        (DataType::Map(..), DataType::Map(entries, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(pair) = entries.data_type() else { return Err(lost(column, from, to)) };
            let keys = conform_array(column, map.keys(), pair[0].data_type())?;
            let values = conform_array(column, map.values(), pair[1].data_type())?;
            let pairs = StructArray::try_new(pair.clone(), vec![keys, values], None).map_err(failed)?;
            MapArray::try_new(Arc::clone(entries), map.offsets().clone(), pairs, map.nulls().cloned(), *ordered)
                .map(|map| Arc::new(map) as ArrayRef)
                .map_err(failed)
        }
        _ => {
            let cast = cast_with_options(array, to, &EXACT).map_err(failed)?;
            if cast.null_count() != array.null_count() && !matches!(from, DataType::Null) {
                return Err(lost(column, from, to));
            }
            if may_change_values(from, to) {
                let back = cast_with_options(&cast, from, &EXACT).map_err(failed)?;
                let same = not_distinct(&back, array).map_err(failed)?;
                if same.true_count() != array.len() {
                    return Err(lost(column, from, to));
                }
            }
            Ok(cast)
        }
    }
}

/// Casts whose type alone does not say that the value stays what it was.
fn may_change_values(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(..))
        | (DataType::Date64, DataType::Date32) => true,
        (_, DataType::Float32 | DataType::Float64) => {
            !matches!(from, DataType::Float16 | DataType::Float32 | DataType::Int8 | DataType::Int16 | DataType::Int32)
                || (matches!(from, DataType::Int32) && matches!(to, DataType::Float32))
        }
        (DataType::Float16 | DataType::Float32 | DataType::Float64, to) => !matches!(to, DataType::Utf8),
        (DataType::Decimal128(_, s), DataType::Decimal128(_, t)) => s > t,
        (DataType::Decimal256(..), DataType::Decimal128(..)) => true,
        (DataType::Decimal128(..), to) => to.is_integer(),
        _ => false,
    }
}

fn conform_struct(column: &str, array: &StructArray, fields: &Fields) -> Result<ArrayRef, Refused> {
    let mut children = Vec::with_capacity(fields.len());
    for field in fields {
        let child = match array.column_by_name(field.name()) {
            Some(child) => conform_array(&format!("{column}.{}", field.name()), child, field.data_type())?,
            None => new_null_array(field.data_type(), array.len()),
        };
        children.push(child);
    }
    StructArray::try_new_with_length(fields.clone(), children, array.nulls().cloned(), array.len())
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|_| lost(column, array.data_type(), &DataType::Struct(fields.clone())))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float64Array, Int64Array, StringArray, TimestampNanosecondArray},
        datatypes::{Field, Float64Type, Schema},
    };

    use super::*;

    fn schema(fields: Vec<Field>) -> SchemaRef {
        Arc::new(Schema::new(fields))
    }

    fn batch(name: &str, array: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([(name, array)]).unwrap()
    }

    #[test]
    fn columns_come_in_the_tables_order_and_missing_ones_are_null() {
        let wanted = schema(vec![Field::new("b", DataType::Utf8, true), Field::new("a", DataType::Int64, true)]);
        let out = conform(&batch("a", Arc::new(Int64Array::from(vec![1, 2]))), &wanted).unwrap();
        assert_eq!(out.column(0).null_count(), 2);
        assert_eq!(out.column(1).len(), 2);
    }

    #[test]
    fn whole_numbers_enter_a_column_of_floats_unless_they_would_change() {
        let wanted = schema(vec![Field::new("a", DataType::Float64, true)]);
        let fine = conform(&batch("a", Arc::new(Int64Array::from(vec![Some(1), None]))), &wanted).unwrap();
        assert_eq!(fine.column(0).as_primitive::<Float64Type>().value(0), 1.0);
        let big = batch("a", Arc::new(Int64Array::from(vec![(1_i64 << 53) + 1])));
        assert_eq!(conform(&big, &wanted).unwrap_err().column, "a");
    }

    #[test]
    fn a_float_that_a_narrower_type_cannot_hold_is_refused() {
        let wanted = schema(vec![Field::new("a", DataType::Float32, true)]);
        let error = conform(&batch("a", Arc::new(Float64Array::from(vec![0.1]))), &wanted).unwrap_err();
        assert_eq!((error.from, error.to), (DataType::Float64, DataType::Float32));
    }

    #[test]
    fn nanoseconds_that_microseconds_cannot_tell_are_refused() {
        let to = DataType::Timestamp(TimeUnit::Microsecond, None);
        let wanted = schema(vec![Field::new("a", to, true)]);
        let array = |v| Arc::new(TimestampNanosecondArray::from(vec![v])) as ArrayRef;
        assert!(conform(&batch("a", array(1_000)), &wanted).is_ok());
        assert!(conform(&batch("a", array(1_001)), &wanted).is_err());
    }

    #[test]
    fn fields_of_structs_in_lists_are_matched_by_name() {
        let inner = |names: &[&str]| -> Fields { names.iter().map(|n| Field::new(*n, DataType::Utf8, true)).collect() };
        let a: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let b: ArrayRef = Arc::new(StringArray::from(vec!["1", "2"]));
        let items = StructArray::try_new(inner(&["a", "b"]), vec![a, b], None).unwrap();
        let list = ListArray::try_new(
            Arc::new(Field::new("item", items.data_type().clone(), true)),
            arrow::buffer::OffsetBuffer::from_lengths([2]),
            Arc::new(items),
            None,
        )
        .unwrap();
        let to = DataType::List(Arc::new(Field::new("element", DataType::Struct(inner(&["b", "c", "a"])), true)));
        let out = conform(&batch("l", Arc::new(list)), &schema(vec![Field::new("l", to.clone(), true)])).unwrap();
        assert_eq!(out.column(0).data_type(), &to);
        let items = out.column(0).as_list::<i32>().values().as_struct().clone();
        assert_eq!(items.column(0).as_string::<i32>().value(1), "2");
        assert_eq!(items.column(1).null_count(), 2);
        assert_eq!(items.column(2).as_string::<i32>().value(0), "x");
    }
}

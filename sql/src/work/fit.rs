//! Values brought into the columns of a table: cast as an assignment of SQL is, but never into another number.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast_with_options, kernels::cmp::not_distinct},
    datatypes::{DataType, Field, SchemaRef},
};

use crate::{Error, exact::real};

const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// A batch with the columns of `schema`. `from` says for each of them which column of the batch it takes; `None`: nulls.
///
/// # Errors
/// [`Error::Value`] for a value that the column cannot hold; it is not repeated.
pub(super) fn fit(batch: &RecordBatch, schema: &SchemaRef, from: &[Option<usize>]) -> Result<RecordBatch, Error> {
    let columns = schema.fields().iter().zip(from).map(|(field, from)| {
        let column = match from.and_then(|index| batch.columns().get(index)) {
            Some(column) => fit_column(column, field)?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(value(format!("column `{}` may not be null", field.name())));
        }
        Ok(column)
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, Error>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|_| value("the columns of the rows are not those of the table".to_owned()))
}

fn fit_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef, Error> {
    let (from, to) = (column.data_type(), field.data_type());
    if from == to {
        return Ok(Arc::clone(column));
    }
    let cannot =
        || value(format!("a value ({from}) does not fit column `{}` ({to}): cast it in the statement", field.name()));
    if *to == DataType::Float32 && (*from == DataType::Float64 || from.is_string() || from.is_decimal()) {
        return real(column).map_err(|_| cannot());
    }
    let cast = cast_with_options(column, to, &STRICT).map_err(|_| cannot())?;
    if cast.null_count() != column.null_count() && *from != DataType::Null {
        return Err(cannot());
    }
    if (from.is_floating() || from.is_decimal()) && to.is_integer() {
        let back = cast_with_options(&cast, from, &STRICT).map_err(|_| cannot())?;
        let same = not_distinct(&back, column).map_err(|_| cannot())?;
        if same.true_count() != column.len() {
            return Err(value(format!(
                "a value is no whole number, and column `{}` ({to}) holds nothing else: round it",
                field.name()
            )));
        }
    }
    Ok(cast)
}

fn value(message: String) -> Error {
    Error::Value { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{AsArray, Float64Array, Int64Array, StringArray},
        datatypes::{Int32Type, Schema},
    };

    fn into(column: ArrayRef, to: DataType, nullable: bool) -> Result<ArrayRef, Error> {
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("a", to, nullable)]));
        fit(&batch, &schema, &[Some(0)]).map(|batch| Arc::clone(batch.column(0)))
    }

    #[test]
    fn a_number_enters_a_narrower_column_unchanged_or_not_at_all() {
        let fine = into(Arc::new(Int64Array::from(vec![Some(7), None])), DataType::Int32, true).unwrap();
        assert_eq!(fine.as_primitive::<Int32Type>().value(0), 7);
        assert!(into(Arc::new(Int64Array::from(vec![1 << 40])), DataType::Int32, true).is_err());
        assert!(into(Arc::new(Float64Array::from(vec![2.0])), DataType::Int32, true).is_ok());
        assert!(into(Arc::new(Float64Array::from(vec![2.5])), DataType::Int32, true).is_err());
        assert!(into(Arc::new(Float64Array::from(vec![1e300])), DataType::Float32, true).is_err());
        assert!(into(Arc::new(Float64Array::from(vec![f64::INFINITY])), DataType::Float32, true).is_ok());
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_repeated() {
        let error = into(Arc::new(StringArray::from(vec!["Durand"])), DataType::Date32, true).unwrap_err();
        assert!(!error.to_string().contains("Durand"), "{error}");
        assert!(matches!(error, Error::Value { .. }));
        assert!(into(Arc::new(StringArray::from(vec!["1950-01-02"])), DataType::Date32, true).is_ok());
    }

    #[test]
    fn nulls_are_kept_out_of_columns_that_forbid_them() {
        assert!(into(Arc::new(Int64Array::from(vec![None])), DataType::Int64, false).is_err());
    }
}

//! What the log knows of a version's columns, for planning: joins are ordered by it.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Schema, UInt64Type},
};
use datafusion::common::{Column, ColumnStatistics, ScalarValue, pruning::PruningStatistics, stats::Precision};
use deltalake_core::DeltaTable;

use crate::Error;

/// Bounds and nulls of each column of `schema`, all of them estimates; unknown where the log does not tell.
///
/// Only of types that joins and ranges are estimated by: integers and dates.
pub(crate) fn columns(delta: &DeltaTable, schema: &Schema) -> Result<Arc<[ColumnStatistics]>, Error> {
    let files = delta.snapshot()?.snapshot();
    let columns = schema.fields().iter().map(|field| {
        let mut known = ColumnStatistics::new_unknown();
        if field.data_type().is_integer() || matches!(field.data_type(), DataType::Date32) {
            let column = Column::from_name(field.name());
            known.min_value = extreme(files.min_values(&column), field.data_type(), |a, b| a < b);
            known.max_value = extreme(files.max_values(&column), field.data_type(), |a, b| a > b);
            let nulls = files.null_counts(&column);
            let nulls = nulls.as_ref().and_then(|nulls| nulls.as_primitive_opt::<UInt64Type>());
            if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() == 0) {
                let count = nulls.values().iter().sum::<u64>();
                known.null_count = Precision::Inexact(usize::try_from(count).unwrap_or(usize::MAX));
            }
        }
        known
    });
    Ok(columns.collect())
}

/// The value of all files that is before every other. A file without a bound (one of nulls) has no say.
fn extreme(
    bounds: Option<ArrayRef>,
    data_type: &DataType,
    is_before: fn(&ScalarValue, &ScalarValue) -> bool,
) -> Precision<ScalarValue> {
    let Some(bounds) = bounds.filter(|bounds| bounds.data_type() == data_type) else { return Precision::Absent };
    let values = (0..bounds.len()).filter(|row| bounds.is_valid(*row));
    let values = values.filter_map(|row| ScalarValue::try_from_array(&bounds, row).ok());
    let first = values.reduce(|best, one| if is_before(&one, &best) { one } else { best });
    first.map_or(Precision::Absent, Precision::Inexact)
}

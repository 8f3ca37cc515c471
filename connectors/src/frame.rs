//! Arrow batches to polars frames and back, over the Arrow C data interface: nothing is copied.

use arrow::array::RecordBatch;
use polars::prelude::DataFrame;

use crate::Error;

/// # Errors
/// When a column's type has no counterpart.
pub fn to_batches(frame: DataFrame) -> Result<Vec<RecordBatch>, Error> {
    let _ = frame;
    todo!()
}

/// # Errors
/// When a column's type has no counterpart.
pub fn from_batch(batch: &RecordBatch) -> Result<DataFrame, Error> {
    let _ = batch;
    todo!()
}

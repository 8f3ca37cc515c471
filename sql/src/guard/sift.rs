//! Filters that joins and top-k sorts make while they run, applied to rows as they leave a guarded scan.
//!
//! A scan uses such a filter to leave out files and row groups. A row that finds no partner would still be copied into
//! partitions, grouped and looked up before it is dropped: here it goes at once. The rows are those that the caller sees, so
//! that nothing is told of others. A filter that drops little costs more than it saves: each stream watches what its filters
//! keep, and gives up those that keep nearly everything.

use std::sync::Arc;

use arrow::{
    array::{Array, BooleanArray, RecordBatch},
    compute::{BatchCoalescer, and, prep_null_mask_filter},
};
use datafusion::{
    common::{Result, cast::as_boolean_array},
    physical_expr::{
        PhysicalExpr,
        expressions::{DynamicFilterPhysicalExpr, Literal},
    },
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchStreamAdapter},
};
use futures::{Stream, StreamExt};

/// Rows after which a filter is judged, again and again.
const WATCHED_ROWS: usize = 32_768;
/// A filter that keeps more than this many of a hundred rows is given up.
const WORTH_KEEPING_UP_TO: usize = 75;

/// The rows of `input` that pass all `filters`, in batches of up to `batch_rows`. Order stays. Rows that do not pass may be
/// there too: who made a filter must not rely on it.
///
/// # Errors
/// Of the input, or of a filter.
pub(super) fn sift(
    mut input: SendableRecordBatchStream,
    filters: &[Arc<dyn PhysicalExpr>],
    batch_rows: usize,
) -> SendableRecordBatchStream {
    let schema = input.schema();
    let mut sieves: Vec<Sieve> = filters.iter().map(|filter| Sieve::new(Arc::clone(filter))).collect();
    let mut gathered = BatchCoalescer::new(Arc::clone(&schema), batch_rows);
    let stream = of_batches(async_stream::try_stream! {
        while let Some(batch) = input.next().await {
            let batch: RecordBatch = batch?;
            match mask(&mut sieves, &batch)? {
                Some(mask) => {
                    gathered.push_batch_with_filter(batch, &mask)?;
                    while let Some(full) = gathered.next_completed_batch() {
                        yield full;
                    }
                }
                None => {
                    gathered.finish_buffered_batch()?;
                    while let Some(rest) = gathered.next_completed_batch() {
                        yield rest;
                    }
                    yield batch;
                }
            }
        }
        gathered.finish_buffered_batch()?;
        while let Some(rest) = gathered.next_completed_batch() {
            yield rest;
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

/// Says what the stream's errors are.
fn of_batches<S: Stream<Item = Result<RecordBatch>>>(stream: S) -> S {
    stream
}

/// Which rows pass; `None` where all do.
fn mask(sieves: &mut [Sieve], batch: &RecordBatch) -> Result<Option<BooleanArray>> {
    let mut all: Option<BooleanArray> = None;
    for sieve in sieves {
        if let Some(mask) = sieve.mask(batch)? {
            all = Some(match all {
                None => mask,
                Some(others) => and(&others, &mask)?,
            });
        }
    }
    Ok(all)
}

/// A filter and how many rows it kept of late.
struct Sieve {
    filter: Arc<dyn PhysicalExpr>,
    seen: usize,
    kept: usize,
    given_up: bool,
}

impl Sieve {
    fn new(filter: Arc<dyn PhysicalExpr>) -> Self {
        Self { filter, seen: 0, kept: 0, given_up: false }
    }

    fn mask(&mut self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        if self.given_up || batch.num_rows() == 0 {
            return Ok(None);
        }
        let current = match self.filter.downcast_ref::<DynamicFilterPhysicalExpr>() {
            Some(filter) => filter.current()?,
            None => Arc::clone(&self.filter),
        };
        // Nothing is known yet, or there is nothing to tell apart.
        if current.downcast_ref::<Literal>().is_some_and(|literal| literal.value() == &true.into()) {
            return Ok(None);
        }
        let passed = current.evaluate(batch)?.into_array(batch.num_rows())?;
        let passed = as_boolean_array(&passed)?;
        let passed = if passed.null_count() > 0 { prep_null_mask_filter(passed) } else { passed.clone() };
        self.watch(passed.len(), passed.true_count());
        Ok((passed.true_count() < passed.len()).then_some(passed))
    }

    fn watch(&mut self, rows: usize, kept: usize) {
        self.seen += rows;
        self.kept += kept;
        if self.seen >= WATCHED_ROWS {
            self.given_up = self.kept * 100 > self.seen * WORTH_KEEPING_UP_TO;
            (self.seen, self.kept) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Field, Schema},
    };
    use datafusion::{
        logical_expr::Operator,
        physical_expr::expressions::{BinaryExpr, Column, lit},
    };
    use futures::TryStreamExt;

    fn below(limit: i64) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(Arc::new(Column::new("n", 0)), Operator::Lt, lit(limit)))
    }

    fn unknown() -> Arc<DynamicFilterPhysicalExpr> {
        Arc::new(DynamicFilterPhysicalExpr::new(vec![Arc::new(Column::new("n", 0))], lit(true)))
    }

    async fn sifted(batches: Vec<Vec<Option<i64>>>, filter: Arc<dyn PhysicalExpr>) -> Vec<Vec<Option<i64>>> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batches: Vec<Result<RecordBatch>> = batches
            .into_iter()
            .map(|numbers| {
                Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(numbers))]).unwrap())
            })
            .collect();
        let input = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)));
        let out: Vec<RecordBatch> = sift(input, &[filter], 4).try_collect().await.unwrap();
        let column = |batch: &RecordBatch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
        out.iter().map(|batch| column(batch).iter().collect()).collect()
    }

    #[tokio::test]
    async fn rows_that_do_not_pass_go_and_the_rest_comes_in_order() {
        let filter = unknown();
        filter.update(below(3)).unwrap();
        let batches = vec![vec![Some(1), Some(9), None], vec![Some(2)], vec![Some(0), Some(1), Some(2), Some(5)]];
        let out = sifted(batches, filter).await;
        assert_eq!(out.concat(), [Some(1), Some(2), Some(0), Some(1), Some(2)]);
    }

    #[tokio::test]
    async fn a_filter_that_is_not_known_yet_keeps_every_row() {
        let batches = vec![vec![Some(1), None], vec![Some(2)]];
        assert_eq!(sifted(batches.clone(), unknown()).await, batches);
    }

    #[tokio::test]
    async fn a_filter_that_keeps_nearly_everything_is_given_up() {
        let filter = unknown();
        filter.update(below(9)).unwrap();
        let mut many = vec![Some(1); WATCHED_ROWS];
        many[0] = Some(9);
        let out = sifted(vec![many, vec![Some(9)]], filter).await.concat();
        assert_eq!((out.len(), out.last()), (WATCHED_ROWS, Some(&Some(9))));
    }
}

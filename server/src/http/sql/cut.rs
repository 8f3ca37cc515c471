//! Answers of a bounded number of rows, which say whether there were more.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use arrow::array::RecordBatch;
use axum::http::{HeaderName, HeaderValue};
use futures::{StreamExt, stream};
use mavis_sql::{Error, QueryStream};

/// `true` or `false`: whether rows were left out.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-mavis-cut");
/// Bytes that are read ahead to know it before the answer begins.
const AHEAD: usize = 8 << 20;

/// What became of the rows beyond the last that was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut(Arc<AtomicU8>);

const WHOLE: u8 = 1;
const LEFT_OUT: u8 = 2;

impl Cut {
    /// Lets `most` rows through. Reads on for one more, to know whether there is one.
    pub(super) fn limit(mut query: QueryStream, most: u64) -> (QueryStream, Self) {
        let cut = Self::default();
        let told = cut.clone();
        let mut batches = query.batches;
        query.batches = async_stream::stream! {
            let mut left = most;
            while let Some(batch) = batches.next().await {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        yield Err(error);
                        return;
                    }
                };
                let rows = batch.num_rows() as u64;
                if rows > left {
                    told.0.store(LEFT_OUT, Ordering::Release);
                    if left > 0 {
                        yield Ok(batch.slice(0, usize::try_from(left).unwrap_or(usize::MAX)));
                    }
                    return;
                }
                left -= rows;
                yield Ok(batch);
            }
            told.0.store(WHOLE, Ordering::Release);
        }
        .boxed();
        (query, cut)
    }

    /// `None` while it is not known.
    pub(super) fn is_cut(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            WHOLE => Some(false),
            LEFT_OUT => Some(true),
            _ => None,
        }
    }

    pub(super) fn word(&self) -> HeaderValue {
        HeaderValue::from_static(match self.is_cut() {
            Some(true) => "true",
            Some(false) => "false",
            None => "unknown",
        })
    }

    /// Reads until it is known whether rows are left out, but not more than a few MiB.
    pub(super) async fn look_ahead(&self, mut query: QueryStream) -> QueryStream {
        let mut read: Vec<Result<RecordBatch, Error>> = Vec::new();
        let mut bytes = 0;
        while bytes < AHEAD && self.is_cut().is_none() {
            match query.batches.next().await {
                None => break,
                Some(batch) => {
                    bytes += batch.as_ref().map_or(AHEAD, RecordBatch::get_array_memory_size);
                    read.push(batch);
                }
            }
        }
        query.batches = stream::iter(read).chain(query.batches).boxed();
        query
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Field, Schema},
    };
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, true)]
    #[case(9, true)]
    #[case(10, true)]
    #[case(19, true)]
    #[case(20, false)]
    #[case(21, false)]
    #[tokio::test]
    async fn as_many_rows_as_asked_for_go_through_and_more_are_told_of(#[case] most: u64, #[case] cut: bool) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let values = Arc::new(Int64Array::from_iter_values(0..10));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![values]).unwrap();
        let batches = stream::iter([Ok(batch.clone()), Ok(batch)]).boxed();
        let (query, told) = Cut::limit(QueryStream { id: uuid::Uuid::nil(), schema, batches }, most);
        let query = told.look_ahead(query).await;
        assert_eq!(told.is_cut(), Some(cut));
        let rows = query.batches.fold(0, async |sum, batch| sum + batch.unwrap().num_rows() as u64).await;
        assert_eq!(rows, most.min(20));
    }
}

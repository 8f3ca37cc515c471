//! From the files of an answer back to batches.

use std::{fs::File, io::BufReader, sync::Arc};

use arrow::{array::RecordBatch, error::ArrowError, ipc::reader::FileReader};
use futures::StreamExt;
use mavis_sql::{Error, QueryStream};
use uuid::Uuid;

use super::{
    Results,
    file::{self, Part},
    job::Job,
};

impl Results {
    /// Rows from `offset` on, `limit` of them at most. `None` before the answer is whole.
    pub(crate) fn read(&self, job: &Arc<Job>, offset: u64, limit: Option<u64>) -> Option<QueryStream> {
        let parts = job.parts.get()?.clone();
        Some(stream(job, parts, offset, limit.unwrap_or(u64::MAX)))
    }

    /// The rows of one file. `None` where there is no such file.
    pub(crate) fn read_part(&self, job: &Arc<Job>, part: usize) -> Option<QueryStream> {
        let part = job.parts.get()?.get(part)?.clone();
        Some(stream(job, vec![part], 0, u64::MAX))
    }

    /// An answer without rows. `None` before the columns are known.
    pub(crate) fn read_nothing(&self, job: &Arc<Job>) -> Option<QueryStream> {
        job.schema()?;
        Some(stream(job, Vec::new(), 0, 0))
    }
}

fn stream(job: &Arc<Job>, parts: Vec<Part>, mut skip: u64, mut left: u64) -> QueryStream {
    let schema = job.schema.get().cloned().unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
    let job = Arc::clone(job);
    let batches = async_stream::stream! {
        for part in parts {
            if skip >= part.rows {
                skip -= part.rows;
                continue;
            }
            let mut first = 0;
            while let Some(rows) = part.batches.get(first).map(|rows| u64::from(*rows)).filter(|rows| skip >= *rows) {
                skip -= rows;
                first += 1;
            }
            let opened = tokio::task::spawn_blocking(move || file::open(&part, first)).await;
            let mut reader = match opened {
                Ok(Ok(reader)) => reader,
                _ => {
                    yield Err(gone());
                    return;
                }
            };
            loop {
                if left == 0 {
                    return;
                }
                // Deleted meanwhile: what was erased must not be read on from an open file.
                if job.cancel.is_cancelled() {
                    yield Err(gone());
                    return;
                }
                let next = tokio::task::spawn_blocking(move || next(reader)).await;
                let batch = match next {
                    Ok((Some(Ok(batch)), same)) => {
                        reader = same;
                        batch
                    }
                    Ok((None, _)) => break,
                    _ => {
                        yield Err(gone());
                        return;
                    }
                };
                let rows = batch.num_rows() as u64;
                let from = skip.min(rows);
                skip -= from;
                let take = left.min(rows - from);
                left -= take;
                let (from, take) = (usize::try_from(from).unwrap_or_default(), usize::try_from(take).unwrap_or_default());
                if take > 0 {
                    yield Ok(batch.slice(from, take));
                }
            }
        }
    };
    QueryStream { id: Uuid::now_v7(), schema, batches: batches.boxed() }
}

type Reader = FileReader<BufReader<File>>;

fn next(mut reader: Reader) -> (Option<Result<RecordBatch, ArrowError>>, Reader) {
    (reader.next(), reader)
}

fn gone() -> Error {
    Error::Execution { message: "the answer was deleted while it was read".to_owned() }
}

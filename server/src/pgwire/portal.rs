use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
    json::writer::EncoderOptions,
};
use bytes::{BufMut, BytesMut};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, stream::BoxStream};
use mavis_types::Principal;
use pgwire::api::Type;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    failure::{Failure, state},
    output::{Wire, framed, sized},
    script::Piece,
    values::{Format, Kind, Rows},
};

/// Bytes after which rows are sent.
const FULL: usize = 64 << 10;

/// A statement that was read and planned, by a name or without one.
#[derive(Debug)]
pub(super) struct Prepared {
    /// `None`: an empty text.
    pub(super) piece: Option<Piece>,
    /// Types that the client declared, by their oids; 0 where it left that to us.
    pub(super) declared: Vec<u32>,
    /// The types of the parameters as they go over the wire.
    pub(super) parameters: Vec<Type>,
    /// The columns of the answer; `None` where there are none.
    pub(super) columns: Option<SchemaRef>,
}

impl Prepared {
    /// Whether rows of this schema are what the client was told of: names may differ, types on the wire may not.
    ///
    /// # Errors
    /// 0A000, which drivers know: they prepare the statement again.
    pub(super) fn fits(&self, schema: &Schema) -> Result<(), Failure> {
        let types = |schema: &Schema| -> Vec<Type> {
            schema.fields().iter().map(|field| Kind::of(field.data_type()).pg()).collect()
        };
        match &self.columns {
            Some(columns) if types(columns.as_ref()) != types(schema) => {
                Err(Failure::error(state::UNSUPPORTED, "cached plan must not change result type"))
            }
            _ => Ok(()),
        }
    }
}

/// A statement with its values, and its rows as far as they were fetched.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) values: Vec<ScalarValue>,
    pub(super) formats: Vec<i16>,
    pub(super) running: Option<Running>,
    /// Outlives its transaction.
    pub(super) hold: bool,
    /// Was made by DECLARE.
    pub(super) is_cursor: bool,
    pub(super) is_done: bool,
    /// How many savepoints were open when it was opened in the transaction that is open; `None`: it is older.
    pub(super) level: Option<usize>,
}

/// Rows that come.
pub(super) struct Running {
    pub(super) schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, mavis_sql::Error>>,
    /// The batch that is being written, and its next row.
    current: Option<(RecordBatch, usize)>,
    /// Rows that went out since the answer was last ended.
    pub(super) sent: u64,
    /// What the tag of the answer begins with.
    pub(super) verb: String,
    pub(super) deadline: Option<Instant>,
    /// Who the statement was run for; `None`: it tells of the connection alone.
    pub(super) opener: Option<Arc<Principal>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("verb", &self.verb).field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// How far the rows came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// As many as were asked for; there may be more.
    Some,
}

/// What may end a statement from outside.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) cancelled: CancellationToken,
    pub(super) deadline: Option<Instant>,
}

impl Watch {
    /// Waits for a piece of work, unless it is cancelled, takes too long, or the client goes away.
    ///
    /// # Errors
    /// 57014; fatal where nobody listens any more.
    pub(super) async fn over<T>(&self, wire: &mut Wire, work: impl Future<Output = T>) -> Result<T, Failure> {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Failure::error(state::CANCELLED, "the statement was cancelled as the user asked")),
            done = work => Ok(done),
            () = late => Err(Failure::error(state::CANCELLED, "the statement took longer than statement_timeout allows")),
            () = wire.gone() => Err(Failure::fatal("08006", "the client went away")),
        }
    }
}

impl Running {
    pub(super) fn new(
        schema: SchemaRef,
        batches: BoxStream<'static, Result<RecordBatch, mavis_sql::Error>>,
        verb: String,
    ) -> Self {
        Self { schema, batches, current: None, sent: 0, verb, deadline: None, opener: None }
    }

    /// The formats of the columns, from what the client asked for.
    pub(super) fn formats(&self, asked: &[i16]) -> Vec<Format> {
        (0..self.schema.fields().len()).map(|column| Format::of(asked, column)).collect()
    }

    /// The next rows that are not passed on yet, and how many of them there are; `None` at the end.
    pub(super) async fn batch(
        &mut self,
        watch: &Watch,
        wire: &mut Wire,
    ) -> Result<Option<(&RecordBatch, &mut usize)>, Failure> {
        while self.current.as_ref().is_none_or(|(batch, row)| *row >= batch.num_rows()) {
            let next = watch.over(wire, self.batches.next()).await?;
            match next {
                None => {
                    self.current = None;
                    return Ok(None);
                }
                Some(batch) => self.current = Some((batch?, 0)),
            }
        }
        Ok(self.current.as_mut().map(|(batch, row)| (&*batch, row)))
    }

    /// Writes rows, at most `most`.
    pub(super) async fn send(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        formats: &[Format],
        most: Option<u64>,
    ) -> Result<Sent, Failure> {
        let watch = Watch { deadline: self.deadline, ..watch.clone() };
        let mut left = most.unwrap_or(u64::MAX);
        loop {
            if left == 0 {
                return Ok(Sent::Some);
            }
            let Some((batch, row)) = self.batch(&watch, wire).await? else { return Ok(Sent::All) };
            let end = rows(batch, *row, left, formats, &mut wire.out)?;
            let count = (end - *row) as u64;
            *row = end;
            left -= count;
            self.sent += count;
            wire.relieve().await.map_err(|_| Failure::fatal("08006", "the client went away"))?;
        }
    }

    /// Passes over rows, at most `most`; answers how many.
    pub(super) async fn pass(&mut self, wire: &mut Wire, watch: &Watch, most: Option<u64>) -> Result<u64, Failure> {
        let mut left = most.unwrap_or(u64::MAX);
        while left > 0 {
            let Some((batch, row)) = self.batch(watch, wire).await? else { break };
            let count = left.min((batch.num_rows() - *row) as u64);
            *row += usize::try_from(count).unwrap_or(usize::MAX);
            left -= count;
        }
        Ok(most.unwrap_or(u64::MAX) - left)
    }

    /// The tag that ends the answer.
    pub(super) fn tag(&mut self) -> String {
        let sent = std::mem::take(&mut self.sent);
        match self.verb.as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" | "" => format!("SELECT {sent}"),
            "FETCH" => format!("FETCH {sent}"),
            verb => verb.to_owned(),
        }
    }
}

/// Writes rows of a batch from `begin`, at most `most`, until it is enough for one go; answers the next row.
fn rows(
    batch: &RecordBatch,
    begin: usize,
    most: u64,
    formats: &[Format],
    out: &mut BytesMut,
) -> Result<usize, Failure> {
    let options = EncoderOptions::default();
    let mut rows = Rows::new(batch, formats, &options)?;
    let width = rows.width();
    let end = batch.num_rows().min(begin.saturating_add(usize::try_from(most).unwrap_or(usize::MAX)));
    let mut row = begin;
    while row < end && out.len() < FULL {
        framed(out, b'D', |out| {
            out.put_i16(i16::try_from(width).unwrap_or(i16::MAX));
            for column in 0..width {
                let before = out.len();
                let mut there = true;
                sized(out, false, |out| there = rows.value(column, row, out));
                if !there {
                    out.truncate(before);
                    out.put_i32(-1);
                }
            }
        });
        row += 1;
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use rstest::rstest;

    use super::*;

    fn schema(types: &[DataType]) -> Schema {
        let fields = types.iter().enumerate().map(|(number, of)| Field::new(format!("c{number}"), of.clone(), true));
        Schema::new(fields.collect::<Vec<_>>())
    }

    #[rstest]
    #[case(vec![DataType::Int64, DataType::Utf8], true)]
    #[case(vec![DataType::Int64, DataType::LargeUtf8], true)]
    #[case(vec![DataType::Int32, DataType::Utf8], false)]
    #[case(vec![DataType::Int64], false)]
    #[case(vec![DataType::Int64, DataType::Utf8, DataType::Utf8], false)]
    fn rows_are_of_the_types_that_were_told(#[case] types: Vec<DataType>, #[case] fit: bool) {
        let columns = Some(Arc::new(schema(&[DataType::Int64, DataType::Utf8])));
        let prepared = Prepared { piece: None, declared: Vec::new(), parameters: Vec::new(), columns };
        assert_eq!(prepared.fits(&schema(&types)).is_ok(), fit);
    }
}

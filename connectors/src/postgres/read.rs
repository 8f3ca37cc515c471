//! One table as a stream of batches.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::{Field, Schema};
use futures::{StreamExt, TryStreamExt};
use mavis_types::Cursor;
use sqlx::PgConnection;
use tokio::sync::mpsc;

use super::{
    Inner,
    copy::{Batches, Rows},
    describe::{self, Described},
    discover, incremental,
    pace::Pace,
    parallel::{self, Range},
    session,
    types::{Wire, quote},
    xmin,
};
use crate::{Error, ReadItem, ReadRequest, ReadStream, Stage, payload::payload, place::Place};

/// Batches that wait for a slow reader; beyond them the server waits too.
const WAITING: usize = 2;

pub(super) type Sender = mpsc::Sender<Result<ReadItem, Error>>;

pub(super) async fn read(inner: Arc<Inner>, request: ReadRequest) -> Result<ReadStream, Error> {
    let mut connection = session::open(&inner, Some(&request.table)).await?;
    let columns = describe::table(&inner, &mut connection, &request.table).await?;
    let way = match inner.cursor_column(&request.table) {
        Some(cursor) => Way::After(Order::new(&inner, &mut connection, &columns, cursor, &request).await?),
        None if inner.by_xmin(&request.table) => match xmin::Since::new(&inner, &mut connection, &request).await? {
            Some(since) => Way::Since(since),
            None => Way::Whole,
        },
        None => Way::Whole,
    };
    Ok(start(Reading { inner, request, columns, way }, connection))
}

/// Runs a reading aside; dropping the stream ends it.
pub(super) fn start(reading: Reading, connection: PgConnection) -> ReadStream {
    stream(|sender| async move { reading.run(connection, &sender).await })
}

/// What `work` sends, as a stream; dropping it ends the work.
pub(super) fn stream<F: Future<Output = Result<(), Error>> + Send + 'static>(
    work: impl FnOnce(Sender) -> F,
) -> ReadStream {
    let (sender, receiver) = mpsc::channel(WAITING);
    let work = work(sender.clone());
    tokio::spawn(async move {
        let result = tokio::select! {
            result = work => result,
            () = sender.closed() => return,
        };
        if let Err(error) = result
            && sender.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody waits for the end of a reading");
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).fuse().boxed()
}

/// Which rows are read, and what may be said at the end.
#[derive(Debug)]
pub(super) enum Way {
    /// All of them.
    Whole,
    /// All of them, where changes will be read on from a place in the server's log. `again`: the table was read before, and
    /// something happened to it that the log does not tell of.
    Handover { end: Cursor, again: bool },
    /// Those beyond the last value of a column.
    After(Order),
    /// Those that later transactions wrote.
    Since(xmin::Since),
}

/// How an incremental reading goes on.
#[derive(Debug)]
pub(super) struct Order {
    column: String,
    column_type: String,
    key: Vec<String>,
    from: Option<Place>,
}

impl Order {
    pub(super) async fn new(
        inner: &Inner,
        connection: &mut PgConnection,
        columns: &[Described],
        cursor: &str,
        request: &ReadRequest,
    ) -> Result<Self, Error> {
        let column = columns.iter().find(|described| described.column.name == cursor).ok_or_else(|| Error::Params {
            source_name: inner.name.clone(),
            reason: format!("`cursor_columns` names `{cursor}`, which table `{}` does not have", request.table),
        })?;
        let key = discover::key(inner, connection, &request.table).await?;
        if key.is_empty() {
            let reason = format!("table `{}`: {}", request.table, discover::KEYLESS);
            return Err(Error::Params { source_name: inner.name.clone(), reason });
        }
        let from = match &request.from {
            None => None,
            Some(cursor) => Some(Place::from_cursor(cursor).ok_or_else(|| Error::Malformed {
                place: request.table.to_string(),
                reason: "its cursor is not one of this connector; ingest the table in full".to_owned(),
            })?),
        };
        Ok(Self { column: cursor.to_owned(), column_type: column.column.source_type.clone(), key, from })
    }

    /// The rest of a statement that asks whether there is anything to read.
    pub(super) fn condition(&self) -> String {
        incremental::condition(&self.column, &self.column_type, &self.key, self.from.as_ref())
    }
}

/// Where items go: to the reader, or into a list that is handed over later.
pub(super) enum Out<'a> {
    Reader(&'a Sender),
    Later(&'a mut Vec<ReadItem>),
}

impl Out<'_> {
    async fn put(&mut self, item: ReadItem) {
        match self {
            Self::Reader(sender) => send(sender, item).await,
            Self::Later(items) => items.push(item),
        }
    }
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) inner: Arc<Inner>,
    pub(super) request: ReadRequest,
    pub(super) columns: Vec<Described>,
    pub(super) way: Way,
}

impl Reading {
    /// The statement, for all pages or for some.
    fn statement(&self, pages: Option<&Range>) -> String {
        let mut expressions: Vec<String> =
            self.columns.iter().map(|described| described.travel.expression.clone()).collect();
        let mut rest = match &self.way {
            Way::Whole | Way::Handover { .. } => pages.map_or_else(String::new, Range::condition),
            Way::Since(since) => since.condition(),
            Way::After(order) => {
                expressions.extend(incremental::expressions(&order.column, &order.key));
                order.condition()
            }
        };
        if self.request.sample {
            rest = format!("{rest} LIMIT {}", self.request.batch_rows);
        }
        let schema = quote(self.inner.schema_of(&self.request.table));
        let table = quote(&self.request.table.name);
        format!("COPY (SELECT {} FROM {schema}.{table} AS t {rest}) TO STDOUT (FORMAT BINARY)", expressions.join(", "))
    }

    async fn run(self, mut connection: PgConnection, sender: &Sender) -> Result<(), Error> {
        if let Way::Handover { again: true, .. } = &self.way {
            send(sender, ReadItem::Emptied).await;
        }
        let ranges = match &self.way {
            Way::Whole | Way::Handover { .. } if !self.request.sample => {
                parallel::ranges(&self.inner, &mut connection, &self.request).await?
            }
            _ => Vec::new(),
        };
        let (end, whole) = if ranges.len() > 1 {
            let reading = Arc::new(self);
            parallel::run(&reading, &mut connection, ranges, sender).await?;
            let end = if let Way::Handover { end, .. } = &reading.way { Some(end.clone()) } else { None };
            (end, true)
        } else {
            let pace = Pace::new(&self.inner.params);
            let mut out = Out::Reader(sender);
            let place = self.copy(&mut connection, None, &pace, &mut out).await?;
            match &self.way {
                Way::Whole => (None, true),
                Way::Handover { end, .. } => (Some(end.clone()), true),
                Way::After(order) => (place.as_ref().and_then(Place::to_cursor), order.from.is_none()),
                Way::Since(since) => (since.end(), since.is_whole()),
            }
        };
        send(sender, ReadItem::End { cursor: end, whole }).await;
        close(connection).await;
        Ok(())
    }

    /// The rows of a statement, put out as they come. Answers the place after the last one, where rows come in an order.
    pub(super) async fn copy(
        &self,
        connection: &mut PgConnection,
        pages: Option<&Range>,
        pace: &Pace,
        out: &mut Out<'_>,
    ) -> Result<Option<Place>, Error> {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|Described { column, .. }| Field::new(&column.name, column.data_type.clone(), column.nullable))
            .collect();
        let wires: Vec<Wire> = self.columns.iter().map(|described| described.travel.wire).collect();
        let names: Vec<String> = self.columns.iter().map(|described| described.column.name.clone()).collect();
        let mut batches = Batches::new(Arc::new(Schema::new(fields)), &wires, self.inner.params.infinity);
        let ordered = matches!(self.way, Way::After(_));
        let mut place = if let Way::After(order) = &self.way { order.from.clone() } else { None };
        let origin = pages.map_or_else(String::new, |pages| format!(" page {}", pages.first));
        let mut rows = Rows::default();
        let mut rejects = Vec::new();
        let (mut seen, mut told): (u64, u64) = (0, 0);

        let broken = |error: sqlx::Error| session::refused(&self.inner, Stage::Read, &error);
        let mut stream = connection.copy_out_raw(&self.statement(pages)).await.map_err(broken)?;
        while let Some(message) = stream.try_next().await.map_err(broken)? {
            let fed = rows.feed(&message, |fields| {
                seen += 1;
                if let Err(misfit) = batches.push(fields) {
                    rejects.push(ReadItem::Reject {
                        origin: format!("{}{origin} row {seen}", self.request.table),
                        reason: format!("{}: {}", names[misfit.field], misfit.what),
                        payload: payload(&names, fields),
                    });
                }
                if ordered {
                    pass(&mut place, fields, names.len());
                }
            });
            fed.map_err(|_| Error::Interrupted {
                place: self.request.table.to_string(),
                reason: "the COPY stream is garbled".to_owned(),
            })?;
            pace.wait(seen - told, message.len()).await;
            told = seen;
            let full = batches.rows() >= self.request.batch_rows.max(1) || batches.bytes() >= self.request.batch_bytes;
            if full || rejects.len() >= 1000 {
                self.hand_over(&mut batches, &mut rejects, place.as_ref().filter(|_| ordered), out).await?;
            }
        }
        drop(stream);
        if !rows.ended {
            return Err(Error::Interrupted {
                place: self.request.table.to_string(),
                reason: "the COPY stream ended too early".to_owned(),
            });
        }
        self.hand_over(&mut batches, &mut rejects, place.as_ref().filter(|_| ordered), out).await?;
        Ok(place)
    }

    async fn hand_over(
        &self,
        batches: &mut Batches,
        rejects: &mut Vec<ReadItem>,
        place: Option<&Place>,
        out: &mut Out<'_>,
    ) -> Result<(), Error> {
        if batches.rows() > 0 {
            let batch = batches.take().map_err(|error| Error::Malformed {
                place: self.request.table.to_string(),
                reason: format!("its rows make no batch: {error}"),
            })?;
            out.put(ReadItem::Batch(batch)).await;
        }
        for reject in rejects.drain(..) {
            out.put(reject).await;
        }
        if let Some(cursor) = place.and_then(Place::to_cursor) {
            out.put(ReadItem::Cursor(cursor)).await;
        }
        Ok(())
    }
}

/// Takes note of the cursor's value and key, which come after the columns.
fn pass(place: &mut Option<Place>, fields: &[Option<&[u8]>], columns: usize) {
    let text = |at: usize| fields.get(at).copied().flatten().and_then(|bytes| std::str::from_utf8(bytes).ok());
    if let Some(value) = text(columns) {
        Place::pass(place, value, text(columns + 1));
    }
}

/// Hands an item to the reader; where nobody reads any more, the whole reading is dropped at its next step.
pub(super) async fn send(sender: &Sender, item: ReadItem) {
    if sender.send(Ok(item)).await.is_err() {
        tracing::debug!("a reading was dropped");
    }
}

/// Says goodbye, so that the server does not log a lost connection.
pub(super) async fn close(connection: PgConnection) {
    let bye = sqlx::Connection::close(connection);
    if !matches!(tokio::time::timeout(Duration::from_secs(2), bye).await, Ok(Ok(()))) {
        tracing::debug!("a connection broke while it was closed");
    }
}

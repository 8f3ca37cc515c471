//! One table as a stream of batches.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::{Field, Schema};
use futures::{StreamExt, TryStreamExt};
use sqlx::PgConnection;
use tokio::sync::mpsc;

use super::{
    Inner,
    copy::{Batches, Rows},
    describe::{self, Described},
    discover, incremental, session,
    types::{Wire, quote},
};
use crate::{Error, ReadItem, ReadRequest, ReadStream, Stage, payload::payload, place::Place};

/// Batches that wait for a slow reader; beyond them the server waits too.
const WAITING: usize = 2;

pub(super) async fn read(inner: Arc<Inner>, request: ReadRequest) -> Result<ReadStream, Error> {
    let mut connection = session::open(&inner).await?;
    let columns = describe::table(&inner, &mut connection, &request.table).await?;
    let order = match inner.cursor_column(&request.table) {
        Some(cursor) => Some(Order::new(&inner, &mut connection, &columns, cursor, &request).await?),
        None => None,
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let reading = Reading { inner: &inner, request: &request, columns: &columns, order };
        let result = tokio::select! {
            result = reading.run(connection, &sender) => result,
            () = sender.closed() => return,
        };
        if let Err(error) = result
            && sender.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody waits for the end of a reading");
        }
    });
    Ok(futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed())
}

/// How an incremental reading goes on.
struct Order {
    column: String,
    column_type: String,
    key: Vec<String>,
    from: Option<Place>,
}

impl Order {
    async fn new(
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
}

struct Reading<'a> {
    inner: &'a Inner,
    request: &'a ReadRequest,
    columns: &'a [Described],
    order: Option<Order>,
}

impl Reading<'_> {
    fn statement(&self) -> String {
        let mut expressions: Vec<String> =
            self.columns.iter().map(|described| described.travel.expression.clone()).collect();
        let mut rest = String::new();
        if let Some(order) = &self.order {
            expressions.extend(incremental::expressions(&order.column, &order.key));
            rest = incremental::condition(&order.column, &order.column_type, &order.key, order.from.as_ref());
        }
        let schema = quote(self.inner.schema_of(&self.request.table));
        let table = quote(&self.request.table.name);
        format!("COPY (SELECT {} FROM {schema}.{table} AS t {rest}) TO STDOUT (FORMAT BINARY)", expressions.join(", "))
    }

    async fn run(
        &self,
        mut connection: PgConnection,
        sender: &mpsc::Sender<Result<ReadItem, Error>>,
    ) -> Result<(), Error> {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|Described { column, .. }| Field::new(&column.name, column.data_type.clone(), column.nullable))
            .collect();
        let wires: Vec<Wire> = self.columns.iter().map(|described| described.travel.wire).collect();
        let names: Vec<String> = self.columns.iter().map(|described| described.column.name.clone()).collect();
        let mut batches = Batches::new(Arc::new(Schema::new(fields)), &wires, self.inner.params.infinity);
        let mut place = self.order.as_ref().and_then(|order| order.from.clone());
        let mut rows = Rows::default();
        let mut rejects = Vec::new();
        let mut seen: u64 = 0;

        let broken = |error: sqlx::Error| session::refused(self.inner, Stage::Read, &error);
        let mut stream = connection.copy_out_raw(&self.statement()).await.map_err(broken)?;
        while let Some(message) = stream.try_next().await.map_err(broken)? {
            let fed = rows.feed(&message, |fields| {
                seen += 1;
                if let Err(misfit) = batches.push(fields) {
                    rejects.push(ReadItem::Reject {
                        origin: format!("{} row {seen}", self.request.table),
                        reason: format!("{}: {}", names[misfit.field], misfit.what),
                        payload: payload(&names, fields),
                    });
                }
                if self.order.is_some() {
                    pass(&mut place, fields, names.len());
                }
            });
            fed.map_err(|_| Error::Interrupted {
                place: self.request.table.to_string(),
                reason: "the COPY stream is garbled".to_owned(),
            })?;
            let full = batches.rows() >= self.request.batch_rows.max(1) || batches.bytes() >= self.request.batch_bytes;
            if full || rejects.len() >= 1000 {
                self.hand_over(&mut batches, &mut rejects, place.as_ref(), sender).await?;
            }
        }
        drop(stream);
        if !rows.ended {
            return Err(Error::Interrupted {
                place: self.request.table.to_string(),
                reason: "the COPY stream ended too early".to_owned(),
            });
        }
        self.hand_over(&mut batches, &mut rejects, place.as_ref(), sender).await?;
        let cursor = place.as_ref().and_then(Place::to_cursor);
        send(sender, ReadItem::End { cursor, whole: self.order.is_none() }).await;
        close(connection).await;
        Ok(())
    }

    async fn hand_over(
        &self,
        batches: &mut Batches,
        rejects: &mut Vec<ReadItem>,
        place: Option<&Place>,
        sender: &mpsc::Sender<Result<ReadItem, Error>>,
    ) -> Result<(), Error> {
        if batches.rows() > 0 {
            let batch = batches.take().map_err(|error| Error::Malformed {
                place: self.request.table.to_string(),
                reason: format!("its rows make no batch: {error}"),
            })?;
            send(sender, ReadItem::Batch(batch)).await;
        }
        for reject in rejects.drain(..) {
            send(sender, reject).await;
        }
        if let Some(cursor) = place.filter(|_| self.order.is_some()).and_then(Place::to_cursor) {
            send(sender, ReadItem::Cursor(cursor)).await;
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
async fn send(sender: &mpsc::Sender<Result<ReadItem, Error>>, item: ReadItem) {
    if sender.send(Ok(item)).await.is_err() {
        tracing::debug!("a reading was dropped");
    }
}

/// Says goodbye, so that the server does not log a lost connection.
async fn close(connection: PgConnection) {
    let bye = sqlx::Connection::close(connection);
    if !matches!(tokio::time::timeout(Duration::from_secs(2), bye).await, Ok(Ok(()))) {
        tracing::debug!("a connection broke while it was closed");
    }
}

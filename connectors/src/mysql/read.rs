//! One table as a stream of batches.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt};
use sqlx::{AssertSqlSafe, MySqlConnection};
use tokio::sync::mpsc;

use super::{
    Inner,
    discover::{self, Described, KEYLESS, UNORDERED},
    session::{self, raw},
    types::{Wire, cursor_literal, orders, quote},
    value::decode,
};
use crate::{
    Error, ReadItem, ReadRequest, ReadStream,
    gather::{Cell, Gather},
    payload::payload,
    place::{Passed, Place, key_text},
};

/// Batches that wait for a slow reader; beyond them the server waits too.
const WAITING: usize = 2;
/// Rejected rows that are gathered at most before they are handed over.
const REJECTS: usize = 1000;

pub(super) async fn read(inner: Arc<Inner>, request: ReadRequest) -> Result<ReadStream, Error> {
    let mut connection = session::open(&inner).await?;
    let columns = discover::describe(&inner, &mut connection, &request.table).await?;
    let order = match inner.cursor_column(&request.table) {
        Some(cursor) => Some(Order::new(&inner, &mut connection, &columns, cursor, &request).await?),
        None => None,
    };
    let (sender, mut receiver) = mpsc::channel(WAITING);
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
    Ok(futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed())
}

/// How an incremental reading goes on.
struct Order {
    /// Where the cursor column stands among the columns.
    cursor: usize,
    /// Where the key's columns stand.
    key: Vec<usize>,
    from: Option<Place>,
}

impl Order {
    async fn new(
        inner: &Inner,
        connection: &mut MySqlConnection,
        columns: &[Described],
        cursor: &str,
        request: &ReadRequest,
    ) -> Result<Self, Error> {
        let table = &request.table;
        let wrong = |reason: String| Error::Params { source_name: inner.name.clone(), reason };
        let find = |name: &str| columns.iter().position(|described| described.column.name == name);
        let place = find(cursor)
            .ok_or_else(|| wrong(format!("`cursor_columns` names `{cursor}`, which table `{table}` does not have")))?;
        if !orders(&columns[place].of) {
            return Err(wrong(format!("`cursor_columns` names `{cursor}` of table `{table}`: {UNORDERED}")));
        }
        let mut keys = discover::keys(inner, connection, Some(&table.name)).await?;
        let key: Option<Vec<usize>> =
            keys.remove(&table.name).unwrap_or_default().iter().map(|column| find(column)).collect();
        let key = key.filter(|key| !key.is_empty()).ok_or_else(|| wrong(format!("table `{table}`: {KEYLESS}")))?;
        let from = match &request.from {
            None => None,
            Some(cursor) => Some(Place::from_cursor(cursor).ok_or_else(|| foreign(request))?),
        };
        Ok(Self { cursor: place, key, from })
    }

    /// The cursor's value and the key of a row, as the server writes them.
    fn of<'a>(&self, fields: &[Option<&'a [u8]>]) -> (Option<&'a str>, String) {
        let text = |at: usize| fields.get(at).copied().flatten().and_then(|bytes| std::str::from_utf8(bytes).ok());
        (text(self.cursor), key_of(fields, &self.key))
    }
}

/// A key as text, whatever its columns' types: bytes that are no text count as Latin-1.
fn key_of(fields: &[Option<&[u8]>], key: &[usize]) -> String {
    let parts: Vec<Option<String>> = key
        .iter()
        .map(|at| {
            fields.get(*at).copied().flatten().map(|bytes| match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
            })
        })
        .collect();
    key_text(parts.iter().map(Option::as_deref))
}

fn foreign(request: &ReadRequest) -> Error {
    Error::Malformed {
        place: request.table.to_string(),
        reason: "its cursor is not one of this connector; ingest the table in full".to_owned(),
    }
}

struct Reading<'a> {
    inner: &'a Inner,
    request: &'a ReadRequest,
    columns: &'a [Described],
    order: Option<Order>,
}

impl Reading<'_> {
    fn statement(&self) -> Result<String, Error> {
        let expressions: Vec<&str> = self.columns.iter().map(|column| column.travel.expression.as_str()).collect();
        let table = discover::quoted(self.inner, &self.request.table);
        let mut statement = format!("SELECT {} FROM {table}", expressions.join(", "));
        let Some(order) = &self.order else { return Ok(statement) };
        let column = &self.columns[order.cursor];
        let quoted = quote(&column.column.name);
        if let Some(from) = &order.from {
            let last = cursor_literal(&column.of, &from.last).ok_or_else(|| foreign(self.request))?;
            // Not an expression of the column, so that an index serves; the rows that were read are passed over here.
            statement.push_str(&format!(" WHERE {quoted} IS NULL OR {quoted} >= {last}"));
        }
        let key: Vec<String> = order.key.iter().map(|at| quote(&self.columns[*at].column.name)).collect();
        statement.push_str(&format!(" ORDER BY {quoted}, {}", key.join(", ")));
        Ok(statement)
    }

    async fn run(
        &self,
        mut connection: MySqlConnection,
        sender: &mpsc::Sender<Result<ReadItem, Error>>,
    ) -> Result<(), Error> {
        let source_columns: Vec<_> = self.columns.iter().map(|described| described.column.clone()).collect();
        let names: Vec<String> = source_columns.iter().map(|column| column.name.clone()).collect();
        let wires: Vec<Wire> = self.columns.iter().map(|described| described.travel.wire).collect();
        let mut gather = Gather::new(&source_columns)?;
        let mut place = self.order.as_ref().and_then(|order| order.from.clone());
        let passed = place.as_ref().map(Place::passed);
        let mut rejects = Vec::new();
        let mut seen: u64 = 0;
        let limit = Duration::from_secs(self.inner.params.read_timeout_seconds.max(1));
        let broken = |error: sqlx::Error| session::refused(self.inner, &error);

        let mut rows = sqlx::raw_sql(AssertSqlSafe(self.statement()?)).fetch(&mut connection);
        let mut fields: Vec<Option<&[u8]>>;
        loop {
            // Most rows have come already; only a wait is worth a clock.
            let next = match rows.try_next().now_or_never() {
                Some(next) => next,
                None => tokio::time::timeout(limit, rows.try_next()).await.map_err(|_| self.silent(limit))?,
            };
            let Some(row) = next.map_err(broken)? else { break };
            fields = (0..wires.len()).map(|index| raw(&row, index)).collect();
            if let Some(order) = &self.order
                && !pass(order, &fields, &mut place, passed.as_ref())
            {
                continue;
            }
            seen += 1;
            match self.cells(&wires, &fields) {
                Ok(cells) => gather.push(&cells)?,
                Err((column, what)) => rejects.push(ReadItem::Reject {
                    origin: self.origin(&fields, seen),
                    reason: format!("{}: {what}", names[column]),
                    payload: payload(&names, &fields),
                }),
            }
            let full = gather.rows() >= self.request.batch_rows.max(1) || gather.bytes() >= self.request.batch_bytes;
            if full || rejects.len() >= REJECTS {
                self.hand_over(&mut gather, &mut rejects, place.as_ref(), sender).await?;
            }
        }
        drop(rows);
        self.hand_over(&mut gather, &mut rejects, place.as_ref(), sender).await?;
        let cursor = place.as_ref().and_then(Place::to_cursor);
        send(sender, ReadItem::End { cursor, whole: self.order.is_none() }).await;
        session::close(connection).await;
        Ok(())
    }

    /// Where a row stands: by its key where readings go on, else by its number.
    fn origin(&self, fields: &[Option<&[u8]>], number: u64) -> String {
        match &self.order {
            Some(order) => format!("{} key {}", self.request.table, key_of(fields, &order.key)),
            None => format!("{} row {number}", self.request.table),
        }
    }

    fn cells<'a>(&self, wires: &[Wire], fields: &[Option<&'a [u8]>]) -> Result<Vec<Cell<'a>>, (usize, &'static str)> {
        let zero_dates = self.inner.params.zero_dates;
        let mut cells = Vec::with_capacity(fields.len());
        for (column, (wire, field)) in wires.iter().zip(fields).enumerate() {
            cells.push(match field {
                None => Cell::Null,
                Some(value) => decode(*wire, value, zero_dates).map_err(|what| (column, what))?,
            });
        }
        Ok(cells)
    }

    fn silent(&self, limit: Duration) -> Error {
        Error::Interrupted {
            place: self.request.table.to_string(),
            reason: format!("no row within {} s (`read_timeout_seconds`); is the network cut?", limit.as_secs()),
        }
    }

    async fn hand_over(
        &self,
        gather: &mut Gather,
        rejects: &mut Vec<ReadItem>,
        place: Option<&Place>,
        sender: &mpsc::Sender<Result<ReadItem, Error>>,
    ) -> Result<(), Error> {
        if gather.rows() > 0 {
            send(sender, ReadItem::Batch(gather.take()?)).await;
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

/// Takes note of where a row stands; `false` for one that a former reading yielded.
fn pass(order: &Order, fields: &[Option<&[u8]>], place: &mut Option<Place>, passed: Option<&Passed>) -> bool {
    let (value, key) = order.of(fields);
    let Some(value) = value else { return true };
    if passed.is_some_and(|passed| passed.has(value, &key)) {
        return false;
    }
    Place::pass(place, value, Some(&key));
    true
}

/// Hands an item to the reader; where nobody reads any more, the whole reading is dropped at its next step.
async fn send(sender: &mpsc::Sender<Result<ReadItem, Error>>, item: ReadItem) {
    if sender.send(Ok(item)).await.is_err() {
        tracing::debug!("a reading was dropped");
    }
}

//! One table as a stream of batches.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures::StreamExt;
use mavis_types::Cursor;
use rsfbclient::{FbError, Queryable, Row};
use serde::{Deserialize, Serialize};

use super::{
    Inner,
    deletions::{self, Log, foreign},
    discover::{self, Described, KEYLESS},
    session::{self, Attachment},
    types::{UNORDERED, blob_expressions, cursor_literal, orders, quote},
    value::{Field, decode, note, of_raw, of_sql, shown},
};
use crate::{
    Error, ReadRequest, ReadStream,
    gather::{Cell, Gather},
    payload::payload,
    place::{Passed, Place, key_text},
    reading::{Halt, Output, aside, spawn},
};

/// What the columns of one row may take at most on the wire, BLOBs not counted, with some room left.
const ROW_BYTES: usize = 60_000;
/// The longest BLOB that comes with its row, where there is room.
const INLINE_BYTES: usize = 16_000;
/// Rejected rows that are gathered at most before they are handed over.
const REJECTS: usize = 1000;

/// What a cursor of this connector holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// How far the table was read.
    #[serde(default)]
    pub(super) rows: Option<Place>,
    /// How far its table of deletions was read.
    #[serde(default)]
    pub(super) gone: Option<Place>,
}

impl State {
    pub(super) fn to_cursor(&self) -> Option<Cursor> {
        serde_json::to_value(self).ok().map(Cursor)
    }
}

/// What is known of a table before its first row is asked for.
struct Plan {
    columns: Vec<Described>,
    order: Option<Order>,
    deletions: Option<Log>,
}

/// How an incremental reading goes on.
struct Order {
    cursor: usize,
    key: Vec<usize>,
    from: State,
}

pub(super) async fn read(inner: Arc<Inner>, request: ReadRequest) -> Result<ReadStream, Error> {
    let (attachment, relay) = session::open(&inner).await?;
    let (declared, asked) = (Arc::clone(&inner), request.clone());
    let (attachment, plan) = aside(&request.table.to_string(), move || {
        let mut attachment = attachment;
        let plan = plan(&declared, &mut attachment, &asked)?;
        Ok((attachment, plan))
    })
    .await?;
    let stream = spawn(move |output| {
        let reading = Reading { inner: &inner, request: &request, plan: &plan };
        // The driver panics at a date that no calendar has.
        match catch_unwind(AssertUnwindSafe(|| reading.run(attachment, output))) {
            Ok(result) => result,
            Err(_) => Err(Halt::Failed(Error::Malformed {
                place: request.table.to_string(),
                reason:
                    "the driver cannot read a value of it, such as a date that no calendar has; repair it in the source"
                        .to_owned(),
            })),
        }
    });
    // A reading that is dropped takes its relay with it, and so the thread that waits for the server.
    Ok(stream
        .map(move |item| {
            let _held = &relay;
            item
        })
        .boxed())
}

fn plan(inner: &Inner, attachment: &mut Attachment, request: &ReadRequest) -> Result<Plan, Error> {
    let table = &request.table;
    let columns = discover::describe(inner, attachment, table)?;
    let Some(cursor) = inner.cursor_column(table) else {
        return Ok(Plan { columns, order: None, deletions: None });
    };
    let wrong = |reason: String| Error::Params { source_name: inner.name.clone(), reason };
    let place = discover::find(&columns, cursor)
        .ok_or_else(|| wrong(format!("`cursor_columns` names `{cursor}`, which table `{table}` does not have")))?;
    if !orders(&columns[place].of) {
        return Err(wrong(format!("`cursor_columns` names `{cursor}` of table `{table}`: {UNORDERED}")));
    }
    let mut keys = discover::keys(inner, attachment, Some(&table.name))?;
    let names = keys.remove(&table.name).unwrap_or_default().columns;
    let key: Option<Vec<usize>> = names.iter().map(|name| discover::find(&columns, name)).collect();
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| wrong(format!("table `{table}`: {KEYLESS}")))?;
    let from = match &request.from {
        None => State::default(),
        Some(cursor) => serde_json::from_value(cursor.0.clone()).map_err(|_| foreign(request))?,
    };
    let deletions = match inner.deletions(table) {
        None => None,
        Some(declared) => {
            let key: Vec<&Described> = key.iter().map(|at| &columns[*at]).collect();
            Some(deletions::log(inner, attachment, declared, table, &key)?)
        }
    };
    Ok(Plan { columns, order: Some(Order { cursor: place, key, from }), deletions })
}

struct Reading<'a> {
    inner: &'a Inner,
    request: &'a ReadRequest,
    plan: &'a Plan,
}

/// Rows on their way out.
struct Rows<'a> {
    output: &'a Output,
    gather: Gather,
    names: Vec<String>,
    state: State,
    passed: Option<Passed>,
    rejects: Vec<(String, String, String)>,
    seen: u64,
}

impl Reading<'_> {
    fn run(&self, attachment: Attachment, output: &Output) -> Result<(), Halt> {
        let mut attachment = attachment;
        let columns: Vec<_> = self.plan.columns.iter().map(|described| described.column.clone()).collect();
        let mut state = self.plan.order.as_ref().map(|order| order.from.clone()).unwrap_or_default();
        if let Some(log) = &self.plan.deletions {
            let is_first = state.rows.is_none() && state.gone.is_none();
            state.gone = log.read(self.inner, &mut attachment, self.request, state.gone.take(), is_first, output)?;
        }
        let mut rows = Rows {
            output,
            gather: Gather::new(&columns)?,
            names: columns.iter().map(|column| column.name.clone()).collect(),
            passed: state.rows.as_ref().map(Place::passed),
            state,
            rejects: Vec::new(),
            seen: 0,
        };
        let sql = session::statement(&self.statement()?);
        if self.plan.columns.iter().any(|column| column.travel.wire.is_blob()) {
            self.with_blobs(&mut attachment, &sql, &mut rows)?;
        } else {
            self.streamed(&mut attachment, &sql, &mut rows)?;
        }
        self.hand_over(&mut rows)?;
        session::close(attachment);
        let cursor = self.plan.order.as_ref().and_then(|_| rows.state.to_cursor());
        output.end(cursor, self.plan.order.is_none())
    }

    /// Without BLOBs rows are decoded where they lie in the driver's buffer.
    fn streamed(&self, attachment: &mut Attachment, sql: &str, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let mut halt = None;
        let streamed = attachment.stream_raw(sql, |values| {
            let fields: Vec<Field<'_>> = values.iter().map(of_raw).collect();
            self.take(rows, &fields).map_err(|reason| {
                halt = Some(reason);
                FbError::from("stopped")
            })
        });
        match (halt, streamed) {
            (Some(halt), _) => Err(halt),
            (None, Err(error)) => Err(session::refused(self.inner, &error).into()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn with_blobs(&self, attachment: &mut Attachment, sql: &str, rows: &mut Rows<'_>) -> Result<(), Halt> {
        let refused = |error: FbError| Halt::Failed(session::refused(self.inner, &error));
        for row in attachment.query_iter::<(), Row>(sql, ()).map_err(refused)? {
            let row = row.map_err(refused)?;
            let mut values = row.cols.iter().map(|column| of_sql(&column.value));
            let mut fields = Vec::with_capacity(self.plan.columns.len());
            for column in &self.plan.columns {
                let first = values.next().unwrap_or(Field::Null);
                let field = match column.travel.wire.is_blob() {
                    true => match (first, values.next().unwrap_or(Field::Null)) {
                        (Field::Null, long) => long,
                        (short, _) => short,
                    },
                    false => first,
                };
                fields.push(field);
            }
            self.take(rows, &fields)?;
        }
        Ok(())
    }

    fn take(&self, rows: &mut Rows<'_>, fields: &[Field<'_>]) -> Result<(), Halt> {
        let mut origin = None;
        if let Some(order) = &self.plan.order {
            let wire = |at: usize| self.plan.columns[at].travel.wire;
            let key: Vec<Option<String>> = order.key.iter().map(|at| note(wire(*at), &fields[*at])).collect();
            let key = key_text(key.iter().map(Option::as_deref));
            if let Some(value) = note(wire(order.cursor), &fields[order.cursor]) {
                if rows.passed.as_ref().is_some_and(|passed| passed.has(&value, &key)) {
                    return Ok(());
                }
                Place::pass(&mut rows.state.rows, &value, Some(&key));
            }
            origin = Some(format!("{} key {key}", self.request.table));
        }
        rows.seen += 1;
        match self.cells(fields) {
            Ok(cells) => rows.gather.push(&cells)?,
            Err((column, what)) => {
                let shown: Vec<Option<Vec<u8>>> = self
                    .plan
                    .columns
                    .iter()
                    .zip(fields)
                    .map(|(column, field)| shown(column.travel.wire, field))
                    .collect();
                let shown: Vec<Option<&[u8]>> = shown.iter().map(Option::as_deref).collect();
                let origin = origin.unwrap_or_else(|| format!("{} row {}", self.request.table, rows.seen));
                rows.rejects.push((origin, format!("{}: {what}", rows.names[column]), payload(&rows.names, &shown)));
            }
        }
        let full =
            rows.gather.rows() >= self.request.batch_rows.max(1) || rows.gather.bytes() >= self.request.batch_bytes;
        if full || rows.rejects.len() >= REJECTS { self.hand_over(rows) } else { Ok(()) }
    }

    fn cells<'f>(&self, fields: &'f [Field<'_>]) -> Result<Vec<Cell<'f>>, (usize, &'static str)> {
        let borrowed = fields.iter().map(Field::borrowed);
        self.plan
            .columns
            .iter()
            .zip(borrowed)
            .enumerate()
            .map(|(place, (column, field))| decode(column.travel.wire, field).map_err(|what| (place, what)))
            .collect()
    }

    fn hand_over(&self, rows: &mut Rows<'_>) -> Result<(), Halt> {
        if rows.gather.rows() > 0 {
            rows.output.batch(rows.gather.take()?)?;
        }
        for (origin, reason, payload) in rows.rejects.drain(..) {
            rows.output.reject(origin, reason, payload)?;
        }
        match self.plan.order.as_ref().and_then(|_| rows.state.to_cursor()) {
            Some(cursor) => rows.output.cursor(cursor),
            None => Ok(()),
        }
    }

    fn statement(&self) -> Result<String, Error> {
        let columns = &self.plan.columns;
        let blobs = columns.iter().filter(|column| column.travel.wire.is_blob()).count();
        let others: i64 =
            columns.iter().filter(|column| !column.travel.wire.is_blob()).map(|c| c.of.length.max(8) + 8).sum();
        let room = ROW_BYTES.saturating_sub(usize::try_from(others).unwrap_or(ROW_BYTES));
        let inline = (room / blobs.max(1)).saturating_sub(16).clamp(1, INLINE_BYTES);
        let mut expressions = Vec::new();
        for column in columns {
            if column.travel.wire.is_blob() {
                expressions.extend(blob_expressions(&column.travel.expression, inline));
            } else {
                expressions.push(column.travel.expression.clone());
            }
        }
        let mut statement = format!("SELECT {} FROM {}", expressions.join(", "), quote(&self.request.table.name));
        let Some(order) = &self.plan.order else { return Ok(statement) };
        let column = &columns[order.cursor];
        let quoted = quote(&column.column.name);
        if let Some(from) = &order.from.rows {
            let last = cursor_literal(&column.of, &from.last).ok_or_else(|| foreign(self.request))?;
            let or_null = if column.column.nullable { format!("{quoted} IS NULL OR ") } else { String::new() };
            // The rows of the last value that were read are passed over here.
            statement.push_str(&format!(" WHERE {or_null}{quoted} >= {last}"));
        }
        let key: Vec<String> = order.key.iter().map(|at| quote(&columns[*at].column.name)).collect();
        statement.push_str(&format!(" ORDER BY {quoted}, {}", key.join(", ")));
        Ok(statement)
    }
}

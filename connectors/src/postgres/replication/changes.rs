//! The changes of one table, from the spool to batches.
//!
//! Changes are gathered in windows, in which the last word on a key counts, so that batches do not fall apart where inserts and
//! deletes take turns. A window hands over the keys that are gone first, then the rows: a row's key may be written in two ways
//! that mean the same (`1.0`, `1.00`), of which the older one goes.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use futures::TryStreamExt;

use super::{
    convert::{Asking, TextRow, WireRow, to_wire},
    cursor::Place,
    drain::Drained,
    message::{Cell, Garbled, Lsn, Message, change, parse},
    spool::{Entry, entries},
    table::{Member, members},
};
use crate::{
    Error, ReadItem, ReadRequest, Stage,
    payload::payload,
    postgres::{
        Inner,
        copy::{Batches, Rows},
        describe::Described,
        read::{Sender, send},
        session,
        types::{Wire, literal, quote},
    },
};

/// Keys that are looked up at once.
const LOOKED_UP: usize = 1_000;

/// What the log says of one table.
pub(super) struct Changes {
    pub(super) inner: Arc<Inner>,
    pub(super) publication: String,
    pub(super) request: ReadRequest,
    /// The columns that the log tells of, as they are now.
    pub(super) columns: Vec<Described>,
    pub(super) member: Member,
    pub(super) place: Place,
    pub(super) drained: Arc<Drained>,
}

/// The last word on a key.
enum Last {
    Row(TextRow),
    Gone,
    /// The row is there, but not all of it was sent.
    Look,
}

/// Changes that were not handed over yet.
#[derive(Default)]
struct Window {
    keys: Vec<TextRow>,
    last: Vec<Last>,
    places: HashMap<Vec<u8>, usize>,
    bytes: usize,
}

impl Window {
    fn put(&mut self, key: TextRow, last: Last, bytes: usize) {
        let mut name = Vec::with_capacity(16);
        for part in &key {
            let part = part.as_deref().unwrap_or_default();
            name.extend((part.len() as u64).to_be_bytes());
            name.extend(part);
        }
        self.bytes += bytes;
        match self.places.get(&name) {
            Some(place) => self.last[*place] = last,
            None => {
                self.places.insert(name, self.keys.len());
                self.keys.push(key);
                self.last.push(last);
            }
        }
    }
}

impl Changes {
    pub(super) async fn run(self, sender: &Sender) -> Result<(), Error> {
        let garbled = |Garbled| Error::Malformed {
            place: self.request.table.to_string(),
            reason: "its changes are not those of pgoutput, version 1".to_owned(),
        };
        let spooled = |error: std::io::Error| Error::Interrupted {
            place: self.request.table.to_string(),
            reason: format!("its changes could not be read back from the disk: {}", error.kind()),
        };
        let mut window = Window::default();
        let mut asking = Asking::default();
        // For each of our columns, where the log's rows have it.
        let mut order: Vec<Option<usize>> = Vec::new();
        let mut wanted = false;
        let mut number = 0;
        while let Some(piece) = self.drained.spool.piece(self.member.oid, number).map_err(spooled)? {
            number += 1;
            for entry in entries(piece) {
                let message = match entry.map_err(garbled)? {
                    Entry::Transaction { commit, xid } => {
                        if self.is_full(&window) {
                            self.hand_over(&mut window, &mut asking, sender).await?;
                            self.say_place(commit, sender).await;
                        }
                        wanted = self.place.lacks(commit, xid);
                        continue;
                    }
                    Entry::Message(message) => message,
                };
                match parse(&message).map_err(garbled)? {
                    Message::Relation(relation) => {
                        let at = |name: &str| relation.columns.iter().position(|column| column == name);
                        order = self.columns.iter().map(|described| at(&described.column.name)).collect();
                    }
                    _ if !wanted => {}
                    Message::Truncate { .. } => {
                        window = Window::default();
                        send(sender, ReadItem::Emptied).await;
                    }
                    Message::Insert { .. } | Message::Update { .. } | Message::Delete { .. } => {
                        self.note(&mut window, &order, &message).map_err(garbled)?;
                        if self.is_full(&window) {
                            self.hand_over(&mut window, &mut asking, sender).await?;
                        }
                    }
                    _ => {}
                }
            }
        }
        self.hand_over(&mut window, &mut asking, sender).await?;
        self.still_the_same(&mut asking).await?;
        let end = self.at(self.drained.end);
        send(sender, ReadItem::End { cursor: end.to_cursor(), whole: false }).await;
        Ok(())
    }

    fn is_full(&self, window: &Window) -> bool {
        window.keys.len() >= self.request.batch_rows.max(1) || window.bytes >= self.request.batch_bytes
    }

    /// The table at a place of the log.
    fn at(&self, lsn: Lsn) -> Place {
        let seen = self.place.seen.clone().filter(|seen| seen.until > lsn);
        Place { log: self.place.log.clone(), lsn, shape: self.member.shape(), seen }
    }

    async fn say_place(&self, lsn: Lsn, sender: &Sender) {
        if lsn > self.place.lsn
            && let Some(cursor) = self.at(lsn).to_cursor()
        {
            send(sender, ReadItem::Cursor(cursor)).await;
        }
    }

    /// Takes note of a change of one row.
    fn note(&self, window: &mut Window, order: &[Option<usize>], message: &Bytes) -> Result<(), Garbled> {
        let change = change(message)?;
        let cell = |row: &[Cell<'_>], column: usize| -> Option<Bytes> {
            match row.get((*order.get(column)?)?)? {
                Cell::Text(text) => Some(message.slice_ref(text)),
                Cell::Null | Cell::Unchanged => None,
            }
        };
        let key = |row: &[Cell<'_>]| -> Result<TextRow, Garbled> {
            self.key().map(|at| cell(row, at).map(Some).ok_or(Garbled)).collect()
        };
        let old = change.old.as_deref().map(key).transpose()?;
        let Some(mut new) = change.new else {
            window.put(old.ok_or(Garbled)?, Last::Gone, message.len());
            return Ok(());
        };
        // Where the whole row of before was sent, it has what the new one leaves out.
        for (at, value) in new.iter_mut().enumerate().filter(|(_, value)| **value == Cell::Unchanged) {
            if let Some(Cell::Text(before)) = change.old.as_ref().and_then(|old| old.get(at)) {
                *value = Cell::Text(before);
            }
        }
        let now = key(&new)?;
        if let Some(old) = old
            && old != now
        {
            window.put(old, Last::Gone, 0);
        }
        let wants = |at: &Option<usize>| at.is_some_and(|at| new.get(at) == Some(&Cell::Unchanged));
        let last = if order.iter().any(wants) {
            Last::Look
        } else {
            Last::Row((0..self.columns.len()).map(|column| cell(&new, column)).collect())
        };
        window.put(now, last, message.len());
        Ok(())
    }

    /// Which of our columns are the key's, in the key's order.
    fn key(&self) -> impl Iterator<Item = usize> {
        self.member
            .key
            .iter()
            .filter_map(|name| self.columns.iter().position(|described| described.column.name == *name))
    }

    async fn hand_over(&self, window: &mut Window, asking: &mut Asking, sender: &Sender) -> Result<(), Error> {
        let window = std::mem::take(window);
        let (mut gone, mut rows, mut looked_up) = (Vec::new(), Vec::new(), Vec::new());
        for (key, last) in window.keys.into_iter().zip(window.last) {
            match last {
                Last::Row(row) => rows.push(row),
                Last::Gone => gone.push(key),
                Last::Look => looked_up.push(key),
            }
        }
        let all: Vec<&Described> = self.columns.iter().collect();
        let mut batches = self.batches(&all);
        let mut rejects = Vec::new();
        for part in looked_up.chunks(LOOKED_UP) {
            self.look_up(asking, part, &mut gone, &mut batches, &mut rejects).await?;
        }
        if !gone.is_empty() {
            let key: Vec<&Described> = self.key().map(|at| &self.columns[at]).collect();
            let mut keys = self.batches(&key);
            for row in to_wire(&self.inner, asking, &key, gone).await? {
                self.push(&mut keys, row, &key).map_err(|reject| Error::Malformed {
                    place: self.request.table.to_string(),
                    reason: format!("the key of a row that is gone is no key: {}", reject.1),
                })?;
            }
            send(sender, ReadItem::Gone(self.take(&mut keys)?)).await;
        }
        for row in to_wire(&self.inner, asking, &all, rows).await? {
            if let Err((payload, reason)) = self.push(&mut batches, row, &all) {
                rejects.push((payload, reason));
            }
        }
        if batches.rows() > 0 {
            send(sender, ReadItem::Batch(self.take(&mut batches)?)).await;
        }
        for (payload, reason) in rejects {
            let origin = format!("{} changed", self.request.table);
            send(sender, ReadItem::Reject { origin, reason, payload }).await;
        }
        Ok(())
    }

    fn batches(&self, columns: &[&Described]) -> Batches {
        let fields: Vec<Field> =
            columns.iter().map(|d| Field::new(&d.column.name, d.column.data_type.clone(), true)).collect();
        let wires: Vec<Wire> = columns.iter().map(|described| described.travel.wire).collect();
        Batches::new(Arc::new(Schema::new(fields)), &wires, self.inner.params.infinity)
    }

    fn take(&self, batches: &mut Batches) -> Result<arrow::array::RecordBatch, Error> {
        batches.take().map_err(|error| Error::Malformed {
            place: self.request.table.to_string(),
            reason: format!("its rows make no batch: {error}"),
        })
    }

    /// Appends a row, or says what is wrong with it: payload and reason.
    fn push(&self, batches: &mut Batches, row: WireRow, columns: &[&Described]) -> Result<(), (String, String)> {
        let named = |field: usize, what: &str| {
            let name = columns.get(field).map_or("?", |described| described.column.name.as_str());
            format!("{name}: {what}")
        };
        match row {
            Err(misfit) => Err((String::from("{}"), named(misfit.field, misfit.what))),
            Ok(row) => {
                let fields: Vec<Option<&[u8]>> = row.iter().map(Option::as_deref).collect();
                batches.push(&fields).map_err(|misfit| {
                    let names: Vec<String> = columns.iter().map(|d| d.column.name.clone()).collect();
                    (payload(&names, &fields), named(misfit.field, misfit.what))
                })
            }
        }
    }

    /// Reads rows by their keys as they are now; those that are gone by now are noted as such.
    async fn look_up(
        &self,
        asking: &mut Asking,
        keys: &[TextRow],
        gone: &mut Vec<TextRow>,
        batches: &mut Batches,
        rejects: &mut Vec<(String, String)>,
    ) -> Result<(), Error> {
        let broken = |error: sqlx::Error| session::refused(&self.inner, Stage::Read, &error);
        let mut found = vec![false; keys.len()];
        let width = self.columns.len();
        let names: Vec<String> = self.columns.iter().map(|described| described.column.name.clone()).collect();
        let mut rows = Rows::default();
        let statement = self.look_up_statement(keys);
        let connection = asking.connection(&self.inner).await?;
        let mut stream = connection.copy_out_raw(&statement).await.map_err(broken)?;
        while let Some(message) = stream.try_next().await.map_err(broken)? {
            let fed = rows.feed(&message, |fields| {
                let number = fields.get(width).copied().flatten().and_then(|text| std::str::from_utf8(text).ok());
                if let Some(found) =
                    number.and_then(|text| text.parse::<usize>().ok()).and_then(|n| found.get_mut(n - 1))
                {
                    *found = true;
                }
                let fields = fields.get(..width).unwrap_or(fields);
                if let Err(misfit) = batches.push(fields) {
                    rejects.push((payload(&names, fields), format!("{}: {}", names[misfit.field], misfit.what)));
                }
            });
            fed.map_err(|_| Error::Interrupted {
                place: self.request.table.to_string(),
                reason: "the COPY stream is garbled".to_owned(),
            })?;
        }
        gone.extend(keys.iter().zip(found).filter(|(_, found)| !found).map(|(key, _)| key.clone()));
        Ok(())
    }

    fn look_up_statement(&self, keys: &[TextRow]) -> String {
        let key: Vec<&Described> = self.key().map(|at| &self.columns[at]).collect();
        let expressions: Vec<&str> = self.columns.iter().map(|d| d.travel.expression.as_str()).collect();
        let arrays: Vec<String> = (0..key.len())
            .map(|column| {
                let values: Vec<String> = keys
                    .iter()
                    .map(|row| match row.get(column).and_then(Option::as_ref) {
                        Some(value) => literal(&String::from_utf8_lossy(value)),
                        None => "NULL".to_owned(),
                    })
                    .collect();
                format!("ARRAY[{}]::text[]", values.join(", "))
            })
            .collect();
        let names: Vec<String> = (0..key.len()).map(|column| format!("__mavis_{column}")).collect();
        let same: Vec<String> = key
            .iter()
            .zip(&names)
            .map(|(d, name)| format!("t.{} = u.{name}::{}", quote(&d.column.name), d.column.source_type))
            .collect();
        format!(
            "COPY (SELECT {}, u.__mavis_n::text FROM {}.{} AS t JOIN unnest({}) WITH ORDINALITY AS u({}, __mavis_n) ON {}) \
             TO STDOUT (FORMAT BINARY)",
            expressions.join(", "),
            quote(&self.member.schema),
            quote(&self.member.name),
            arrays.join(", "),
            names.join(", "),
            same.join(" AND ")
        )
    }

    /// The columns were described after the log was read: nothing may have happened to them in between.
    async fn still_the_same(&self, asking: &mut Asking) -> Result<(), Error> {
        let only = Some((self.member.schema.as_str(), self.member.name.as_str()));
        let connection = asking.connection(&self.inner).await?;
        let now = members(&self.inner, connection, &self.publication, only).await?;
        if now.first().is_some_and(|now| now.shape().has_columns_of(&self.member.shape())) {
            return Ok(());
        }
        Err(Error::Interrupted {
            place: self.request.table.to_string(),
            reason: "its definition was changed while it was read".to_owned(),
        })
    }
}

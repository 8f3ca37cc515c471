//! Rows that are gone, told by a table that a trigger writes each deleted row's key to.
//!
//! The log is read in the same snapshot as the table: a key that the table has at that moment is not gone, whatever the log
//! says of it, since the row was written again. So rows told gone and rows read never contradict each other, in whatever
//! order the two tables were written. The first reading starts from the log's end: there is nothing yet to delete.

use std::collections::HashMap;

use arrow::{
    compute::{CastOptions, cast_with_options},
    record_batch::RecordBatch,
};

use super::{
    Deletions, Inner,
    discover::{self, Described, find},
    session::{self, Attachment},
    table::check,
    types::{cursor_literal, literal, quote},
    value::{Field, decode, note, of_raw, shown},
};
use crate::{
    Error, ReadRequest, SourceColumn, TableRef,
    gather::Gather,
    payload::payload,
    place::{Place, key_text},
    reading::{Halt, Output},
};

/// A cursor that another kind of source made.
pub(super) fn foreign(request: &ReadRequest) -> Error {
    Error::Malformed {
        place: request.table.to_string(),
        reason: "its cursor is not one of this connector; ingest the table in full".to_owned(),
    }
}

/// A declared table of deletions, found in the database.
pub(super) struct Log {
    table: String,
    /// The log's columns that hold the key.
    key: Vec<Described>,
    cursor: Described,
    /// The rows that are of this table.
    only: Option<String>,
    of: TableRef,
    /// The key as the table itself has it.
    of_key: Vec<SourceColumn>,
}

pub(super) fn log(
    inner: &Inner,
    attachment: &mut Attachment,
    declared: &Deletions,
    of: &TableRef,
    key: &[&Described],
) -> Result<Log, Error> {
    let wrong = |reason: String| Error::Params { source_name: inner.name.clone(), reason };
    let mut found = discover::tables(inner, attachment, Some(&declared.table))?;
    let mut table = declared.table.clone();
    if found.is_empty() {
        table = table.to_ascii_uppercase();
        found = discover::tables(inner, attachment, Some(&table))?;
    }
    let columns = found
        .remove(&table)
        .ok_or_else(|| wrong(format!("`deletions` names table `{}`, which is not there", declared.table)))?
        .columns;
    let (places, cursor) = check(declared, key.len(), &columns).map_err(wrong)?;
    let only: Vec<String> = declared
        .only
        .iter()
        .filter_map(|(name, value)| {
            let column = quote(&columns[find(&columns, name)?].column.name);
            let value = match value {
                serde_json::Value::String(text) => literal(text),
                number => number.as_i64()?.to_string(),
            };
            Some(format!("D.{column} = {value}"))
        })
        .collect();
    Ok(Log {
        table,
        key: places.iter().map(|place| columns[*place].clone()).collect(),
        cursor: columns[cursor].clone(),
        only: (!only.is_empty()).then(|| only.join(" AND ")),
        of: of.clone(),
        of_key: key.iter().map(|described| described.column.clone()).collect(),
    })
}

/// An expression over the log, whose columns may be called as those of the table.
fn of_log(described: &Described) -> String {
    let quoted = quote(&described.column.name);
    described.travel.expression.replace(&quoted, &format!("D.{quoted}"))
}

impl Log {
    /// Yields what is gone since `from`, and answers how far the log was read.
    pub(super) fn read(
        &self,
        inner: &Inner,
        attachment: &mut Attachment,
        request: &ReadRequest,
        from: Option<Place>,
        is_first: bool,
        output: &Output,
    ) -> Result<Option<Place>, Halt> {
        let sql = self.statement(from.as_ref(), is_first).ok_or_else(|| foreign(request))?;
        let columns: Vec<SourceColumn> = self.key.iter().map(|described| described.column.clone()).collect();
        let mut gather = Gather::new(&columns)?;
        let mut known = from.as_ref().map(remembered).unwrap_or_default();
        let last = from.as_ref().map(|place| place.last.clone());
        let mut place = from;
        let mut halt = None;
        let mut seen = 0_u64;
        let streamed = attachment.stream_raw(&session::statement(&sql), |values| {
            let fields: Vec<Field<'_>> = values.iter().map(of_raw).collect();
            seen += 1;
            let (key, rest) = fields.split_at(self.key.len().min(fields.len()));
            let notes: Vec<Option<String>> =
                self.key.iter().zip(key).map(|(column, field)| note(column.travel.wire, field)).collect();
            let text = key_text(notes.iter().map(Option::as_deref));
            let value = rest.first().and_then(|field| note(self.cursor.travel.wire, field));
            if value.is_some() && value == last && take_one(&mut known, &text) {
                return Ok(());
            }
            if let Some(value) = &value {
                Place::pass(&mut place, value, Some(&text));
            }
            let is_there = matches!(rest.get(1), Some(Field::Int(1)));
            if is_first || is_there {
                return Ok(());
            }
            let taken = self.take(key, seen, &mut gather, output).and_then(|()| {
                if gather.rows() >= request.batch_rows.max(1) { self.hand_over(&mut gather, output) } else { Ok(()) }
            });
            taken.map_err(|reason| {
                halt = Some(reason);
                rsfbclient::FbError::from("stopped")
            })
        });
        match (halt, streamed) {
            (Some(halt), _) => return Err(halt),
            (None, Err(error)) => return Err(session::refused(inner, &error).into()),
            (None, Ok(())) => {}
        }
        self.hand_over(&mut gather, output)?;
        Ok(place)
    }

    fn statement(&self, from: Option<&Place>, is_first: bool) -> Option<String> {
        let key: Vec<String> = self.key.iter().map(of_log).collect();
        let cursor = of_log(&self.cursor);
        let plain = format!("D.{}", quote(&self.cursor.column.name));
        let log = quote(&self.table);
        let same: Vec<String> = self
            .key
            .iter()
            .zip(&self.of_key)
            .map(|(log, of)| format!("T.{} = D.{}", quote(&of.name), quote(&log.column.name)))
            .collect();
        let is_there = format!(
            "CASE WHEN EXISTS (SELECT 1 FROM {} T WHERE {}) THEN 1 ELSE 0 END",
            quote(&self.of.name),
            same.join(" AND ")
        );
        let mut conditions: Vec<String> = self.only.iter().cloned().collect();
        if is_first {
            let all = self.only.as_ref().map(|only| format!(" WHERE {only}")).unwrap_or_default();
            conditions.push(format!("{plain} = (SELECT MAX({plain}) FROM {log} D{all})"));
        } else if let Some(from) = from {
            conditions.push(format!("{plain} >= {}", cursor_literal(&self.cursor.of, &from.last)?));
        }
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        Some(format!("SELECT {}, {cursor}, {is_there} FROM {log} D{condition} ORDER BY {plain}", key.join(", ")))
    }

    fn take(&self, key: &[Field<'_>], number: u64, gather: &mut Gather, output: &Output) -> Result<(), Halt> {
        let mut cells = Vec::with_capacity(key.len());
        for (column, field) in self.key.iter().zip(key) {
            let what = match (field, decode(column.travel.wire, field.borrowed())) {
                (Field::Null, _) => "the key of a deleted row is null",
                (_, Err(what)) => what,
                (_, Ok(cell)) => {
                    cells.push(cell);
                    continue;
                }
            };
            let names: Vec<String> = self.key.iter().map(|column| column.column.name.clone()).collect();
            let shown: Vec<Option<Vec<u8>>> =
                self.key.iter().zip(key).map(|(column, field)| shown(column.travel.wire, field)).collect();
            let shown: Vec<Option<&[u8]>> = shown.iter().map(Option::as_deref).collect();
            let origin = format!("{} row {number}", self.table);
            return output.reject(origin, format!("{}: {what}", column.column.name), payload(&names, &shown));
        }
        Ok(gather.push(&cells)?)
    }

    /// The keys by the names and types that the table itself has for them.
    fn hand_over(&self, gather: &mut Gather, output: &Output) -> Result<(), Halt> {
        if gather.rows() == 0 {
            return Ok(());
        }
        let batch = gather.take()?;
        let other = |reason: String| Error::Malformed { place: format!("`{}`", self.table), reason };
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let keys = batch
            .columns()
            .iter()
            .zip(&self.of_key)
            .map(|(column, of)| {
                let cast = cast_with_options(column, &of.data_type, &options)
                    .map_err(|_| other(format!("a key of it is none of `{}`, a {}", of.name, of.source_type)))?;
                Ok((of.name.clone(), cast))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let keys = RecordBatch::try_from_iter(keys).map_err(|error| other(error.to_string()))?;
        output.gone(keys)
    }
}

/// How often each key of the last value was read: one key may be deleted, written again and deleted in one moment.
fn remembered(place: &Place) -> HashMap<String, usize> {
    let mut known = HashMap::new();
    for key in &place.read {
        *known.entry(key.clone()).or_default() += 1;
    }
    known
}

fn take_one(known: &mut HashMap<String, usize>, key: &str) -> bool {
    match known.get_mut(key) {
        Some(times) if *times > 0 => {
            *times -= 1;
            true
        }
        _ => false,
    }
}

//! Change streams: what was inserted, changed and deleted since the token that the last reading ended with.
//!
//! The first reading takes its token before it reads the collection, so that what changes meanwhile comes again with the next
//! reading. A reading ends at the server's time of its beginning, however busy the collection is.
//!
//! The stream is asked for command by command: where it breaks, the reading ends with an error and is begun again from its
//! cursor, as every other is.

use std::collections::VecDeque;

use mongodb::bson::{Bson, Document, Timestamp, doc};
use serde_json::Value;

use super::{
    place::Place,
    reading::{Reading, keys},
    rows::Column,
    value,
};
use crate::{Error, ReadItem};

/// Deletions that are handed on together.
const GONE_ROWS: usize = 1000;
/// Milliseconds that the server waits for something to happen.
const WAIT: i64 = 500;

pub(super) async fn run(mut reading: Reading<'_>, from: Option<Place>, columns: &[Column]) -> Result<(), Error> {
    let mut place = from.clone().unwrap_or_default();
    place.set_columns(columns);
    let token = place.resume.take();
    let is_first = from.is_none();
    if let Some(token) = token.filter(|_| !is_first) {
        match follow(&mut reading, token, &mut place, columns).await? {
            Followed::ToTheEnd => return finish(reading, place, false).await,
            Followed::Lost => {}
        }
    }
    // From the beginning: the first time, or because the stream cannot be gone on with.
    let token = beginning(&reading).await?;
    if !is_first {
        tracing::warn!(table = %reading.request.table, "the change stream cannot be gone on with; the collection is read anew");
        reading.flush().await?;
        reading.send(ReadItem::Emptied).await;
    }
    reading.all().await?;
    place.resume = Some(token);
    finish(reading, place, is_first).await
}

async fn finish(mut reading: Reading<'_>, place: Place, whole: bool) -> Result<(), Error> {
    reading.flush().await?;
    reading.send(ReadItem::End { cursor: Some(place.to_cursor()?), whole }).await;
    Ok(())
}

/// A stream that the server keeps for us.
struct Stream {
    id: i64,
    events: VecDeque<Document>,
    /// Where the server is, after the events that it gave.
    after: Option<Value>,
}

impl Stream {
    /// Begins after a token, or now; `None` where the server cannot go on from the token.
    async fn open(reading: &Reading<'_>, token: Option<&Value>) -> Result<Option<Self>, Error> {
        let mut stage = doc! { "fullDocument": "updateLookup" };
        if let Some(token) = token {
            let data = token.get("_data").and_then(Value::as_str).ok_or_else(|| Error::Malformed {
                place: format!("`{}`", reading.request.table),
                reason: "its resume token is none; ingest the table in full".to_owned(),
            })?;
            stage.insert("resumeAfter", doc! { "_data": data });
        }
        let command = doc! {
            "aggregate": &reading.request.table.name,
            "pipeline": [{ "$changeStream": stage }],
            "cursor": {},
        };
        match reading.database.run_command(command).await {
            Ok(answer) => Self::of(&answer, "firstBatch").map(Some).ok_or_else(|| garbled(reading)),
            Err(error) if is_lost(&error) => Ok(None),
            Err(error) => Err(reading.failed(&error)),
        }
    }

    fn of(answer: &Document, batch: &str) -> Option<Self> {
        let cursor = answer.get_document("cursor").ok()?;
        let id = match cursor.get("id")? {
            Bson::Int64(id) => *id,
            Bson::Int32(id) => i64::from(*id),
            _ => return None,
        };
        let events = cursor.get_array(batch).ok()?.iter().filter_map(Bson::as_document).cloned().collect();
        let after = cursor.get("postBatchResumeToken").and_then(as_token);
        Some(Self { id, events, after })
    }

    /// The next event; `None` where nothing happens for a while. [`Err`] of the inner result: the stream ended for good.
    async fn next(&mut self, reading: &Reading<'_>) -> Result<Result<Option<Document>, ()>, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Ok(Some(event)));
        }
        if self.id == 0 {
            return Ok(Err(()));
        }
        let command = doc! { "getMore": self.id, "collection": &reading.request.table.name, "maxTimeMS": WAIT };
        match reading.database.run_command(command).await {
            Ok(answer) => *self = Self::of(&answer, "nextBatch").ok_or_else(|| garbled(reading))?,
            Err(error) if is_lost(&error) => return Ok(Err(())),
            Err(error) => return Err(reading.failed(&error)),
        }
        Ok(Ok(self.events.pop_front()))
    }

    /// Tells the server that the stream is no longer needed.
    async fn close(self, reading: &Reading<'_>) {
        let command = doc! { "killCursors": &reading.request.table.name, "cursors": [self.id] };
        if self.id != 0 && reading.database.run_command(command).await.is_err() {
            tracing::debug!("a change stream was left to the server");
        }
    }
}

fn as_token(token: &Bson) -> Option<Value> {
    let data = token.as_document()?.get_str("_data").ok()?;
    Some(serde_json::json!({ "_data": data }))
}

fn garbled(reading: &Reading<'_>) -> Error {
    Error::Unsupported {
        what: format!("reading `{}` by its changes", reading.request.table),
        instead: "the server does not answer as MongoDB does from version 4 on: take `changes` away".to_owned(),
    }
}

/// A token of now.
async fn beginning(reading: &Reading<'_>) -> Result<Value, Error> {
    let Some(stream) = Stream::open(reading, None).await? else { return Err(garbled(reading)) };
    let token = stream.after.clone();
    stream.close(reading).await;
    token.ok_or_else(|| garbled(reading))
}

enum Followed {
    ToTheEnd,
    /// The stream ended for good, or the server has forgotten the token.
    Lost,
}

async fn follow(
    reading: &mut Reading<'_>,
    token: Value,
    place: &mut Place,
    columns: &[Column],
) -> Result<Followed, Error> {
    let until = now(reading).await?;
    let Some(mut stream) = Stream::open(reading, Some(&token)).await? else { return Ok(Followed::Lost) };
    place.resume = Some(token);
    let (mut gone, mut since_cursor, mut is_past) = (Vec::new(), 0, false);
    while !is_past {
        let event = match stream.next(reading).await? {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(()) => return Ok(Followed::Lost),
        };
        match event.get_str("operationType").unwrap_or_default() {
            "insert" | "update" | "replace" => {
                tell(reading, &mut gone, columns).await?;
                // An update whose document is gone by now is followed by its deletion.
                if let Ok(document) = event.get_document("fullDocument") {
                    reading.take(document, &value::document(document)).await?;
                }
            }
            "delete" => {
                reading.flush().await?;
                gone.extend(event.get_document("documentKey").ok().and_then(|key| key.get("_id")).cloned());
                if gone.len() >= GONE_ROWS {
                    tell(reading, &mut gone, columns).await?;
                }
            }
            "drop" | "rename" | "dropDatabase" | "invalidate" => {
                stream.close(reading).await;
                return Ok(Followed::Lost);
            }
            _ => {}
        }
        place.resume = event.get("_id").and_then(as_token).or(place.resume.take());
        since_cursor += 1;
        if since_cursor >= reading.request.batch_rows.max(1) {
            tell(reading, &mut gone, columns).await?;
            reading.flush().await?;
            reading.send(ReadItem::Cursor(place.to_cursor()?)).await;
            since_cursor = 0;
        }
        is_past = until.zip(event.get_timestamp("clusterTime").ok()).is_some_and(|(until, time)| time > until);
    }
    tell(reading, &mut gone, columns).await?;
    // Where the server is may be further on than our last event: it need not search again.
    if !is_past && stream.events.is_empty() {
        place.resume = stream.after.clone().or(place.resume.take());
    }
    stream.close(reading).await;
    Ok(Followed::ToTheEnd)
}

/// Hands deletions on.
async fn tell(reading: &mut Reading<'_>, gone: &mut Vec<Bson>, columns: &[Column]) -> Result<(), Error> {
    if gone.is_empty() {
        return Ok(());
    }
    let batch = keys(gone, columns)?;
    gone.clear();
    reading.send(ReadItem::Gone(batch)).await;
    Ok(())
}

/// The server's time, where it tells one.
async fn now(reading: &Reading<'_>) -> Result<Option<Timestamp>, Error> {
    let answer: Document =
        reading.database.run_command(doc! { "ping": 1 }).await.map_err(|error| reading.failed(&error))?;
    Ok(answer.get_timestamp("operationTime").ok())
}

/// Whether the server cannot go on from the token (it has forgotten so far back, or it is none of its own).
fn is_lost(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), mongodb::error::ErrorKind::Command(command) if matches!(command.code, 280 | 286 | 136 | 260 | 222))
}

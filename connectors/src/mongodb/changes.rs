//! Change streams: what was inserted, changed and deleted since the token that the last reading ended with.
//!
//! The first reading takes its token before it reads the collection, so that what changes meanwhile comes again with the next
//! reading. A reading ends at the server's time of its beginning, however busy the collection is.

use mongodb::{
    bson::{Bson, Document, Timestamp, doc},
    change_stream::event::ResumeToken,
    error::ErrorKind,
    options::FullDocumentType,
};
use serde_json::Value;

use super::{
    place::Place,
    read::{Reading, keys},
    rows::Column,
    value,
};
use crate::{Error, ReadItem};

/// Deletions that are handed on together.
const GONE_ROWS: usize = 1000;

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

/// A token of now.
async fn beginning(reading: &Reading<'_>) -> Result<Value, Error> {
    let stream = reading.collection().watch().await.map_err(|error| reading.failed(&error))?;
    let token = stream.resume_token().and_then(|token| serde_json::to_value(token).ok());
    token.ok_or_else(|| Error::Unsupported {
        what: format!("reading `{}` by its changes", reading.request.table),
        instead: "the server gives no resume token: take `changes` away, or use a replica set of version 4 or later"
            .to_owned(),
    })
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
    let token: ResumeToken = serde_json::from_value(token).map_err(|_| Error::Malformed {
        place: format!("`{}`", reading.request.table),
        reason: "its resume token is none; ingest the table in full".to_owned(),
    })?;
    let until = now(reading).await?;
    let watched = reading
        .collection()
        .watch()
        .resume_after(token.clone())
        .full_document(FullDocumentType::UpdateLookup)
        .max_await_time(std::time::Duration::from_millis(500))
        .await;
    let mut stream = match watched {
        Ok(stream) => stream.with_type::<Document>(),
        Err(error) if is_lost(&error) => return Ok(Followed::Lost),
        Err(error) => return Err(reading.failed(&error)),
    };
    place.resume = serde_json::to_value(&token).ok();
    let (mut gone, mut since_cursor) = (Vec::new(), 0);
    loop {
        let event = match stream.next_if_any().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) if is_lost(&error) => return Ok(Followed::Lost),
            Err(error) => return Err(reading.failed(&error)),
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
            "drop" | "rename" | "dropDatabase" | "invalidate" => return Ok(Followed::Lost),
            _ => {}
        }
        if let Some(token) = stream.resume_token() {
            place.resume = serde_json::to_value(token).ok();
        }
        since_cursor += 1;
        if since_cursor >= reading.request.batch_rows.max(1) {
            tell(reading, &mut gone, columns).await?;
            reading.flush().await?;
            reading.send(ReadItem::Cursor(place.to_cursor()?)).await;
            since_cursor = 0;
        }
        if let (Some(until), Ok(time)) = (until, event.get_timestamp("clusterTime"))
            && time > until
        {
            break;
        }
    }
    tell(reading, &mut gone, columns).await?;
    // The token after the last batch is further on than the last event of ours: the server need not search again.
    if let Some(token) = stream.resume_token() {
        place.resume = serde_json::to_value(token).ok().or(place.resume.take());
    }
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
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if matches!(command.code, 280 | 286 | 136 | 260 | 222))
}

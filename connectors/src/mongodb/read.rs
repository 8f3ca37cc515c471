//! A collection as a stream of batches: whole, from a field's last value on, or by its changes.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Database,
    bson::{Document, doc},
};
use tokio::sync::mpsc;

use super::{
    Inner, changes,
    place::Place,
    reading::{Reading, Sender},
    rows::{self, Column},
    session,
};
use crate::{Error, ReadItem, ReadRequest, ReadStream};

/// Batches that wait for a slow reader.
const WAITING: usize = 2;

/// The columns that the first documents show.
pub(super) async fn columns(inner: &Inner, database: &Database, collection: &str) -> Result<Vec<Column>, Error> {
    let failed = |error| session::failed(inner, &error);
    let collection = database.collection::<Document>(collection);
    let limit = i64::from(inner.params.sample.max(1));
    let found = collection.find(doc! {}).sort(doc! { "_id": 1 }).limit(limit).await.map_err(failed)?;
    Ok(rows::learn(&found.try_collect::<Vec<_>>().await.map_err(failed)?))
}

pub(super) async fn read(inner: Arc<Inner>, request: ReadRequest) -> Result<ReadStream, Error> {
    let absent = || Error::NoSuchTable { table: request.table.to_string() };
    if request.table.schema.is_some() || !inner.selection().takes(&request.table) {
        return Err(absent());
    }
    let database = session::open(&inner).await?;
    // A collection that was dropped may come back, and its change stream tells so.
    let is_there = session::collections(&inner, &database).await?.contains(&request.table.name);
    let goes_on = inner.params.changes && request.from.is_some();
    if !(is_there || goes_on) {
        return Err(absent());
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let result = tokio::select! {
            result = run(&inner, &database, &request, &sender) => result,
            () = sender.closed() => return,
        };
        if let Err(error) = result
            && sender.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody waits for the end of a reading");
        }
    });
    Ok(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed())
}

async fn run(inner: &Inner, database: &Database, request: &ReadRequest, sender: &Sender) -> Result<(), Error> {
    let collection = request.table.name.as_str();
    let from = Place::from_cursor(request.from.as_ref(), collection)?;
    let columns = match from.as_ref().map(Place::columns).filter(|columns| !columns.is_empty()) {
        Some(columns) => columns,
        None => columns(inner, database, collection).await?,
    };
    let mut reading = Reading::new(inner, database, request, sender, &columns);
    match inner.params.cursor_columns.get(collection) {
        Some(column) => reading.after_value(column, from, &columns).await,
        None if inner.params.changes && !request.sample => changes::run(reading, from, &columns).await,
        None => {
            reading.all().await?;
            reading.flush().await?;
            reading.send(ReadItem::End { cursor: None, whole: true }).await;
            Ok(())
        }
    }
}

//! A reading on its way: what it has read and hands on.

use futures::TryStreamExt;
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Inner,
    place::Place,
    rows::{self, Column, DOCUMENT},
    session, value,
};
use crate::{Error, ReadItem, ReadRequest, json::Rows};

pub(super) type Sender = mpsc::Sender<Result<ReadItem, Error>>;

/// A reading on its way.
pub(super) struct Reading<'a> {
    pub(super) inner: &'a Inner,
    pub(super) database: &'a Database,
    pub(super) request: &'a ReadRequest,
    sender: &'a Sender,
    rows: Rows,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        database: &'a Database,
        request: &'a ReadRequest,
        sender: &'a Sender,
        columns: &[Column],
    ) -> Self {
        Self { inner, database, request, sender, rows: rows::rows(columns) }
    }

    pub(super) fn collection(&self) -> mongodb::Collection<Document> {
        self.database.collection(&self.request.table.name)
    }

    pub(super) fn failed(&self, error: &mongodb::error::Error) -> Error {
        session::failed(self.inner, error)
    }

    pub(super) async fn send(&self, item: ReadItem) {
        if self.sender.send(Ok(item)).await.is_err() {
            tracing::debug!("a reading was dropped");
        }
    }

    /// Every document, by `_id`.
    pub(super) async fn all(&mut self) -> Result<(), Error> {
        let mut found =
            self.collection().find(doc! {}).sort(doc! { "_id": 1 }).await.map_err(|error| self.failed(&error))?;
        while let Some(document) = found.try_next().await.map_err(|error| self.failed(&error))? {
            self.take(&document, &value::document(&document)).await?;
        }
        Ok(())
    }

    /// A document as a row, or as a reject.
    pub(super) async fn take(&mut self, document: &Document, whole: &str) -> Result<(), Error> {
        if let Err(reason) = self.rows.take(&rows::row(document, whole)) {
            let origin = format!("{} document", self.request.table);
            self.send(ReadItem::Reject { origin, reason, payload: whole.to_owned() }).await;
        }
        if self.rows.is_full(self.request) {
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        let batch = self.rows.finish()?;
        if batch.num_rows() > 0 {
            self.send(ReadItem::Batch(batch)).await;
        }
        Ok(())
    }

    /// What came after the last value of a field, and of that value what was not read.
    pub(super) async fn after_value(
        mut self,
        column: &str,
        from: Option<Place>,
        columns: &[Column],
    ) -> Result<(), Error> {
        let last = from.as_ref().and_then(|place| place.last.as_ref()).and_then(value::parse);
        let is_first = from.is_none();
        let filter = match &last {
            // A document without the field has no place in the order, and is read each time.
            Some(last) => doc! { "$or": [{ column: { "$gte": last.clone() } }, { column: Bson::Null }] },
            None => doc! {},
        };
        let before = from.clone().unwrap_or_default();
        let mut place = from.unwrap_or_default();
        place.set_columns(columns);
        let order = if column == "_id" {
            doc! { "_id": 1 }
        } else {
            doc! { column: 1, "_id": 1 }
        };
        let mut found = self
            .collection()
            .find(filter)
            .sort(order)
            .allow_disk_use(column != "_id")
            .await
            .map_err(|error| self.failed(&error))?;
        let mut since_cursor = 0;
        while let Some(document) = found.try_next().await.map_err(|error| self.failed(&error))? {
            let whole = value::document(&document);
            let hash = xxh3_128(whole.as_bytes());
            let value = document.get(column).filter(|value| !matches!(value, Bson::Null | Bson::Undefined));
            let value = value.map(value::extended).filter(|value| value::parse(value).is_some());
            if let Some(value) = value {
                if before.last.as_ref() == Some(&value) && before.has(hash) {
                    continue;
                }
                place.pass(value, hash);
            }
            self.take(&document, &whole).await?;
            since_cursor += 1;
            if since_cursor >= self.request.batch_rows.max(1) {
                self.flush().await?;
                self.send(ReadItem::Cursor(place.to_cursor()?)).await;
                since_cursor = 0;
            }
        }
        self.flush().await?;
        self.send(ReadItem::End { cursor: Some(place.to_cursor()?), whole: is_first }).await;
        Ok(())
    }
}

/// The `_id` of deleted documents, in the type that the column has.
pub(super) fn keys(ids: &[Bson], columns: &[Column]) -> Result<arrow::array::RecordBatch, Error> {
    let column: Vec<Column> = columns.iter().filter(|column| column.name == "_id").cloned().collect();
    let mut rows = rows::rows(&column);
    for id in ids {
        let text = serde_json::json!({ "_id": rows::key(id) }).to_string();
        rows.take(&text).map_err(|reason| Error::Malformed { place: format!("a deleted {DOCUMENT}"), reason })?;
    }
    rows.finish()
}

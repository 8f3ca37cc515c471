//! A table's reading that goes on where it broke.

use std::sync::Arc;

use backon::ExponentialBackoff;
use futures::StreamExt;
use mavis_connectors::{Error, ReadItem, ReadRequest, ReadStream, Source as Connected, TableRef};
use mavis_types::Cursor;

use crate::{context::Running, failure::Failure, retry};

/// What is read, and how far. The unit that takes the items stays open while a broken reading is opened again.
pub(crate) struct Reading<'a> {
    running: &'a Running,
    connected: &'a Arc<dyn Connected>,
    table: &'a TableRef,
    stream: ReadStream,
    /// Where a reading would go on; `None`: at the beginning.
    place: Option<Cursor>,
    /// Everything that was yielded is before `place`.
    even: bool,
    /// The pauses that are left since something was read.
    waits: Option<ExponentialBackoff>,
}

impl<'a> Reading<'a> {
    pub(crate) async fn open(
        running: &'a Running,
        connected: &'a Arc<dyn Connected>,
        table: &'a TableRef,
        from: Option<Cursor>,
    ) -> Result<Self, Failure> {
        let stream = connected.read(request(table, from.clone())).await?;
        Ok(Self { running, connected, table, stream, place: from, even: true, waits: None })
    }

    /// The next item; where the reading breaks, it is opened again at its last cursor, after a pause, a bounded number of
    /// times since something was read. `goes_on`: the items are those after a cursor; a reading that is compared
    /// whole has to be whole.
    ///
    /// # Errors
    /// The reading's own, where there is no cursor to go on from, or all tries failed.
    pub(crate) async fn next(&mut self, goes_on: bool) -> Result<ReadItem, Failure> {
        loop {
            let item = tokio::select! {
                () = self.running.cancel.cancelled() => return Err(Failure::Cancelled),
                item = self.stream.next() => item,
            };
            let error = match item {
                Some(Ok(item)) => {
                    self.pass(&item);
                    return Ok(item);
                }
                Some(Err(error)) => error,
                None => Error::Interrupted {
                    place: self.table.to_string(),
                    reason: "the source stopped in the middle of the table".to_owned(),
                },
            };
            if !(error.is_transient() && goes_on && self.even) {
                return Err(error.into());
            }
            self.open_again(error).await?;
        }
    }

    fn pass(&mut self, item: &ReadItem) {
        match item {
            ReadItem::Cursor(cursor) => (self.place, self.even) = (Some(cursor.clone()), true),
            ReadItem::End { .. } => {}
            _ => self.even = false,
        }
        self.waits = None;
    }

    async fn open_again(&mut self, mut error: Error) -> Result<(), Failure> {
        let mut waits = self.waits.take().unwrap_or_else(retry::way_back);
        loop {
            let Some(wait) = waits.next() else { return Err(error.into()) };
            let text = format!("{error}; going on from the last cursor in {:.0} s", wait.as_secs_f64());
            self.running.info(text).await;
            retry::sleep(self.running, wait).await?;
            match self.connected.read(request(self.table, self.place.clone())).await {
                Ok(stream) => {
                    (self.stream, self.waits) = (stream, Some(waits));
                    return Ok(());
                }
                Err(again) if again.is_transient() => error = again,
                Err(refused) => return Err(refused.into()),
            }
        }
    }
}

fn request(table: &TableRef, from: Option<Cursor>) -> ReadRequest {
    ReadRequest { from, ..ReadRequest::whole(table.clone()) }
}

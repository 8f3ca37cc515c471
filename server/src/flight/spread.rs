//! One execution behind several endpoints.
//!
//! A large answer without an order is handed out by several tickets, so that a client reads in parallel: rows are encoded,
//! compressed and sent on several streams. The query runs once, from the first fetch on. Each batch goes to whichever endpoint
//! asks next, so that nothing is divided beforehand and nothing waits for an endpoint that nobody fetches: who reads one
//! after the other, or only the first, gets every row all the same. In memory are never more than the few batches that wait in
//! the query's own channel.
//!
//! Each endpoint is fetched once. What was begun and is read by nobody for a while is ended; that a finished answer was handed
//! out is remembered for as long as its tickets are good, so that an endpoint that comes late has no rows, and not all of them
//! once more.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use mavis_sql::QueryStream;
use mavis_types::Principal;
use tokio::sync::OnceCell;
use tonic::Status;
use uuid::Uuid;

use super::{
    handle::{Share, in_seconds},
    running::Entry,
};
use crate::grpc::status;

/// Seconds in which the first endpoint must be fetched.
const TICKET: u64 = 600;
/// A query that nobody reads is ended after this.
const IDLE: Duration = Duration::from_secs(30);
/// Pause between two looks at whether somebody reads.
const LOOK: Duration = Duration::from_secs(5);

/// The executions of this process.
#[derive(Debug, Clone)]
pub(super) struct Spreads {
    slots: Arc<Mutex<HashMap<Uuid, Arc<Slot>>>>,
    process: Uuid,
}

impl Default for Spreads {
    fn default() -> Self {
        Self { slots: Arc::default(), process: Uuid::new_v4() }
    }
}

/// What is known of one answer.
#[derive(Debug)]
pub(super) struct Slot {
    owner: Principal,
    until: u64,
    taken: Mutex<HashSet<u32>>,
    begun: OnceCell<Arc<Shared>>,
}

/// A running query, and who reads it.
#[derive(Debug)]
struct Shared {
    schema: SchemaRef,
    source: Mutex<Source>,
    waiting: Arc<Waiting>,
    readers: AtomicUsize,
    left_at: Mutex<Instant>,
}

/// Readers to whom the next batch may come. All are woken for it: one that asked may not be asking any more, for its client
/// takes nothing for now, and must not keep the batch from the others.
#[derive(Debug, Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn enter(&self, reader: &Waker) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.iter().any(|known| known.will_wake(reader)) {
            readers.push(reader.clone());
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let readers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        readers.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
enum Source {
    Running {
        query: QueryStream,
        /// Lists the query for as long as it runs.
        _entry: Entry,
    },
    Ended,
    Broken(Status),
}

impl Spreads {
    /// Tickets of one answer, for so many endpoints.
    pub(super) fn shares(&self, endpoints: u32) -> impl Iterator<Item = Share> {
        let (process, until) = (Bytes::copy_from_slice(self.process.as_bytes()), in_seconds(TICKET));
        (0..endpoints).map(move |number| Share { number, process: process.clone(), until })
    }

    /// The slot of an answer, with this share taken.
    fn take(&self, id: Uuid, owner: &Principal, share: &Share) -> Result<Arc<Slot>, Status> {
        if share.process.as_ref() != self.process.as_bytes() {
            return Err(Status::failed_precondition(
                "the query of this endpoint belongs to a server that was restarted: ask with GetFlightInfo again",
            ));
        }
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|_, slot| slot.until >= in_seconds(0) || slot.is_read());
            match slots.get(&id) {
                Some(slot) => Arc::clone(slot),
                None if share.until < in_seconds(0) => {
                    return Err(Status::not_found("the ticket's time is over: ask with GetFlightInfo again"));
                }
                None => {
                    let slot = Slot {
                        owner: owner.clone(),
                        until: share.until,
                        taken: Mutex::default(),
                        begun: OnceCell::new(),
                    };
                    Arc::clone(slots.entry(id).or_insert(Arc::new(slot)))
                }
            }
        };
        if slot.owner != *owner {
            return Err(Status::permission_denied(
                "the ticket belongs to a query of somebody else, or of other rights than yours now",
            ));
        }
        if !slot.taken().insert(share.number) {
            return Err(Status::failed_precondition(
                "this endpoint was fetched already, and its rows are gone: ask with GetFlightInfo again",
            ));
        }
        Ok(slot)
    }

    /// The rows that come to one endpoint. `begin` is called once for all of them.
    pub(super) async fn fetch<F>(
        &self,
        id: Uuid,
        owner: &Principal,
        share: &Share,
        begin: impl FnOnce() -> F,
    ) -> Result<(SchemaRef, impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static), Status>
    where
        F: Future<Output = Result<(QueryStream, Entry), Status>>,
    {
        let slot = self.take(id, owner, share)?;
        let begun = slot
            .begun
            .get_or_try_init(|| async {
                let (query, entry) = begin().await?;
                let shared = Arc::new(Shared {
                    schema: query.schema.clone(),
                    source: Mutex::new(Source::Running { query, _entry: entry }),
                    waiting: Arc::default(),
                    readers: AtomicUsize::new(0),
                    left_at: Mutex::new(Instant::now()),
                });
                tokio::spawn(watch(Arc::downgrade(&shared)));
                Ok(shared)
            })
            .await;
        let shared = match begun {
            Ok(shared) => Arc::clone(shared),
            Err(status) => {
                // It did not begin; the same ticket may try again.
                slot.taken().remove(&share.number);
                return Err(status);
            }
        };
        let reader = Reader::of(&shared);
        let rows = async_stream::stream! {
            let reader = reader;
            while let Some(batch) = reader.0.next().await {
                let failed = batch.is_err();
                yield batch;
                if failed {
                    break;
                }
            }
        };
        Ok((shared.schema.clone(), rows))
    }
}

impl Slot {
    fn taken(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_read(&self) -> bool {
        self.begun.get().is_some_and(|shared| shared.readers.load(Ordering::Acquire) > 0)
    }
}

impl Shared {
    /// The next batch, for whoever asks first.
    async fn next(&self) -> Option<Result<RecordBatch, Status>> {
        poll_fn(|cx| self.poll_next(cx.waker())).await
    }

    fn poll_next(&self, reader: &Waker) -> Poll<Option<Result<RecordBatch, Status>>> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Source::Running { query, .. } = &mut *source else {
            return Poll::Ready(match &*source {
                Source::Broken(status) => Some(Err(status.clone())),
                _ => None,
            });
        };
        self.waiting.enter(reader);
        let waker = Waker::from(Arc::clone(&self.waiting));
        let others = Others(Some(waker.clone()));
        let next = match query.batches.poll_next_unpin(&mut Context::from_waker(&waker)) {
            Poll::Pending => return others.sleep(Poll::Pending),
            Poll::Ready(Some(Ok(batch))) => return others.sleep(Poll::Ready(Some(Ok(batch)))),
            Poll::Ready(Some(Err(error))) => {
                let told = status(error);
                *source = Source::Broken(told.clone());
                Some(Err(told))
            }
            Poll::Ready(None) => {
                *source = Source::Ended;
                None
            }
        };
        Poll::Ready(next)
    }
}

/// Wakes the other readers when the query has come to its end, also by a panic.
struct Others(Option<Waker>);

impl Others {
    /// Nothing has ended.
    fn sleep<T>(mut self, polled: Poll<T>) -> Poll<T> {
        self.0 = None;
        polled
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if let Some(readers) = self.0.take() {
            readers.wake();
        }
    }
}

/// Counts one reader for as long as it is there.
struct Reader(Arc<Shared>);

impl Reader {
    fn of(shared: &Arc<Shared>) -> Self {
        shared.readers.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(shared))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        *self.0.left_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ends a query that nobody reads any more, and gives its memory back.
async fn watch(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.readers.load(Ordering::Acquire) > 0 {
            continue;
        }
        let mut source = shared.source.lock().unwrap_or_else(PoisonError::into_inner);
        match &*source {
            Source::Running { .. } => {
                let left_at = *shared.left_at.lock().unwrap_or_else(PoisonError::into_inner);
                if left_at.elapsed() >= IDLE {
                    let told =
                        "nobody read the query for 30 seconds, so that it was ended: ask with GetFlightInfo again";
                    *source = Source::Broken(Status::deadline_exceeded(told));
                    return;
                }
            }
            Source::Ended | Source::Broken(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Field, Schema},
    };
    use futures::stream;
    use mavis_types::{Role, Scope, TokenId};

    use super::{super::running::Running, *};

    fn query(batches: i64) -> (QueryStream, Entry) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let of = Arc::clone(&schema);
        let batches = stream::iter(0..batches).map(move |n| {
            Ok(RecordBatch::try_new(Arc::clone(&of), vec![Arc::new(Int64Array::from_iter_values([n]))]).unwrap())
        });
        let entry = Running::default().enter(Uuid::now_v7(), TokenId::new(), Uuid::now_v7());
        (QueryStream { id: Uuid::now_v7(), schema, batches: batches.boxed() }, entry)
    }

    fn somebody() -> Principal {
        Principal::new(TokenId::new(), "somebody", Role::Reader, Scope::All)
    }

    async fn rows(spreads: &Spreads, id: Uuid, owner: &Principal, share: &Share) -> Result<usize, Status> {
        let (_, rows) = spreads.fetch(id, owner, share, || async { Ok(query(100)) }).await?;
        Ok(rows.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>().await.len())
    }

    #[tokio::test]
    async fn every_row_comes_once_whoever_reads_and_in_whatever_order() {
        let spreads = Spreads::default();
        let (owner, shares) = (&somebody(), spreads.shares(3).collect::<Vec<_>>());
        let id = Uuid::now_v7();
        assert_eq!(rows(&spreads, id, owner, &shares[1]).await.unwrap(), 100, "the first to ask, alone");
        assert_eq!(rows(&spreads, id, owner, &shares[0]).await.unwrap(), 0, "late, and nothing twice");
        assert!(rows(&spreads, id, owner, &shares[1]).await.is_err(), "each once");
        assert!(rows(&spreads, id, &somebody(), &shares[2]).await.is_err(), "somebody else");
        let id = Uuid::now_v7();
        let both = futures::join!(rows(&spreads, id, owner, &shares[0]), rows(&spreads, id, owner, &shares[2]));
        assert_eq!(both.0.unwrap() + both.1.unwrap(), 100);
    }

    #[tokio::test]
    async fn who_asked_and_does_not_go_on_keeps_nothing_from_the_others() {
        let spreads = Spreads::default();
        let (owner, shares) = (&somebody(), spreads.shares(2).collect::<Vec<_>>());
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let (QueryStream { id: query_id, schema, .. }, entry) = query(0);
        let batch = query(1).0.batches.next().await.unwrap().unwrap();
        let batches = stream::unfold(receive, |mut receive| async { Some((receive.recv().await?, receive)) }).boxed();
        let running = QueryStream { id: query_id, schema, batches };
        let id = Uuid::now_v7();
        let (_, first) = spreads.fetch(id, owner, &shares[0], || async { Ok((running, entry)) }).await.unwrap();
        let (_, second) = spreads.fetch(id, owner, &shares[1], || async { Ok(query(0)) }).await.unwrap();
        // A client that reads its endpoints in turn leaves one alone in the middle of its asking.
        let mut first = Box::pin(first);
        assert!(futures::poll!(first.next()).is_pending());
        let reading = tokio::spawn(second.map(Result::unwrap).collect::<Vec<_>>());
        tokio::task::yield_now().await;
        for _ in 0..10 {
            send.send(Ok(batch.clone())).await.unwrap();
        }
        drop(send);
        let rows = tokio::time::timeout(Duration::from_secs(5), reading).await.expect("the second waits for the first");
        assert_eq!(rows.unwrap().len(), 10);
        assert!(first.next().await.is_none());
    }

    #[tokio::test]
    async fn a_share_of_another_process_or_of_long_ago_begins_nothing() {
        let spreads = Spreads::default();
        let share = spreads.shares(1).next().unwrap();
        let owner = &somebody();
        assert!(rows(&Spreads::default(), Uuid::now_v7(), owner, &share).await.is_err());
        let old = Share { until: 1, ..share };
        assert!(rows(&spreads, Uuid::now_v7(), owner, &old).await.is_err());
    }

    #[tokio::test]
    async fn what_nobody_reads_is_ended() {
        let spreads = Spreads::default();
        let (owner, shares) = (&somebody(), spreads.shares(2).collect::<Vec<_>>());
        let id = Uuid::now_v7();
        let (_, rows) = spreads.fetch(id, owner, &shares[0], || async { Ok(query(100)) }).await.unwrap();
        let mut rows = Box::pin(rows);
        assert!(rows.next().await.unwrap().is_ok());
        drop(rows);
        let shared = Arc::clone(spreads.slots.lock().unwrap()[&id].begun.get().unwrap());
        *shared.left_at.lock().unwrap() = Instant::now().checked_sub(IDLE).unwrap();
        tokio::time::sleep(LOOK + Duration::from_millis(500)).await;
        assert!(matches!(&*shared.source.lock().unwrap(), Source::Broken(_)), "its memory is free");
        let (_, late) = spreads.fetch(id, owner, &shares[1], || async { Ok(query(100)) }).await.unwrap();
        assert!(Box::pin(late).next().await.unwrap().is_err(), "and the others are told");
    }
}

//! From the threads that compute to the door that sends: a bounded channel, a deadline on both sides, a way to stop.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::{Error, QueryStream, limits::Allowed, progress::Progress, stop::Ended};

/// Batches that wait for a slow reader.
const AHEAD: usize = 2;
/// What a kept batch costs beside its values, in bytes.
const BATCH: usize = 1 << 10;

/// Queries that run, by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<Uuid, Stop>>>);

/// How to stop a query.
#[derive(Debug, Clone)]
struct Stop {
    cancelled: Arc<AtomicBool>,
    /// Wakes the reader: an operator in the middle of a long computation is dropped only when it next gives way.
    told: Arc<Notify>,
    abort: AbortHandle,
    progress: Progress,
    ended: Ended,
    /// Whether the reader was given every batch: an answer that ends without it broke off.
    whole: Arc<AtomicBool>,
}

impl Running {
    /// Stops a query; false if it does not run.
    pub(crate) fn cancel(&self, id: Uuid) -> bool {
        let stop = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        match stop {
            None => false,
            Some(stop) => {
                stop.cancelled.store(true, Ordering::Release);
                stop.ended.say();
                stop.abort.abort();
                stop.told.notify_one();
                true
            }
        }
    }

    pub(crate) fn progress(&self, id: Uuid) -> Option<f64> {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.progress.clone();
        progress.fraction()
    }

    fn enter(&self, id: Uuid, stop: Stop) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, stop);
    }

    fn leave(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Stops the work when the reader goes away.
struct Reader {
    running: Running,
    id: Uuid,
    stop: Stop,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.ended.say();
        self.stop.abort.abort();
        self.running.leave(self.id);
    }
}

/// The sending end: what the work calls for each batch.
#[derive(Debug)]
pub(crate) struct Sender {
    channel: mpsc::Sender<Result<RecordBatch, Error>>,
    deadline: Instant,
    rows_left: Option<u64>,
    bytes_left: Option<u64>,
    allowed: Allowed,
    sent: bool,
    /// The reader is gone, or was told of a limit: what was sent is not all.
    cut: bool,
    keeper: Option<Keeper>,
    progress: Progress,
    ended: Ended,
    whole: Arc<AtomicBool>,
}

/// Takes what was kept: the batches and the bytes that they hold on to.
type Kept = Box<dyn FnOnce(Vec<RecordBatch>, usize) + Send + Sync>;

/// Collects what is sent, for as long as it is not too much.
pub(crate) struct Keeper {
    batches: Vec<RecordBatch>,
    bytes: usize,
    largest: usize,
    kept: Kept,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Keeper {
    /// `largest`: bytes from which on nothing is kept; `kept` is called with what was sent when that was everything.
    pub(crate) fn new(largest: usize, kept: Kept) -> Self {
        Self { batches: Vec::new(), bytes: 0, largest, kept }
    }
}

impl Sender {
    /// Whether a batch has gone out: from then on the work cannot be begun again.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent
    }

    /// What is said when nobody waits for the answer any more.
    pub(crate) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Tells whoever asks how far the query is: this plan runs.
    pub(crate) fn begins(&self, plan: &Arc<dyn ExecutionPlan>) {
        self.progress.begin(plan);
    }

    /// Has what is sent from here on kept.
    pub(crate) fn keep(&mut self, keeper: Option<Keeper>) {
        self.keeper = keeper;
    }

    /// The work is done. Where every batch was taken, the answer is whole, and what was kept is handed over;
    /// otherwise the reader is told why it ends, as by a sender that is dropped without this.
    pub(crate) fn finish(&mut self) {
        let keeper = self.keeper.take();
        if self.cut {
            return;
        }
        self.whole.store(true, Ordering::Release);
        if let Some(Keeper { batches, bytes, kept, .. }) = keeper {
            kept(batches, bytes);
        }
    }

    /// Passes a batch on. `false`: stop, the reader is gone, or was told of a limit.
    pub(crate) async fn send(&mut self, batch: RecordBatch) -> bool {
        if batch.num_rows() == 0 {
            return true;
        }
        let rows = batch.num_rows() as u64;
        let bytes = self.bytes_left.map(|left| (left, size(&batch)));
        if bytes.is_some_and(|(left, size)| size > left) {
            self.cut = true;
            self.put(Err(self.allowed.too_many_bytes())).await;
            return false;
        }
        self.bytes_left = bytes.map(|(left, size)| left - size);
        let (batch, over) = match self.rows_left.map(|left| (left, rows > left)) {
            Some((left, true)) => (batch.slice(0, usize::try_from(left).unwrap_or(usize::MAX)), true),
            _ => (batch, false),
        };
        self.rows_left = self.rows_left.map(|left| left.saturating_sub(rows));
        self.sent = true;
        self.collect(&batch);
        if batch.num_rows() > 0 && !self.put(Ok(batch)).await {
            self.cut = true;
            return false;
        }
        self.cut |= over;
        if over {
            self.put(Err(self.allowed.too_many_rows())).await;
        }
        !over
    }

    fn collect(&mut self, batch: &RecordBatch) {
        if let Some(keeper) = &mut self.keeper {
            keeper.bytes += batch.get_array_memory_size() + BATCH;
            keeper.batches.push(batch.clone());
        }
        self.keeper.take_if(|keeper| keeper.bytes > keeper.largest);
    }

    pub(crate) async fn fail(&mut self, error: Error) {
        self.put(Err(error)).await;
    }

    async fn put(&self, message: Result<RecordBatch, Error>) -> bool {
        timeout_at(self.deadline, self.channel.send(message)).await.is_ok_and(|sent| sent.is_ok())
    }
}

/// Bytes of the values that a batch shows; what else its buffers hold is not counted.
fn size(batch: &RecordBatch) -> u64 {
    let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
    sizes.sum::<usize>() as u64
}

/// Starts `work` with a sender and gives the reader's end. `start` puts the work on its threads.
pub(crate) fn open<W, F>(
    running: &Running,
    schema: SchemaRef,
    deadline: Instant,
    allowed: Allowed,
    start: impl FnOnce(F) -> Option<AbortHandle>,
    work: W,
) -> Result<QueryStream, Error>
where
    W: FnOnce(Sender) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (channel, receiver) = mpsc::channel(AHEAD);
    let (rows_left, bytes_left) = (allowed.limits.rows, allowed.limits.result_bytes);
    let (progress, ended, whole) = (Progress::default(), Ended::default(), Arc::new(AtomicBool::new(false)));
    let sender = Sender {
        channel,
        deadline,
        rows_left,
        bytes_left,
        allowed,
        sent: false,
        cut: false,
        keeper: None,
        progress: progress.clone(),
        ended: ended.clone(),
        whole: Arc::clone(&whole),
    };
    let abort = start(work(sender)).ok_or(Error::Cancelled)?;
    let id = Uuid::now_v7();
    let (cancelled, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let stop = Stop { cancelled, told, abort, progress, ended, whole };
    running.enter(id, stop.clone());
    let reader = Reader { running: running.clone(), id, stop };
    Ok(QueryStream { id, schema, batches: batches(receiver, reader, deadline, allowed) })
}

fn batches(
    mut receiver: mpsc::Receiver<Result<RecordBatch, Error>>,
    reader: Reader,
    deadline: Instant,
    allowed: Allowed,
) -> BoxStream<'static, Result<RecordBatch, Error>> {
    let stream = async_stream::stream! {
        loop {
            let next = tokio::select! {
                biased;
                next = timeout_at(deadline, receiver.recv()) => next,
                () = reader.stop.told.notified() => Ok(None),
            };
            match next {
                Err(_) => {
                    yield Err(allowed.out_of_time());
                    break;
                }
                Ok(None) => {
                    if reader.stop.cancelled.load(Ordering::Acquire) {
                        yield Err(Error::Cancelled);
                    } else if reader.stop.whole.load(Ordering::Acquire) {
                        // Every batch has come.
                    } else if Instant::now() >= deadline {
                        // The work waited for this reader until its time was over.
                        yield Err(allowed.out_of_time());
                    } else {
                        // A panic, or the end of the threads: what came is not all.
                        tracing::error!("a query broke off");
                        let message = "the query broke off before its last row: ask again; the server's log has more";
                        yield Err(Error::Execution { message: message.to_owned() });
                    }
                    break;
                }
                Ok(Some(Err(error))) => {
                    yield Err(error);
                    break;
                }
                Ok(Some(Ok(batch))) => yield Ok(batch),
            }
        }
        drop(reader);
    };
    stream.boxed()
}

/// Runs a stream to its end, or until the sender says stop. The error is the stream's.
pub(crate) async fn pump<S, E>(mut stream: S, sender: &mut Sender, deadline: Instant) -> Result<(), Stopped<E>>
where
    S: Stream<Item = Result<RecordBatch, E>> + Unpin,
{
    loop {
        match timeout_at(deadline, stream.next()).await {
            Err(_) => return Err(Stopped::OutOfTime),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(Stopped::Failed(error)),
            Ok(Some(Ok(batch))) => {
                if !sender.send(batch).await {
                    return Ok(());
                }
            }
        }
    }
}

/// Why a stream ended early.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    OutOfTime,
    Failed(E),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Field, Schema},
    };
    use mavis_types::{Role, TokenId};
    use rstest::rstest;

    use super::*;
    use crate::{Limits, limits::ByRole};

    /// How some work comes to its end.
    #[derive(Debug, Clone, Copy)]
    enum End {
        Finished,
        Failed,
        Panicked,
        Dropped,
    }

    #[rstest]
    #[case(End::Finished, None)]
    #[case(End::Failed, Some("division by zero"))]
    #[case(End::Panicked, Some("broke off"))]
    #[case(End::Dropped, Some("broke off"))]
    #[tokio::test]
    async fn an_answer_that_breaks_off_does_not_look_whole(#[case] end: End, #[case] error: Option<&str>) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from_iter_values([1]))]).unwrap();
        let allowed = ByRole::new(Limits::default(), [].into()).of(TokenId::new(), Role::Analyst, None);
        let work = |mut sender: Sender| async move {
            assert!(sender.send(batch).await);
            match end {
                End::Finished => sender.finish(),
                End::Failed => sender.fail(Error::Execution { message: "division by zero".to_owned() }).await,
                End::Panicked => panic!("as an operator may"),
                End::Dropped => {}
            }
        };
        let start = |work| Some(tokio::spawn(work).abort_handle());
        let deadline = Instant::now() + Duration::from_secs(60);
        let query = open(&Running::default(), schema, deadline, allowed, start, work).unwrap();
        let came: Vec<Result<RecordBatch, Error>> = query.batches.collect().await;
        assert_eq!(came[0].as_ref().unwrap().num_rows(), 1);
        let told = came.get(1).map(|last| last.as_ref().unwrap_err().to_string());
        assert_eq!(came.len(), if error.is_some() { 2 } else { 1 });
        assert_eq!(told.as_deref().map(|told| told.contains(error.unwrap_or("?"))), error.map(|_| true), "{told:?}");
    }

    #[tokio::test]
    async fn what_a_slow_reader_did_not_take_in_time_is_not_the_end() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from_iter_values([1]))]).unwrap();
        let allowed = ByRole::new(Limits::default(), [].into()).of(TokenId::new(), Role::Analyst, None);
        let work = |mut sender: Sender| async move {
            while sender.send(batch.clone()).await {}
            sender.finish();
        };
        let start = |work| Some(tokio::spawn(work).abort_handle());
        let deadline = Instant::now() + Duration::from_millis(50);
        let query = open(&Running::default(), schema, deadline, allowed, start, work).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let came: Vec<Result<RecordBatch, Error>> = query.batches.collect().await;
        let last = came.last().unwrap().as_ref().unwrap_err().to_string();
        assert_eq!(last, allowed.out_of_time().to_string());
        assert!(came[..came.len() - 1].iter().all(Result::is_ok));
    }
}

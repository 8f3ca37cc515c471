use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::error::ArrowError;
use axum::http::StatusCode;
use chrono::Utc;
use futures::StreamExt;
use mavis_sql::QueryStream;
use mavis_types::Principal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    file::Files,
    job::{Job, Phase},
};
use crate::http::ApiError;

/// Pause between two looks for answers whose time is over.
const SWEEP: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) struct ResultsOptions {
    /// How long an answer is kept after its end.
    pub(crate) life: Duration,
    /// Bytes of all files together.
    pub(crate) bytes: u64,
    /// Jobs of one token that have not ended.
    pub(crate) running_of_one: usize,
    /// Jobs of one token, ended ones too.
    pub(crate) kept_of_one: usize,
}

impl Default for ResultsOptions {
    fn default() -> Self {
        Self { life: Duration::from_secs(3600), bytes: 10 << 30, running_of_one: 10, kept_of_one: 1_000 }
    }
}

/// A job to begin.
#[derive(Debug, Clone)]
pub(crate) struct Submit {
    pub(crate) owner: Principal,
    pub(crate) ordered: bool,
    /// Ends it when its owner did not ask for it this long.
    pub(crate) patience: Option<Duration>,
}

/// Every job of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Results {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    options: ResultsOptions,
    jobs: Mutex<HashMap<Uuid, Arc<Job>>>,
    /// Of all files.
    bytes: AtomicU64,
}

impl Results {
    /// `folder`: what stands there is of a process that is gone, and deleted.
    pub(crate) fn open(folder: PathBuf, options: ResultsOptions) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let inner = Arc::new(Inner { folder, options, jobs: Mutex::default(), bytes: AtomicU64::new(0) });
        tokio::spawn(sweep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Begins a job: `query` is waited for, and its rows are written down.
    ///
    /// # Errors
    /// 429 where the owner has too many already; 500 where the folder cannot be made.
    pub(crate) async fn submit(
        &self,
        submit: Submit,
        query: impl Future<Output = Result<QueryStream, ApiError>> + Send + 'static,
    ) -> Result<Arc<Job>, ApiError> {
        let id = Uuid::now_v7();
        let now = Utc::now();
        let job = Arc::new(Job {
            id,
            owner: submit.owner,
            submitted_at: now,
            ordered: submit.ordered,
            folder: self.inner.folder.join(id.hyphenated().to_string()),
            life: self.inner.options.life,
            patience: submit.patience,
            cancel: CancellationToken::new(),
            phase: watch::Sender::new(Phase::Queued),
            schema: OnceLock::new(),
            query: OnceLock::new(),
            parts: OnceLock::new(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            asked_at: Mutex::new(now),
        });
        self.enter(&job)?;
        if let Err(error) = tokio::fs::create_dir_all(&job.folder).await {
            self.forget(id);
            return Err(ApiError::internal(&error));
        }
        tokio::spawn(run(Arc::clone(&self.inner), Arc::clone(&job), query));
        Ok(job)
    }

    fn enter(&self, job: &Arc<Job>) -> Result<(), ApiError> {
        let mut jobs = self.lock();
        let of_owner = || jobs.values().filter(|other| other.owner.token == job.owner.token);
        let running = of_owner().filter(|other| other.phase().ended().is_none()).count();
        let ResultsOptions { running_of_one, kept_of_one, .. } = self.inner.options;
        if running >= running_of_one || of_owner().count() >= kept_of_one {
            let mut error = ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "limit",
                format!(
                    "limit of long queries reached: {running_of_one} may run at once and {kept_of_one} be kept; fetch \
                     answers and delete them"
                ),
            );
            error.retry_after = Some(30);
            return Err(error);
        }
        jobs.insert(job.id, Arc::clone(job));
        Ok(())
    }

    /// A job of this owner; nobody else's is told of, nor one that was begun with other rights than the owner has now.
    pub(crate) fn find(&self, id: Uuid, owner: &Principal) -> Option<Arc<Job>> {
        let job = self.lock().get(&id).filter(|job| job.owner == *owner).cloned()?;
        job.touch();
        Some(job)
    }

    /// Jobs of this owner, the newest first.
    pub(crate) fn of(&self, owner: &Principal) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> = self.lock().values().filter(|job| job.owner == *owner).cloned().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        jobs
    }

    /// Ends a job and keeps it for who asks what became of it. `false`: it had ended, and its answer stays.
    pub(crate) fn cancel(&self, job: &Job) -> bool {
        let mut runs = false;
        // Within the lock of the phase: a job that comes to its end now sees it, or has ended.
        job.phase.send_if_modified(|phase| {
            runs = phase.ended().is_none();
            if runs {
                job.cancel.cancel();
            }
            false
        });
        runs
    }

    /// Ends a job and deletes its files.
    ///
    /// # Errors
    /// As the file system says.
    pub(crate) async fn remove(&self, id: Uuid) -> std::io::Result<()> {
        match self.forget(id) {
            Some(job) => self.inner.delete(&job).await,
            None => Ok(()),
        }
    }

    /// Ends every job and deletes its files; answers how many there were.
    ///
    /// # Errors
    /// As the file system says.
    pub async fn remove_all(&self) -> std::io::Result<u64> {
        let jobs: Vec<Arc<Job>> = self.lock().drain().map(|(_, job)| job).collect();
        for job in &jobs {
            self.inner.delete(job).await?;
        }
        Ok(jobs.len() as u64)
    }

    /// Ends every job: the server stops.
    pub async fn close(&self) {
        if let Err(error) = self.remove_all().await {
            warn!(%error, "answers that nobody fetched were not deleted; the next start deletes them");
        }
    }

    fn forget(&self, id: Uuid) -> Option<Arc<Job>> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Job>>> {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The job is in no list any more.
    async fn delete(&self, job: &Job) -> std::io::Result<()> {
        job.cancel.cancel();
        // Who writes has stopped when the phase says so; a file made after that would stay.
        let mut phase = job.phase.subscribe();
        drop(tokio::time::timeout(SWEEP, phase.wait_for(|phase| phase.ended().is_some())).await.map(drop));
        self.free(job).await
    }

    /// Deletes the files of a job that came to nothing; its entry stays and says so.
    async fn empty(&self, job: &Job) {
        if let Err(error) = self.free(job).await {
            warn!(%error, "the files of a query that was ended were not deleted; they go with it");
        }
    }

    async fn free(&self, job: &Job) -> std::io::Result<()> {
        self.bytes.fetch_sub(job.bytes.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        match tokio::fs::remove_dir_all(&job.folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// From the beginning of a job to its end.
async fn run(inner: Arc<Inner>, job: Arc<Job>, query: impl Future<Output = Result<QueryStream, ApiError>>) {
    let outcome = tokio::select! {
        biased;
        () = job.cancel.cancelled() => None,
        outcome = spill(&inner, &job, query) => Some(outcome),
    };
    let at = Utc::now();
    match outcome {
        None => {
            inner.empty(&job).await;
            job.end(Phase::Cancelled { at });
        }
        Some(Ok(())) => {
            let is_whole = job.phase.send_if_modified(|phase| {
                let is_whole = !job.cancel.is_cancelled();
                if is_whole {
                    *phase = Phase::Done { at };
                }
                is_whole
            });
            if !is_whole {
                inner.empty(&job).await;
                job.end(Phase::Cancelled { at });
            }
        }
        Some(Err(error)) => {
            inner.empty(&job).await;
            job.end(Phase::Failed { at, error });
        }
    }
}

async fn spill(
    inner: &Inner,
    job: &Job,
    query: impl Future<Output = Result<QueryStream, ApiError>>,
) -> Result<(), ApiError> {
    let mut query = query.await?;
    let mut files = Files::new(&job.folder, query.schema.clone());
    // Set once each: nobody else does.
    job.schema.get_or_init(|| query.schema.clone());
    job.query.get_or_init(|| query.id);
    job.phase.send_replace(Phase::Running);
    while let Some(batch) = query.batches.next().await {
        let batch = batch?;
        let rows = batch.num_rows() as u64;
        let written = tokio::task::spawn_blocking(move || files.write(&batch).map(|()| files)).await;
        files = written.map_err(|error| ApiError::internal(&error))?.map_err(|error| unwritten(&error))?;
        let (before, bytes) = (job.bytes.load(Ordering::Relaxed), files.bytes());
        job.bytes.store(bytes, Ordering::Relaxed);
        job.rows.fetch_add(rows, Ordering::Relaxed);
        let all = inner.bytes.fetch_add(bytes - before, Ordering::AcqRel) + bytes - before;
        if all > inner.options.bytes {
            return Err(ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "limit",
                "the room for answers that wait to be fetched is full (query.results_bytes): ask for fewer rows or \
                 columns, or delete answers that are no longer needed",
            ));
        }
    }
    let finished = tokio::task::spawn_blocking(move || files.finish()).await;
    let parts = finished.map_err(|error| ApiError::internal(&error))?.map_err(|error| unwritten(&error))?;
    job.parts.get_or_init(|| parts);
    Ok(())
}

/// What arrow says may quote a value; only the kind of the failure is told and logged.
fn unwritten(error: &ArrowError) -> ApiError {
    if let ArrowError::IoError(_, error) = error {
        return ApiError::internal(error);
    }
    error!("the rows of a long query could not be written as Arrow IPC");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the answer could not be written: cast the columns that are not plain",
    )
}

/// Deletes what is over, for as long as the store is there.
async fn sweep(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inner) = inner.upgrade() else { return };
        let now = Utc::now();
        let over: Vec<Arc<Job>> = {
            let mut jobs = inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let ids: Vec<Uuid> = jobs
                .iter()
                .filter(|(_, job)| job.expires_at().is_some_and(|at| at <= now))
                .map(|(id, _)| *id)
                .collect();
            ids.iter().filter_map(|id| jobs.remove(id)).collect()
        };
        for job in over {
            if let Err(error) = inner.delete(&job).await {
                warn!(%error, "the files of an answer whose time is over were not deleted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{AsArray, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use futures::{TryStreamExt, stream};
    use mavis_types::{Role, Scope, TokenId};

    use super::*;

    fn rows(from: i64, to: i64) -> QueryStream {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let of = Arc::clone(&schema);
        let batch = move |start: i64| {
            let values = Int64Array::from_iter_values(start..(start + 10).min(to));
            Ok(RecordBatch::try_new(Arc::clone(&of), vec![Arc::new(values)]).unwrap())
        };
        let batches = stream::iter((from..to).step_by(10)).map(batch).boxed();
        QueryStream { id: Uuid::now_v7(), schema, batches }
    }

    fn somebody() -> Principal {
        Principal::new(TokenId::new(), "somebody", Role::Reader, Scope::All)
    }

    fn submit(owner: &Principal) -> Submit {
        Submit { owner: owner.clone(), ordered: true, patience: None }
    }

    async fn numbers(stream: QueryStream) -> Vec<i64> {
        let batches: Vec<RecordBatch> = stream.batches.try_collect().await.unwrap();
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_is_read_from_any_row_and_only_its_owner_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let results = Results::open(folder.path().join("r"), ResultsOptions::default()).unwrap();
        let owner = somebody();
        let job = results.submit(submit(&owner), async { Ok(rows(0, 95)) }).await.unwrap();
        job.wait(Duration::from_secs(10)).await;
        assert!(matches!(job.phase(), Phase::Done { .. }), "{:?}", job.phase());
        assert_eq!((job.rows(), job.parts()), (95, 1));
        for (offset, limit, expected) in
            [(0, None, 0..95), (7, Some(20), 7..27), (90, Some(100), 90..95), (95, None, 95..95), (10, Some(0), 10..10)]
        {
            let read = results.read(&job, offset, limit).unwrap();
            assert_eq!(numbers(read).await, expected.collect::<Vec<_>>(), "{offset} {limit:?}");
        }
        assert!(results.find(job.id, &owner).is_some());
        assert!(results.find(job.id, &somebody()).is_none());
        let changed = Principal { scope: Scope::Schemas(vec![]), ..owner.clone() };
        assert!(results.find(job.id, &changed).is_none(), "rights that are others now");
        results.remove(job.id).await.unwrap();
        assert!(results.find(job.id, &owner).is_none() && !job.folder.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_that_finds_no_room_is_ended_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let options = ResultsOptions { bytes: 1_000, ..ResultsOptions::default() };
        let results = Results::open(folder.path().join("r"), options).unwrap();
        let job = results.submit(submit(&somebody()), async { Ok(rows(0, 100_000)) }).await.unwrap();
        job.wait(Duration::from_secs(10)).await;
        let Phase::Failed { error, .. } = job.phase() else { panic!("{:?}", job.phase()) };
        assert_eq!(error.status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(!job.folder.exists());
        assert_eq!(results.inner.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_process_that_is_gone_left_is_deleted_and_a_time_ends() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("r/old");
        std::fs::create_dir_all(&left).unwrap();
        let options = ResultsOptions { life: Duration::ZERO, ..ResultsOptions::default() };
        let results = Results::open(folder.path().join("r"), options).unwrap();
        assert!(!left.exists());
        let owner = somebody();
        let job = results.submit(submit(&owner), async { Ok(rows(0, 10)) }).await.unwrap();
        job.wait(Duration::from_secs(10)).await;
        tokio::time::sleep(SWEEP + Duration::from_secs(2)).await;
        assert!(results.find(job.id, &owner).is_none() && !job.folder.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_token_cannot_take_all_the_places() {
        let folder = tempfile::tempdir().unwrap();
        let options = ResultsOptions { running_of_one: 1, ..ResultsOptions::default() };
        let results = Results::open(folder.path().join("r"), options).unwrap();
        let owner = somebody();
        let job = results.submit(submit(&owner), std::future::pending()).await.unwrap();
        let refused = results.submit(submit(&owner), std::future::pending()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(results.submit(submit(&somebody()), std::future::pending()).await.is_ok());
        assert!(results.cancel(&job));
        job.wait(Duration::from_secs(10)).await;
        assert!(matches!(job.phase(), Phase::Cancelled { .. }));
        assert!(results.submit(submit(&owner), std::future::pending()).await.is_ok());
    }
}

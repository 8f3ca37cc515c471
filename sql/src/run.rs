//! Running a checked plan: admission, threads, memory, one more try with sort-merge joins.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::tree_node::TreeNode,
    error::DataFusionError,
    execution::{SessionState, TaskContext},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, execute_stream, joins::HashJoinExec},
};
use futures::StreamExt;
use mavis_lake::Sessions;
use tokio::time::{Instant, timeout_at};

use crate::{
    Error, QueryStream,
    admission::Permit,
    answers::Answer,
    engine::Inner,
    fault, guard,
    limits::Allowed,
    session::as_promised,
    stop,
    stream::{self, Keeper, Sender, Stopped, pump},
};

/// Rows of a batch in the second try of a query that ran out of memory.
const FRUGAL_ROWS: usize = 1_024;

/// Starts a plan that passed the guard; the answer's batches have `schema`.
///
/// # Errors
/// [`Error::Limit`] when it cannot be admitted in time.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    state: Box<SessionState>,
    plan: LogicalPlan,
    schema: SchemaRef,
    keeper: Option<Keeper>,
    allowed: Allowed,
    deadline: Instant,
) -> Result<QueryStream, Error> {
    let permit = inner.admission.admit(&allowed, deadline).await?;
    let cpu = inner
        .cpu
        .as_ref()
        .ok_or_else(|| Error::Execution { message: "there are no threads for queries".to_owned() })?;
    // Whatever is wrong is told when it is planned again.
    let point = timeout_at(deadline, cpu.beside(guard::point_plan(&state, &plan))).await;
    let point = point.ok().and_then(Result::ok).flatten();
    let is_short = point.is_some();
    let sessions = inner.lake.sessions().clone();
    let job = Job { sessions, state, plan, point, schema: Arc::clone(&schema), allowed, deadline };
    stream::open(
        &inner.running,
        schema,
        deadline,
        allowed,
        |work| match is_short {
            true => Some(tokio::spawn(cpu.beside(work)).abort_handle()),
            false => cpu.spawn(work).map(|task| task.abort_handle()),
        },
        |mut sender| {
            sender.keep(keeper);
            job.work(sender, permit)
        },
    )
}

/// Gives an answer that was kept, under the same limits of time and rows, but for the wait for a place.
///
/// # Errors
/// None that a caller can do something about: there are no threads.
pub(crate) fn again(inner: &Inner, answer: Answer, allowed: Allowed, deadline: Instant) -> Result<QueryStream, Error> {
    let handle = tokio::runtime::Handle::current();
    stream::open(
        &inner.running,
        answer.schema,
        deadline,
        allowed,
        |work| Some(handle.spawn(work).abort_handle()),
        |mut sender| async move {
            for batch in answer.batches.iter() {
                if !sender.send(batch.clone()).await {
                    break;
                }
            }
            sender.finish();
        },
    )
}

struct Job {
    sessions: Sessions,
    state: Box<SessionState>,
    plan: LogicalPlan,
    /// Set where the rows of few keys are wanted, and are at hand.
    point: Option<Arc<dyn ExecutionPlan>>,
    schema: SchemaRef,
    allowed: Allowed,
    deadline: Instant,
}

impl Job {
    async fn work(mut self, mut sender: Sender, _permit: Permit) {
        let started = std::time::Instant::now();
        let outcome = match self.attempt(&mut sender).await {
            Err(Stopped::Failed((error, true))) if fault::is_exhausted(&error) && !sender.has_sent() => {
                // A hash join holds one side in memory and cannot spill; a sort-merge join can.
                metrics::counter!("mavis_sql_retries_total").increment(1);
                // Sorts of a plan share evenly and must each hold a few batches, so batches are smaller then.
                let mut config = self.state.config().clone().with_batch_size(FRUGAL_ROWS);
                config.options_mut().optimizer.prefer_hash_join = false;
                *self.state.config_mut() = config;
                self.attempt(&mut sender).await
            }
            outcome => outcome,
        };
        let label = match outcome {
            Ok(()) => {
                sender.finish();
                "ok"
            }
            Err(Stopped::OutOfTime) => {
                sender.fail(self.allowed.out_of_time()).await;
                "out_of_time"
            }
            Err(Stopped::Failed((error, _))) => {
                let told =
                    if fault::is_exhausted(&error) { self.allowed.out_of_memory() } else { fault::execution(&error) };
                tracing::warn!(reason = %told, "a query failed while running");
                sender.fail(told).await;
                "failed"
            }
        };
        metrics::counter!("mavis_sql_queries_total", "outcome" => label).increment(1);
        metrics::histogram!("mavis_sql_query_seconds").record(started.elapsed().as_secs_f64());
    }

    /// Plans and runs. A failure tells whether the plan had a hash join.
    async fn attempt(&mut self, sender: &mut Sender) -> Result<(), Stopped<(DataFusionError, bool)>> {
        let physical = match self.point.take() {
            Some(point) => point,
            None => {
                let planned = timeout_at(self.deadline, self.state.create_physical_plan(&self.plan)).await;
                planned.map_err(|_| Stopped::OutOfTime)?.map_err(|error| Stopped::Failed((error, false)))?
            }
        };
        let hash_join = has_hash_join(&physical);
        let failed = |error| Stopped::Failed((error, hash_join));
        sender.begins(&physical);
        // What was ended is known by then: an explained plan is shown as it is.
        let physical = if is_explained(&self.plan) {
            physical
        } else {
            stop::watched(physical, sender.ended()).map_err(failed)?
        };
        let stream = execute_stream(physical, self.context()).map_err(failed)?;
        let (schema, explained) = (Arc::clone(&self.schema), is_explained(&self.plan));
        let batches = stream.map(move |batch| promise(&batch?, &schema, explained));
        pump(batches, sender, self.deadline).await.map_err(|stopped| match stopped {
            Stopped::OutOfTime => Stopped::OutOfTime,
            Stopped::Failed(error) => failed(error),
        })
    }

    /// The query's own share of memory over the lake's files, caches and spill folder.
    fn context(&self) -> Arc<TaskContext> {
        let runtime = self.sessions.child_runtime(self.allowed.limits.memory_bytes);
        Arc::new(TaskContext::from(self.state.as_ref()).with_runtime(runtime))
    }
}

fn promise(batch: &RecordBatch, schema: &SchemaRef, explained: bool) -> Result<RecordBatch, DataFusionError> {
    let cut = if explained { Some(guard::cut_explained(batch)?) } else { None };
    as_promised(cut.as_ref().unwrap_or(batch), schema).map_err(|error| DataFusionError::External(Box::new(error)))
}

fn is_explained(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
}

fn has_hash_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(node.is::<HashJoinExec>())).unwrap_or(false)
}

//! Ends the work of a query that nobody waits for any more.
//!
//! A task is given up only when it gives way, and an operator that finds its rows in memory may compute for a long time
//! without doing so. So a [`Watch`] stands above every operator that reads, or that makes more rows than it is given: it
//! looks before each batch whether the query was ended.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{DataFusionError, Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{RecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        SendableRecordBatchStream,
    },
};
use futures::{Stream, StreamExt};

use crate::Error;

/// Says that a query was ended; once said it stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(crate) fn say(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_said(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The plan with a watch above whatever may compute for long between two batches: leaves, joins, and what multiplies rows.
/// A watch changes nothing of what the plan's nodes know of their inputs, so that they keep it.
pub(crate) fn watched(plan: Arc<dyn ExecutionPlan>, ended: &Ended) -> Result<Arc<dyn ExecutionPlan>> {
    let children = plan.children().into_iter().map(|child| watched(Arc::clone(child), ended));
    let children = children.collect::<Result<Vec<_>>>()?;
    let busy = children.len() != 1 || plan.name() == "UnnestExec";
    let plan = if children.is_empty() {
        plan
    } else {
        plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?
    };
    Ok(if busy { Arc::new(Watch { input: plan, ended: ended.clone() }) } else { plan })
}

/// Passes batches through for as long as the query goes on.
#[derive(Debug, Clone)]
struct Watch {
    input: Arc<dyn ExecutionPlan>,
    ended: Ended,
}

impl DisplayAs for Watch {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl ExecutionPlan for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { input, ended: self.ended.clone() })),
            _ => internal_err!("a watch has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Batches { input, ended: self.ended.clone() }))
    }
}

struct Batches {
    input: SendableRecordBatchStream,
    ended: Ended,
}

impl Stream for Batches {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended.is_said() {
            return Poll::Ready(Some(Err(DataFusionError::External(Box::new(Error::Cancelled)))));
        }
        self.input.poll_next_unpin(context)
    }
}

impl RecordBatchStream for Batches {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{Result, internal_err, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::TaskContext,
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        ReplaceChildrenOptions, SendableRecordBatchStream,
        execution_plan::{Boundedness, CardinalityEffect, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};
use mavis_fhir::view::Plan;

/// Makes a view's rows of each batch of resources; they stay in the resources' order.
#[derive(Debug, Clone)]
pub(super) struct ViewExec {
    input: Arc<dyn ExecutionPlan>,
    plan: Arc<Plan>,
    /// Order of the columns, where it is not the plan's own.
    order: Option<Vec<usize>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl ViewExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, plan: Arc<Plan>, order: Option<Vec<usize>>) -> Result<Self> {
        let schema = match &order {
            Some(order) => Arc::new(plan.schema().project(order)?),
            None => plan.schema(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { input, plan, order, schema, properties: Arc::new(properties) })
    }
}

impl DisplayAs for ViewExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "FhirView: resource={}, columns=[{}]", self.plan.resource(), columns.join(", "))
    }
}

impl ExecutionPlan for ViewExec {
    fn name(&self) -> &'static str {
        "FhirView"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
            (Some(input), true) => Ok(Arc::new(Self::new(input, Arc::clone(&self.plan), self.order.clone())?)),
            _ => internal_err!("a view has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (plan, order) = (Arc::clone(&self.plan), self.order.clone());
        let rows = input.flat_map(move |resources| {
            let made: Vec<Result<RecordBatch>> = match resources {
                Ok(resources) => made(&plan, order.as_deref(), &resources),
                Err(error) => vec![Err(error)],
            };
            stream::iter(made)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Unknown
    }
}

fn made(plan: &Plan, order: Option<&[usize]>, resources: &RecordBatch) -> Vec<Result<RecordBatch>> {
    match plan.run(resources) {
        Ok(batches) => batches
            .into_iter()
            .map(|batch| match order {
                Some(order) => Ok(batch.project(order)?),
                None => Ok(batch),
            })
            .collect(),
        Err(error) => vec![Err(DataFusionError::External(Box::new(super::told(&error))))],
    }
}

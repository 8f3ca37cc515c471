use std::{fmt, sync::Arc};

use datafusion::{
    common::{Result, config::ConfigOptions, internal_err, tree_node::TreeNodeRecursion},
    execution::TaskContext,
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_plan::{
        ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        ReplaceChildrenOptions, SendableRecordBatchStream, Statistics, StatisticsArgs,
        execution_plan::CardinalityEffect,
        filter_pushdown::{
            ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
            FilterPushdownPropagation,
        },
    },
};

use super::{lens::Lens, predicate::passes_physical};

/// Name of the operator in EXPLAIN; what stands below it is not shown.
pub(super) const NAME: &str = "GuardedScan";

/// No column is called so.
const HELD: &str = "\0held back";

/// Passes rows through and holds predicates back, except those that [`passes_physical`] lets down.
#[derive(Debug, Clone)]
pub(super) struct Barrier {
    input: Arc<dyn ExecutionPlan>,
    table: Arc<str>,
    lens: Arc<Lens>,
}

impl Barrier {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, table: Arc<str>, lens: Arc<Lens>) -> Self {
        Self { input, table, lens }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, ..self.clone() })
    }
}

impl DisplayAs for Barrier {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}: table={}", self.table)
    }
}

impl ExecutionPlan for Barrier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
            (Some(input), true) => Ok(self.over(input)),
            _ => internal_err!("a guarded scan has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn repartitioned(&self, partitions: usize, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(self.input.repartitioned(partitions, config)?.map(|input| self.over(input)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// What is known of a table's rows, where all of them are shown as they are.
    fn statistics_from_inputs(&self, input: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match input.first() {
            Some(_) if !self.lens.is_open() => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
            Some(statistics) => Ok(Arc::clone(statistics)),
            None => internal_err!("a guarded scan has one input"),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // A filter that is held back is asked for as one on a column that is not there; results go by position.
        let asked: Vec<Arc<dyn PhysicalExpr>> =
            filters
                .into_iter()
                .map(|filter| {
                    if passes_physical(&filter, &self.lens) { filter } else { Arc::new(Column::new(HELD, usize::MAX)) }
                })
                .collect();
        Ok(FilterDescription::new().with_child(ChildFilterDescription::from_child(&asked, &self.input)?))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}

use std::{fmt, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        ColumnStatistics, Result,
        config::ConfigOptions,
        internal_err,
        stats::Precision,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    execution::TaskContext,
    physical_expr::{
        PhysicalExpr,
        expressions::{Column, DynamicFilterPhysicalExpr},
    },
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

use super::{lens::Lens, predicate::passes_physical, sift::sift};

/// Name of the operator in EXPLAIN; what stands below it is not shown.
pub(super) const NAME: &str = "GuardedScan";

/// No column is called so.
const HELD: &str = "\0held back";

/// Passes rows through and holds predicates back, except those that [`passes_physical`] lets down. Filters that joins and top-k
/// sorts make while they run are applied to what comes out (see [`super::sift`]).
#[derive(Debug, Clone)]
pub(super) struct Barrier {
    input: Arc<dyn ExecutionPlan>,
    table: Arc<str>,
    lens: Arc<Lens>,
    /// What is known of the columns, where all rows are shown as they are; empty: nothing.
    known: Arc<[ColumnStatistics]>,
    /// Filters of joins and top-k sorts above, over the rows that come out.
    sieves: Vec<Arc<dyn PhysicalExpr>>,
}

impl Barrier {
    /// `known`: of the columns of `input`, one by one, or nothing.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        table: Arc<str>,
        lens: Arc<Lens>,
        known: Vec<ColumnStatistics>,
    ) -> Self {
        let known = if lens.is_open() { known.into() } else { Arc::default() };
        Self { input, table, lens, known, sieves: Vec::new() }
    }

    /// The input's statistics, completed by what is known of the columns: scans leave out those of columns that they filter
    /// by nothing, and joins are ordered by them. Sizes are of the columns that are read, not of whole files.
    fn told(&self, input: &Statistics) -> Statistics {
        let mut told = if self.sieves.is_empty() { input.clone() } else { input.clone().to_inexact() };
        if self.known.len() != told.column_statistics.len() {
            return told;
        }
        for (column, known) in told.column_statistics.iter_mut().zip(self.known.iter()) {
            if column.min_value == Precision::Absent && column.max_value == Precision::Absent {
                column.min_value = known.min_value.clone();
                column.max_value = known.max_value.clone();
            }
            if column.null_count == Precision::Absent {
                column.null_count = known.null_count;
            }
        }
        if let Some(rows) = told.num_rows.get_value() {
            let widths = self.schema().fields().iter().map(|field| width(field.data_type())).sum::<usize>();
            told.total_byte_size = Precision::Inexact(rows.saturating_mul(widths));
        }
        told
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, ..self.clone() })
    }
}

/// About how many bytes a value takes in memory.
fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 1,
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => 24,
        other => other.primitive_width().unwrap_or(64),
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

    /// The sieves: a join computes its filter only where it finds somebody who uses it.
    fn apply_expressions(
        &self,
        look: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for sieve in &self.sieves {
            if look(sieve)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
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
        let batch_rows = context.session_config().batch_size();
        let rows = self.input.execute(partition, context)?;
        Ok(if self.sieves.is_empty() { rows } else { sift(rows, &self.sieves, batch_rows) })
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// What is known of a table's rows, where all of them are shown as they are.
    fn statistics_from_inputs(&self, input: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match input.first() {
            Some(_) if !self.lens.is_open() => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
            Some(statistics) => Ok(Arc::new(self.told(statistics))),
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
        let mut sieves = self.sieves.clone();
        for one in &result.parent_filters {
            let known = sieves.iter().any(|sieve| sieve.expression_id() == one.filter.expression_id());
            if one.filter.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() && !known {
                sieves.push(Arc::clone(&one.filter));
            }
        }
        let told = FilterPushdownPropagation::if_all(result);
        // Which rows a limit below lets through is not ours to change.
        if sieves.len() == self.sieves.len() || self.input.exists(|node| Ok(node.fetch().is_some()))? {
            return Ok(told);
        }
        Ok(told.with_updated_node(Arc::new(Self { sieves, ..self.clone() })))
    }
}

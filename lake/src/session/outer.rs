//! What is known of one side of an outer join is not known of its result.
//!
//! The engine carries over that a column is a constant (`LEFT JOIN (SELECT ... WHERE kind = 'x')`, `... ON ... AND b.kind = 'x'`)
//! from a side whose rows may be missing, where it is NULL then. An order or a window by that column was not sorted, so that
//! rows came in another order and a group of a window came in pieces. Such a side forgets here what its columns equal.

use std::{fmt, sync::Arc};

use datafusion::{
    common::{
        JoinType, Result,
        config::ConfigOptions,
        internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties, Statistics,
        execution_plan::{CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions},
        filter_pushdown::{ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation},
        joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec},
        statistics::{ChildStats, StatisticsArgs},
    },
};

/// The rule; it stands before those that ask what is known.
#[derive(Debug, Default)]
pub(super) struct OuterSides;

impl PhysicalOptimizerRule for OuterSides {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(forget).data()
    }

    fn name(&self) -> &'static str {
        "outer_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn forget(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let kind = node
        .downcast_ref::<HashJoinExec>()
        .map(|join| *join.join_type())
        .or_else(|| node.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type()))
        .or_else(|| node.downcast_ref::<SortMergeJoinExec>().map(SortMergeJoinExec::join_type));
    let may_be_missing = match kind {
        Some(JoinType::Left) => [false, true],
        Some(JoinType::Right) => [true, false],
        Some(JoinType::Full) => [true, true],
        _ => return Ok(Transformed::no(node)),
    };
    let mut changed = false;
    let children = node.children().into_iter().zip(may_be_missing).map(|(child, may_be_missing)| {
        let child = Arc::clone(child);
        if !may_be_missing || child.equivalence_properties().eq_group().is_empty() {
            return child;
        }
        changed = true;
        Arc::new(OuterSide::over(child)) as Arc<dyn ExecutionPlan>
    });
    let children = children.collect();
    if !changed {
        return Ok(Transformed::no(node));
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok(Transformed::yes(node.replace_children(children, options)?))
}

/// Rows as they come, of whose columns nothing is known but their order.
#[derive(Debug)]
struct OuterSide {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl OuterSide {
    fn over(input: Arc<dyn ExecutionPlan>) -> Self {
        let orderings = input.equivalence_properties().oeq_class().iter().cloned();
        let known = EquivalenceProperties::new_with_orderings(input.schema(), orderings.collect::<Vec<_>>());
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(known);
        Self { properties: Arc::new(properties), input }
    }
}

impl DisplayAs for OuterSide {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OuterSide")
    }
}

impl ExecutionPlan for OuterSide {
    fn name(&self) -> &'static str {
        "OuterSide"
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
            (Some(input), true) => Ok(Arc::new(Self::over(input))),
            _ => internal_err!("a side of a join has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
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
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
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

#[cfg(test)]
mod tests {
    use super::super::physical_rules;
    use arrow::util::display::array_value_to_string;
    use datafusion::{
        execution::session_state::SessionStateBuilder,
        prelude::{SessionConfig, SessionContext},
    };
    use rstest::rstest;

    const A: &str = "(SELECT value AS id, value % 3 AS k FROM generate_series(1, 9) s(value)) a";
    const B: &str = "(SELECT value * 2 AS id, 4 AS g, value % 2 AS h FROM generate_series(1, 9) s(value)) b";

    async fn answer(sql: &str, rules: bool) -> String {
        let config = SessionConfig::new().with_target_partitions(2).with_batch_size(2);
        let mut builder = SessionStateBuilder::new().with_config(config).with_default_features();
        if rules {
            builder = builder.with_physical_optimizer_rules(physical_rules());
        }
        let context = SessionContext::new_with_state(builder.build());
        let sql = sql.replace("TABLE a", A).replace("TABLE b", B);
        let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
        let rows = batches.iter().flat_map(|batch| {
            (0..batch.num_rows()).map(|row| {
                let values = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
                values.collect::<Vec<_>>().join(":")
            })
        });
        rows.collect::<Vec<_>>().join(" ")
    }

    #[rstest]
    #[case(
        "SELECT b.g FROM TABLE a FULL JOIN TABLE b ON a.id = b.id ORDER BY b.g NULLS FIRST",
        "     4 4 4 4 4 4 4 4 4"
    )]
    #[case(
        "SELECT a.id, b.g FROM TABLE a LEFT JOIN TABLE b ON a.id = b.id ORDER BY b.g NULLS LAST, a.id",
        "2:4 4:4 6:4 8:4 1: 3: 5: 7: 9:"
    )]
    #[case(
        "SELECT DISTINCT b.g, count(*) OVER (PARTITION BY b.g) AS n FROM TABLE a LEFT JOIN TABLE b ON a.id = b.id ORDER BY n",
        "4:4 :5"
    )]
    #[case(
        "SELECT b.h, count(*) FROM TABLE a LEFT JOIN (SELECT * FROM TABLE b WHERE b.h = 1) b ON a.id = b.id GROUP BY b.h ORDER BY 2",
        "1:2 :7"
    )]
    #[case(
        "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY b.g ORDER BY a.id) AS n FROM TABLE b RIGHT JOIN TABLE a ON a.id = b.id)",
        "5"
    )]
    #[tokio::test]
    async fn what_is_missing_is_no_constant(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(answer(sql, true).await, expected);
    }

    // The day that this fails, the engine has learned it, and the rule may go.
    #[tokio::test]
    async fn the_engine_alone_does_not_sort() {
        let four = "(SELECT value * 2 AS id, value AS g FROM generate_series(1, 9) s(value) WHERE value = 4) b";
        let sql = format!("SELECT b.g FROM TABLE a FULL JOIN {four} ON a.id = b.id ORDER BY b.g NULLS FIRST");
        assert_eq!(answer(&sql, true).await, "        4");
        assert_ne!(answer(&sql, false).await, "        4");
    }
}

//! Semi-joins with few groups, done before the joins that they stand over.

use std::{collections::HashSet, sync::Arc};

use datafusion::{
    common::{Column, DataFusionError, Result, tree_node::Transformed},
    logical_expr::{Expr, Join, JoinType, LogicalPlan},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// `a JOIN b ... WHERE a.k IN (SELECT k ... GROUP BY k HAVING ...)`: the semi-join is moved from above the joins to the input
/// that has its columns, so that the joins see few rows.
///
/// Groups that pass a HAVING are taken to be few. A semi-join with other plans stays where it is: below the joins it would see
/// every row of its input.
#[derive(Debug, Default)]
pub(crate) struct ReduceEarly;

impl OptimizerRule for ReduceEarly {
    fn name(&self) -> &'static str {
        "reduce_early"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>, DataFusionError> {
        let LogicalPlan::Join(semi) = &plan else { return Ok(Transformed::no(plan)) };
        if semi.join_type != JoinType::LeftSemi || semi.filter.is_some() || !is_filtered_group(&semi.right) {
            return Ok(Transformed::no(plan));
        }
        let columns: HashSet<&Column> = semi.on.iter().flat_map(|(left, _)| left.column_refs()).collect();
        Ok(match below(semi, &semi.left, &columns, false)? {
            Some(moved) => Transformed::yes(moved),
            None => Transformed::no(plan),
        })
    }
}

/// `input` with the semi-join at the lowest place that has its columns; `None` where that is above every join.
fn below(
    semi: &Join,
    input: &Arc<LogicalPlan>,
    columns: &HashSet<&Column>,
    under_join: bool,
) -> Result<Option<LogicalPlan>> {
    let has = |plan: &LogicalPlan| columns.iter().all(|column| plan.schema().has_column(column));
    match input.as_ref() {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner && has(&join.left) => {
            let Some(left) = below(semi, &join.left, columns, true)? else { return Ok(None) };
            Ok(Some(LogicalPlan::Join(Join { left: Arc::new(left), ..join.clone() })))
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner && has(&join.right) => {
            let Some(right) = below(semi, &join.right, columns, true)? else { return Ok(None) };
            Ok(Some(LogicalPlan::Join(Join { right: Arc::new(right), ..join.clone() })))
        }
        // A projection that keeps the columns under their names, and a filter, do not mind.
        LogicalPlan::Projection(projection)
            if has(&projection.input)
                && columns.iter().all(|column| {
                    projection.expr.iter().any(|expr| matches!(expr, Expr::Column(kept) if kept == *column))
                }) =>
        {
            let Some(moved) = below(semi, &projection.input, columns, under_join)? else { return Ok(None) };
            Ok(Some(input.with_new_exprs(projection.expr.clone(), vec![moved])?))
        }
        LogicalPlan::Filter(filter) if !under_join => {
            let Some(moved) = below(semi, &filter.input, columns, false)? else { return Ok(None) };
            Ok(Some(input.with_new_exprs(vec![filter.predicate.clone()], vec![moved])?))
        }
        _ if under_join => {
            let moved = Join::try_new(
                Arc::clone(input),
                Arc::clone(&semi.right),
                semi.on.clone(),
                None,
                JoinType::LeftSemi,
                semi.join_constraint,
                semi.null_equality,
                semi.null_aware,
            )?;
            Ok(Some(LogicalPlan::Join(moved)))
        }
        _ => Ok(None),
    }
}

/// Whether a plan gives groups that pass a condition.
fn is_filtered_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_filtered_group(&alias.input),
        LogicalPlan::Projection(projection) => is_filtered_group(&projection.input),
        LogicalPlan::Filter(filter) => is_group(&filter.input),
        _ => false,
    }
}

fn is_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_group(&projection.input),
        LogicalPlan::Aggregate(aggregate) => !aggregate.group_expr.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::{execution::session_state::SessionStateBuilder, prelude::SessionContext};
    use rstest::rstest;

    async fn context() -> SessionContext {
        let state =
            SessionStateBuilder::new().with_default_features().with_optimizer_rule(Arc::new(ReduceEarly)).build();
        let context = SessionContext::new_with_state(state);
        for table in [
            "CREATE TABLE person AS VALUES (1, 'a'), (2, 'b')",
            "CREATE TABLE visit AS VALUES (10, 1), (11, 1), (12, 2), (13, NULL)",
            "CREATE TABLE line AS VALUES (10, 5), (10, 6), (11, 1), (12, 20), (12, 2), (NULL, 90)",
        ] {
            context.sql(table).await.unwrap().collect().await.unwrap();
        }
        context
    }

    const GROUPS: &str = "SELECT column1 FROM line GROUP BY column1 HAVING sum(column2) > 9";

    #[rstest]
    #[case(&format!("v.column1 IN ({GROUPS})"), true)]
    #[case(&format!("l.column1 IN ({GROUPS})"), true)]
    #[case("v.column1 IN (SELECT column1 FROM line)", false)]
    #[case(&format!("v.column1 NOT IN ({GROUPS})"), false)]
    #[tokio::test]
    async fn a_semi_join_with_few_groups_goes_below_the_joins_and_says_the_same(
        #[case] condition: &str,
        #[case] moves: bool,
    ) {
        let sql = format!(
            "SELECT p.column2, l.column2 FROM person p, visit v, line l WHERE p.column1 = v.column2 AND v.column1 = l.column1 \
             AND {condition} ORDER BY 1, 2"
        );
        let context = context().await;
        let plan = context.sql(&sql).await.unwrap().into_optimized_plan().unwrap().to_string();
        let first = plan.lines().position(|line| line.contains("LeftSemi Join"));
        let joins = plan.lines().position(|line| line.contains("Inner Join"));
        assert_eq!(first.is_some_and(|semi| joins < Some(semi)), moves, "{plan}");
        let with = context.sql(&sql).await.unwrap().collect().await.unwrap();
        let without = SessionContext::new();
        for table in ["person", "visit", "line"] {
            let provider = context.table_provider(table).await.unwrap();
            without.register_table(table, provider).unwrap();
        }
        assert_eq!(with, without.sql(&sql).await.unwrap().collect().await.unwrap());
    }
}

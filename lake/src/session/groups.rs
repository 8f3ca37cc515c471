//! Groups over a join with groups are told apart by all of their keys.
//!
//! The engine knows that a key of a grouped table decides that table's columns, and takes a group of a join with it for decided by
//! that key alone: `GROUP BY d.g, i.x`, where `d` is grouped by `g`, was counted, sorted and cut as if `i.x` said nothing more.
//! It finds such a key by its name, so the keys are given other names while they are grouped by.

use datafusion::{
    common::{
        Column, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder},
    optimizer::AnalyzerRule,
};

/// The rule.
#[derive(Debug, Default)]
pub(super) struct GroupsApart;

impl AnalyzerRule for GroupsApart {
    fn name(&self) -> &str {
        "groups_apart"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut changed = false;
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(node)
                if node.group_expr.len() > 1 && !has_sets(&node) && joins_groups(&node.input)? =>
            {
                changed = true;
                apart(node).map(Transformed::yes)
            }
            LogicalPlan::Distinct(Distinct::All(input))
                if input.schema().fields().len() > 1 && joins_groups(&input)? =>
            {
                changed = true;
                let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
                apart(Aggregate::try_new(input, columns, Vec::new())?).map(Transformed::yes)
            }
            // They remember what the engine thought of the columns below.
            LogicalPlan::Projection(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Aggregate(_)
                if changed =>
            {
                node.recompute_schema().map(Transformed::yes)
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

fn has_sets(node: &Aggregate) -> bool {
    node.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)))
}

/// Whether there is a join below, of which one side is grouped.
fn joins_groups(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let LogicalPlan::Join(Join { left, right, join_type, .. }) = node else { return Ok(false) };
        if !matches!(join_type, JoinType::Inner | JoinType::Left | JoinType::Right) {
            return Ok(false);
        }
        let is_grouped = |node: &LogicalPlan| Ok(matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_)));
        Ok(left.exists(is_grouped)? || right.exists(is_grouped)?)
    })
}

/// The same groups by keys that are called otherwise, and then as they were.
fn apart(node: Aggregate) -> Result<LogicalPlan> {
    // A key that is there twice is one column.
    let mut groups: Vec<Expr> = Vec::with_capacity(node.group_expr.len());
    for group in &node.group_expr {
        if !groups.contains(group) {
            groups.push(group.clone());
        }
    }
    let own = groups.len();
    if node.schema.fields().len() != own + node.aggr_expr.len() {
        return Ok(LogicalPlan::Aggregate(node));
    }
    let schema = node.schema;
    let name = |place: usize| format!("\0key {place}");
    let keys = groups.into_iter().enumerate().map(|(place, key)| key.unalias().alias(name(place))).collect();
    let grouped = Aggregate::try_new(node.input, keys, node.aggr_expr)?;
    let results = grouped.schema.columns();
    let columns = schema.iter().enumerate().map(|(place, (relation, field))| {
        if place < own {
            Expr::Column(Column::new_unqualified(name(place))).alias_qualified(relation.cloned(), field.name())
        } else {
            Expr::Column(results[place].clone())
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(grouped)).project(columns)?.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::util::display::array_value_to_string;
    use datafusion::{execution::session_state::SessionStateBuilder, prelude::SessionContext};
    use rstest::rstest;

    const A: &str = "(SELECT value AS id, value % 3 AS g FROM generate_series(1, 9) s(value)) a";
    const B: &str = "(SELECT value AS id, value % 4 AS g, value * 5 % 7 AS x FROM generate_series(1, 12) s(value)) b";

    async fn answer(sql: &str, mended: bool) -> String {
        let mut builder = SessionStateBuilder::new().with_default_features();
        if mended {
            builder = builder.with_analyzer_rule(Arc::new(GroupsApart));
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

    const SORTED: &str = "SELECT d.g, b.x, count(*) FROM (SELECT g, count(*) AS n FROM TABLE a GROUP BY g) d \
                          JOIN TABLE b ON b.g = d.g GROUP BY d.g, b.x ORDER BY d.g, b.x";

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case(SORTED, "0:4:1 0:5:1 0:6:1 1:3:1 1:4:1 1:5:1 2:1:1 2:2:1 2:3:1")]
    #[case(
        "SELECT d.g, count(DISTINCT b.id) AS n FROM (SELECT g, count(*) AS n FROM TABLE a GROUP BY g) d \
         JOIN TABLE b ON b.g < d.g GROUP BY d.g, b.x ORDER BY d.g, b.x",
        "1:1 1:1 1:1 2:1 2:2 2:2 2:1"
    )]
    #[case(
        "SELECT DISTINCT d.g, b.x FROM (SELECT DISTINCT g FROM TABLE a) d JOIN TABLE b ON b.g = d.g ORDER BY d.g, b.x LIMIT 4",
        "0:4 0:5 0:6 1:3"
    )]
    #[case(
        "SELECT count(*) FROM (SELECT d.g, b.x, sum(b.id) AS s FROM (SELECT DISTINCT g FROM TABLE a) d \
         LEFT JOIN TABLE b ON b.g = d.g GROUP BY d.g, b.x) t",
        "9"
    )]
    #[case(
        "SELECT b.g, b.g AS again, count(*) FROM TABLE b LEFT JOIN (SELECT id, count(*) AS n FROM TABLE a GROUP BY id) d ON d.id = b.id \
         GROUP BY b.g, b.g ORDER BY 1",
        "0:0:3 1:1:3 2:2:3 3:3:3"
    )]
    #[tokio::test]
    async fn all_keys_count(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(answer(sql, true).await, expected);
    }

    // The day that this fails, the engine has learned it, and the rule may go.
    #[tokio::test]
    async fn the_engine_alone_leaves_keys_out() {
        assert_ne!(answer(SORTED, false).await, answer(SORTED, true).await);
    }
}

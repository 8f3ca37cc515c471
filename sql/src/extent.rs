//! What is known of an answer before it is computed: whether its order was asked for, and whether it may be large.

use datafusion::{
    common::stats::Precision,
    datasource::source_as_provider,
    logical_expr::{Expr, FetchType, LogicalPlan, Operator, TableScan},
};

use crate::{guard::GuardedTable, system::SystemTable};

/// Rows from which on an answer is worth to be fetched in several streams.
const LARGE: u64 = 50_000;
/// Rows of what cannot be guessed.
const UNKNOWN: u64 = 1_000_000;
/// Rows of a table about the lake.
const SYSTEM: u64 = 10_000;

/// Whether the statement asks for an order of its rows.
pub(crate) fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(node) => is_ordered(&node.input),
        LogicalPlan::SubqueryAlias(node) => is_ordered(&node.input),
        LogicalPlan::Limit(node) => is_ordered(&node.input),
        // The lines of a plan stand in an order, too.
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => true,
        _ => false,
    }
}

/// Whether the answer may be large; a guess from the tables' rows and the kind of the plan's nodes.
pub(crate) fn is_large(plan: &LogicalPlan) -> bool {
    rows(plan) >= LARGE
}

fn rows(plan: &LogicalPlan) -> u64 {
    let of_inputs = || plan.inputs().into_iter().map(rows);
    match plan {
        LogicalPlan::TableScan(scan) => of_table(scan),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => 1,
        LogicalPlan::Values(values) => values.values.len() as u64,
        LogicalPlan::Filter(filter) if pins(&filter.predicate, &keys(&filter.input)) => 1_000,
        LogicalPlan::Filter(_) => of_inputs().sum::<u64>() / 2,
        LogicalPlan::Aggregate(node) if node.group_expr.is_empty() => 1,
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => of_inputs().sum::<u64>() / 20,
        LogicalPlan::Limit(limit) => {
            let most = match limit.get_fetch_type() {
                Ok(FetchType::Literal(Some(most))) => most as u64,
                _ => u64::MAX,
            };
            most.min(of_inputs().sum())
        }
        LogicalPlan::Join(_) => of_inputs().max().unwrap_or_default(),
        LogicalPlan::Unnest(_) => UNKNOWN,
        LogicalPlan::Extension(_) => UNKNOWN,
        _ => of_inputs().fold(0, u64::saturating_add),
    }
}

fn of_table(scan: &TableScan) -> u64 {
    let Ok(provider) = source_as_provider(&scan.source) else { return UNKNOWN };
    if provider.downcast_ref::<SystemTable>().is_some() {
        return SYSTEM;
    }
    if let Some(rows) = provider.downcast_ref::<GuardedTable>().and_then(GuardedTable::about) {
        return rows;
    }
    match provider.statistics().map(|statistics| statistics.num_rows) {
        Some(Precision::Exact(rows) | Precision::Inexact(rows)) => rows as u64,
        _ => UNKNOWN,
    }
}

/// Columns that rows of the tables below are looked up by.
fn keys(plan: &LogicalPlan) -> Vec<String> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok();
            let guarded = provider.as_ref().and_then(|provider| provider.downcast_ref::<GuardedTable>());
            guarded.map(|table| table.keys().to_vec()).unwrap_or_default()
        }
        other => other.inputs().into_iter().flat_map(keys).collect(),
    }
}

/// Whether a condition leaves only the rows of some keys.
fn pins(filter: &Expr, keys: &[String]) -> bool {
    let is_key = |expr: &Expr| matches!(expr, Expr::Column(column) if keys.contains(&column.name));
    match filter {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Eq => {
                (is_key(&binary.left) && is_given(&binary.right)) || (is_given(&binary.left) && is_key(&binary.right))
            }
            Operator::And => pins(&binary.left, keys) || pins(&binary.right, keys),
            Operator::Or => pins(&binary.left, keys) && pins(&binary.right, keys),
            _ => false,
        },
        Expr::InList(list) => !list.negated && is_key(&list.expr) && list.list.iter().all(is_given),
        _ => false,
    }
}

fn is_given(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) | Expr::Placeholder(_) => true,
        Expr::Cast(cast) => is_given(&cast.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::{
        logical_expr::{LogicalPlanBuilder, placeholder},
        prelude::{col, lit},
    };
    use rstest::rstest;

    #[rstest]
    #[case(col("id").eq(lit("a")), true)]
    #[case(col("id").eq(placeholder("$1")).and(col("n").gt(lit(3))), true)]
    #[case(col("id").eq(lit("a")).or(col("n").gt(lit(3))), false)]
    #[case(col("sex").eq(lit("f")), false)]
    fn a_condition_on_a_key_leaves_few_rows(#[case] filter: Expr, #[case] few: bool) {
        assert_eq!(pins(&filter, &["id".to_owned()]), few);
    }

    #[test]
    fn an_order_counts_where_it_is_the_outermost() {
        let values = || LogicalPlanBuilder::values(vec![vec![lit(1)], vec![lit(2)]]).unwrap();
        let sorted = values().sort(vec![col("column1").sort(true, false)]).unwrap();
        assert!(is_ordered(&sorted.clone().limit(0, Some(1)).unwrap().build().unwrap()));
        assert!(!is_ordered(&sorted.clone().union(values().build().unwrap()).unwrap().build().unwrap()));
        assert!(!is_ordered(&values().build().unwrap()));
        assert!(!is_large(&values().build().unwrap()));
    }
}

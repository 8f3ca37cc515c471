//! `IS NOT DISTINCT FROM` between tables as keys that are never NULL.
//!
//! The engine joins by it with one switch for a whole join, "NULL equals NULL", and loses the switch on the way: `=` beside it
//! then finds NULLs equal, or a join further out takes its NULLs away. Said as `(l IS NULL) = (r IS NULL)` and
//! `coalesce(l, d) = coalesce(r, d)`, with any value `d` of the type, it is two equalities as all others, and hashed as they are.

use std::collections::HashSet;

use datafusion::{
    common::{
        Column, DFSchema, Result, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    functions::expr_fn::coalesce,
    logical_expr::{
        BinaryExpr, Expr, ExprSchemable, Filter, Join, LogicalPlan, Operator, lit,
        utils::{conjunction, merge_schema, split_conjunction_owned},
    },
    optimizer::AnalyzerRule,
};

/// The rule; it stands where types are settled.
#[derive(Debug, Default)]
pub(super) struct NullsAsKeys;

impl AnalyzerRule for NullsAsKeys {
    fn name(&self) -> &str {
        "nulls_as_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(Filter { predicate, input, .. }) if has_any(&predicate)? => {
                let predicate = keyed(predicate, input.schema())?;
                Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, input)?)))
            }
            LogicalPlan::Join(join) if join.filter.as_ref().map_or(Ok(false), has_any)? => {
                let schema = merge_schema(&[&join.left, &join.right]);
                let filter = join.filter.map(|filter| keyed(filter, &schema)).transpose()?;
                Ok(Transformed::yes(LogicalPlan::Join(Join { filter, ..join })))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

fn has_any(predicate: &Expr) -> Result<bool> {
    predicate.exists(|expr| Ok(matches!(expr, Expr::BinaryExpr(BinaryExpr { op: Operator::IsNotDistinctFrom, .. }))))
}

fn keyed(predicate: Expr, schema: &DFSchema) -> Result<Expr> {
    let mut parts = Vec::new();
    for part in split_conjunction_owned(predicate) {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::IsNotDistinctFrom, right })
                if is_between(&left, &right) =>
            {
                parts.extend(keys(*left, *right, schema)?);
            }
            other => parts.push(other),
        }
    }
    Ok(conjunction(parts).unwrap_or_else(|| lit(true)))
}

/// Whether both sides read columns, of other tables each: only then they may become keys.
fn is_between(left: &Expr, right: &Expr) -> bool {
    let is_within = |expr: &Expr| !expr.contains_outer() && !expr.is_volatile();
    let (of_left, of_right) = (left.column_refs(), right.column_refs());
    let tables =
        |columns: &HashSet<&Column>| columns.iter().map(|column| column.relation.clone()).collect::<HashSet<_>>();
    is_within(left)
        && is_within(right)
        && !of_left.is_empty()
        && !of_right.is_empty()
        && tables(&of_left).is_disjoint(&tables(&of_right))
}

fn keys(left: Expr, right: Expr, schema: &DFSchema) -> Result<Vec<Expr>> {
    let (one, other) = (left.get_type(schema)?, right.get_type(schema)?);
    let as_it_is = |left: Expr, right: Expr| {
        vec![Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::IsNotDistinctFrom, Box::new(right)))]
    };
    let any = match ScalarValue::new_default(&one) {
        Ok(any) if one == other && !any.is_null() => any,
        _ => return Ok(as_it_is(left, right)),
    };
    let is_null = left.clone().is_null().eq(right.clone().is_null());
    let any = Expr::Literal(any, None);
    Ok(vec![is_null, coalesce(vec![left, any.clone()]).eq(coalesce(vec![right, any]))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::util::pretty::pretty_format_batches;
    use datafusion::{execution::session_state::SessionStateBuilder, prelude::SessionContext};
    use rstest::rstest;

    const A: &str = "(VALUES (1, 1, 'a'), (2, NULL, 'b'), (NULL, 3, NULL), (4, NULL, NULL), (0, 0, '')) a(g, x, s)";
    const B: &str = "(VALUES (1, 1, 'a'), (2, NULL, NULL), (NULL, 3, 'c'), (NULL, NULL, NULL), (5, 0, '')) b(g, x, s)";

    async fn count(sql: &str, is_mended: bool) -> String {
        let mut builder = SessionStateBuilder::new().with_default_features();
        if is_mended {
            builder = builder.with_analyzer_rule(Arc::new(NullsAsKeys));
        }
        let context = SessionContext::new_with_state(builder.build());
        let sql = sql.replace("TABLE a", A).replace("TABLE b", B).replace("TABLE c", &B.replace("b(", "c("));
        let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        text.lines().nth(3).unwrap().trim_matches(['|', ' ']).to_owned()
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case("SELECT count(*) FROM TABLE a JOIN TABLE b ON a.x IS NOT DISTINCT FROM b.x", "7")]
    #[case("SELECT count(*) FROM TABLE a JOIN TABLE b ON a.x IS NOT DISTINCT FROM b.x WHERE a.g = b.g", "2")]
    #[case("SELECT count(*) FROM TABLE a JOIN TABLE b ON (a.x IS NOT DISTINCT FROM b.x) AND a.g = b.g", "2")]
    #[case("SELECT count(*) FROM TABLE a, TABLE b WHERE a.s IS NOT DISTINCT FROM b.s", "6")]
    #[case("SELECT count(*) FROM TABLE a JOIN TABLE b ON a.x IS NOT DISTINCT FROM b.x JOIN TABLE c ON c.g = a.g", "3")]
    #[case("SELECT count(*) FROM TABLE a JOIN TABLE b ON a.g = b.g JOIN TABLE c ON c.x IS NOT DISTINCT FROM a.x", "3")]
    #[case("SELECT count(*) FROM TABLE a LEFT JOIN TABLE b ON (a.x IS NOT DISTINCT FROM b.x) AND a.g > 3", "6")]
    #[tokio::test]
    async fn nulls_meet_only_where_it_is_said(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(count(sql, true).await, expected);
    }

    // The day that this fails, the engine has learned it, and the rule may go.
    #[tokio::test]
    async fn the_engine_alone_lets_nulls_meet_or_loses_them() {
        let sql = "SELECT count(*) FROM TABLE a JOIN TABLE b ON a.x IS NOT DISTINCT FROM b.x JOIN TABLE c ON c.g = a.g";
        assert_ne!(count(sql, false).await, count(sql, true).await);
    }
}

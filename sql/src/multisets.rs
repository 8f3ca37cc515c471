//! `EXCEPT ALL` and `INTERSECT ALL` count rows, as the standard has them: of a row that is there m times and n times, m - n and
//! the lesser of both are left. The engine's own only look whether a row is on the other side at all, and lose or double rows.

use std::sync::Arc;

use datafusion::{
    common::{Column, NullEquality, Result, config::ConfigOptions, tree_node::Transformed},
    functions_window::row_number::row_number,
    logical_expr::{Cast, Expr, ExprFunctionExt, Join, JoinType, LogicalPlan, LogicalPlanBuilder},
    optimizer::AnalyzerRule,
};

/// The column that says the how-manieth of its like a row is, on the left and on the right.
const NTH: [&str; 2] = ["__nth", "__nth_other"];

/// The rule: the joins that stand for these operations also compare the how-manieth of its like a row is.
#[derive(Debug, Default)]
pub(crate) struct Multisets;

impl AnalyzerRule for Multisets {
    fn name(&self) -> &str {
        "multisets"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Join(join) if counts(join) => counted(join).map(Transformed::yes),
            _ => Ok(Transformed::no(node)),
        })
        .map(|plan| plan.data)
    }
}

/// Whether a join stands for `EXCEPT ALL` or `INTERSECT ALL`: no join that is written compares all columns of its left side,
/// NULL with NULL too, before conditions are taken apart. Without ALL the left side has each row once.
fn counts(join: &Join) -> bool {
    let is_all_columns = || {
        join.on.len() == join.left.schema().fields().len()
            && join
                .on
                .iter()
                .zip(join.left.schema().columns())
                .all(|((key, _), column)| column_of(key) == Some(&column))
    };
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
        && !join.left.schema().has_column_with_unqualified_name(NTH[0])
        && is_all_columns()
}

fn column_of(key: &Expr) -> Option<&Column> {
    match key {
        Expr::Column(column) => Some(column),
        // Types of both sides were made one.
        Expr::Cast(Cast { expr, .. }) => column_of(expr),
        _ => None,
    }
}

fn counted(join: &Join) -> Result<LogicalPlan> {
    let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let left = numbered(&join.left, left_keys, NTH[0])?;
    let right = numbered(&join.right, right_keys, NTH[1])?;
    let mut on = join.on.clone();
    on.push((unqualified(NTH[0]), unqualified(NTH[1])));
    let counted = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let own = join.left.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(LogicalPlan::Join(counted)).project(own)?.build()
}

fn unqualified(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// `side` with a column that numbers the rows that have the same keys.
fn numbered(side: &Arc<LogicalPlan>, keys: Vec<Expr>, name: &str) -> Result<LogicalPlan> {
    let number = row_number().partition_by(keys).build()?;
    let windowed = LogicalPlanBuilder::from(side.as_ref().clone()).window(vec![number])?;
    let mut columns: Vec<Expr> = windowed.schema().columns().into_iter().map(Expr::Column).collect();
    let number = columns.pop().map(|number| number.alias(name));
    windowed.project(columns.into_iter().chain(number))?.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::SessionContext;
    use rstest::rstest;

    const T: &str = "(VALUES (1, 'a'), (1, 'a'), (1, 'a'), (2, 'b'), (NULL, 'c'), (NULL, 'c'), (3, NULL)) t(x, y)";
    const U: &str = "(VALUES (1, 'a'), (NULL, 'c'), (3, NULL), (3, NULL), (4, 'd')) u(x, y)";

    async fn answer(sql: &str) -> String {
        let context = SessionContext::new();
        context.add_analyzer_rule(Arc::new(Multisets));
        let sql = sql.replace("TABLE t", T).replace("TABLE u", U);
        let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
        let row = |batch: &arrow::array::RecordBatch, row: usize| {
            let values = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            values.collect::<Vec<_>>().join(":")
        };
        let mut rows: Vec<String> = batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>())
            .collect();
        rows.sort_unstable();
        rows.join(" ")
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case("SELECT * FROM TABLE t EXCEPT ALL SELECT * FROM TABLE u", "1:a 1:a 2:b :c")]
    #[case("SELECT * FROM TABLE t INTERSECT ALL SELECT * FROM TABLE u", "1:a 3: :c")]
    #[case("SELECT * FROM TABLE u INTERSECT ALL SELECT * FROM TABLE t", "1:a 3: :c")]
    #[case("SELECT * FROM TABLE u EXCEPT ALL SELECT * FROM TABLE t", "3: 4:d")]
    #[case("SELECT x FROM TABLE t EXCEPT ALL SELECT CAST(x AS SMALLINT) FROM TABLE u", " 1 1 2")]
    #[case(
        "SELECT * FROM TABLE t EXCEPT ALL (SELECT * FROM TABLE u EXCEPT ALL SELECT * FROM TABLE t)",
        "1:a 1:a 1:a 2:b :c :c"
    )]
    #[case(
        "(SELECT * FROM TABLE t EXCEPT ALL SELECT * FROM TABLE u) UNION ALL SELECT * FROM TABLE u WHERE x = 4",
        "1:a 1:a 2:b 4:d :c"
    )]
    #[case("SELECT DISTINCT * FROM TABLE t EXCEPT ALL SELECT * FROM TABLE u", "2:b")]
    #[case("SELECT * FROM TABLE t EXCEPT SELECT * FROM TABLE u", "2:b")]
    #[case("SELECT * FROM TABLE t INTERSECT SELECT * FROM TABLE u", "1:a 3: :c")]
    #[case("SELECT count(*) FROM (SELECT * FROM TABLE t EXCEPT ALL SELECT * FROM TABLE t) e", "0")]
    #[case("SELECT 1 WHERE 2 IN (SELECT x FROM TABLE t EXCEPT ALL SELECT x FROM TABLE u)", "1")]
    #[tokio::test]
    async fn rows_are_counted(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(answer(sql).await, expected);
    }
}

use std::sync::Arc;

use datafusion::{
    logical_expr::{Expr, Operator},
    physical_expr::{
        PhysicalExpr,
        expressions::{
            BinaryExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
        },
    },
};

use super::lens::Lens;

/// Whether a predicate may be evaluated on rows that the caller does not see: comparisons of an unmasked column with
/// literals, joined by AND, OR and NOT. They cannot fail, whatever the row holds, so they tell nothing about it.
pub(super) fn passes(expr: &Expr, lens: &Lens) -> bool {
    match expr {
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            passes(&binary.left, lens) && passes(&binary.right, lens)
        }
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            (is_shown(&binary.left, lens) && is_literal(&binary.right))
                || (is_literal(&binary.left) && is_shown(&binary.right, lens))
        }
        Expr::Not(inner) => passes(inner, lens),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => is_shown(inner, lens),
        Expr::Between(between) => {
            is_shown(&between.expr, lens) && is_literal(&between.low) && is_literal(&between.high)
        }
        Expr::InList(list) => is_shown(&list.expr, lens) && list.list.iter().all(is_literal),
        Expr::Like(like) => is_shown(&like.expr, lens) && is_literal(&like.pattern),
        // A boolean column by itself.
        Expr::Column(_) => is_shown(expr, lens),
        _ => false,
    }
}

fn is_shown(expr: &Expr, lens: &Lens) -> bool {
    matches!(expr, Expr::Column(column) if lens.shows(&column.name))
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// The same for a predicate of a physical plan. A filter that a join or a top-k makes while it runs compares columns with
/// values of rows that the caller sees; it passes where nothing is hidden.
pub(super) fn passes_physical(expr: &Arc<dyn PhysicalExpr>, lens: &Lens) -> bool {
    let expr = expr.as_ref();
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let (left, right) = (binary.left(), binary.right());
        return if matches!(binary.op(), Operator::And | Operator::Or) {
            passes_physical(left, lens) && passes_physical(right, lens)
        } else {
            is_comparison(*binary.op())
                && ((shown(left, lens) && literal(right)) || (literal(left) && shown(right, lens)))
        };
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return passes_physical(not.arg(), lens);
    }
    if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        return shown(null.arg(), lens);
    }
    if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
        return shown(null.arg(), lens);
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return shown(list.expr(), lens) && list.list().iter().all(literal);
    }
    if expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() {
        return lens.is_open() && expr.children().into_iter().all(|child| shown(child, lens));
    }
    false
}

fn shown(expr: &Arc<dyn PhysicalExpr>, lens: &Lens) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|column| lens.shows(column.name()))
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::{
        arrow::datatypes::DataType,
        prelude::{cast, col, lit},
    };
    use rstest::rstest;

    fn masked() -> Lens {
        Lens { masks: [("name".to_owned(), lit("***"))].into(), ..Lens::default() }
    }

    #[rstest]
    #[case(col("age").eq(lit(3)), true)]
    #[case(lit(3).lt(col("age")), true)]
    #[case(col("age").gt(lit(3)).and(col("sex").in_list(vec![lit("f")], false)), true)]
    #[case(col("age").is_null().or(col("age").between(lit(1), lit(2))), true)]
    #[case(col("name").eq(lit("Durand")), false)]
    #[case(col("age").gt(lit(3)).and(col("name").is_null()), false)]
    #[case(cast(col("age"), DataType::Int8).eq(lit(3)), false)]
    #[case((lit(1) / col("age")).eq(lit(3)), false)]
    #[case(col("age").eq(col("sex")), false)]
    fn only_comparisons_of_unmasked_columns_with_literals_pass(#[case] expr: Expr, #[case] pass: bool) {
        assert_eq!(passes(&expr, &masked()), pass);
    }
}

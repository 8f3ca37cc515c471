//! Columns that are vectors (`int2vector`, `oidvector`), which the engine has as lists: their places count from 0, and an answer
//! has them as large lists, which the door tells from arrays.

use datafusion::sql::sqlparser::ast::{AccessExpr, BinaryOperator, DataType, Expr, Subscript};

use super::ast::{call, cast, column_of, number, text};

/// The vectors of `pg_index` and `pg_proc`.
const VECTORS: [&str; 5] = ["indkey", "indclass", "indcollation", "indoption", "proargtypes"];

/// The catalogs that have them.
pub(super) const CATALOGS: [&str; 2] = ["pg_index", "pg_proc"];

/// Whether an expression is such a column.
pub(super) fn is_column(expr: &Expr) -> bool {
    column_of(expr).is_some_and(|name| VECTORS.contains(&name.as_str()))
}

/// A vector as an answer has it.
pub(super) fn shown(expr: &Expr) -> Expr {
    let of_places = column_of(expr).is_some_and(|name| name == "indkey" || name == "indoption");
    let data_type = if of_places { "LargeList(Int16)" } else { "LargeList(UInt32)" };
    call("arrow_cast", vec![expr.clone(), text(data_type)])
}

/// `i.indkey[n]` is the item after `n` others.
pub(super) fn subscript(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let own = match access_chain.as_slice() {
        [AccessExpr::Subscript(_)] => is_column(root),
        [.., AccessExpr::Dot(column), AccessExpr::Subscript(_)] => is_column(column),
        _ => false,
    };
    if own && let Some(AccessExpr::Subscript(Subscript::Index { index })) = access_chain.last_mut() {
        let next = Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(index.clone()))),
            op: BinaryOperator::Plus,
            right: Box::new(number(1)),
        };
        *index = cast(next, DataType::BigInt(None));
    }
}

//! The rows of a key, planned without the planner.
//!
//! `SELECT a, b FROM t WHERE key = 7` and its like are asked thousands of times a second, and what an optimiser could find in
//! them is that the rows of a key are wanted. So they are recognised as they are: columns of one table, in which all rows are
//! shown as they are, where conditions hold that may be evaluated below the barrier, one of them on a key whose files are
//! indexed. Everything else is planned as ever, and so is EXPLAIN.

use std::sync::Arc;

use datafusion::{
    common::{DFSchemaRef, Result, tree_node::TreeNode},
    datasource::source_as_provider,
    execution::SessionState,
    logical_expr::{
        BinaryExpr, Expr, Filter, LogicalPlan, TableScan, expr_rewriter::unnormalize_col, simplify::SimplifyContext,
        utils::split_conjunction_owned,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    physical_plan::ExecutionPlan,
};

use super::table::GuardedTable;

/// A query that [`plan`] may know.
struct Asked<'a> {
    /// Names of the columns, in order.
    columns: Vec<&'a str>,
    condition: &'a Expr,
    /// What the condition is over.
    schema: &'a DFSchemaRef,
    scan: &'a TableScan,
}

/// The plan of a query for the rows of few keys of a table, where they are at hand; `None` for every other.
///
/// # Errors
/// As [`ExecutionPlan`]s of the table.
pub(crate) async fn plan(state: &SessionState, query: &LogicalPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(Asked { columns, condition, schema, scan }) = asked(query) else { return Ok(None) };
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<GuardedTable>() else { return Ok(None) };
    if !table.may_be_at_hand(condition) {
        return Ok(None);
    }
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(state.config_options()))
        .with_schema(Arc::clone(schema))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let simplified = simplifier.coerce(condition.clone(), schema).and_then(|condition| simplifier.simplify(condition));
    // What is wrong with it is told by the planner, which also refuses numbers that do not fit their types.
    let computes = condition
        .exists(|expr| Ok(matches!(expr, Expr::BinaryExpr(BinaryExpr { op, .. }) if op.is_numerical_operators())));
    let Ok(condition) = simplified else { return Ok(None) };
    if computes? {
        return Ok(None);
    }
    let conditions: Vec<Expr> = split_conjunction_owned(unnormalize_col(condition));
    table.at_hand(state, &columns, &conditions).await
}

/// Columns of a filter of a table, as the planner of SQL puts them.
fn asked(query: &LogicalPlan) -> Option<Asked<'_>> {
    let LogicalPlan::Projection(projection) = query else { return None };
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = projection.input.as_ref() else { return None };
    let scanned = match input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        other => other,
    };
    let LogicalPlan::TableScan(scan) = scanned else { return None };
    if scan.projection.is_some() || !scan.filters.is_empty() || scan.fetch.is_some() {
        return None;
    }
    let columns = projection.expr.iter().map(name).collect::<Option<Vec<_>>>()?;
    Some(Asked { columns, condition: predicate, schema: input.schema(), scan })
}

/// The column that an expression is, under whatever name.
fn name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::Column(column) => Some(&column.name),
            _ => None,
        },
        _ => None,
    }
}

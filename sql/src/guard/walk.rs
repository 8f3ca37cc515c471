use datafusion::{
    common::{DataFusionError, Result, tree_node::TreeNodeRecursion},
    datasource::{cte_worktable::CteWorkTable, source_as_provider},
    functions_table::generate_series::GenerateSeriesTable,
    logical_expr::LogicalPlan,
};
use mavis_types::TokenId;

use super::table::GuardedTable;
use crate::{Error, system::SystemTable, views::ViewTable};

/// Looks over a finished plan, its subqueries included, and denies by default: every table must be guarded for this
/// principal, every node of a kind that only reads.
///
/// # Errors
/// [`Error::Refused`].
pub(crate) fn check(plan: &LogicalPlan, principal: TokenId) -> std::result::Result<(), Error> {
    let walked = plan.apply_with_subqueries(|node| node_is_allowed(node, principal));
    walked.map(drop).map_err(|error| match error {
        DataFusionError::Plan(reason) => Error::Refused { reason },
        other => crate::fault::planning(&other),
    })
}

fn node_is_allowed(node: &LogicalPlan, principal: TokenId) -> Result<TreeNodeRecursion> {
    match node {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source)?;
            let allowed = provider.downcast_ref::<GuardedTable>().is_some_and(|table| table.is_of(principal))
                || provider.downcast_ref::<SystemTable>().is_some_and(|table| table.is_of(principal))
                || provider.downcast_ref::<ViewTable>().is_some_and(|view| view.is_of(principal))
                || provider.is::<CteWorkTable>()
                || provider.is::<GenerateSeriesTable>();
            if !allowed {
                return denied("a table that is not guarded");
            }
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => {}
        LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) => {
            return denied("queries are read-only");
        }
        LogicalPlan::Statement(_) | LogicalPlan::DescribeTable(_) | LogicalPlan::Extension(_) => {
            return denied("a kind of plan that is not known to only read");
        }
    }
    Ok(TreeNodeRecursion::Continue)
}

fn denied(what: &str) -> Result<TreeNodeRecursion> {
    Err(DataFusionError::Plan(what.to_owned()))
}

//! Criteria as a plan: filters and semi-joins over the plans of tables. Nothing is read here.

use datafusion::{
    common::Result,
    logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, lit},
};

use super::{Criteria, Link, Plans, matcher::column};
use crate::ResourceType;

/// The column that keys of sources are in.
const KEY: &str = "__key";
/// The column that the keys of a row are in, one to a row.
const OWN: &str = "__own";
/// The id beside them.
const ID: &str = "__id";

pub(super) fn narrow(resource: ResourceType, criteria: &Criteria, plans: &Plans) -> Result<Option<LogicalPlan>> {
    let Some(table) = plans.get(&resource) else { return Ok(None) };
    let mut plan = LogicalPlanBuilder::from(table.clone());
    if let Some(filter) = &criteria.filter {
        plan = plan.filter(filter.clone())?;
    }
    for link in &criteria.links {
        plan = match keys(link, plans)? {
            Some(keys) => linked(plan.build()?, link, keys)?,
            None => plan.filter(lit(false))?,
        };
    }
    plan.build().map(Some)
}

/// Rows that have one of the keys. The keys stand to the left: a hash join builds from them and streams the rows.
fn linked(rows: LogicalPlan, link: &Link, keys: LogicalPlan) -> Result<LogicalPlanBuilder> {
    let keys = LogicalPlanBuilder::from(keys);
    if link.many {
        let own = LogicalPlanBuilder::from(rows.clone())
            .project(vec![column("id").alias(ID), link.key.clone().alias(OWN)])?
            .unnest_column(OWN)?
            .build()?;
        let found = keys.join_on(own, JoinType::RightSemi, [column(KEY).eq(column(OWN))])?.project(vec![column(ID)])?;
        return found.join_on(rows, JoinType::RightSemi, [column(ID).eq(column("id"))]);
    }
    let mut on = vec![column(KEY).eq(link.key.clone())];
    if link.is_patient {
        // says nothing new; a plain column lets a join skip files while it runs
        on.push(column(KEY).eq(column("__patient")));
    }
    keys.join_on(rows, JoinType::RightSemi, on)
}

/// The keys of all sources of a link, in a column [`KEY`]; `None` where there is no table.
fn keys(link: &Link, plans: &Plans) -> Result<Option<LogicalPlan>> {
    let mut all: Option<LogicalPlanBuilder> = None;
    for source in &link.any_of {
        let Some(rows) = narrow(source.resource, &source.criteria, plans)? else { continue };
        let mut keys = LogicalPlanBuilder::from(rows).project(vec![source.key.clone().alias(KEY)])?;
        if source.many {
            keys = keys.unnest_column(KEY)?;
        }
        let keys = keys.filter(Expr::is_not_null(column(KEY)))?;
        all = Some(match all {
            Some(all) => all.union(keys.build()?)?,
            None => keys,
        });
    }
    all.map(LogicalPlanBuilder::build).transpose()
}

//! Queries under names. A view is kept as text, with the whole names of its tables, and planned again for each caller: it
//! shows what the caller could have asked for without it, no more.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use datafusion::{
    catalog::TableProvider,
    logical_expr::LogicalPlan,
    sql::sqlparser::ast::{
        Cte, Ident, ObjectName, ObjectNamePart, Query, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
    },
};
use futures::{FutureExt, future::BoxFuture};
use mavis_catalog::{NewColumn, NewSqlView, SqlView, Table};
use mavis_types::{Principal, TableId, TableName};

use super::{run::exists, statement::refused};
use crate::{
    Error, Session,
    catalogs::{Given, View},
    dialect::{Admitted, admit, parse},
    fault, guard,
    names::{Bindings, TableKey, resolve, tables},
    planner,
    views::Only,
};

/// How deep views may read views.
const MOST_NESTED: usize = 16;

/// The definition of a view, where the principal may see it: who may change the view, and who is shown all that it reads.
pub(crate) fn definition<'a>(principal: &Principal, table: &'a Table) -> Option<&'a SqlView> {
    let view = table.view.as_ref()?;
    let sees = |name: &String| name.parse::<TableName>().map_or(true, |name| principal.sees_whole(&name));
    (principal.may_write(&table.name) || view.reads.iter().all(sees)).then_some(view)
}

/// Views that are planned for one statement.
pub(crate) type PlannedViews = HashMap<TableId, Arc<dyn TableProvider>>;

/// Plans a view for whoever looks, and the views that it reads before it, one after the other: however deep they nest, this
/// does not. `outer`: a view that none of them may read.
///
/// # Errors
/// [`Error::Refused`] where it reads what the caller may not read, itself, or too many views within views.
pub(crate) fn plan_view<'a>(
    view: &'a View<'_>,
    root: &'a Table,
    outer: Option<TableId>,
) -> BoxFuture<'a, Result<Arc<dyn TableProvider>, Error>> {
    async move {
        let outcome = plan_all(view, root, outer).await;
        outcome.map_err(|error| match error {
            // Names of views within are part of the definition.
            Error::Refused { .. }
                if definition(view.principal, root).is_none() && view.principal.sees_whole(&root.name) =>
            {
                unreadable(&root.name)
            }
            other => other,
        })
    }
    .boxed()
}

async fn plan_all(view: &View<'_>, root: &Table, outer: Option<TableId>) -> Result<Arc<dyn TableProvider>, Error> {
    let mut planned = PlannedViews::new();
    let mut path = vec![(root.clone(), views_in(view, root).await?)];
    while let Some((table, within)) = path.last_mut() {
        if let Some(next) = within.pop() {
            if planned.contains_key(&next.id) {
                continue;
            }
            if outer == Some(next.id) || path.iter().any(|(table, _)| table.id == next.id) {
                return Err(refused(format!("view `{}` reads itself", next.name)));
            }
            if path.len() >= MOST_NESTED {
                return Err(refused(format!("`{}` is read through more than {MOST_NESTED} views", next.name)));
            }
            let within = views_in(view, &next).await?;
            path.push((next, within));
            continue;
        }
        let provider = plan_one(view, table, &planned).await?;
        planned.insert(table.id, provider);
        path.pop();
    }
    planned.remove(&root.id).ok_or_else(|| unreadable(&root.name))
}

fn unreadable(name: &TableName) -> Error {
    refused(format!("view `{name}` reads a table that is no longer there, or that you may not read"))
}

/// The views that a view names.
async fn views_in(view: &View<'_>, table: &Table) -> Result<Vec<Table>, Error> {
    if !view.principal.sees_whole(&table.name) {
        return Err(refused(format!(
            "`{}` is a view: it cannot be shown in part; filters, masks and single columns belong to its tables",
            table.name
        )));
    }
    let Some(stored) = &table.view else { return Ok(Vec::new()) };
    let Admitted::Query(statement) = admit(parse(&stored.text)?)? else { return Ok(Vec::new()) };
    view.views_among(&tables(&statement)?).await
}

async fn plan_one(view: &View<'_>, table: &Table, planned: &PlannedViews) -> Result<Arc<dyn TableProvider>, Error> {
    let name = &table.name;
    let stored = table.view.as_ref().ok_or_else(|| unreadable(name))?;
    let is_shown = definition(view.principal, table).is_some();
    if !is_shown {
        view.veil();
    }
    let outcome = plan_text(view, &stored.text, planned).await;
    outcome.map(|(plan, _)| provider(plan)).map_err(|error| match error {
        Error::NoSuchTable { .. } => unreadable(name),
        Error::Invalid { message, .. } if is_shown => {
            fault::invalid(format!("view `{name}` does not fit its tables any more: {message}"))
        }
        Error::Invalid { .. } => fault::invalid(format!("view `{name}` cannot be planned for you")),
        other => other,
    })
}

/// Plans a query's text; tells the names that its tables have.
async fn plan_text(view: &View<'_>, text: &str, planned: &PlannedViews) -> Result<(LogicalPlan, Vec<String>), Error> {
    let Admitted::Query(mut statement) = admit(parse(text)?)? else { return Err(fault::invalid("a view is a query")) };
    let keys = tables(&statement)?;
    let (views, only) = (HashMap::new(), Only::default());
    let mut opened = view.open_within(&keys, Given { views: &views, only: &only }, planned).await;
    let reads = opened.bindings.values().flatten().map(|bound| bound.name.join(".")).collect();
    resolve(&mut statement, &mut opened.bindings)?;
    let state = view.planning_state()?;
    let plan = planner::plan(&state, &opened.sources, *statement)?;
    guard::check(&plan, view.principal.token)?;
    Ok((plan, reads))
}

/// Writes tables with the whole names that they have now. A name that is a CTE's anywhere in the query stays.
fn rename_tables(statement: &mut Statement, bindings: &Bindings) {
    let mut ctes = Ctes::default();
    let _walked: ControlFlow<()> = Visit::visit(statement, &mut ctes);
    let _walked: ControlFlow<()> = VisitMut::visit(statement, &mut Renamer { bindings, ctes: ctes.0 });
}

#[derive(Default)]
struct Ctes(Vec<String>);

impl Visitor for Ctes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(ctes.map(|Cte { alias, .. }| alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

struct Renamer<'a> {
    bindings: &'a Bindings,
    ctes: Vec<String>,
}

impl VisitorMut for Renamer<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, version, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let Ok(key) = TableKey::read(name, version.as_ref()) else { return ControlFlow::Continue(()) };
        if matches!(key.parts.as_slice(), [one] if self.ctes.contains(&one.to_lowercase())) {
            return ControlFlow::Continue(());
        }
        if let Some(Ok(bound)) = self.bindings.get(&key) {
            let parts = bound.name.iter().map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part)));
            *name = ObjectName(parts.collect());
        }
        ControlFlow::Continue(())
    }
}

impl Session {
    pub(super) async fn make_view(
        &self,
        name: &TableName,
        columns: Vec<Ident>,
        query: Query,
        or_replace: bool,
        if_not_exists: bool,
        comment: Option<String>,
    ) -> Result<(), Error> {
        let there = self.find_target(name).await?;
        match &there {
            Some(_) if if_not_exists => return Ok(()),
            Some(table) if !or_replace || table.view.is_none() => return Err(exists(name)),
            _ => {}
        }
        let own = there.map(|table| table.id);
        let mut statement = Statement::Query(Box::new(query));
        let view = self.view_of_lake();
        let keys = tables(&statement)?;
        let mut planned = PlannedViews::new();
        for within in view.views_among(&keys).await? {
            if own == Some(within.id) {
                return Err(refused(format!("view `{name}` reads itself")));
            }
            planned.insert(within.id, plan_view(&view, &within, own).await?);
        }
        let (views, only) = (HashMap::new(), Only::default());
        let opened = view.open_within(&keys, Given { views: &views, only: &only }, &planned).await;
        rename_tables(&mut statement, &opened.bindings);
        let mut text = statement.to_string();
        if !columns.is_empty() {
            let quoted = |ident: &Ident| Ident::with_quote('"', &ident.value).to_string();
            let names: Vec<String> = columns.iter().map(quoted).collect();
            text = format!("SELECT * FROM ({text}) AS \"view\" ({})", names.join(", "));
        }
        // As it will be read: what cannot be read again is not stored.
        let (plan, mut reads) = plan_text(&view, &text, &planned).await?;
        self.note(&view);
        if !planner::parameters(&plan)?.is_empty() {
            return Err(fault::invalid("a view has no parameters"));
        }
        let schema = planner::answer(view.planning_state()?.as_ref(), &plan, &[])?;
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name().to_lowercase())) {
            return Err(fault::invalid(format!(
                "two columns of the view are called `{}`: name them with AS",
                twice.name()
            )));
        }
        // What the views read that it reads is read by it too.
        for read in reads.clone() {
            let Ok(read) = read.parse::<TableName>() else { continue };
            if let Some(inner) = self.lake().catalog().find_table(&read).await?.and_then(|table| table.view) {
                reads.extend(inner.reads);
            }
        }
        reads.sort();
        reads.dedup();
        let columns = schema.fields().iter().map(|field| NewColumn {
            name: field.name().clone(),
            source_name: None,
            data_type: field.data_type().to_string(),
            source_type: None,
            nullable: field.is_nullable(),
            comment: None,
        });
        let new = NewSqlView {
            name: name.clone(),
            text,
            reads,
            columns: columns.collect(),
            comment,
            by: self.principal().name.clone(),
            replace: or_replace,
        };
        self.lake().catalog().put_sql_view(&new).await?;
        Ok(())
    }
}

/// The provider of a planned view: its plan takes its place in whatever is planned over it.
fn provider(plan: LogicalPlan) -> Arc<dyn TableProvider> {
    Arc::new(datafusion::catalog::view::ViewTable::new(plan, None))
}

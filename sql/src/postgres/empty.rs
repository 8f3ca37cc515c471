//! Selections from catalogs that are always empty: they have no rows, whatever else they say, and need no plan. Clients ask them
//! with forms of SQL that the planner does not have.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, Visit, Visitor,
};

use super::{
    ast::{cast, last, meant, null, value_of},
    compare::{Named, Names, Scope, called, factors, tables_of},
    path::text_of,
};
use crate::{names::TableKey, system};

/// Aggregates give a row of no rows at all.
const AGGREGATES: [&str; 14] = [
    "count",
    "max",
    "min",
    "sum",
    "avg",
    "array_agg",
    "string_agg",
    "bool_or",
    "bool_and",
    "every",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
];

/// Whether a query never gives a row.
pub(super) fn is_rowless(query: &Query, scope: Scope<'_>) -> bool {
    query.with.is_none() && of_body(&query.body, scope)
}

fn of_body(body: &SetExpr, scope: Scope<'_>) -> bool {
    match body {
        SetExpr::Select(select) => of_select(select, scope),
        SetExpr::SetOperation { left, right, .. } => of_body(left, scope) && of_body(right, scope),
        SetExpr::Query(query) => is_rowless(query, scope),
        _ => false,
    }
}

fn of_select(select: &Select, scope: Scope<'_>) -> bool {
    let around: Vec<Vec<Named>> = scope.around.iter().cloned().chain([tables_of(select)]).collect();
    let scope = Scope { names: scope.names, around: &around };
    let groups = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let aggregates = groups && has_aggregate(&select.projection);
    let from = || select.from.iter().any(|item| of_from(item, scope));
    !aggregates && (from() || of_conditions(select) || select.projection.iter().any(of_item))
}

/// Whether aggregates are among expressions, those of subqueries left aside.
pub(super) fn has_aggregate<T: Visit>(part: &T) -> bool {
    let mut finder = Finder { depth: 0, found: false };
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = Visit::visit(part, &mut finder);
    finder.found
}

/// Whether a column is a set of rows that has none: rights that nobody wrote down.
fn of_item(item: &SelectItem) -> bool {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { return false };
    let mut expr = expr;
    loop {
        match expr {
            Expr::Nested(inner) => expr = inner,
            Expr::CompoundFieldAccess { root, .. } => expr = root,
            Expr::Function(call) => return last(&call.name) == RIGHTS,
            _ => return false,
        }
    }
}

/// Finds aggregates that are not those of a subquery.
struct Finder {
    depth: usize,
    found: bool,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.found |=
            self.depth == 0 && matches!(expr, Expr::Function(call) if AGGREGATES.contains(&last(&call.name).as_str()));
        ControlFlow::Continue(())
    }
}

/// Keys are the only constraints that there are.
fn of_conditions(select: &Select) -> bool {
    let factors = select.from.iter().flat_map(factors);
    let keys = factors.filter(|factor| is_catalog(factor, |table| table == "pg_constraint"));
    let keys: Vec<String> = keys.filter_map(called).collect();
    !keys.is_empty() && select.selection.as_ref().is_some_and(|condition| wants_others(condition, &keys))
}

/// Whether a condition holds only for constraints that are no keys. `keys`: what the catalog of constraints goes by.
fn wants_others(condition: &Expr, keys: &[String]) -> bool {
    // A name without its table is the catalog's, or PostgreSQL would call it ambiguous.
    let is_kind = |column: &Expr| {
        column_of(column).is_some_and(|name| name == "contype")
            && match column {
                Expr::CompoundIdentifier(idents) => {
                    idents.iter().rev().nth(1).is_some_and(|table| keys.contains(&meant(table)))
                }
                _ => true,
            }
    };
    match condition {
        Expr::Nested(inner) => wants_others(inner, keys),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            wants_others(left, keys) || wants_others(right, keys)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            is_kind(left) && text_of(right).is_some_and(|kind| kind != "p")
        }
        _ => false,
    }
}

fn column_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.to_lowercase()),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.to_lowercase()),
        _ => None,
    }
}

/// Columns of the catalogs that are always NULL: options and rights, which there are none of.
const UNSET: [&str; 13] = [
    "reloptions",
    "relacl",
    "attacl",
    "attoptions",
    "nspacl",
    "datacl",
    "spcoptions",
    "proconfig",
    "conexclop",
    "confkey",
    "attfdwoptions",
    "evttags",
    "setconfig",
];

/// The function whose rows are the rights in a list of them.
const RIGHTS: &str = "aclexplode";

fn unnests_nothing(values: &[Expr], scope: Scope<'_>) -> bool {
    let is_unset = |value: &Expr| column_of(value).is_some_and(|name| UNSET.contains(&name.as_str()));
    // The longest of several lists counts.
    !values.is_empty() && values.iter().all(|value| is_unset(value) && scope.is_of_catalog(value))
}

fn is_catalog(factor: &TableFactor, is: impl Fn(&str) -> bool) -> bool {
    let TableFactor::Table { name, args: None, .. } = factor else { return false };
    TableKey::read(name, None).is_ok_and(|key| match key.parts.as_slice() {
        [_, schema, table] => schema == system::PG_CATALOG && is(table),
        _ => false,
    })
}

fn of_from(item: &TableWithJoins, scope: Scope<'_>) -> bool {
    let mut rowless = of_factor(&item.relation, scope);
    for join in &item.joins {
        match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                rowless = rowless || of_factor(&join.relation, scope);
            }
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {}
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => rowless = of_factor(&join.relation, scope),
            _ => return false,
        }
    }
    rowless
}

fn of_factor(factor: &TableFactor, scope: Scope<'_>) -> bool {
    match factor {
        TableFactor::Table { args: None, .. } => is_catalog(factor, system::is_empty),
        TableFactor::Table { name, args: Some(args), .. } => {
            let of = last(name);
            let values = || args.args.iter().filter_map(value_of).collect::<Vec<_>>();
            of == RIGHTS || (of == "unnest" && unnests_nothing(&values(), scope))
        }
        TableFactor::Function { name, .. } => last(name) == RIGHTS,
        TableFactor::UNNEST { array_exprs, .. } => unnests_nothing(array_exprs, scope),
        TableFactor::Derived { subquery, .. } => is_rowless(subquery, scope),
        TableFactor::NestedJoin { table_with_joins, .. } => of_from(table_with_joins, scope),
        _ => false,
    }
}

/// Puts a select of texts in the place of a statement that never gives a row, where the names of its columns are known.
pub(super) fn leave_out(statement: &mut Statement) {
    let asked = Names::of(&*statement);
    let Statement::Query(query) = statement else { return };
    if !is_rowless(query, Scope { names: asked, around: &[] }) {
        return;
    }
    let Some(names) = names(&query.body) else { return };
    let Some(select) = first(&mut query.body) else { return };
    select.projection = names
        .into_iter()
        .map(|name| SelectItem::ExprWithAlias {
            expr: cast(null(), datafusion::sql::sqlparser::ast::DataType::Text),
            alias: Ident::with_quote('"', name),
        })
        .collect();
    select.from.clear();
    select.distinct = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.selection = Some(Expr::value(datafusion::sql::sqlparser::ast::Value::Boolean(false)));
    let select = select.clone();
    *query.body = SetExpr::Select(Box::new(select));
    query.order_by = None;
    query.limit_clause = None;
}

fn first(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first(left),
        SetExpr::Query(query) => first(&mut query.body),
        _ => None,
    }
}

fn names(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::Select(select) => select
            .projection
            .iter()
            .map(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident.value.clone()),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => Some(idents.last()?.value.clone()),
                _ => None,
            })
            .collect(),
        SetExpr::SetOperation { left, .. } => names(left),
        SetExpr::Query(query) => names(&query.body),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case("SELECT a FROM fhir.pg_catalog.pg_policy", true)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_class c, fhir.pg_catalog.pg_inherits i", true)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_class c LEFT JOIN fhir.pg_catalog.pg_inherits i ON true", false)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_policy p LEFT JOIN fhir.pg_catalog.pg_class c ON true", true)]
    #[case("SELECT count(a) FROM fhir.pg_catalog.pg_extension", false)]
    #[case("SELECT count(a) FROM fhir.pg_catalog.pg_extension GROUP BY b", true)]
    #[case("SELECT discount FROM fhir.pg_catalog.pg_extension", true)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_policy UNION SELECT a FROM fhir.pg_catalog.pg_class", false)]
    #[case("SELECT a FROM pg_policy", false)]
    #[case("SELECT (d).grantee FROM (SELECT aclexplode(nspacl) AS d FROM fhir.pg_catalog.pg_namespace) a", true)]
    #[case("SELECT d.grantee FROM fhir.pg_catalog.pg_class, pg_catalog.aclexplode(relacl) d", true)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_constraint c WHERE c.contype = 'f'", true)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_constraint c, work.ana.t WHERE t.contype = 'f'", false)]
    #[case("SELECT a FROM work.ana.t WHERE contype = 'f'", false)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_proc p, unnest(p.proconfig) AS c", true)]
    #[case("SELECT a FROM fhir.pg_catalog.pg_constraint c, unnest(c.conexclop)", true)]
    #[case("SELECT a FROM work.ana.t, unnest(t.proconfig) AS c", false)]
    #[case("SELECT a FROM work.ana.t, fhir.pg_catalog.pg_proc p, unnest(t.proconfig) AS c", false)]
    #[case("SELECT a FROM work.ana.t, fhir.pg_catalog.pg_proc p, unnest(p.proconfig) AS c", true)]
    fn a_query_never_gives_a_row(#[case] sql: &str, #[case] rowless: bool) {
        let Statement::Query(query) = parse(sql).unwrap() else { panic!("no query") };
        let names = Names::of(&*query);
        assert_eq!(is_rowless(&query, Scope { names, around: &[] }), rowless);
    }
}

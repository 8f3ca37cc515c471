//! Selections from catalogs that are always empty: they have no rows, whatever else they say, and need no plan. Clients ask them
//! with forms of SQL that the planner does not have.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, Visit, Visitor,
};

use super::{
    ast::{cast, last, null, value_of},
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
pub(super) fn is_rowless(query: &Query) -> bool {
    query.with.is_none() && of_body(&query.body)
}

fn of_body(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => of_select(select),
        SetExpr::SetOperation { left, right, .. } => of_body(left) && of_body(right),
        SetExpr::Query(query) => is_rowless(query),
        _ => false,
    }
}

fn of_select(select: &Select) -> bool {
    let groups = matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let mut finder = Finder { depth: 0, found: false };
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = Visit::visit(&select.projection, &mut finder);
    let aggregates = groups && finder.found;
    !aggregates && (select.from.iter().any(of_from) || of_conditions(select))
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
    let asks = |item: &TableWithJoins| {
        let factors = std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation));
        factors.into_iter().any(|factor| is_catalog(factor, |table| table == "pg_constraint"))
    };
    select.from.iter().any(asks) && select.selection.as_ref().is_some_and(wants_others)
}

/// Whether a condition holds only for constraints that are no keys.
fn wants_others(condition: &Expr) -> bool {
    match condition {
        Expr::Nested(inner) => wants_others(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => wants_others(left) || wants_others(right),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            column_of(left).is_some_and(|name| name == "contype") && text_of(right).is_some_and(|kind| kind != "p")
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
const UNSET: [&str; 10] = [
    "reloptions",
    "relacl",
    "attacl",
    "attoptions",
    "nspacl",
    "datacl",
    "spcoptions",
    "proconfig",
    "evttags",
    "setconfig",
];

fn unnests_nothing(values: &[Expr]) -> bool {
    values.iter().any(|value| column_of(value).is_some_and(|name| UNSET.contains(&name.as_str())))
}

fn is_catalog(factor: &TableFactor, is: impl Fn(&str) -> bool) -> bool {
    let TableFactor::Table { name, args: None, .. } = factor else { return false };
    TableKey::read(name, None).is_ok_and(|key| match key.parts.as_slice() {
        [_, schema, table] => schema == system::PG_CATALOG && is(table),
        _ => false,
    })
}

fn of_from(item: &TableWithJoins) -> bool {
    let mut rowless = of_factor(&item.relation);
    for join in &item.joins {
        match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                rowless = rowless || of_factor(&join.relation);
            }
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {}
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => rowless = of_factor(&join.relation),
            _ => return false,
        }
    }
    rowless
}

fn of_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { args: None, .. } => is_catalog(factor, system::is_empty),
        TableFactor::Table { name, args: Some(args), .. } => {
            last(name) == "unnest" && unnests_nothing(&args.args.iter().filter_map(value_of).collect::<Vec<_>>())
        }
        TableFactor::UNNEST { array_exprs, .. } => unnests_nothing(array_exprs),
        TableFactor::Derived { subquery, .. } => is_rowless(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => of_from(table_with_joins),
        _ => false,
    }
}

/// Puts a select of texts in the place of a statement that never gives a row, where the names of its columns are known.
pub(super) fn leave_out(statement: &mut Statement) {
    let Statement::Query(query) = statement else { return };
    if !is_rowless(query) {
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
    fn a_query_never_gives_a_row(#[case] sql: &str, #[case] rowless: bool) {
        let Statement::Query(query) = parse(sql).unwrap() else { panic!("no query") };
        assert_eq!(is_rowless(&query), rowless);
    }
}

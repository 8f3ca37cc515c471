//! Selections from catalogs that are always empty: they have no rows, whatever else they say, and need no plan. Clients ask them
//! with forms of SQL that the planner does not have.

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableWithJoins,
};

use super::rewrite::{cast, null};
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
    let aggregates = groups && select.projection.iter().any(|item| AGGREGATES.iter().any(|name| calls(item, name)));
    !aggregates && select.from.iter().any(of_from)
}

fn calls(item: &SelectItem, name: &str) -> bool {
    let text = item.to_string().to_lowercase();
    text.match_indices(name).any(|(at, _)| {
        let starts = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        starts && text[at + name.len()..].trim_start().starts_with('(')
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
        TableFactor::Table { name, args: None, .. } => {
            TableKey::read(name, None).is_ok_and(|key| match key.parts.as_slice() {
                [_, schema, table] => schema == system::PG_CATALOG && system::is_empty(table),
                _ => false,
            })
        }
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

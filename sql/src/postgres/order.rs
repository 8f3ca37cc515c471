//! What a statement that asks subqueries sorts by, or is distinct on. The planner does either by columns, not by questions: what is
//! asked becomes a column of a select within.

use datafusion::sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, ObjectName, ObjectNamePart, OrderBy, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins,
    WildcardAdditionalOptions,
};

/// Puts a select within, where the statement needs one.
pub(super) fn put_beside(statement: &mut Statement) {
    let Statement::Query(query) = statement else { return };
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    match &select.distinct {
        None => sort(query),
        Some(Distinct::On(_)) if select.projection.iter().any(|item| item.to_string().contains(ASKS)) => {
            one_each(query)
        }
        Some(_) => {}
    }
}

const ASKS: &str = "SELECT ";

fn asks(expr: &Expr) -> bool {
    expr.to_string().contains(ASKS)
}

/// `ORDER BY (SELECT ...)`.
fn sort(query: &mut Query) {
    let Some(OrderBy { kind: OrderByKind::Expressions(wanted), .. }) = &mut query.order_by else { return };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if !wanted.iter().any(|one| asks(&one.expr)) {
        return;
    }
    let names = names(select);
    let before = select.projection.len();
    for (number, one) in wanted.iter_mut().enumerate().filter(|(_, one)| asks(&one.expr)) {
        one.expr = column(select, format!("\0order {number}"), one.expr.clone());
    }
    let shown = shown(select, names, before);
    put_within(query, shown, None);
}

/// `SELECT DISTINCT ON (a) (SELECT ...)`.
fn one_each(query: &mut Query) {
    let mut wanted: Vec<&mut OrderByExpr> = match &mut query.order_by {
        Some(OrderBy { kind: OrderByKind::Expressions(wanted), .. }) => wanted.iter_mut().collect(),
        Some(_) => return,
        None => Vec::new(),
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let names = names(select);
    let before = select.projection.len();
    let Some(Distinct::On(written)) = select.distinct.take() else { return };
    let on = written.iter().enumerate();
    let on: Vec<Expr> = on.map(|(number, expr)| column(select, format!("\0on {number}"), expr.clone())).collect();
    // What is called as a column of the answer is meant by its name.
    let is_output = |expr: &Expr| match expr {
        Expr::Identifier(ident) => names.iter().flatten().any(|name| name.value.eq_ignore_ascii_case(&ident.value)),
        Expr::Value(_) => true,
        _ => false,
    };
    for (number, one) in wanted.iter_mut().enumerate().filter(|(_, one)| !is_output(&one.expr)) {
        // The planner wants to see that it begins with what is distinct.
        let known = written.iter().position(|expr| *expr == one.expr).and_then(|place| on.get(place).cloned());
        one.expr = known.unwrap_or_else(|| column(select, format!("\0order {number}"), one.expr.clone()));
    }
    let shown = shown(select, names, before);
    put_within(query, shown, Some(Distinct::On(on)));
}

/// Adds a column to a select; what is outside calls it so.
fn column(select: &mut Select, name: String, expr: Expr) -> Expr {
    let alias = Ident::with_quote('"', name);
    select.projection.push(SelectItem::ExprWithAlias { expr, alias: alias.clone() });
    Expr::Identifier(alias)
}

/// What is selected of a select that was given columns after the first `before`: those of these names, or all others.
fn shown(select: &Select, names: Option<Vec<Ident>>, before: usize) -> Vec<SelectItem> {
    if let Some(names) = names {
        return names.into_iter().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name))).collect();
    }
    let added = select.projection.iter().skip(before).filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(ObjectName(vec![ObjectNamePart::Identifier(alias.clone())])),
        _ => None,
    });
    let opt_exclude = Some(ExcludeSelectItem::Multiple(added.collect()));
    vec![SelectItem::Wildcard(WildcardAdditionalOptions { opt_exclude, ..WildcardAdditionalOptions::default() })]
}

/// Puts a query's select into the FROM of one that has only some of its columns.
fn put_within(query: &mut Query, shown: Vec<SelectItem>, distinct: Option<Distinct>) {
    let with = query.with.take();
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let inner = Query {
        with,
        body: Box::new(SetExpr::Select(select.clone())),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    };
    select.projection = shown;
    select.distinct = distinct;
    select.selection = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.lateral_views = Vec::new();
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', "ordered"), columns: Vec::new(), at: None };
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias: Some(alias), sample: None };
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
}

/// The names of the columns that are selected; `None` where they are not all known.
fn names(select: &Select) -> Option<Vec<Ident>> {
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => idents.last().cloned(),
        _ => None,
    };
    select.projection.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case(
        "SELECT a FROM t WHERE b ORDER BY (SELECT 1), a",
        "SELECT a FROM (SELECT a, (SELECT 1) AS \"\0order 0\" FROM t WHERE b) AS \"ordered\" ORDER BY \"\0order 0\", a"
    )]
    #[case(
        "SELECT DISTINCT ON (t.a) t.a, (SELECT 1) AS x FROM t ORDER BY t.a",
        "SELECT DISTINCT ON (\"\0on 0\") a, x FROM (SELECT t.a, (SELECT 1) AS x, t.a AS \"\0on 0\" FROM t) AS \"ordered\" \
         ORDER BY \"\0on 0\""
    )]
    #[case(
        "SELECT DISTINCT ON (t.a) t.a, (SELECT 1) AS x, u.* FROM t, u",
        "SELECT DISTINCT ON (\"\0on 0\") * EXCLUDE (\"\0on 0\") FROM \
         (SELECT t.a, (SELECT 1) AS x, u.*, t.a AS \"\0on 0\" FROM t, u) AS \"ordered\""
    )]
    #[case("SELECT DISTINCT ON (a) a FROM t ORDER BY a", "SELECT DISTINCT ON (a) a FROM t ORDER BY a")]
    fn a_question_becomes_a_column(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        put_beside(&mut statement);
        assert_eq!(statement.to_string(), expected);
    }
}

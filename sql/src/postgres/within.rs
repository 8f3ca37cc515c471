//! Lists that are taken apart within the table that has them: where outer joins ask their items, views that come after all joins
//! ([`super::lists`]) would come too late. The table becomes a select of its own, with a column for the place of the item, and
//! the joins stay as they are. A function of one value that stands in a FROM beside its row is put where its column is named.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};

use super::{
    ast::{arguments, call, last, meant, number, quoted, value_of},
    compare::{called, factors},
    from::SCALARS,
    lists::{View, asks, both, inner, longest, parsed_factor, parts},
    vectors,
};

/// What a name stands for.
struct Known {
    /// What the function goes by in the FROM.
    function: Ident,
    name: Ident,
    value: Expr,
}

/// A table with a list of its own.
struct Apart {
    table: String,
    list: Expr,
    place: Ident,
    outer: bool,
}

impl Apart {
    fn column(&self) -> Expr {
        Expr::CompoundIdentifier(vec![Ident::with_quote('"', &self.table), self.place.clone()])
    }
}

#[derive(Default)]
struct Put {
    from: Vec<TableWithJoins>,
    known: Vec<Known>,
    apart: Vec<Apart>,
    conditions: Vec<Expr>,
}

impl Put {
    /// `None` for what has no such function, or joins that keep rows of which these know nothing.
    fn of(from: &[TableWithJoins]) -> Option<Self> {
        let mut put = Self::default();
        for item in from {
            let mut whole = TableWithJoins { relation: item.relation.clone(), joins: Vec::new() };
            for join in &item.joins {
                if !keeps_left(&join.join_operator) {
                    return None;
                }
                if !put.take(&join.relation, &join.join_operator)? {
                    whole.joins.push(join.clone());
                }
            }
            put.from.push(whole);
        }
        (!put.known.is_empty()).then_some(put)
    }

    /// Takes a function out of the FROM; `false` for what is none.
    fn take(&mut self, factor: &TableFactor, operator: &JoinOperator) -> Option<bool> {
        if let Some(known) = beside(factor) {
            self.conditions.extend(inner(operator)?);
            self.known.push(known);
            return Some(true);
        }
        let Some(mut view) = View::of(factor).or_else(|| selected(factor)) else { return Some(false) };
        match inner(operator) {
            Some(condition) => self.conditions.extend(condition),
            None if holds(operator) => view.outer = true,
            None => return None,
        }
        let table = only_table(&view.list)?;
        if self.apart.iter().any(|known| known.table == table) {
            return None;
        }
        let place = Ident::with_quote('"', format!("{}__", meant(&view.item)));
        let apart = Apart { table, list: view.list, place, outer: view.outer };
        let column = apart.column();
        let mut names = vec![(view.item.clone(), column.clone())];
        names.extend(
            view.named.into_iter().map(|(name, list)| (name, call("array_element", vec![list, column.clone()]))),
        );
        names.extend(view.computed.into_iter().map(|(name, mut value)| {
            // Nothing stops the walk.
            let _walked: ControlFlow<()> = VisitMut::visit(&mut value, &mut Places(&column));
            (name, value)
        }));
        self.known.extend(names.into_iter().map(|(name, value)| Known { function: view.name.clone(), name, value }));
        if !apart.outer {
            self.conditions.push(Expr::IsNotNull(Box::new(column)));
        }
        self.apart.push(apart);
        Some(true)
    }
}

fn keeps_left(operator: &JoinOperator) -> bool {
    matches!(
        operator,
        JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::CrossJoin(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
    )
}

fn holds(operator: &JoinOperator) -> bool {
    let (JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint)) = operator else { return false };
    super::lists::holds(constraint)
}

/// A function of one value of a row.
fn beside(factor: &TableFactor) -> Option<Known> {
    let TableFactor::Table { name, args: Some(args), alias, with_ordinality: false, .. } = factor else { return None };
    let function = last(name);
    let values = args.args.iter().map(value_of).collect::<Option<Vec<Expr>>>()?;
    if !SCALARS.contains(&function.as_str()) || !values.iter().any(|value| asks(value, |_| true)) {
        return None;
    }
    let value = call(&function, values);
    let called = alias.as_ref().map_or_else(|| Ident::new(&function), |alias| alias.name.clone());
    let column = alias.as_ref().and_then(|alias| alias.columns.first()).map(|column| column.name.clone());
    Some(Known { name: column.unwrap_or_else(|| called.clone()), function: called, value })
}

/// The tables that an expression names.
#[derive(Default)]
pub(super) struct Qualifiers {
    pub(super) names: Vec<String>,
    /// Whether a column is named without its table.
    pub(super) plain: bool,
}

impl Visitor for Qualifiers {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(_) => self.plain = true,
            Expr::CompoundIdentifier(idents) => self.names.extend(idents.first().map(meant)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The only table that an expression names.
fn only_table(expr: &Expr) -> Option<String> {
    let mut found = Qualifiers::default();
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = Visit::visit(expr, &mut found);
    let first = found.names.first()?;
    (!found.plain && found.names.iter().all(|name| name == first)).then(|| first.clone())
}

/// The name by which a value knows the place of its item until its table is known.
const PLACE: &str = "place of an item";

/// `LATERAL (SELECT unnest(t.a), generate_subscripts(t.a, 1)) AS k(item, place)`.
fn selected(factor: &TableFactor) -> Option<View> {
    let TableFactor::Derived { lateral: true, subquery, alias: Some(alias), .. } = factor else { return None };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return None };
    let is_plain = select.from.is_empty()
        && select.selection.is_none()
        && select.distinct.is_none()
        && subquery.with.is_none()
        && subquery.order_by.is_none()
        && subquery.limit_clause.is_none();
    if !is_plain {
        return None;
    }
    let mut names = alias.columns.iter().map(|column| column.name.clone());
    let mut lists = Lists::default();
    let mut computed = Vec::new();
    for item in &select.projection {
        let (value, own) = match item {
            SelectItem::UnnamedExpr(value) => (value, parts(value).last().cloned()),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.clone())),
            _ => return None,
        };
        let mut value = value.clone();
        // Nothing stops the walk.
        let _walked: ControlFlow<()> = VisitMut::visit(&mut value, &mut lists);
        computed.push((names.next().or(own)?, value));
    }
    (!lists.0.is_empty()).then(|| View {
        name: alias.name.clone(),
        list: call("generate_series", vec![number(1), longest(&lists.0)]),
        item: Ident::new(PLACE),
        named: Vec::new(),
        computed,
        outer: false,
    })
}

/// Puts the item at the place where a list is taken apart.
#[derive(Default)]
struct Lists(Vec<Expr>);

impl VisitorMut for Lists {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(of) = &*expr else { return ControlFlow::Continue(()) };
        let values = arguments(of).unwrap_or_default();
        let place = || Expr::Identifier(Ident::new(PLACE));
        let put = match (last(&of.name).as_str(), values.as_slice()) {
            ("unnest", [list]) => call("array_element", vec![list.clone(), place()]),
            ("generate_subscripts", [list, dimension]) if dimension.to_string() == "1" && vectors::is_column(list) => {
                let before =
                    Expr::BinaryOp { left: Box::new(place()), op: BinaryOperator::Minus, right: Box::new(number(1)) };
                Expr::Nested(Box::new(before))
            }
            ("generate_subscripts", [_, dimension]) if dimension.to_string() == "1" => place(),
            _ => return ControlFlow::Continue(()),
        };
        self.0.extend(values.into_iter().next());
        *expr = put;
        ControlFlow::Continue(())
    }
}

/// Puts the column of the place where the place is named.
struct Places<'a>(&'a Expr);

impl VisitorMut for Places<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Identifier(ident) if ident.value == PLACE) {
            *expr = self.0.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Puts values where the columns of functions are named.
struct Names<'a> {
    known: &'a [Known],
    depth: usize,
}

impl Names<'_> {
    fn value(&self, expr: &Expr) -> Option<&Expr> {
        let (function, name) = match parts(expr) {
            // A query within may have a column of that name.
            [name] if self.depth <= 1 => (None, name),
            [function, name] => (Some(meant(function)), name),
            _ => return None,
        };
        let found = self.known.iter().find(|known| {
            meant(&known.name) == meant(name) && function.as_ref().is_none_or(|own| *own == meant(&known.function))
        });
        found.map(|known| &known.value)
    }
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // `i.keys[1]`: a table may be called as an item is.
        if let Expr::CompoundFieldAccess { root, access_chain } = expr
            && let Expr::Identifier(table) = root.as_ref()
            && let Some(AccessExpr::Dot(Expr::Identifier(column))) = access_chain.first()
        {
            **root = Expr::CompoundIdentifier(vec![table.clone(), column.clone()]);
            access_chain.remove(0);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(value) = self.value(expr) {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Puts functions of a FROM within the tables whose rows they ask.
pub(super) fn take_apart(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(put) = Put::of(&select.from) else { return };
    let own: Vec<&TableFactor> = put.from.iter().flat_map(factors).collect();
    let is_own = |name: &str| {
        own.iter().any(|factor| {
            matches!(factor, TableFactor::Table { args: None, .. }) && called(factor).as_deref() == Some(name)
        })
    };
    if !put.apart.iter().all(|apart| is_own(&apart.table)) {
        return;
    }
    let Put { from, known, apart, conditions } = put;
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    select.from = from;
    select.selection = select.selection.take().into_iter().chain(conditions).reduce(both);
    keep_names(select, &known);
    // Nothing stops the walk.
    let _walked: ControlFlow<()> = VisitMut::visit(&mut *query, &mut Names { known: &known, depth: 0 });
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for item in &mut select.from {
        wrap(&mut item.relation, &apart);
        item.joins.iter_mut().for_each(|join| wrap(&mut join.relation, &apart));
    }
}

/// Columns of an answer that functions give keep their names.
fn keep_names(select: &mut Select, known: &[Known]) {
    let names = Names { known, depth: 1 };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && names.value(expr).is_some()
            && let Some(alias) = parts(expr).last().cloned()
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// A table as a select of its rows, each with the places of its list's items.
fn wrap(factor: &mut TableFactor, apart: &[Apart]) {
    let Some(own) = apart.iter().find(|own| called(factor).as_deref() == Some(own.table.as_str())) else { return };
    let Apart { table, list, place, outer } = own;
    let outer = if *outer { "OUTER " } else { "" };
    let TableFactor::Table { name, .. } = &*factor else { return };
    let alias = quoted(table);
    let sql = format!(
        "(SELECT * FROM {name} AS {alias} LATERAL VIEW {outer}explode({list}) \"places__\" AS {place}) AS {alias}"
    );
    if let Some(put) = parsed_factor(&sql) {
        *factor = put;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;
    use rstest::rstest;

    use super::*;
    use crate::dialect::parse;

    #[rstest]
    #[case(
        "SELECT k, u FROM t i CROSS JOIN unnest(i.a) WITH ORDINALITY u(u, k) LEFT JOIN c ON c.id = i.b[k - 1]",
        "SELECT \"i\".\"k__\" AS k, array_element(i.a, \"i\".\"k__\") AS u FROM \
         (SELECT * FROM t AS \"i\" LATERAL VIEW explode(generate_series(1, CAST(cardinality(i.a) AS BIGINT))) \"places__\" AS \"k__\") \
         AS \"i\" LEFT JOIN c ON c.id = i.b[\"i\".\"k__\" - 1] WHERE \"i\".\"k__\" IS NOT NULL"
    )]
    #[case(
        "SELECT can FROM t JOIN unnest(t.a) x ON true LEFT JOIN c ON c.id = x \
         CROSS JOIN pg_indexam_has_property(t.am, 'can_order') can",
        "SELECT pg_indexam_has_property(t.am, 'can_order') AS can FROM \
         (SELECT * FROM t AS \"t\" LATERAL VIEW explode(t.a) \"places__\" AS \"x__\") AS \"t\" \
         LEFT JOIN c ON c.id = \"t\".\"x__\" WHERE (true) AND (\"t\".\"x__\" IS NOT NULL)"
    )]
    #[case("SELECT 1 FROM t CROSS JOIN unnest(t.l) AS v FULL JOIN a ON a.b = v", "")]
    #[case("SELECT 1 FROM t LEFT JOIN a ON a.b = t.b", "")]
    fn a_list_is_taken_apart_within_its_table(#[case] sql: &str, #[case] expected: &str) {
        let Statement::Query(mut query) = parse(sql).unwrap() else { panic!("no query") };
        let before = query.to_string();
        take_apart(&mut query);
        assert_eq!(query.to_string(), if expected.is_empty() { before } else { expected.to_owned() });
    }

    #[test]
    fn a_select_beside_a_row_takes_its_lists_apart() {
        let sql = "SELECT k.i, i.indoption[k.i - 1] FROM t LEFT JOIN x i ON t.id = i.id \
            CROSS JOIN LATERAL (SELECT unnest(i.indkey), generate_subscripts(i.indkey, 1) + 1) AS k(attnum, i) \
            LEFT JOIN a ON k.attnum = a.attnum";
        let Statement::Query(mut query) = parse(sql).unwrap() else { panic!("no query") };
        take_apart(&mut query);
        let put = query.to_string();
        assert!(put.contains("LEFT JOIN (SELECT * FROM x AS \"i\" LATERAL VIEW explode("), "{put}");
        assert!(put.contains("i.indoption["), "{put}");
        assert!(put.contains("LEFT JOIN a ON array_element(i.indkey, "), "{put}");
        assert!(put.ends_with("IS NOT NULL"), "{put}");
    }
}

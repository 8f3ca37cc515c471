//! Functions in a FROM that take apart a list beside the row that has it: `FROM pg_index i, unnest(i.indkey) WITH ORDINALITY
//! k(key, n)`, `generate_subscripts(i.indkey, 1) AS n`. The engine does that in Hive's form, `LATERAL VIEW`: it gives the places
//! of the items, and what names an item becomes the list at its place.
//!
//! A subquery may take apart a list of a row around it. It then reads that row again by its key, under a name of its own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, DataType, Expr, Ident, Join, JoinConstraint, JoinOperator, LateralView, ObjectName,
        ObjectNamePart, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value, Visit,
        VisitMut, Visitor, VisitorMut,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use super::{
    ast::{bare_call, call, cast, is_catalog, last, meant, number, quoted, value_of},
    compare::{Named, called, factors},
    series::is_of_json,
    vectors,
    within::{self, Qualifiers},
};

/// Catalogs whose rows are read again, and their keys.
const KEYS: [(&str, &str); 5] =
    [("pg_index", "indexrelid"), ("pg_constraint", "oid"), ("pg_class", "oid"), ("pg_type", "oid"), ("pg_proc", "oid")];

/// A function that takes lists apart.
pub(super) struct View {
    pub(super) name: Ident,
    /// The list that is taken apart: of places, where items are named.
    pub(super) list: Expr,
    /// What the items of `list` are called.
    pub(super) item: Ident,
    /// Lists whose items at those places have names.
    pub(super) named: Vec<(Ident, Expr)>,
    /// Other values that have names, of a select ([`within`]).
    pub(super) computed: Vec<(Ident, Expr)>,
    pub(super) outer: bool,
}

impl View {
    pub(super) fn of(factor: &TableFactor) -> Option<Self> {
        match factor {
            TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
                Self::of_call("unnest", array_exprs.clone(), alias.as_ref(), *with_ordinality)
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                let values = args.iter().map(value_of).collect::<Option<Vec<Expr>>>()?;
                Self::of_call(&last(name), values, alias.as_ref(), *with_ordinality)
            }
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                let values = args.args.iter().map(value_of).collect::<Option<Vec<Expr>>>()?;
                Self::of_call(&last(name), values, alias.as_ref(), *with_ordinality)
            }
            _ => None,
        }
    }

    /// What does not ask a column is planned as a table of its own.
    fn of_call(function: &str, values: Vec<Expr>, alias: Option<&TableAlias>, numbered: bool) -> Option<Self> {
        let name = alias.map_or_else(|| Ident::new(function), |alias| alias.name.clone());
        let mut names = alias.into_iter().flat_map(|alias| &alias.columns).map(|column| column.name.clone());
        if !values.iter().any(|value| asks(value, |_| true)) {
            return None;
        }
        let only = |list: Expr, item: Ident| {
            Some(Self { name: name.clone(), list, item, named: Vec::new(), computed: Vec::new(), outer: false })
        };
        match (function, values.as_slice()) {
            ("generate_subscripts", [list, ..]) if !numbered => {
                let first = i64::from(!vectors::is_column(list));
                let end = Expr::BinaryOp {
                    left: Box::new(length(list)),
                    op: BinaryOperator::Plus,
                    right: Box::new(number(first)),
                };
                only(call("range", vec![number(first), end]), names.next().unwrap_or_else(|| name.clone()))
            }
            ("generate_series", _) if !numbered => {
                only(call("generate_series", values), names.next().unwrap_or_else(|| name.clone()))
            }
            (of_json, [_]) if !numbered && is_of_json(of_json) => {
                only(call(of_json, values), names.next().unwrap_or_else(|| name.clone()))
            }
            ("unnest", [list]) if !numbered => only(list.clone(), names.next().unwrap_or_else(|| name.clone())),
            ("unnest", [_, ..]) if numbered => {
                let places = call("generate_series", vec![number(1), longest(&values)]);
                let named = values.iter().map(|list| (names.next().unwrap_or_else(|| name.clone()), list.clone()));
                let named = named.collect();
                let item = names.next().unwrap_or_else(|| Ident::new("ordinality"));
                Some(Self { name: name.clone(), list: places, item, named, computed: Vec::new(), outer: false })
            }
            _ => None,
        }
    }

    fn is_named_in(&self, expr: &Expr) -> bool {
        let own = [&self.item].into_iter().chain(self.named.iter().map(|(name, _)| name));
        let own: Vec<String> = own.map(meant).collect();
        let name = meant(&self.name);
        asks(expr, |parts| match parts {
            [only] => own.contains(&meant(only)),
            [first, ..] => meant(first) == name,
            [] => false,
        })
    }

    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        std::iter::once(&self.list).chain(self.named.iter().map(|(_, list)| list))
    }

    /// The item at the place, where a name means one.
    fn item_of(&self, parts: &[Ident]) -> Option<Expr> {
        let (qualifier, name) = match parts {
            [name] => (None, name),
            [qualifier, name] => (Some(qualifier), name),
            _ => return None,
        };
        if qualifier.is_some_and(|qualifier| meant(qualifier) != meant(&self.name)) {
            return None;
        }
        let (_, list) = self.named.iter().find(|(own, _)| meant(own) == meant(name))?;
        let place = Expr::CompoundIdentifier(vec![self.name.clone(), self.item.clone()]);
        Some(call("array_element", vec![list.clone(), place]))
    }

    fn lateral(self) -> LateralView {
        LateralView {
            lateral_view: call("explode", vec![self.list]),
            lateral_view_name: ObjectName(vec![ObjectNamePart::Identifier(self.name)]),
            lateral_col_alias: vec![self.item],
            outer: self.outer,
        }
    }
}

fn length(list: &Expr) -> Expr {
    cast(call("cardinality", vec![list.clone()]), DataType::BigInt(None))
}

/// The length of the longest of lists, one that is NULL being empty.
pub(super) fn longest(lists: &[Expr]) -> Expr {
    match lists {
        [only] => length(only),
        _ => call("greatest", lists.iter().map(|list| call("coalesce", vec![length(list), number(0)])).collect()),
    }
}

/// Whether an expression names a column that `is` holds for.
pub(super) fn asks(expr: &Expr, is: impl Fn(&[Ident]) -> bool) -> bool {
    struct Finder<F>(F);
    impl<F: Fn(&[Ident]) -> bool> Visitor for Finder<F> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let is_call = matches!(expr, Expr::Identifier(ident) if bare_call(ident).is_some());
            let parts = parts(expr);
            if !is_call && !parts.is_empty() && (self.0)(parts) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }
    Visit::visit(expr, &mut Finder(is)).is_break()
}

/// A FROM without its views.
#[derive(Default)]
struct Parted {
    from: Vec<TableWithJoins>,
    views: Vec<View>,
    /// Conditions of joins that name items.
    conditions: Vec<Expr>,
}

impl Parted {
    /// `None` for what cannot be said with views: outer joins on items, and those that keep rows which have none.
    fn of(from: &[TableWithJoins]) -> Option<Self> {
        let mut parted = Self::default();
        for item in from {
            let before = parted.views.len();
            let mut whole = match View::of(&item.relation) {
                Some(view) => {
                    parted.views.push(view);
                    None
                }
                None => Some(TableWithJoins { relation: item.relation.clone(), joins: Vec::new() }),
            };
            for join in &item.joins {
                // A view comes after all joins: what those keep of their right side would be lost.
                if parted.views.len() > before && keeps_right(&join.join_operator) {
                    return None;
                }
                parted.join(&mut whole, join)?;
            }
            parted.from.extend(whole);
        }
        (!parted.views.is_empty()).then_some(parted)
    }

    fn join(&mut self, whole: &mut Option<TableWithJoins>, join: &Join) -> Option<()> {
        let inner = inner(&join.join_operator);
        if let Some(mut view) = View::of(&join.relation) {
            match (inner, &join.join_operator) {
                (Some(condition), _) => self.conditions.extend(condition),
                (None, JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint)) if holds(constraint) => {
                    view.outer = true;
                }
                _ => return None,
            }
            self.views.push(view);
            return Some(());
        }
        let names_items =
            on(&join.join_operator).is_some_and(|condition| self.views.iter().any(|view| view.is_named_in(condition)));
        match whole {
            Some(whole) if !names_items => whole.joins.push(join.clone()),
            Some(whole) => {
                self.conditions.extend(inner?);
                let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
                whole.joins.push(Join { join_operator, ..join.clone() });
            }
            None => {
                self.conditions.extend(inner?);
                *whole = Some(TableWithJoins { relation: join.relation.clone(), joins: Vec::new() });
            }
        }
        Some(())
    }
}

/// The condition of an inner join; `None` for another join.
pub(super) fn inner(operator: &JoinOperator) -> Option<Option<Expr>> {
    match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) | JoinOperator::CrossJoin(constraint) => {
            match constraint {
                JoinConstraint::On(condition) => Some(Some(condition.clone())),
                JoinConstraint::None => Some(None),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a join has rows of its right side for which there is none on the left.
fn keeps_right(operator: &JoinOperator) -> bool {
    matches!(
        operator,
        JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::RightSemi(_)
            | JoinOperator::RightAnti(_)
            | JoinOperator::FullOuter(_)
    )
}

fn on(operator: &JoinOperator) -> Option<&Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
        | JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition)) => Some(condition),
        _ => None,
    }
}

pub(super) fn holds(constraint: &JoinConstraint) -> bool {
    matches!(constraint, JoinConstraint::On(Expr::Value(value)) if value.value == Value::Boolean(true))
}

/// Puts functions that take lists apart as views of their query. `around`: tables of the queries around it, the nearest last.
pub(super) fn take_apart(query: &mut Query, around: &[Vec<Named>]) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(mut parted) = Parted::of(&select.from) else { return within::take_apart(query) };
    let Some(again) = read_again(&parted, around) else { return };
    if parted.from.is_empty() && again.is_empty() {
        return;
    }
    let views = std::mem::take(&mut parted.views);
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    select.from = parted.from;
    let conditions = select.selection.take().into_iter().chain(parted.conditions);
    select.selection = conditions.reduce(both);
    keep_names(select, &views);
    let _walked: ControlFlow<()> = VisitMut::visit(&mut *query, &mut Items { views: &views, depth: 0 });
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let views = views.into_iter().map(View::lateral);
    select.lateral_views = views.chain(std::mem::take(&mut select.lateral_views)).collect();
    for (name, table, key) in again {
        let own = format!("{name}__");
        let _walked: ControlFlow<()> = VisitMut::visit(&mut *query, &mut Renamer { from: &name, to: &own });
        let SetExpr::Select(select) = query.body.as_mut() else { return };
        let Some(relation) = read(&table, &own) else { return };
        select.from.insert(0, TableWithJoins { relation, joins: Vec::new() });
        let column =
            |table: &str| Box::new(Expr::CompoundIdentifier(vec![Ident::with_quote('"', table), Ident::new(key)]));
        let same = Expr::BinaryOp { left: column(&own), op: BinaryOperator::Eq, right: column(&name) };
        select.selection = select.selection.take().into_iter().chain([same]).reduce(both);
    }
}

pub(super) fn both(left: Expr, right: Expr) -> Expr {
    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::BinaryOp { left: nested(left), op: BinaryOperator::And, right: nested(right) }
}

/// Tables around the query whose lists it takes apart; `None` where such a list is of no table with a key.
fn read_again(parted: &Parted, around: &[Vec<Named>]) -> Option<Vec<(String, ObjectName, &'static str)>> {
    let own: Vec<String> = parted.from.iter().flat_map(factors).filter_map(called).collect();
    let mut again: Vec<(String, ObjectName, &'static str)> = Vec::new();
    for expr in parted.views.iter().flat_map(View::expressions) {
        let mut qualifiers = Qualifiers::default();
        let _walked: ControlFlow<()> = Visit::visit(expr, &mut qualifiers);
        if qualifiers.plain && own.is_empty() {
            return None;
        }
        for name in qualifiers.names {
            let is_view = parted.views.iter().any(|view| meant(&view.name) == name);
            if own.contains(&name) || is_view || again.iter().any(|(known, ..)| *known == name) {
                continue;
            }
            let (_, table) = around.iter().rev().flatten().find(|(known, _)| *known == name)?;
            let (_, key) = KEYS.iter().find(|(catalog, _)| is_catalog(table, catalog))?;
            again.push((name, table.clone(), *key));
        }
    }
    Some(again)
}

fn read(table: &ObjectName, alias: &str) -> Option<TableFactor> {
    parsed_factor(&format!("{table} AS {}", quoted(alias)))
}

pub(super) fn parsed_factor(sql: &str) -> Option<TableFactor> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).ok()?.parse_table_factor().ok()
}

/// Columns of an answer that are items keep their names, and `*` has them too.
fn keep_names(select: &mut Select, views: &[View]) {
    let mut put = Vec::with_capacity(select.projection.len());
    for item in select.projection.drain(..) {
        let is_star = matches!(item, SelectItem::Wildcard(_));
        put.push(match item {
            SelectItem::UnnamedExpr(expr) => match parts(&expr).last() {
                Some(alias) if views.iter().any(|view| view.item_of(parts(&expr)).is_some()) => {
                    SelectItem::ExprWithAlias { alias: alias.clone(), expr }
                }
                _ => SelectItem::UnnamedExpr(expr),
            },
            item => item,
        });
        for view in views.iter().filter(|_| is_star) {
            put.extend(view.named.iter().map(|(alias, _)| SelectItem::ExprWithAlias {
                expr: Expr::CompoundIdentifier(vec![view.name.clone(), alias.clone()]),
                alias: alias.clone(),
            }));
        }
    }
    select.projection = put;
}

/// The parts of the name that an expression is.
pub(super) fn parts(expr: &Expr) -> &[Ident] {
    match expr {
        Expr::Identifier(ident) => std::slice::from_ref(ident),
        Expr::CompoundIdentifier(idents) => idents,
        _ => &[],
    }
}

struct Items<'a> {
    views: &'a [View],
    depth: usize,
}

impl VisitorMut for Items<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // A query within may have a column of that name.
        let may_be_another = self.depth > 1 && matches!(expr, Expr::Identifier(_));
        if !may_be_another && let Some(item) = self.views.iter().find_map(|view| view.item_of(parts(expr))) {
            *expr = item;
        }
        ControlFlow::Continue(())
    }
}

struct Renamer<'a> {
    from: &'a str,
    to: &'a str,
}

impl VisitorMut for Renamer<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let [first, _, ..] = idents.as_mut_slice()
            && meant(first) == self.from
        {
            *first = Ident::with_quote('"', self.to);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dialect::parse, postgres::compare::tables};
    use datafusion::sql::sqlparser::ast::Statement;
    use rstest::rstest;

    #[rstest]
    #[case(
        "SELECT * FROM t i, unnest(i.a, i.b) WITH ORDINALITY k(x, y, n) WHERE x > 1",
        "SELECT *, array_element(i.a, k.n) AS x, array_element(i.b, k.n) AS y FROM t i \
         LATERAL VIEW explode(generate_series(1, greatest(coalesce(CAST(cardinality(i.a) AS BIGINT), 0), \
         coalesce(CAST(cardinality(i.b) AS BIGINT), 0)))) k AS n \
         WHERE array_element(i.a, k.n) > 1"
    )]
    #[case(
        "SELECT a.b, v FROM t CROSS JOIN LATERAL unnest(t.l) AS v JOIN a ON a.b = v WHERE c",
        "SELECT a.b, v FROM t CROSS JOIN a LATERAL VIEW explode(t.l) v AS v WHERE (c) AND (a.b = v)"
    )]
    #[case(
        "SELECT (SELECT count(*) FROM v WHERE id = 3 AND v.n = k.id), id FROM t, unnest(t.l) WITH ORDINALITY k(id, n)",
        "SELECT (SELECT count(*) FROM v WHERE id = 3 AND v.n = array_element(t.l, k.n)), \
         array_element(t.l, k.n) AS id FROM t \
         LATERAL VIEW explode(generate_series(1, CAST(cardinality(t.l) AS BIGINT))) k AS n"
    )]
    #[case(
        "SELECT 1 FROM a RIGHT JOIN t ON true CROSS JOIN LATERAL unnest(t.l) AS v",
        "SELECT 1 FROM a RIGHT JOIN t ON true LATERAL VIEW explode(t.l) v AS v"
    )]
    #[case("SELECT n FROM unnest(ARRAY[1]) AS n", "SELECT n FROM UNNEST(ARRAY[1]) AS n")]
    #[case(
        "SELECT k FROM generate_subscripts(i.indkey, 1) AS k",
        "SELECT k FROM f.pg_catalog.pg_index AS \"i__\" \
         LATERAL VIEW explode(range(0, CAST(cardinality(\"i__\".indkey) AS BIGINT) + 0)) k AS k \
         WHERE \"i__\".indexrelid = \"i\".indexrelid"
    )]
    #[case("SELECT k FROM unnest(u.list) AS k", "SELECT k FROM UNNEST(u.list) AS k")]
    fn a_list_is_taken_apart_beside_its_row(#[case] sql: &str, #[case] expected: &str) {
        let Statement::Query(mut query) = parse(sql).unwrap() else { panic!("no query") };
        let Statement::Query(around) = parse("SELECT 1 FROM f.pg_catalog.pg_index i, f.r4.u u").unwrap() else {
            panic!("no query")
        };
        take_apart(&mut query, &[tables(&around)]);
        assert_eq!(query.to_string(), expected);
    }

    #[rstest]
    #[case("SELECT 1 FROM t CROSS JOIN unnest(t.l) AS v RIGHT JOIN a ON a.b = t.b")]
    #[case("SELECT 1 FROM t CROSS JOIN unnest(t.l) AS v FULL JOIN a ON a.b = t.b")]
    fn rows_of_the_right_side_are_not_lost(#[case] sql: &str) {
        let Statement::Query(mut query) = parse(sql).unwrap() else { panic!("no query") };
        let before = query.to_string();
        take_apart(&mut query, &[]);
        assert_eq!(query.to_string(), before);
    }
}

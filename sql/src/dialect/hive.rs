//! What Hive writes differently from what DataFusion plans, and where a function by itself cannot help: aggregates with a
//! rule about NULL, `if`, `explode` in a select list, operators, orders within a reducer (of which there is one here).

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, GroupByWithModifier, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, ObjectNamePart, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, Select,
    SelectItem, SetExpr, TableFactor, TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut,
    helpers::attached_token::AttachedToken,
};

use super::{gathered, rows};

/// Puts calls of Hive's functions as DataFusion has them.
pub(super) fn rewrite<T: VisitMut>(part: &mut T) {
    if let ControlFlow::Break(never) = part.visit(&mut Habits) {
        match never {}
    }
}

struct Habits;

enum Never {}

impl VisitorMut for Habits {
    type Break = Never;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Never> {
        grouping(&mut select.group_by);
        gathered::keep_names(&mut select.projection);
        apart(&mut select.projection);
        select.selection.iter_mut().for_each(rows::choose);
        neighbours(&mut select.from);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Never> {
        let is_ordered = query.order_by.is_some();
        if let Some(exprs) = order(&mut query.body).filter(|exprs| !exprs.is_empty() && !is_ordered) {
            query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(exprs), interpolate: None });
        }
        if let Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) = &mut query.order_by {
            gathered::once(keys);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Never> {
        if let Some(other) = operator(expr).or_else(|| rows::compared(expr)) {
            *expr = other;
        }
        if let Expr::Function(call) = expr
            && let Some(name) = plain_name(call)
        {
            gathered::order_once(call);
            match name.as_str() {
                "collect_list" | "collect_set" => {
                    collect(call, name == "collect_set");
                    *expr = or_empty(expr);
                }
                // (DataFusion's own make text of both.)
                "nvl" | "ifnull" => rename(call, "coalesce"),
                "explode" => rename(call, "unnest"),
                "array" if matches!(call.args, FunctionArguments::List(_)) => rename(call, "make_array"),
                "listagg" => {
                    rename(call, "string_agg");
                    gathered::order_within(call);
                }
                "sign" => rename(call, "signum"),
                "sort_array" => sort_array(call),
                "json_agg" | "jsonb_agg" | "json_object_agg" | "jsonb_object_agg" | "percentile_disc" | "mode"
                | "make_interval" => {
                    if let Some(other) = gathered::put(call, &name) {
                        *expr = other;
                    }
                }
                "if" | "mod" | "percentile" | "percentile_approx" => {
                    let other = match name.as_str() {
                        "if" => case(call),
                        "mod" => remainder(call),
                        name => percentile(call, name == "percentile_approx"),
                    };
                    if let Some(other) = other {
                        *expr = other;
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// Takes `SORT BY` and `CLUSTER BY` out of a SELECT, to be the query's order; `DISTRIBUTE BY` says nothing about rows.
fn order(body: &mut SetExpr) -> Option<Vec<OrderByExpr>> {
    match body {
        SetExpr::Select(select) => {
            select.distribute_by.clear();
            let cluster_by = std::mem::take(&mut select.cluster_by).into_iter();
            let clustered =
                cluster_by.map(|expr| OrderByExpr { expr, options: OrderByOptions::default(), with_fill: None });
            Some(clustered.chain(std::mem::take(&mut select.sort_by)).collect())
        }
        // Rows of a part have no order in the whole.
        SetExpr::SetOperation { left, right, .. } => {
            order(left);
            order(right);
            None
        }
        _ => None,
    }
}

/// `FROM a, b JOIN LATERAL (...)` may ask about `a`, too: joins of the last go on from all before them. Where rows of `a` would
/// be left out or missing by that, it stays.
fn neighbours(from: &mut Vec<TableWithJoins>) {
    let goes_on = |item: &TableWithJoins| {
        let is_lateral = |relation: &TableFactor| {
            matches!(relation, TableFactor::Derived { lateral: true, .. } | TableFactor::Function { lateral: true, .. })
        };
        let keeps = |join: &Join| {
            use JoinOperator::{CrossJoin, Inner, Join, Left, LeftOuter};
            matches!(join.join_operator, CrossJoin(_) | Inner(_) | Join(_) | Left(_) | LeftOuter(_))
        };
        item.joins.iter().any(|join| is_lateral(&join.relation)) && item.joins.iter().all(keeps)
    };
    while let Some(place) = from.iter().skip(1).position(goes_on) {
        let next = from.remove(place + 1);
        let relation = next.relation;
        let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        let before = &mut from[place];
        before.joins.push(Join { relation, global: false, join_operator });
        before.joins.extend(next.joins);
    }
}

/// `!x`, `x RLIKE p` and `x REGEXP p`.
fn operator(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::UnaryOp { op: op @ UnaryOperator::BangNot, .. } => {
            *op = UnaryOperator::Not;
            None
        }
        Expr::RLike { negated, expr, pattern, .. } => Some(Expr::BinaryOp {
            op: if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch },
            left: expr.clone(),
            right: pattern.clone(),
        }),
        _ => None,
    }
}

fn plain_name(call: &Function) -> Option<String> {
    match call.name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_none() => Some(ident.value.to_lowercase()),
        _ => None,
    }
}

fn rename(call: &mut Function, name: &str) {
    let span = call.name.0.first().and_then(ObjectNamePart::as_ident).map(|ident| ident.span);
    let ident = span.map_or_else(|| Ident::new(name), |span| Ident::with_span(span, name));
    call.name = ObjectName(vec![ObjectNamePart::Identifier(ident)]);
}

/// `GROUP BY a, b GROUPING SETS (...)` and `GROUP BY a, b WITH ROLLUP | CUBE`, as standard SQL has them.
fn grouping(group_by: &mut GroupByExpr) {
    let GroupByExpr::Expressions(exprs, modifiers) = group_by else { return };
    let [modifier] = modifiers.as_slice() else { return };
    let each = || exprs.iter().map(|expr| vec![expr.clone()]).collect();
    let sets = match modifier {
        GroupByWithModifier::GroupingSets(sets) => sets.clone(),
        GroupByWithModifier::Rollup => Expr::Rollup(each()),
        GroupByWithModifier::Cube => Expr::Cube(each()),
        GroupByWithModifier::Totals => return,
    };
    (*exprs, *modifiers) = (vec![sets], Vec::new());
}

/// Tells columns apart that are written alike, which the planner wants to have one name each: the second `a` is `a_1`.
fn apart(items: &mut [SelectItem]) {
    // What is called so by the statement itself stays so.
    let mut names: HashSet<String> = items.iter().filter_map(called).collect();
    let mut seen: HashSet<String> = HashSet::new();
    for item in items {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = shown(expr);
        if seen.insert(name.clone()) {
            continue;
        }
        let mut numbered = (1..).map(|number| format!("{name}_{number}"));
        let Some(free) = numbered.find(|free| names.insert(free.clone())) else { continue };
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', free) };
    }
}

fn called(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(shown(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}

/// What the planner calls a column: casts do not change its name.
fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => shown(expr),
        Expr::Identifier(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}

/// A list where there was nothing to collect.
fn or_empty(list: &Expr) -> Expr {
    call("coalesce", vec![list.clone(), call("make_array", Vec::new())])
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// What a call is given, where all of it are values.
pub(super) fn values(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let values = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    values.collect()
}

/// `sort_array(list)` and `sort_array(list, false)`: NULLs are first, or last.
fn sort_array(call: &mut Function) {
    let FunctionArguments::List(list) = &mut call.args else { return };
    let (way, nulls) = match list.args.get(1) {
        None => ("ASC", "NULLS FIRST"),
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) => match value.value {
            Value::Boolean(true) => ("ASC", "NULLS FIRST"),
            Value::Boolean(false) => ("DESC", "NULLS LAST"),
            _ => return,
        },
        Some(_) => return,
    };
    list.args.truncate(1);
    list.args.extend([way, nulls].map(|text| {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::value(Value::SingleQuotedString(text.to_owned()))))
    }));
    rename(call, "array_sort");
}

/// `mod(a, b)`.
fn remainder(call: &Function) -> Option<Expr> {
    let [number, divisor] = <[Expr; 2]>::try_from(values(call)?).ok()?;
    let whole = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Some(Expr::Nested(Box::new(Expr::BinaryOp {
        left: whole(number),
        op: BinaryOperator::Modulo,
        right: whole(divisor),
    })))
}

/// `percentile(x, p)` and `percentile_approx(x, p, B)`; a list of fractions gives a list.
fn percentile(call: &Function, approximately: bool) -> Option<Expr> {
    /// What Hive keeps of a group if it is not told.
    const KEPT: &str = "10000";
    let mut args = values(call)?;
    if !(2..=if approximately { 3 } else { 2 }).contains(&args.len()) {
        return None;
    }
    if approximately && args.len() == 2 {
        args.push(Expr::value(Value::Number(KEPT.to_owned(), false)));
    }
    let of = |fraction: Expr| {
        let mut call = call.clone();
        let args = args.iter().enumerate().map(|(at, arg)| if at == 1 { fraction.clone() } else { arg.clone() });
        if let FunctionArguments::List(list) = &mut call.args {
            list.args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
        }
        rename(&mut call, if approximately { "approx_percentile_cont" } else { "percentile_cont" });
        Expr::Function(call)
    };
    let fractions = match args.get(1)? {
        Expr::Array(Array { elem, .. }) => elem.clone(),
        Expr::Function(list) if plain_name(list).as_deref() == Some("make_array") => values(list)?,
        one => return Some(of(one.clone())),
    };
    Some(self::call("make_array", fractions.into_iter().map(of).collect()))
}

/// Hive collects what is not NULL.
fn collect(call: &mut Function, distinct: bool) {
    let FunctionArguments::List(list) = &mut call.args else { return };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] = list.args.as_slice() else { return };
    let there = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(value.clone()))));
    if distinct {
        list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
    }
    call.filter = Some(Box::new(match call.filter.take() {
        None => there,
        Some(filter) => {
            Expr::BinaryOp { left: Box::new(Expr::Nested(filter)), op: BinaryOperator::And, right: Box::new(there) }
        }
    }));
    rename(call, "array_agg");
}

/// `if(condition, then, else)`; without `else` it is NULL.
fn case(call: &Function) -> Option<Expr> {
    let mut values = values(call)?.into_iter();
    let (condition, result, otherwise) = (values.next()?, values.next()?, values.next());
    if values.next().is_some() {
        return None;
    }
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: otherwise.map(Box::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case(
        "SELECT collect_list(a) FROM t",
        "SELECT coalesce(array_agg(a) FILTER (WHERE (a) IS NOT NULL), make_array()) FROM t"
    )]
    #[case(
        "SELECT COLLECT_SET(a) FROM t",
        "SELECT coalesce(array_agg(DISTINCT a) FILTER (WHERE (a) IS NOT NULL), make_array()) FROM t"
    )]
    #[case("SELECT nvl(a, 0) FROM t", "SELECT coalesce(a, 0) FROM t")]
    #[case(
        "SELECT a, b FROM t GROUP BY a, b GROUPING SETS ((a), (a, b), ())",
        "SELECT a, b FROM t GROUP BY GROUPING SETS ((a), (a, b), ())"
    )]
    #[case("SELECT a, b FROM t GROUP BY a, b WITH ROLLUP", "SELECT a, b FROM t GROUP BY ROLLUP (a, b)")]
    #[case("SELECT a, A, CAST(a AS INT) FROM t", "SELECT a, A AS \"a_1\", CAST(a AS INT) AS \"a_2\" FROM t")]
    #[case("SELECT 1, NULL, NULL, a AS b, b", "SELECT 1, NULL, NULL AS \"NULL_1\", a AS b, b")]
    #[case("SELECT a AS b, c AS b", "SELECT a AS b, c AS b")]
    #[case("SELECT a, a, c AS a_1", "SELECT a, a AS \"a_2\", c AS a_1")]
    #[case("SELECT if(a > 1, 'x', 'y')", "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END")]
    #[case("SELECT explode(a) FROM t", "SELECT unnest(a) FROM t")]
    #[case(
        "SELECT array(1, 2), sort_array(a) FROM t",
        "SELECT make_array(1, 2), array_sort(a, 'ASC', 'NULLS FIRST') FROM t"
    )]
    #[case("SELECT sort_array(a, false) FROM t", "SELECT array_sort(a, 'DESC', 'NULLS LAST') FROM t")]
    #[case("SELECT mod(a + 1, b) * 2 FROM t", "SELECT ((a + 1) % (b)) * 2 FROM t")]
    #[case("SELECT percentile(a, 0.5) FROM t", "SELECT percentile_cont(a, 0.5) FROM t")]
    #[case(
        "SELECT percentile(a, array(0.25, 0.75)) FROM t",
        "SELECT make_array(percentile_cont(a, 0.25), percentile_cont(a, 0.75)) FROM t"
    )]
    #[case("SELECT percentile_approx(a, 0.5) FROM t", "SELECT approx_percentile_cont(a, 0.5, 10000) FROM t")]
    #[case("SELECT percentile_approx(a, 0.5, 50) FROM t", "SELECT approx_percentile_cont(a, 0.5, 50) FROM t")]
    #[case("SELECT a FROM t WHERE a RLIKE 'x' AND b NOT REGEXP 'y'", "SELECT a FROM t WHERE a ~ 'x' AND b !~ 'y'")]
    #[case("SELECT !a FROM t", "SELECT NOT a FROM t")]
    #[case("SELECT a DIV 2 + 1 FROM t", "SELECT CAST(a / 2 AS BIGINT) + 1 FROM t")]
    #[case("SELECT a FROM t DISTRIBUTE BY b SORT BY a DESC LIMIT 3", "SELECT a FROM t ORDER BY a DESC LIMIT 3")]
    #[case("SELECT a FROM t CLUSTER BY a, b", "SELECT a FROM t ORDER BY a, b")]
    #[case("SELECT a FROM t SORT BY a ORDER BY b", "SELECT a FROM t ORDER BY b")]
    #[case("SELECT a FROM t SORT BY a UNION ALL SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u")]
    #[case("SELECT \"collect_list\"(a) FROM t", "SELECT \"collect_list\"(a) FROM t")]
    #[case("SELECT * FROM (SELECT if(a, b) FROM t)", "SELECT * FROM (SELECT CASE WHEN a THEN b END FROM t)")]
    fn a_habit_is_read_as(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected);
    }
}

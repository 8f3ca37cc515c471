//! What Hive writes differently from what DataFusion plans, and where a function by itself cannot help: aggregates with a
//! rule about NULL, `if`, `explode` in a select list.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, GroupByWithModifier, Ident, ObjectName, ObjectNamePart, Select, SelectItem,
    VisitMut, VisitorMut, helpers::attached_token::AttachedToken,
};

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
        apart(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Never> {
        if let Expr::Function(call) = expr
            && let Some(name) = plain_name(call)
        {
            match name.as_str() {
                "collect_list" | "collect_set" => {
                    collect(call, name == "collect_set");
                    *expr = or_empty(expr);
                }
                // (DataFusion's own make text of both.)
                "nvl" | "ifnull" => rename(call, "coalesce"),
                "explode" => rename(call, "unnest"),
                "if" => {
                    if let Some(case) = case(call) {
                        *expr = case;
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
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
    let call = |name: &str, args: Vec<Expr>| {
        let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
        Expr::Function(Function {
            name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args,
                clauses: Vec::new(),
            }),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: Vec::new(),
        })
    };
    call("coalesce", vec![list.clone(), call("make_array", Vec::new())])
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
        Some(filter) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(filter)),
            op: datafusion::sql::sqlparser::ast::BinaryOperator::And,
            right: Box::new(there),
        },
    }));
    rename(call, "array_agg");
}

/// `if(condition, then, else)`; without `else` it is NULL.
fn case(call: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let mut values = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    let (condition, result, otherwise) = (values.next()??, values.next()??, values.next());
    if values.next().is_some() {
        return None;
    }
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: match otherwise {
            None => None,
            Some(value) => Some(Box::new(value?)),
        },
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
    #[case("SELECT \"collect_list\"(a) FROM t", "SELECT \"collect_list\"(a) FROM t")]
    #[case("SELECT * FROM (SELECT if(a, b) FROM t)", "SELECT * FROM (SELECT CASE WHEN a THEN b END FROM t)")]
    fn a_habit_is_read_as(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected);
    }
}

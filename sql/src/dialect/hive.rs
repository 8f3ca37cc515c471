//! What Hive writes differently from what DataFusion plans, and where a function by itself cannot help: aggregates with a
//! rule about NULL, `if`, `explode` in a select list.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, VisitMut, VisitorMut, helpers::attached_token::AttachedToken,
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

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Never> {
        if let Expr::Function(call) = expr
            && let Some(name) = plain_name(call)
        {
            match name.as_str() {
                "collect_list" => collect(call, false),
                "collect_set" => collect(call, true),
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
    #[case("SELECT collect_list(a) FROM t", "SELECT array_agg(a) FILTER (WHERE (a) IS NOT NULL) FROM t")]
    #[case("SELECT COLLECT_SET(a) FROM t", "SELECT array_agg(DISTINCT a) FILTER (WHERE (a) IS NOT NULL) FROM t")]
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

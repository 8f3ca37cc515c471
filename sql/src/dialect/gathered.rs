//! Aggregates of PostgreSQL that are a list of the group's values, and a function of that list; and calls whose values have names.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, OrderByExpr, SelectItem,
};

use super::hive::{call, values};

/// What is put here in other words.
const NAMES: [&str; 6] = ["json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "percentile_disc", "mode"];

/// The parts of `make_interval` in their order.
const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// What a call means; `None` for one that stays.
pub(super) fn put(of: &Function, name: &str) -> Option<Expr> {
    match name {
        "json_agg" | "jsonb_agg" => {
            let [value] = <[Expr; 1]>::try_from(values(of)?).ok()?;
            Some(call("json_items__", vec![listed(of, call("json_item__", vec![value]))]))
        }
        "json_object_agg" | "jsonb_object_agg" => {
            let [name, value] = <[Expr; 2]>::try_from(values(of)?).ok()?;
            Some(call("json_members__", vec![listed(of, call("json_member__", vec![name, value]))]))
        }
        "percentile_disc" => {
            let [share] = <[Expr; 1]>::try_from(values(of)?).ok()?;
            Some(call("percentile_of__", vec![in_order(of)?, share]))
        }
        "mode" if values(of)?.is_empty() => Some(call("mode_of__", vec![in_order(of)?])),
        "make_interval" => interval(of),
        _ => None,
    }
}

/// A column of an answer that is such a call is called as it is written.
pub(super) fn keep_names(items: &mut [SelectItem]) {
    for item in items {
        if let SelectItem::UnnamedExpr(Expr::Function(of)) = item
            && let [ObjectNamePart::Identifier(name)] = of.name.0.as_slice()
            && NAMES.contains(&name.value.to_lowercase().as_str())
        {
            let alias = Ident::with_quote('"', of.to_string());
            *item = SelectItem::ExprWithAlias { expr: Expr::Function(of.clone()), alias };
        }
    }
}

/// An order by the same value twice is one by it once; the engine stumbles over the second.
pub(super) fn once(keys: &mut Vec<OrderByExpr>) {
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.expr.to_string()));
}

/// The same for the orders of an aggregate.
pub(super) fn order_once(of: &mut Function) {
    once(&mut of.within_group);
    if let FunctionArguments::List(list) = &mut of.args {
        for clause in &mut list.clauses {
            if let FunctionArgumentClause::OrderBy(keys) = clause {
                once(keys);
            }
        }
    }
}

/// `f(x) WITHIN GROUP (ORDER BY y)` as `f(x ORDER BY y)`.
pub(super) fn order_within(of: &mut Function) {
    let keys = std::mem::take(&mut of.within_group);
    if let FunctionArguments::List(list) = &mut of.args
        && !keys.is_empty()
    {
        list.clauses.push(FunctionArgumentClause::OrderBy(keys));
    }
}

fn named(name: &str) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))])
}

/// An aggregate as the list of a value of its rows, in its order, and of those that its filter lets through.
fn listed(of: &Function, value: Expr) -> Expr {
    let mut list = of.clone();
    list.name = named("array_agg");
    if let FunctionArguments::List(arguments) = &mut list.args {
        arguments.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
    }
    Expr::Function(list)
}

/// The values that `WITHIN GROUP (ORDER BY value)` puts in order.
fn in_order(of: &Function) -> Option<Expr> {
    let [order] = of.within_group.as_slice() else { return None };
    let mut list = of.clone();
    list.within_group.clear();
    if let FunctionArguments::List(arguments) = &mut list.args {
        arguments.clauses.push(FunctionArgumentClause::OrderBy(vec![order.clone()]));
    }
    Some(listed(&list, order.expr.clone()))
}

/// `make_interval(days => 3)` by the places of its parts.
fn interval(of: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &of.args else { return None };
    if list.args.len() > PARTS.len() || !list.args.iter().any(|arg| matches!(arg, FunctionArg::Named { .. })) {
        return None;
    }
    let mut parts = PARTS.map(|_| Expr::value(datafusion::sql::sqlparser::ast::Value::Number("0".to_owned(), false)));
    for (place, arg) in list.args.iter().enumerate() {
        let (place, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (place, value),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment,
            } => (PARTS.iter().position(|part| name.value.eq_ignore_ascii_case(part))?, value),
            _ => return None,
        };
        *parts.get_mut(place)? = value.clone();
    }
    Some(call("make_interval", parts.to_vec()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::dialect::{hive, parse};

    #[rstest]
    #[case(
        "SELECT json_agg(x ORDER BY y) FILTER (WHERE y > 1) AS j FROM t",
        "SELECT json_items__(array_agg(json_item__(x) ORDER BY y) FILTER (WHERE y > 1)) AS j FROM t"
    )]
    #[case(
        "SELECT jsonb_object_agg(a, b) FROM t",
        "SELECT json_members__(array_agg(json_member__(a, b))) AS \"jsonb_object_agg(a, b)\" FROM t"
    )]
    #[case(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY x DESC) AS p FROM t",
        "SELECT percentile_of__(array_agg(x ORDER BY x DESC), 0.5) AS p FROM t"
    )]
    #[case(
        "SELECT mode() WITHIN GROUP (ORDER BY x) AS m FROM t",
        "SELECT mode_of__(array_agg(x ORDER BY x)) AS m FROM t"
    )]
    #[case(
        "SELECT listagg(x, ',') WITHIN GROUP (ORDER BY y, z, y DESC) FROM t",
        "SELECT string_agg(x, ',' ORDER BY y, z) FROM t"
    )]
    #[case("SELECT make_interval(days => 3)", "SELECT make_interval(0, 0, 0, 3, 0, 0, 0)")]
    #[case("SELECT make_interval(1, 2)", "SELECT make_interval(1, 2)")]
    fn a_call_is_put_as(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        hive::rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected);
    }
}

//! Rows as values: `(a, b) = (c, d)`, `(a, b) < (c, d)`, `(a, b) IN (...)`, `ROW(a, b) IS NULL`, `OVERLAPS`, by what the
//! standard says about their parts. The engine compares them as structs, for which a NULL is a value like another.

use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, CaseWhen, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Query,
        SetExpr, TableFactor, UnaryOperator, Value, helpers::attached_token::AttachedToken,
    },
    parser::Parser,
};

use super::syntax::Syntax;

/// What an expression with rows means; `None` for one that stays.
pub(super) fn compared(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => overlaps(&row(left)?, &row(right)?),
        Expr::BinaryOp { left, op, right } => by_parts(&row(left)?, op, &row(right)?).map(nested),
        Expr::IsDistinctFrom(left, right) => {
            let pairs = pairs(&row(left)?, &row(right)?)?;
            let parts = pairs.into_iter().map(|(left, right)| nested(Expr::IsDistinctFrom(left.into(), right.into())));
            joined(parts.collect(), &BinaryOperator::Or)
        }
        Expr::IsNotDistinctFrom(left, right) => {
            let pairs = pairs(&row(left)?, &row(right)?)?;
            let parts =
                pairs.into_iter().map(|(left, right)| nested(Expr::IsNotDistinctFrom(left.into(), right.into())));
            joined(parts.collect(), &BinaryOperator::And)
        }
        Expr::IsNull(of) => {
            joined(row(of)?.into_iter().map(|part| nested(Expr::IsNull(part.into()))).collect(), &BinaryOperator::And)
        }
        Expr::IsNotNull(of) => joined(
            row(of)?.into_iter().map(|part| nested(Expr::IsNotNull(part.into()))).collect(),
            &BinaryOperator::And,
        ),
        Expr::Between { expr, negated, low, high } => {
            let (of, low, high) = (row(expr)?, row(low)?, row(high)?);
            let from = by_parts(&of, &BinaryOperator::GtEq, &low)?;
            let to = by_parts(&of, &BinaryOperator::LtEq, &high)?;
            Some(or_not(joined(vec![nested(from), nested(to)], &BinaryOperator::And)?, *negated))
        }
        Expr::InList { expr, list, negated } => {
            let of = row(expr)?;
            let each = list.iter().map(|item| Some(nested(by_parts(&of, &BinaryOperator::Eq, &row(item)?)?)));
            Some(or_not(joined(each.collect::<Option<_>>()?, &BinaryOperator::Or)?, *negated))
        }
        Expr::InSubquery { expr, subquery, negated } => Some(or_not(among(&row(expr)?, subquery)?, *negated)),
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => among(&row(left)?, query(right)?),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
            Some(or_not(among(&row(left)?, query(right)?)?, true))
        }
        _ => None,
    }
}

/// A condition of which only the rows are kept for which it is true: what is not known need not be told from what is false.
pub(super) fn choose(condition: &mut Expr) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            choose(left);
            choose(right);
        }
        Expr::Nested(inner) => choose(inner),
        Expr::InSubquery { expr, subquery, negated } => {
            if let Some(chosen) = row(expr).and_then(|of| there_is(&of, subquery, *negated, *negated)) {
                *condition = chosen;
            }
        }
        _ => {}
    }
}

/// The parts of a row: `(a, b)` or `ROW(a, b)`.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(parts) if !parts.is_empty() => Some(parts.iter().cloned().map(nested).collect()),
        Expr::Nested(inner) if is_row(inner) => row(inner),
        Expr::Function(call) => match (call.name.0.as_slice(), &call.args) {
            ([ObjectNamePart::Identifier(name)], FunctionArguments::List(list))
                if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("row") && !list.args.is_empty() =>
            {
                let parts = list.args.iter().map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(part)) => Some(nested(part.clone())),
                    _ => None,
                });
                parts.collect()
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_row(expr: &Expr) -> bool {
    row(expr).is_some()
}

/// `None` where one has more parts than the other: the engine says so.
fn pairs(left: &[Expr], right: &[Expr]) -> Option<Vec<(Expr, Expr)>> {
    (left.len() == right.len()).then(|| left.iter().cloned().zip(right.iter().cloned()).collect())
}

/// The first pair that is not equal, or not known, decides.
fn by_parts(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let mut pairs = pairs(left, right)?;
    let compare = |(left, right): (Expr, Expr), op: BinaryOperator| {
        nested(Expr::BinaryOp { left: left.into(), op, right: right.into() })
    };
    let strictly = match op {
        BinaryOperator::Eq => {
            let parts = pairs.into_iter().map(|pair| compare(pair, BinaryOperator::Eq)).collect();
            return joined(parts, &BinaryOperator::And);
        }
        BinaryOperator::NotEq => {
            let parts = pairs.into_iter().map(|pair| compare(pair, BinaryOperator::NotEq)).collect();
            return joined(parts, &BinaryOperator::Or);
        }
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
        _ => return None,
    };
    let last = compare(pairs.pop()?, op.clone());
    pairs.into_iter().rev().try_fold(last, |rest, pair| {
        let rest = joined(vec![compare(pair.clone(), BinaryOperator::Eq), rest], &BinaryOperator::And)?;
        joined(vec![compare(pair, strictly.clone()), nested(rest)], &BinaryOperator::Or).map(nested)
    })
}

/// Whether a row is among those of a query: unknown where none is equal and one may be.
fn among(of: &[Expr], query: &Query) -> Option<Expr> {
    let then = |condition: Expr, result: Value| CaseWhen { condition, result: Expr::value(result) };
    let conditions = vec![
        then(there_is(of, query, false, false)?, Value::Boolean(true)),
        then(there_is(of, query, true, false)?, Value::Null),
    ];
    Some(nested(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(Expr::value(Value::Boolean(false)))),
    }))
}

/// `EXISTS` of a row of the query that is equal, or (`perhaps`) of which it is not known that it is not. The query stands in it
/// as it is: a text of it could be read as another, or not at all.
fn there_is(of: &[Expr], query: &Query, perhaps: bool, negated: bool) -> Option<Expr> {
    let names: Vec<String> = (1..=of.len()).map(|place| format!("part_{place}__")).collect();
    let mut exists = parsed(&format!("EXISTS (SELECT 1 FROM (SELECT 1) AS row__ ({}))", names.join(", ")))?;
    let parts = names.iter().zip(of).map(|(name, part)| {
        let own = Expr::CompoundIdentifier(vec![Ident::new("row__"), Ident::new(name)]);
        let equal =
            nested(Expr::BinaryOp { left: Box::new(own), op: BinaryOperator::Eq, right: Box::new(part.clone()) });
        if perhaps { nested(Expr::IsNotFalse(Box::new(equal))) } else { equal }
    });
    let condition = joined(parts.collect(), &BinaryOperator::And)?;
    let Expr::Exists { subquery, negated: is_not } = &mut exists else { return None };
    *is_not = negated;
    let SetExpr::Select(select) = subquery.body.as_mut() else { return None };
    let TableFactor::Derived { subquery: rows, .. } = &mut select.from.first_mut()?.relation else { return None };
    **rows = query.clone();
    select.selection = Some(condition);
    Some(exists)
}

/// `(from, to) OVERLAPS (from, to)`: ends in either order, the earlier one within, the later one not; an end that is an
/// interval is counted from the other. Unknown where an end that would decide it is.
fn overlaps(one: &[Expr], other: &[Expr]) -> Option<Expr> {
    let [from, to] = <&[Expr; 2]>::try_from(one).ok()?;
    let [other_from, other_to] = <&[Expr; 2]>::try_from(other).ok()?;
    let ends = |from: &Expr, to: &Expr| {
        let is_length = matches!(to, Expr::Nested(inner) if matches!(inner.as_ref(), Expr::Interval(_)));
        let to = if is_length { format!("({from} + {to})") } else { to.to_string() };
        let first = format!("least({from}, {to})");
        let last = format!("(CASE WHEN {from} IS NULL OR {to} IS NULL THEN NULL ELSE greatest({from}, {to}) END)");
        (first, last)
    };
    let ((a, b), (c, d)) = (ends(from, to), ends(other_from, other_to));
    parsed(&format!(
        "(CASE WHEN {a} IS NULL OR {c} IS NULL THEN NULL \
         WHEN {a} > {c} THEN CASE WHEN {d} IS NULL THEN NULL WHEN {a} < {d} THEN true WHEN {b} IS NULL THEN NULL \
         ELSE false END \
         WHEN {a} < {c} THEN CASE WHEN {b} IS NULL THEN NULL WHEN {c} < {b} THEN true WHEN {d} IS NULL THEN NULL \
         ELSE false END \
         WHEN {b} IS NULL OR {d} IS NULL THEN NULL ELSE true END)"
    ))
}

fn parsed(text: &str) -> Option<Expr> {
    Parser::new(&Syntax).try_with_sql(text).ok()?.parse_expr().ok()
}

fn query(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::Subquery(query) => Some(query),
        Expr::Nested(inner) => query(inner),
        _ => None,
    }
}

fn nested(expr: Expr) -> Expr {
    match expr {
        plain @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Nested(_)) => plain,
        other => Expr::Nested(Box::new(other)),
    }
}

fn or_not(expr: Expr, negated: bool) -> Expr {
    let expr = nested(expr);
    if negated { nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }) } else { expr }
}

/// All parts with `op` between them, no deeper than it must be: a list may be long.
fn joined(mut parts: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        count => {
            let right = joined(parts.split_off(count / 2), op)?;
            let left = joined(parts, op)?;
            Some(nested(Expr::BinaryOp { left: left.into(), op: op.clone(), right: right.into() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::dialect::{hive, parse};

    #[rstest]
    #[case("SELECT (a, b) = (c, 1)", "SELECT ((a = c) AND (b = 1))")]
    #[case("SELECT (a, b) <> ROW(c, d)", "SELECT ((a <> c) OR (b <> d))")]
    #[case("SELECT (a, b) <= (c, d)", "SELECT ((a < c) OR ((a = c) AND (b <= d)))")]
    #[case("SELECT ROW(a, b) IS NOT NULL", "SELECT ((a IS NOT NULL) AND (b IS NOT NULL))")]
    #[case("SELECT (a, b) NOT IN ((1, 2), (3, 4))", "SELECT (NOT (((a = 1) AND (b = 2)) OR ((a = 3) AND (b = 4))))")]
    #[case(
        "SELECT 1 FROM t WHERE (a, b) IN (SELECT x, y FROM u) AND c",
        "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM (SELECT x, y FROM u) AS row__ (part_1__, part_2__) \
         WHERE ((row__.part_1__ = a) AND (row__.part_2__ = b))) AND c"
    )]
    #[case("SELECT (a, b), row(1, 2)", "SELECT (a, b), row(1, 2)")]
    #[case("SELECT (a, b) = (c, d, e)", "SELECT (a, b) = (c, d, e)")]
    fn rows_are_put_as(#[case] sql: &str, #[case] expected: &str) {
        let mut statement = parse(sql).unwrap();
        hive::rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected);
    }

    #[test]
    fn a_query_stands_as_it_is_however_deep() {
        let deep = format!("{}1{}", "(".repeat(20), ")".repeat(20));
        let sql = format!("SELECT 1 FROM t WHERE (a, b) IN (SELECT x, y FROM u WHERE x = {deep})");
        let mut statement = parse(&sql).unwrap();
        hive::rewrite(&mut statement);
        let text = statement.to_string();
        assert!(text.contains("EXISTS") && text.contains(&deep), "{text}");
    }
}

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value, ValueWithSpan};

use super::{
    ast::{call, text},
    path::text_of,
    pattern,
};

/// Puts a pattern with an escape sign of its own as one with a backslash, which is the only one that the engine has.
pub(super) fn escaped(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(escape) = escape.take() else { return };
    *pattern = match (sign_of(&escape), folded(pattern)) {
        (Sign::Known(Some('\\')), _) => return,
        (Sign::Known(sign), Some(known)) => text(&pattern::like(&known, sign)),
        _ => call(pattern::LIKE, vec![pattern.clone(), Expr::Value(escape)]),
    };
}

/// `x SIMILAR TO pattern` as a match of a regular expression.
pub(super) fn similar(expr: &Expr, pattern: &Expr, escape: Option<&ValueWithSpan>, negated: bool) -> Expr {
    let sign = escape.map_or(Sign::Known(Some('\\')), sign_of);
    let right = match (sign, folded(pattern)) {
        (Sign::Known(sign), Some(known)) => text(&pattern::similar(&known, sign)),
        _ => call(pattern::SIMILAR, std::iter::once(pattern.clone()).chain(escape.cloned().map(Expr::Value)).collect()),
    };
    let op = if negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    Expr::BinaryOp { left: Box::new(expr.clone()), op, right: Box::new(right) }
}

/// What stands before a letter that means itself.
enum Sign {
    /// `None`: nothing does.
    Known(Option<char>),
    /// A parameter, or no sign at all, which the function refuses.
    Later,
}

fn sign_of(escape: &ValueWithSpan) -> Sign {
    let (Value::SingleQuotedString(sign) | Value::EscapedStringLiteral(sign)) = &escape.value else {
        return Sign::Later;
    };
    let mut signs = sign.chars();
    match (signs.next(), signs.next()) {
        (sign, None) => Sign::Known(sign),
        _ => Sign::Later,
    }
}

/// Texts joined by `||`.
fn folded(expr: &Expr) -> Option<String> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => Some(folded(left)? + &folded(right)?),
        Expr::Nested(inner) => folded(inner),
        other => text_of(other),
    }
}

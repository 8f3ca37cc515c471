use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value, ValueWithSpan};

use super::{ast::text, path::text_of};

/// Puts a pattern with an escape sign of its own as one with a backslash, which is the only one that the engine has.
pub(super) fn escaped(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(ValueWithSpan { value: Value::SingleQuotedString(sign) | Value::EscapedStringLiteral(sign), .. }) = escape
    else {
        return;
    };
    let mut signs = sign.chars();
    let (sign, None) = (signs.next(), signs.next()) else { return };
    if sign == Some('\\') {
        return;
    }
    let Some(known) = folded(pattern) else { return };
    let mut put = String::new();
    let mut letters = known.chars();
    while let Some(letter) = letters.next() {
        if Some(letter) == sign {
            put.push('\\');
            put.extend(letters.next());
        } else if letter == '\\' {
            put.push_str("\\\\");
        } else {
            put.push(letter);
        }
    }
    *pattern = text(&put);
    *escape = None;
}

/// Texts joined by `||`.
fn folded(expr: &Expr) -> Option<String> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => Some(folded(left)? + &folded(right)?),
        Expr::Nested(inner) => folded(inner),
        other => text_of(other),
    }
}

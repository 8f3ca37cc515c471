//! Tests that are comparisons of a column with literals: what lets files be skipped.

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    common::ScalarValue,
    logical_expr::{Expr, lit},
};

use super::{
    matcher::{self, column, columns},
    test::{DateTest, How, Test, UriHow},
    token::{System, Token},
    value::Prefix,
};
use crate::{definitions::Primitive, path::Path};

/// Whether any of the paths passes; false where the table has none of their columns.
pub(super) fn any(paths: &[Path], targets: &'static [&'static str], test: &Test, schema: &Schema) -> Expr {
    paths
        .iter()
        .filter_map(|path| {
            expression(path, test, schema).or_else(|| matcher::expression(path, targets, test.clone(), schema))
        })
        .reduce(Expr::or)
        .unwrap_or_else(|| lit(false))
}

/// The test as a comparison; `None` where it is not one, or the path is not a column of its own that the table has.
pub(super) fn expression(path: &Path, test: &Test, schema: &Schema) -> Option<Expr> {
    let name = path.column();
    if !path.is_plain() || columns(path, schema).is_none() {
        return None;
    }
    let primitive = path.element.type_id.primitive();
    match (test, primitive) {
        (Test::Present, _) => Some(column(name).is_not_null()),
        (Test::Date(tests), Some(primitive)) if primitive.is_temporal() => {
            let (start, end) = (format!("{name}__start"), format!("{name}__end"));
            Some(any_of(tests.iter().map(|test| period(&column(&start), &column(&end), test))))
        }
        (Test::Token(tokens), Some(Primitive::Boolean)) => {
            let truth = |token: &Token| match token.truth() {
                Some(true) => column(name).is_true(),
                Some(false) => column(name).is_false(),
                None => lit(false),
            };
            Some(any_of(tokens.iter().map(truth)))
        }
        (Test::Token(tokens), Some(Primitive::Code)) => {
            let known = path.element.required_codes?;
            let fits = |code: &&&str| tokens.iter().any(|token| token.matches_code(code, path.element.systems));
            let whole_system = tokens.iter().any(|token| token.code.is_none() && token.system != System::Any);
            // Codes of a required value set are written as it writes them: their case is known. A code outside it is tested
            // as any other.
            let inside = tokens.iter().all(|token| {
                token.code.as_ref().is_some_and(|wanted| known.iter().any(|code| code.eq_ignore_ascii_case(wanted)))
            });
            if whole_system || !inside {
                return None;
            }
            let codes: Vec<String> = known.iter().filter(fits).map(|code| (*code).to_owned()).collect();
            Some(one_of(name, &codes, schema))
        }
        (Test::Uri(UriHow::Equal, uris), Some(_)) => Some(one_of(name, uris, schema)),
        (Test::Text(How::Exact, texts), Some(_)) => Some(one_of(name, texts, schema)),
        _ => None,
    }
}

fn any_of(conditions: impl Iterator<Item = Expr>) -> Expr {
    conditions.reduce(Expr::or).unwrap_or_else(|| lit(false))
}

/// A text column that is one of these.
pub(super) fn one_of(name: &str, texts: &[String], schema: &Schema) -> Expr {
    let view = schema.field_with_name(name).is_ok_and(|field| *field.data_type() == DataType::Utf8View);
    let literal = |text: &String| {
        let text = Some(text.clone());
        Expr::Literal(if view { ScalarValue::Utf8View(text) } else { ScalarValue::Utf8(text) }, None)
    };
    match texts {
        [] => lit(false),
        [text] => column(name).eq(literal(text)),
        _ => column(name).in_list(texts.iter().map(literal).collect(), false),
    }
}

fn timestamp(micros: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())), None)
}

/// [`super::value::compare`] over two columns of timestamps.
fn period(start: &Expr, end: &Expr, test: &DateTest) -> Expr {
    let (low, high) = (timestamp(test.start), timestamp(test.end));
    let (start, end) = (|| start.clone(), || end.clone());
    let contains = || start().gt_eq(low.clone()).and(end().lt_eq(high.clone()));
    match test.prefix {
        Prefix::Eq => contains(),
        Prefix::Ne => start().lt(low).or(end().gt(high)),
        Prefix::Gt => end().gt(high),
        Prefix::Lt => start().lt(low),
        Prefix::Ge => end().gt(high.clone()).or(contains()),
        Prefix::Le => start().lt(low.clone()).or(contains()),
        Prefix::Sa => start().gt_eq(high),
        Prefix::Eb => end().lt_eq(low),
        Prefix::Ap => start().lt(high).and(end().gt(low)),
    }
}

/// The same over a column of instants, each a microsecond long.
pub(super) fn instants(name: &str, tests: &[DateTest]) -> Expr {
    any_of(tests.iter().map(|test| {
        let (low, high) = (timestamp(test.start), timestamp(test.end));
        let at = || column(name);
        match test.prefix {
            Prefix::Eq => at().gt_eq(low).and(at().lt(high)),
            Prefix::Ne => at().lt(low).or(at().gt_eq(high)),
            Prefix::Gt | Prefix::Sa => at().gt_eq(high),
            Prefix::Lt | Prefix::Eb => at().lt(low),
            Prefix::Ge => at().gt_eq(low),
            Prefix::Le => at().lt(high),
            Prefix::Ap => at().gt_eq(low).and(at().lt(high)),
        }
    }))
}

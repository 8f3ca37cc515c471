use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

use super::{
    EvalError,
    items::Items,
    read::{Read, Value},
};
use crate::{
    definitions::Primitive,
    path::{expr::primitive, syntax::Operator},
};

pub(super) fn truths_to_items(truths: Vec<Option<bool>>) -> Items {
    let values: ArrayRef = Arc::new(arrow::array::BooleanArray::from(truths));
    Items::of_column(primitive(Primitive::Boolean), values)
}

pub(super) fn integers_to_items(numbers: Vec<Option<i64>>) -> Items {
    Items::of_column(primitive(Primitive::Integer), Arc::new(Int64Array::from(numbers)))
}

pub(super) fn decimals_to_items(numbers: Vec<Option<f64>>) -> Items {
    Items::of_column(primitive(Primitive::Decimal), Arc::new(Float64Array::from(numbers)))
}

/// Texts of any type that is kept as text.
pub(super) fn texts_to_items<T: AsRef<str>>(texts: Vec<Option<T>>, of: Primitive) -> Items {
    Items::of_column(primitive(of), Arc::new(texts.into_iter().collect::<StringArray>()))
}

/// A decimal has fewer digits than a float: what lies beyond fifteen is of the float alone (`0.1 + 0.2`).
fn exact(number: f64) -> Option<f64> {
    if !number.is_finite() {
        return None;
    }
    format!("{number:.14e}").parse().ok()
}

/// `+ - * / div mod` of single values. Nothing where there is no number to answer: a division by zero, an overflow.
pub(super) fn arithmetic(
    operator: Operator,
    left: &Items,
    right: &Items,
    count: usize,
    integers: bool,
) -> Result<Items, EvalError> {
    let (left, right) = (Read::new(left, count)?, Read::new(right, count)?);
    let pair =
        |focus| -> Result<_, EvalError> { Ok(left.operand(focus, operator)?.zip(right.operand(focus, operator)?)) };
    if integers {
        let compute = |focus| {
            Ok(pair(focus)?.and_then(|pair| match pair {
                (Value::Integer(one), Value::Integer(other)) => match operator {
                    Operator::Plus => one.checked_add(other),
                    Operator::Minus => one.checked_sub(other),
                    Operator::Multiply => one.checked_mul(other),
                    Operator::Div => one.checked_div(other),
                    _ => one.checked_rem(other),
                },
                (one, other) => whole((one.number()? / other.number()?).trunc()),
            }))
        };
        return Ok(integers_to_items((0..count).map(compute).collect::<Result<_, EvalError>>()?));
    }
    let compute = |focus| {
        Ok(pair(focus)?.and_then(|(one, other)| {
            let (one, other) = (one.number()?, other.number()?);
            exact(match operator {
                Operator::Plus => one + other,
                Operator::Minus => one - other,
                Operator::Multiply => one * other,
                Operator::Divide => one / other,
                _ => one % other,
            })
        }))
    };
    Ok(decimals_to_items((0..count).map(compute).collect::<Result<_, EvalError>>()?))
}

/// A float without a fraction as an integer.
#[allow(clippy::cast_possible_truncation, reason = "its size is checked")]
pub(super) fn whole(number: f64) -> Option<i64> {
    (number.abs() < 9e15).then_some(number as i64)
}

pub(super) fn negative(operand: &Items, count: usize, integers: bool) -> Result<Items, EvalError> {
    let read = Read::new(operand, count)?;
    if integers {
        let negate = |focus| {
            Ok(read.operand(focus, Operator::Minus)?.and_then(|value| match value {
                Value::Integer(number) => number.checked_neg(),
                _ => None,
            }))
        };
        return Ok(integers_to_items((0..count).map(negate).collect::<Result<_, EvalError>>()?));
    }
    let negate =
        |focus| Ok(read.operand(focus, Operator::Minus)?.and_then(|value| value.number()).map(|number| -number));
    Ok(decimals_to_items((0..count).map(negate).collect::<Result<_, EvalError>>()?))
}

/// `&`, where nothing counts as the empty text, and `+` of texts, where it does not.
pub(super) fn concatenate(left: &Items, right: &Items, count: usize, lenient: bool) -> Result<Items, EvalError> {
    let (left, right) = (Read::new(left, count)?, Read::new(right, count)?);
    let text = |read: &Read<'_>, focus| -> Result<_, EvalError> {
        Ok(read.operand(focus, Operator::Concatenate)?.and_then(|value| value.to_text().map(|text| text.into_owned())))
    };
    let join = |focus| {
        let (one, other) = (text(&left, focus)?, text(&right, focus)?);
        Ok(match (one, other) {
            (Some(one), Some(other)) => Some(one + &other),
            (one, other) if lenient => Some(one.or(other).unwrap_or_default()),
            _ => None,
        })
    };
    Ok(texts_to_items((0..count).map(join).collect::<Result<Vec<_>, EvalError>>()?, Primitive::String))
}

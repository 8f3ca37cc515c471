use std::cmp::Ordering;

use super::{
    EvalError,
    items::Items,
    read::{Read, Value},
};
use crate::{
    path::syntax::Operator,
    temporal::{self, Precision},
};

/// `=`, `!=`, `~`, `!~`: collections of equal length, value by value.
pub(super) fn equality(
    operator: Operator,
    left: &Items,
    right: &Items,
    count: usize,
) -> Result<Vec<Option<bool>>, EvalError> {
    let (left, right) = (Read::new(left, count)?, Read::new(right, count)?);
    let negate = matches!(operator, Operator::NotEqual | Operator::NotEquivalent);
    let loose = matches!(operator, Operator::Equivalent | Operator::NotEquivalent);
    let answers = (0..count).map(|focus| {
        let (one, other) = (left.range(focus), right.range(focus));
        let answer = if loose {
            Some(one.len() == other.len() && all_have_partner(&left, one, &right, other))
        } else if one.is_empty() || other.is_empty() {
            None
        } else if one.len() == other.len() {
            one.zip(other).try_fold(true, |all, (one, other)| match (left.at(one), right.at(other)) {
                (Some(one), Some(other)) => Some(all && equal(&one, &other)?),
                _ => None,
            })
        } else {
            Some(false)
        };
        answer.map(|answer| answer != negate)
    });
    Ok(answers.collect())
}

/// Whether each value of one side is equivalent to another one of the other side.
fn all_have_partner(
    left: &Read<'_>,
    one: std::ops::Range<usize>,
    right: &Read<'_>,
    other: std::ops::Range<usize>,
) -> bool {
    let mut free: Vec<Option<Value<'_>>> = other.map(|item| right.at(item)).collect();
    for item in one {
        let Some(value) = left.at(item) else { return false };
        let partner = free.iter().position(|other| other.as_ref().is_some_and(|other| equivalent(&value, other)));
        match partner {
            Some(at) => free.swap_remove(at),
            None => return false,
        };
    }
    true
}

/// `in`: whether the one value on the left is among those on the right.
pub(super) fn within(left: &Items, right: &Items, count: usize) -> Result<Vec<Option<bool>>, EvalError> {
    let (left, right) = (Read::new(left, count)?, Read::new(right, count)?);
    let answer = |focus| {
        let Some(wanted) = left.operand(focus, Operator::In)? else { return Ok(None) };
        Ok(Some(right.range(focus).any(|item| right.at(item).and_then(|value| equal(&wanted, &value)) == Some(true))))
    };
    (0..count).map(answer).collect()
}

/// `<`, `<=`, `>`, `>=` of single values; nothing where it cannot be told (`2020` and `2020-03`).
pub(super) fn order(
    operator: Operator,
    left: &Items,
    right: &Items,
    count: usize,
) -> Result<Vec<Option<bool>>, EvalError> {
    let (left, right) = (Read::new(left, count)?, Read::new(right, count)?);
    let fits = |ordering: Ordering| match operator {
        Operator::Less => ordering.is_lt(),
        Operator::LessOrEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        _ => ordering.is_ge(),
    };
    let answer = |focus| {
        let (one, other) = (left.operand(focus, operator)?, right.operand(focus, operator)?);
        Ok(one.zip(other).and_then(|(one, other)| ordering(&one, &other)).map(fits))
    };
    (0..count).map(answer).collect()
}

/// `None`: it cannot be told, for dates of different precision.
pub(super) fn equal(one: &Value<'_>, other: &Value<'_>) -> Option<bool> {
    match (one, other) {
        (Value::Boolean(one), Value::Boolean(other)) => Some(one == other),
        (Value::Text(one), Value::Text(other)) => Some(one == other),
        (Value::Structure(one), Value::Structure(other)) => Some(one == other),
        (Value::Moment(one), Value::Moment(other)) => moments(one, other).map(Ordering::is_eq),
        // a text that is no date is not equal to one; one that is may be
        (Value::Moment(moment), Value::Text(text)) | (Value::Text(text), Value::Moment(moment)) => {
            if temporal::parse(text).is_some() { moments(moment, text).map(Ordering::is_eq) } else { Some(false) }
        }
        (Value::Time(one), Value::Time(other) | Value::Text(other)) | (Value::Text(one), Value::Time(other)) => {
            Some(times(one, other).map_or(one == other, Ordering::is_eq))
        }
        _ => Some(one.number().zip(other.number()).is_some_and(|(one, other)| one == other)),
    }
}

fn equivalent(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => {
            let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
            words(one) == words(other)
        }
        _ => equal(one, other) == Some(true),
    }
}

pub(super) fn ordering(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => Some(one.cmp(other)),
        (Value::Moment(one), Value::Moment(other) | Value::Text(other)) | (Value::Text(one), Value::Moment(other)) => {
            moments(one, other)
        }
        (Value::Time(one), Value::Time(other) | Value::Text(other)) | (Value::Text(one), Value::Time(other)) => {
            times(one, other)
        }
        _ => one.number()?.partial_cmp(&other.number()?),
    }
}

/// How two dates or times lie to each other; nothing where the one lies within the other. What has no time zone is read as
/// UTC, as everywhere in Mavis.
fn moments(one: &str, other: &str) -> Option<Ordering> {
    if one == other {
        return Some(Ordering::Equal);
    }
    let (one, other) = (temporal::parse(one)?, temporal::parse(other)?);
    let fine = |precision: Precision| precision.min(Precision::Second);
    if fine(one.precision) == fine(other.precision) {
        return Some(one.start.cmp(&other.start));
    }
    if one.end <= other.start {
        Some(Ordering::Less)
    } else if other.end <= one.start {
        Some(Ordering::Greater)
    } else {
        None
    }
}

fn times(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (temporal::time(one.as_bytes())?, temporal::time(other.as_bytes())?);
    Some(one.start.cmp(&other.start))
}

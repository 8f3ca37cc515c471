//! Functions of PostgreSQL that are small, each by itself.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListBuilder, StringBuilder,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit},
    error::ArrowError,
};
use chrono::{NaiveDate, Utc};
use datafusion::{common::Result, logical_expr::ScalarUDF};
use regex::{Regex, RegexBuilder};

use super::own::{Given, Own, TIME, given, is_text, list_of, mistake, plain};

/// The functions, built once.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let any = |types: &[DataType]| (!types.is_empty()).then(|| types.to_vec());
    vec![
        Own::new(
            "clock_timestamp",
            |types| types.is_empty().then(Vec::new),
            |_| zoned(),
            |_, rows| {
                let now = Utc::now().timestamp_micros();
                Ok(Arc::new(TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("+00:00")))
            },
        )
        .volatile()
        .made(),
        Own::new("make_timestamp", moment, |_| TIME, make_timestamp).made(),
        Own::new("num_nulls", any, |_| DataType::Int32, |all, rows| counted(all, rows, true)).made(),
        Own::new("num_nonnulls", any, |_| DataType::Int32, |all, rows| counted(all, rows, false)).made(),
        Own::new("div", numbers, |types| types.first().cloned().unwrap_or(DataType::Int64), div).made(),
        Own::new("regexp_split_to_array", texts, |_| list_of(DataType::Utf8), split).made(),
    ]
}

/// `function`; with the name that PostgreSQL has for it, too.
pub(super) fn named(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "uuid" => Arc::new(function.as_ref().clone().with_aliases(["gen_random_uuid"])),
        _ => function,
    }
}

fn zoned() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

fn counted(all: &[Given], rows: usize, nulls: bool) -> Result<ArrayRef> {
    let is_null = |given: &Given, row: usize| given.array.data_type().is_null() || given.array.is_null(row);
    let count = |row: usize| all.iter().filter(|given| is_null(given, row) == nulls).count();
    Ok(Arc::new((0..rows).map(|row| i32::try_from(count(row)).ok()).collect::<Int32Array>()))
}

fn numbers(types: &[DataType]) -> Option<Vec<DataType>> {
    let is_whole = types.iter().all(|of| of.is_integer() || of.is_null());
    let are_numbers = types.len() == 2 && types.iter().all(|of| of.is_numeric() || of.is_null());
    are_numbers.then(|| vec![if is_whole { DataType::Int64 } else { DataType::Float64 }; 2])
}

/// A quotient without what is behind its point.
fn div(all: &[Given], _: usize) -> Result<ArrayRef> {
    let (number, divisor) = (given(all, 0)?, given(all, 1)?);
    if let (Some(number), Some(divisor)) =
        (number.as_primitive_opt::<Int64Type>(), divisor.as_primitive_opt::<Int64Type>())
    {
        let quotients = number.iter().zip(divisor).map(|pair| match pair {
            (Some(_), Some(0)) => Err(ArrowError::DivideByZero.into()),
            (Some(number), Some(divisor)) => match number.checked_div(divisor) {
                Some(quotient) => Ok(Some(quotient)),
                None => mistake("a quotient does not fit a BIGINT"),
            },
            _ => Ok(None),
        });
        return Ok(Arc::new(quotients.collect::<Result<Int64Array>>()?));
    }
    let (number, divisor) = (number.as_primitive::<Float64Type>(), divisor.as_primitive::<Float64Type>());
    let quotients = number.iter().zip(divisor).map(|pair| match pair {
        (Some(_), Some(0.0)) => Err(ArrowError::DivideByZero.into()),
        (Some(number), Some(divisor)) => Ok(Some((number / divisor).trunc())),
        _ => Ok(None),
    });
    Ok(Arc::new(quotients.collect::<Result<Float64Array>>()?))
}

/// Year, month, day, hour and minute are whole, seconds are not.
fn moment(types: &[DataType]) -> Option<Vec<DataType>> {
    let are_numbers = types.len() == 6 && types.iter().all(|of| of.is_numeric() || is_text(of));
    let all = (0..6).map(|place| if place == 5 { DataType::Float64 } else { DataType::Int64 }).collect();
    are_numbers.then_some(all)
}

fn make_timestamp(all: &[Given], rows: usize) -> Result<ArrayRef> {
    let seconds = given(all, 5)?.as_primitive::<Float64Type>();
    let part = |place: usize, row: usize| {
        let given = all.get(place)?;
        given.array.is_valid(row).then(|| given.array.as_primitive::<Int64Type>().value(row))
    };
    let times = (0..rows).map(|row| {
        let parts: Option<Vec<i64>> = (0..5).map(|place| part(place, row)).collect();
        let (Some(parts), true) = (parts, seconds.is_valid(row)) else { return Ok(None) };
        match micros(&parts, seconds.value(row)) {
            Some(micros) => Ok(Some(micros)),
            None => mistake("the parts of a time are out of range"),
        }
    });
    Ok(Arc::new(times.collect::<Result<TimestampMicrosecondArray>>()?))
}

fn micros(parts: &[i64], seconds: f64) -> Option<i64> {
    let [year, month, day, hour, minute] = <[i64; 5]>::try_from(parts).ok()?;
    if !(0.0..=60.0).contains(&seconds) || !(0..60).contains(&minute) || !(0..24).contains(&hour) {
        return None;
    }
    let month = u32::try_from(month).ok()?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, u32::try_from(day).ok()?)?;
    #[allow(clippy::cast_possible_truncation, reason = "there are sixty seconds at most")]
    let seconds = (seconds * 1e6).round() as i64;
    let midnight = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros();
    midnight.checked_add((hour * 60 + minute) * 60_000_000 + seconds)
}

fn texts(types: &[DataType]) -> Option<Vec<DataType>> {
    let are_texts = (2..=3).contains(&types.len()) && types.iter().all(|of| is_text(&plain(of)));
    are_texts.then(|| vec![DataType::Utf8; types.len()])
}

fn split(all: &[Given], rows: usize) -> Result<ArrayRef> {
    let text = |place: usize, row: usize| {
        let array = all.get(place)?.array.as_string_opt::<i32>()?;
        array.is_valid(row).then(|| array.value(row))
    };
    let mut known: Option<(String, Regex)> = None;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        let flags = if all.len() > 2 { text(2, row) } else { Some("") };
        let (Some(value), Some(pattern), Some(flags)) = (text(0, row), text(1, row), flags) else {
            lists.append_null();
            continue;
        };
        let key = format!("{flags}/{pattern}");
        let regex = match known.take() {
            Some((before, regex)) if before == key => regex,
            _ => match RegexBuilder::new(pattern).case_insensitive(flags.contains('i')).build() {
                Ok(regex) => regex,
                Err(_) => return mistake("a pattern is no regular expression"),
            },
        };
        lists.append_value(parted(value, &regex).into_iter().map(Some));
        known = Some((key, regex));
    }
    Ok(Arc::new(lists.finish()))
}

/// What is between the matches. One of nothing parts letters, but nothing at the ends, and after another match.
fn parted<'a>(text: &'a str, regex: &Regex) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for found in regex.find_iter(text) {
        if found.is_empty() && (found.start() == start || found.end() == text.len()) {
            continue;
        }
        parts.extend(text.get(start..found.start()));
        start = found.end();
    }
    parts.extend(text.get(start..));
    parts
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case("a,b,,c", ",", &["a", "b", "", "c"])]
    #[case("abc", "", &["a", "b", "c"])]
    #[case("", ",", &[""])]
    #[case("a b", "\\s+", &["a", "b"])]
    fn a_text_is_parted(#[case] text: &str, #[case] pattern: &str, #[case] expected: &[&str]) {
        assert_eq!(parted(text, &Regex::new(pattern).unwrap()), expected);
    }

    #[rstest]
    #[case(&[2024, 1, 2, 3, 4], 5.5, Some(1_704_164_645_500_000))]
    #[case(&[2023, 2, 29, 0, 0], 0.0, None)]
    #[case(&[2023, 2, 28, 24, 0], 0.0, None)]
    fn parts_are_a_time(#[case] parts: &[i64], #[case] seconds: f64, #[case] expected: Option<i64>) {
        assert_eq!(micros(parts, seconds), expected);
    }
}

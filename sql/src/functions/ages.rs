//! What is between two times in years, months and days, as PostgreSQL counts it, and other functions of intervals.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, IntervalMonthDayNanoArray},
    datatypes::{
        DataType, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
        TimestampMicrosecondType,
    },
};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use datafusion::{
    common::Result,
    functions::datetime::current_date,
    logical_expr::{
        Cast, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use super::own::{Given, Own, TIME, given, is_text, mistake};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY: i64 = 86_400_000_000_000;

/// The functions, built once.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let two = Own::new("age_between__", |types| times(types, 2), |_| INTERVAL, between).made();
    let one =
        |types: &[DataType]| matches!(types, [only] if *only == INTERVAL || is_text(only)).then(|| vec![INTERVAL]);
    vec![
        Arc::new(ScalarUDF::new_from_impl(Age { two, signature: Signature::user_defined(Volatility::Stable) })),
        Own::new("justify_days", one, |_| INTERVAL, |all, _| each(all, justify_days)).made(),
        Own::new("justify_hours", one, |_| INTERVAL, |all, _| each(all, justify_hours)).made(),
        Own::new("justify_interval", one, |_| INTERVAL, |all, _| each(all, justify)).made(),
        Own::new("make_interval", parts, |_| INTERVAL, make).made(),
        Own::new(
            "isfinite",
            finite,
            |_| DataType::Boolean,
            |all, _| {
                // Times that are infinite there are none.
                let array = given(all, 0)?;
                let told: BooleanArray = (0..array.len()).map(|row| array.is_valid(row).then_some(true)).collect();
                Ok(Arc::new(told))
            },
        )
        .made(),
    ]
}

fn times(types: &[DataType], most: usize) -> Option<Vec<DataType>> {
    let is_time = |of: &DataType| matches!(of, DataType::Date32 | DataType::Timestamp(..)) || is_text(of);
    ((1..=most).contains(&types.len()) && types.iter().all(is_time)).then(|| vec![TIME; types.len()])
}

fn finite(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [only] if *only == INTERVAL => Some(vec![INTERVAL]),
        types => times(types, 1),
    }
}

/// `age(a, b)`, and `age(b)`, which is counted from the midnight that began this day.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Age {
    two: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Age {
    fn name(&self) -> &str {
        "age"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match times(types, 2) {
            Some(types) => Ok(types),
            None => datafusion::common::plan_err!("age takes one time or two"),
        }
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if args.len() == 1 {
            args.insert(0, Expr::Cast(Cast::new(Box::new(current_date().call(Vec::new())), TIME)));
        }
        Ok(ExprSimplifyResult::Simplified(self.two.call(args)))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() == 1 {
            let today = Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc().timestamp_micros();
            let today = datafusion::common::ScalarValue::TimestampMicrosecond(Some(today), None);
            args.args.insert(0, ColumnarValue::Scalar(today));
            if let Some(field) = args.arg_fields.first().cloned() {
                args.arg_fields.insert(0, field);
            }
        }
        self.two.invoke_with_args(args)
    }
}

fn between(all: &[Given], _: usize) -> Result<ArrayRef> {
    let later = given(all, 0)?.as_primitive::<TimestampMicrosecondType>();
    let earlier = given(all, 1)?.as_primitive::<TimestampMicrosecondType>();
    let told = later.iter().zip(earlier).map(|(later, earlier)| {
        let Some((later, earlier)) = later.zip(earlier) else { return Ok(None) };
        let read = |micros: i64| DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc());
        match read(later).zip(read(earlier)).and_then(|(later, earlier)| age(later, earlier)) {
            Some(age) => Ok(Some(age)),
            None => mistake("an age is out of the range of intervals"),
        }
    });
    Ok(Arc::new(told.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

/// From `earlier` to `later` as PostgreSQL's `timestamp_age` counts: field by field, borrowing days of the month in which
/// the earlier of both is.
fn age(later: NaiveDateTime, earlier: NaiveDateTime) -> Option<IntervalMonthDayNano> {
    if later < earlier {
        let age = age(earlier, later)?;
        return Some(IntervalMonthDayNano::new(-age.months, -age.days, -age.nanoseconds));
    }
    let month = |time: NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
    let day = |time: NaiveDateTime| i64::from(time.day());
    let mut nanos = (later.time() - earlier.time()).num_nanoseconds()?;
    let mut days = day(later) - day(earlier);
    let mut months = month(later) - month(earlier);
    if nanos < 0 {
        nanos += DAY;
        days -= 1;
    }
    while days < 0 {
        days += days_of_month(earlier.date())?;
        months -= 1;
    }
    Some(IntervalMonthDayNano::new(i32::try_from(months).ok()?, i32::try_from(days).ok()?, nanos))
}

fn days_of_month(date: NaiveDate) -> Option<i64> {
    let first = date.with_day(1)?;
    let next = first.checked_add_days(Days::new(31))?.with_day(1)?;
    Some(TimeDelta::num_days(&(next - first)))
}

fn each(all: &[Given], put: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>) -> Result<ArrayRef> {
    let intervals = given(all, 0)?.as_primitive::<IntervalMonthDayNanoType>();
    let told = intervals.iter().map(|interval| match interval {
        None => Ok(None),
        Some(interval) => match put(interval) {
            Some(interval) => Ok(Some(interval)),
            None => mistake("an interval is out of range"),
        },
    });
    Ok(Arc::new(told.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

/// Thirty days are a month; both have one sign then.
fn justify_days(of: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut months = of.months.checked_add(of.days / 30)?;
    let mut days = of.days % 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Some(IntervalMonthDayNano::new(months, days, of.nanoseconds))
}

/// Twenty-four hours are a day; both have one sign then.
fn justify_hours(of: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = of.days.checked_add(i32::try_from(of.nanoseconds / DAY).ok()?)?;
    let mut nanos = of.nanoseconds % DAY;
    if days > 0 && nanos < 0 {
        (days, nanos) = (days - 1, nanos + DAY);
    } else if days < 0 && nanos > 0 {
        (days, nanos) = (days + 1, nanos - DAY);
    }
    Some(IntervalMonthDayNano::new(of.months, days, nanos))
}

/// Both of these; all three parts have one sign then.
fn justify(of: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = i64::from(of.days) + of.nanoseconds / DAY;
    let mut nanos = of.nanoseconds % DAY;
    let mut months = i64::from(of.months) + days / 30;
    days %= 30;
    if months > 0 && (days < 0 || days == 0 && nanos < 0) {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && (days > 0 || days == 0 && nanos > 0) {
        (months, days) = (months + 1, days - 30);
    }
    if days > 0 && nanos < 0 {
        (days, nanos) = (days - 1, nanos + DAY);
    } else if days < 0 && nanos > 0 {
        (days, nanos) = (days + 1, nanos - DAY);
    }
    Some(IntervalMonthDayNano::new(i32::try_from(months).ok()?, i32::try_from(days).ok()?, nanos))
}

/// Years, months, weeks, days, hours and minutes are whole, seconds are not.
fn parts(types: &[DataType]) -> Option<Vec<DataType>> {
    let is_number = |of: &DataType| of.is_numeric() || is_text(of);
    let all = (0..types.len()).map(|place| if place == 6 { DataType::Float64 } else { DataType::Int64 }).collect();
    (types.len() <= 7 && types.iter().all(is_number)).then_some(all)
}

fn make(all: &[Given], rows: usize) -> Result<ArrayRef> {
    let any_null = |row: usize| all.iter().any(|given| given.array.is_null(row));
    let whole = |place: usize, row: usize| {
        all.get(place).map_or(0, |given| i128::from(given.array.as_primitive::<Int64Type>().value(row)))
    };
    let told = (0..rows).map(|row| {
        if any_null(row) {
            return Ok(None);
        }
        let months = whole(0, row) * 12 + whole(1, row);
        let days = whole(2, row) * 7 + whole(3, row);
        let seconds = all.get(6).map_or(0.0, |given| given.array.as_primitive::<Float64Type>().value(row));
        let micros = (seconds * 1e6).round();
        // (What is no number, and what is too much, becomes the most there is, and is out of range.)
        #[allow(clippy::cast_possible_truncation, reason = "it is whole, and looked at below")]
        let micros = if micros.is_finite() { micros.clamp(-1e19, 1e19) as i128 } else { i128::from(i64::MAX) };
        let nanos = ((whole(4, row) * 60 + whole(5, row)) * 60_000_000 + micros) * 1_000;
        match (i32::try_from(months), i32::try_from(days), i64::try_from(nanos)) {
            (Ok(months), Ok(days), Ok(nanos)) => Ok(Some(IntervalMonthDayNano::new(months, days, nanos))),
            _ => mistake("an interval is out of range"),
        }
    });
    Ok(Arc::new(told.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOUR: i64 = DAY / 24;

    fn time(text: &str) -> NaiveDateTime {
        format!("{text}Z").parse::<DateTime<Utc>>().unwrap().naive_utc()
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case("2024-02-29T00:00:00", "2023-03-31T00:00:00", (10, 29, 0))]
    #[case("2023-03-31T00:00:00", "2024-02-29T00:00:00", (-10, -29, 0))]
    #[case("2024-03-31T00:00:00", "2023-02-28T00:00:00", (13, 3, 0))]
    #[case("2000-02-29T00:00:00", "1999-02-28T00:00:00", (12, 1, 0))]
    #[case("2001-04-10T00:00:00", "1957-06-13T00:00:00", (43 * 12 + 9, 27, 0))]
    #[case("2024-03-01T00:00:00", "2024-01-31T00:00:00", (1, 1, 0))]
    #[case("2024-01-31T00:00:00", "2024-03-01T00:00:00", (-1, -1, 0))]
    #[case("2024-01-01T10:00:00", "1980-05-06T11:30:15.25", (43 * 12 + 7, 25, 22 * HOUR + 29 * HOUR / 60 + 44_750_000_000))]
    #[case("2024-01-01T00:00:00", "2024-01-01T00:00:00", (0, 0, 0))]
    fn an_age_is(#[case] later: &str, #[case] earlier: &str, #[case] (months, days, nanos): (i32, i32, i64)) {
        assert_eq!(age(time(later), time(earlier)), Some(IntervalMonthDayNano::new(months, days, nanos)));
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case(justify_days, (0, -35, 0), (-1, -5, 0))]
    #[case(justify_days, (2, -65, 0), (0, -5, 0))]
    #[case(justify_hours, (0, 0, -27), (0, -1, -3))]
    #[case(justify_hours, (0, 3, -50), (0, 0, 22))]
    #[case(justify, (1, 0, -1), (0, 29, 23))]
    #[case(justify, (-1, 45, 30), (0, 16, 6))]
    fn parts_that_are_full_count_as_the_next(
        #[case] justify: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
        #[case] (months, days, hours): (i32, i32, i64),
        #[case] expected: (i32, i32, i64),
    ) {
        let told = justify(IntervalMonthDayNano::new(months, days, hours * HOUR)).unwrap();
        assert_eq!((told.months, told.days, told.nanoseconds / HOUR), expected);
    }
}

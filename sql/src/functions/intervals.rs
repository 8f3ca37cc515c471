//! Intervals times numbers (`n * INTERVAL '1 day'`, `(b - a) / 2`), as PostgreSQL has them: what is left of a month goes on as
//! days, 30 to a month, what is left of a day as time.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{ArrayRef, AsArray, IntervalMonthDayNanoArray},
    datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit},
};
use datafusion::{
    common::{DFSchema, Result},
    logical_expr::{
        ExprSchemable, ScalarUDF,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
    sql::sqlparser::ast::BinaryOperator,
};

use super::own::{Given, Own, given, mistake};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const NANOS_OF_A_SECOND: f64 = 1e9;
const SECONDS_OF_A_DAY: f64 = 86_400.0;
const DAYS_OF_A_MONTH: f64 = 30.0;

/// Plans `*` and `/` of an interval and a number.
#[derive(Debug)]
pub(super) struct Times;

impl ExprPlanner for Times {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_division = match expr.op {
            BinaryOperator::Multiply => false,
            BinaryOperator::Divide => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let (left, right) = (is_length(&left), is_length(&right));
        let function = if is_division { &*DIVIDED } else { &*MULTIPLIED };
        Ok(match (left, right) {
            (true, false) => PlannerResult::Planned(function.call(vec![expr.left, expr.right])),
            (false, true) if !is_division => PlannerResult::Planned(function.call(vec![expr.right, expr.left])),
            _ => PlannerResult::Original(expr),
        })
    }
}

fn is_length(of: &DataType) -> bool {
    matches!(of, DataType::Interval(_) | DataType::Duration(_))
}

/// The functions that stand for the operators, by names that only the planner calls.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::clone(&MULTIPLIED), Arc::clone(&DIVIDED)]
}

static MULTIPLIED: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Own::new("interval_times__", takes, |_| INTERVAL, |all, _| each(all, times)).made());

static DIVIDED: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let divided =
        |all: &[Given], _: usize| {
            each(all, |interval, number| {
                if number == 0.0 { mistake("an interval is divided by zero") } else { times(interval, 1.0 / number) }
            })
        };
    Own::new("interval_divided__", takes, |_| INTERVAL, divided).made()
});

fn takes(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [length, number] if is_length(length) && (number.is_numeric() || number.is_null()) => {
            Some(vec![INTERVAL, DataType::Float64])
        }
        _ => None,
    }
}

fn each(all: &[Given], one: impl Fn(IntervalMonthDayNano, f64) -> Result<IntervalMonthDayNano>) -> Result<ArrayRef> {
    let intervals = given(all, 0)?.as_primitive::<IntervalMonthDayNanoType>();
    let numbers = given(all, 1)?.as_primitive::<Float64Type>();
    let pairs = intervals.iter().zip(numbers.iter());
    let results = pairs.map(|(interval, number)| interval.zip(number).map(|(i, n)| one(i, n)).transpose());
    Ok(Arc::new(results.collect::<Result<IntervalMonthDayNanoArray>>()?))
}

/// By the rule of PostgreSQL's `interval_mul` (src/backend/utils/adt/timestamp.c): whole months, then days, then time, which is
/// rounded to microseconds.
fn times(of: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let (all_months, all_days) = (f64::from(of.months) * factor, f64::from(of.days) * factor);
    let (months, mut days) = (all_months.trunc(), all_days.trunc());
    let days_of_months = micros((all_months - months) * DAYS_OF_A_MONTH);
    let mut seconds = micros((all_days - days + days_of_months - days_of_months.trunc()) * SECONDS_OF_A_DAY);
    if seconds.abs() >= SECONDS_OF_A_DAY {
        let more = (seconds / SECONDS_OF_A_DAY).trunc();
        days += more;
        seconds -= more * SECONDS_OF_A_DAY;
    }
    days += days_of_months.trunc();
    // (As wide as it must be: an i64 is not a number that a double holds.)
    #[expect(clippy::cast_precision_loss, reason = "what is lost is below a microsecond for 285 years")]
    let nanos = (of.nanoseconds as f64).mul_add(factor, seconds * NANOS_OF_A_SECOND);
    let nanos = (nanos / 1e3).round_ties_even() * 1e3;
    match (whole(months, f64::from(i32::MAX)), whole(days, f64::from(i32::MAX)), whole(nanos, 9.2e18)) {
        (Some(months), Some(days), Some(nanoseconds)) => match (i32::try_from(months), i32::try_from(days)) {
            (Ok(months), Ok(days)) => Ok(IntervalMonthDayNano { months, days, nanoseconds }),
            _ => mistake("an interval is too long"),
        },
        _ => mistake("an interval is too long"),
    }
}

fn micros(of: f64) -> f64 {
    (of * 1e6).round_ties_even() / 1e6
}

fn whole(of: f64, largest: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it was looked at")]
    (of.abs() <= largest).then_some(of as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn interval(months: i32, days: i32, seconds: f64) -> IntervalMonthDayNano {
        IntervalMonthDayNano { months, days, nanoseconds: whole(seconds * 1e9, 9e18).unwrap() }
    }

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case(interval(0, 1, 0.0), 3.0, interval(0, 3, 0.0))]
    #[case(interval(1, 0, 0.0), 0.5, interval(0, 15, 0.0))]
    #[case(interval(1, 1, 3600.0), 2.5, interval(2, 17, 52_200.0 - 0.0))]
    #[case(interval(0, 1, 0.0), 0.25, interval(0, 0, 21_600.0))]
    #[case(interval(0, 0, 1.0), 1.0 / 3.0, interval(0, 0, 0.333_333))]
    #[case(interval(1, 0, 0.0), -1.0, interval(-1, 0, 0.0))]
    fn an_interval_times_a_number(
        #[case] of: IntervalMonthDayNano,
        #[case] factor: f64,
        #[case] expected: IntervalMonthDayNano,
    ) {
        assert_eq!(times(of, factor).unwrap(), expected);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(times(interval(2_000_000_000, 0, 0.0), 2.0).is_err());
        assert!(times(interval(0, 0, 9e9), 2.0).is_err());
        assert!(times(interval(0, 1, 0.0), f64::NAN).is_err());
    }
}

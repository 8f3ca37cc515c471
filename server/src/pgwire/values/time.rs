use std::fmt::{self, Write};

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
        DurationSecondType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
        Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};
use chrono::{Datelike, Days, NaiveDate};

const DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
pub(super) const EPOCH_DAYS: i64 = 10_957;

/// A value that is about time, in microseconds and days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Date(i64),
    OfDay(i64),
    Stamp(i64, bool),
    Interval { months: i32, days: i32, micros: i64 },
}

fn micros(value: i64, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1_000_000),
        TimeUnit::Millisecond => value.saturating_mul(1_000),
        TimeUnit::Microsecond => value,
        TimeUnit::Nanosecond => value.div_euclid(1_000),
    }
}

/// The value, where the type is one of time.
pub(super) fn of(array: &dyn Array, row: usize) -> Option<Time> {
    Some(match array.data_type() {
        DataType::Date32 => Time::Date(i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Date64 => Time::Date(array.as_primitive::<Date64Type>().value(row).div_euclid(DAY / 1_000)),
        DataType::Time32(unit) => Time::OfDay(match unit {
            TimeUnit::Second => micros(i64::from(array.as_primitive::<Time32SecondType>().value(row)), *unit),
            _ => micros(i64::from(array.as_primitive::<Time32MillisecondType>().value(row)), *unit),
        }),
        DataType::Time64(unit) => Time::OfDay(match unit {
            TimeUnit::Nanosecond => micros(array.as_primitive::<Time64NanosecondType>().value(row), *unit),
            _ => array.as_primitive::<Time64MicrosecondType>().value(row),
        }),
        DataType::Timestamp(unit, zone) => {
            let value = match unit {
                TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
            };
            Time::Stamp(micros(value, *unit), zone.is_some())
        }
        DataType::Duration(unit) => {
            let value = match unit {
                TimeUnit::Second => array.as_primitive::<DurationSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<DurationMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<DurationMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<DurationNanosecondType>().value(row),
            };
            // What lies between two times is days and hours there.
            let micros = micros(value, *unit);
            Time::Interval { months: 0, days: i32::try_from(micros / DAY).ok()?, micros: micros % DAY }
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            Time::Interval { months: array.as_primitive::<IntervalYearMonthType>().value(row), days: 0, micros: 0 }
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            Time::Interval { months: 0, days: value.days, micros: i64::from(value.milliseconds) * 1_000 }
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Time::Interval {
                months: value.months,
                days: value.days,
                micros: micros(value.nanoseconds, TimeUnit::Nanosecond),
            }
        }
        _ => return None,
    })
}

impl Time {
    pub(super) fn write(self, out: &mut impl Write) -> fmt::Result {
        match self {
            Time::Date(days) => {
                let before = date(days, out)?;
                era(before, out)
            }
            Time::OfDay(micros) => clock(micros, out),
            Time::Stamp(micros, zoned) => {
                let before = date(micros.div_euclid(DAY), out)?;
                out.write_char(' ')?;
                clock(micros.rem_euclid(DAY), out)?;
                if zoned {
                    out.write_str("+00")?;
                }
                era(before, out)
            }
            Time::Interval { months, days, micros } => interval(months, days, micros, out),
        }
    }
}

/// Writes a date; tells whether it is before Christ.
fn date(days: i64, out: &mut impl Write) -> Result<bool, fmt::Error> {
    let epoch = NaiveDate::default();
    let distance = Days::new(days.unsigned_abs());
    let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    // Beyond the years that PostgreSQL knows too.
    let Some(date) = date else {
        out.write_str(if days < 0 { "-infinity" } else { "infinity" })?;
        return Ok(false);
    };
    let (before, year) = if date.year() < 1 { (true, 1 - date.year()) } else { (false, date.year()) };
    write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day())?;
    Ok(before)
}

fn era(before: bool, out: &mut impl Write) -> fmt::Result {
    if before { out.write_str(" BC") } else { Ok(()) }
}

fn clock(micros: i64, out: &mut impl Write) -> fmt::Result {
    let seconds = micros / 1_000_000;
    write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
    let rest = micros % 1_000_000;
    if rest == 0 {
        return Ok(());
    }
    let text = format!("{rest:06}");
    write!(out, ".{}", text.trim_end_matches('0'))
}

fn interval(months: i32, days: i32, micros: i64, out: &mut impl Write) -> fmt::Result {
    let mut begun = false;
    // What follows a part that is below nought says that it is not.
    let mut is_below = false;
    for (count, one, many) in [(months / 12, "year", "years"), (months % 12, "mon", "mons"), (days, "day", "days")] {
        if count != 0 {
            let blank = if begun { " " } else { "" };
            let sign = if is_below && count > 0 { "+" } else { "" };
            write!(out, "{blank}{sign}{count} {}", if count == 1 { one } else { many })?;
            (begun, is_below) = (true, count < 0);
        }
    }
    if micros != 0 || !begun {
        out.write_str(if begun { " " } else { "" })?;
        out.write_str(match micros {
            ..0 => "-",
            _ if is_below => "+",
            _ => "",
        })?;
        clock(micros.saturating_abs(), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::DurationSecondArray;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Time::Date(0), "1970-01-01")]
    #[case(Time::Date(-719_163), "0001-12-31 BC")]
    #[case(Time::OfDay(3_723_000_500), "01:02:03.0005")]
    #[case(Time::Stamp(-1, false), "1969-12-31 23:59:59.999999")]
    #[case(Time::Stamp(1_700_000_000_000_000, true), "2023-11-14 22:13:20+00")]
    #[case(Time::Interval { months: 14, days: 1, micros: -1_500_000 }, "1 year 2 mons 1 day -00:00:01.5")]
    #[case(Time::Interval { months: 0, days: 0, micros: 0 }, "00:00:00")]
    #[case(Time::Interval { months: 0, days: -1, micros: 7_384_000_000 }, "-1 days +02:03:04")]
    #[case(Time::Interval { months: -14, days: 3, micros: 0 }, "-1 years -2 mons +3 days")]
    #[case(Time::Interval { months: 0, days: 0, micros: 90_000_000_000_000 }, "25000:00:00")]
    fn a_time_is_written_as_postgresql_writes_it(#[case] time: Time, #[case] expected: &str) {
        let mut text = String::new();
        time.write(&mut text).unwrap();
        assert_eq!(text, expected);
    }

    #[rstest]
    #[case(31 * 86_400, "31 days")]
    #[case(-(30 * 86_400 + 82_800), "-30 days -23:00:00")]
    #[case(82_800, "23:00:00")]
    fn what_lies_between_two_times_is_days_and_hours(#[case] seconds: i64, #[case] expected: &str) {
        let mut text = String::new();
        of(&DurationSecondArray::from(vec![seconds]), 0).unwrap().write(&mut text).unwrap();
        assert_eq!(text, expected);
    }
}

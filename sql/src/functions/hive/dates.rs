use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray},
    compute::CastOptions,
    datatypes::{DataType, Date32Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use datafusion::{
    common::{Result, exec_err},
    logical_expr::Volatility,
};

use super::{
    call::{Call, Takes, mistake},
    patterns::Pattern,
    steady,
};

/// Hive's own pattern where none is given.
const PLAIN: &str = "yyyy-MM-dd HH:mm:ss";

pub(super) fn functions() -> Vec<Call> {
    const DAYS: &[Takes] = &[Takes::Moment, Takes::Whole];
    const ONE: &[Takes] = &[Takes::Moment];
    let part = |name, aliases: &[&str], body| steady(name).alias(aliases).takes(ONE, 1).gives(DataType::Int32, body);
    vec![
        steady("date_add").takes(DAYS, 2).gives(DataType::Date32, |args, _| days_later(args, 1)),
        steady("date_sub").takes(DAYS, 2).gives(DataType::Date32, |args, _| days_later(args, -1)),
        steady("add_months").takes(DAYS, 2).gives(DataType::Date32, |args, _| months_later(args)),
        steady("datediff")
            .alias(&["date_diff"])
            .takes(&[Takes::Moment, Takes::Moment], 2)
            .gives(DataType::Int32, |args, _| days_between(args)),
        steady("months_between")
            .takes(&[Takes::Moment, Takes::Moment], 2)
            .gives(DataType::Float64, |args, _| months_between(args)),
        steady("last_day").takes(ONE, 1).gives(DataType::Date32, |args, _| dates(args, last_day)),
        steady("next_day").takes(&[Takes::Moment, Takes::Text], 2).gives(DataType::Date32, |args, _| next_day(args)),
        part("year", &[], |args, _| number(args, |at| at.year())),
        part("quarter", &[], |args, _| number(args, |at| whole(at.month0() / 3 + 1))),
        part("month", &[], |args, _| number(args, |at| whole(at.month()))),
        part("day", &["dayofmonth"], |args, _| number(args, |at| whole(at.day()))),
        part("dayofyear", &[], |args, _| number(args, |at| whole(at.ordinal()))),
        part("dayofweek", &[], |args, _| number(args, |at| whole(at.weekday().num_days_from_sunday() + 1))),
        part("weekofyear", &[], |args, _| number(args, |at| whole(at.iso_week().week()))),
        part("hour", &[], |args, _| of_clock(args, |at| whole(at.hour()))),
        part("minute", &[], |args, _| of_clock(args, |at| whole(at.minute()))),
        part("second", &[], |args, _| of_clock(args, |at| whole(at.second()))),
        Call::new("unix_timestamp", Volatility::Stable)
            .alias(&["to_unix_timestamp"])
            .takes(&[Takes::Moment, Takes::Text], 0)
            .gives(DataType::Int64, unix_timestamp),
        steady("from_unixtime")
            .takes(&[Takes::Whole, Takes::Text], 1)
            .gives(DataType::Utf8, |args, _| from_unixtime(args)),
        steady("date_format")
            .takes(&[Takes::Moment, Takes::Text], 2)
            .gives(DataType::Utf8, |args, _| date_format(args)),
    ]
}

/// The moments of a column, in UTC; what cannot be read is `None`.
pub(super) fn moments(column: &ArrayRef) -> Result<Vec<Option<NaiveDateTime>>> {
    if *column.data_type() == DataType::Utf8 {
        return Ok(column.as_string::<i32>().iter().map(|text| text.and_then(read)).collect());
    }
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = arrow::compute::cast_with_options(column, &wanted, &options)?;
    let micros = cast.as_primitive::<TimestampMicrosecondType>();
    Ok(micros.iter().map(|at| at.and_then(DateTime::from_timestamp_micros).map(|at| at.naive_utc())).collect())
}

/// A date, or a date and a time with `T` or a blank between them; an offset at the end is applied.
pub(super) fn read(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    if let Some(at) = with_time(text) {
        return Some(at);
    }
    let date = text.split([' ', 'T']).next().unwrap_or_default();
    NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)
}

fn with_time(text: &str) -> Option<NaiveDateTime> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.naive_utc());
    }
    let whole = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    if let Some(at) = whole.iter().find_map(|pattern| NaiveDateTime::parse_from_str(text, pattern).ok()) {
        return Some(at);
    }
    // PostgreSQL writes hours of an offset alone.
    let offset = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"];
    offset.iter().find_map(|pattern| DateTime::parse_from_str(text, pattern).ok()).map(|at| at.naive_utc())
}

/// The time of a day: of a date, with midnight where it has none, or alone.
fn clock(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    with_time(text).or_else(|| {
        let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|pattern| NaiveTime::parse_from_str(text, pattern).ok());
        match time {
            Some(time) => Some(NaiveDate::default().and_time(time)),
            None => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0),
        }
    })
}

fn of_clock(args: &[ArrayRef], of: fn(NaiveDateTime) -> i32) -> Result<ArrayRef> {
    let [column, ..] = args else { return exec_err!("a time is missing") };
    if *column.data_type() != DataType::Utf8 {
        return number(args, of);
    }
    let times = column.as_string::<i32>().iter().map(|text| text.and_then(clock).map(of));
    Ok(Arc::new(times.collect::<Int32Array>()))
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn number(args: &[ArrayRef], of: fn(NaiveDateTime) -> i32) -> Result<ArrayRef> {
    let [column, ..] = args else { return exec_err!("a date is missing") };
    Ok(Arc::new(moments(column)?.into_iter().map(|at| at.map(of)).collect::<Int32Array>()))
}

fn dates(args: &[ArrayRef], of: fn(NaiveDate) -> Option<NaiveDate>) -> Result<ArrayRef> {
    let [column, ..] = args else { return exec_err!("a date is missing") };
    let answers = moments(column)?.into_iter().map(|at| at.and_then(|at| of(at.date())).map(days));
    Ok(Arc::new(answers.collect::<Date32Array>()))
}

fn days(date: NaiveDate) -> i32 {
    Date32Type::from_naive_date(date)
}

fn moved(args: &[ArrayRef], by: impl Fn(NaiveDate, i64) -> Option<NaiveDate>) -> Result<ArrayRef> {
    let [column, count] = args else { return exec_err!("a date and a number are needed") };
    let counts = count.as_primitive::<Int64Type>();
    let answers = moments(column)?.into_iter().zip(counts.iter()).map(|(at, count)| by(at?.date(), count?).map(days));
    Ok(Arc::new(answers.collect::<Date32Array>()))
}

fn days_later(args: &[ArrayRef], sign: i64) -> Result<ArrayRef> {
    moved(args, |date, count| {
        let count = count.checked_mul(sign)?;
        let days = Days::new(count.unsigned_abs());
        if count < 0 { date.checked_sub_days(days) } else { date.checked_add_days(days) }
    })
}

/// The last day of a month stays the last day (Hive).
fn months_later(args: &[ArrayRef]) -> Result<ArrayRef> {
    moved(args, |date, count| {
        let months = Months::new(u32::try_from(count.unsigned_abs()).ok()?);
        let there = if count < 0 { date.checked_sub_months(months) } else { date.checked_add_months(months) }?;
        if last_day(date) == Some(date) { last_day(there) } else { Some(there) }
    })
}

fn last_day(date: NaiveDate) -> Option<NaiveDate> {
    date.with_day(1)?.checked_add_months(Months::new(1))?.pred_opt()
}

fn days_between(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [end, start] = args else { return exec_err!("two dates are needed") };
    let pairs = moments(end)?.into_iter().zip(moments(start)?);
    let between = pairs.map(|(end, start)| i32::try_from((end?.date() - start?.date()).num_days()).ok());
    Ok(Arc::new(between.collect::<Int32Array>()))
}

/// Whole where both are the same day of their months, or both the last; else days count as 31sts, rounded to 8 digits.
fn months_between(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [one, other] = args else { return exec_err!("two dates are needed") };
    let pairs = moments(one)?.into_iter().zip(moments(other)?);
    let between = pairs.map(|(one, other)| {
        let (one, other) = (one?, other?);
        let months = f64::from((one.year() - other.year()) * 12 + whole(one.month()) - whole(other.month()));
        let last = |at: NaiveDateTime| last_day(at.date()) == Some(at.date());
        if one.day() == other.day() || (last(one) && last(other)) {
            return Some(months);
        }
        let seconds = |at: NaiveDateTime| f64::from(at.day()) * 86_400.0 + f64::from(at.num_seconds_from_midnight());
        Some(((months + (seconds(one) - seconds(other)) / (31.0 * 86_400.0)) * 1e8).round() / 1e8)
    });
    Ok(Arc::new(between.collect::<Float64Array>()))
}

fn next_day(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [column, weekday] = args else { return exec_err!("a date and a day of the week are needed") };
    let wanted = weekday.as_string::<i32>().iter();
    let answers = moments(column)?.into_iter().zip(wanted).map(|(at, wanted)| {
        let name = wanted?.trim().to_uppercase();
        let is = |day: &&str| *day == name || name.len() <= 3 && name.len() >= 2 && day.starts_with(&name);
        let names = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
        let wanted = names.iter().position(is)?;
        let today = at?.date();
        let ahead = (wanted + 6 - today.weekday().num_days_from_monday() as usize) % 7 + 1;
        today.checked_add_days(Days::new(ahead as u64)).map(days)
    });
    Ok(Arc::new(answers.collect::<Date32Array>()))
}

/// The pattern of each row, read once where it is the same as the row before.
struct Formats<'a> {
    patterns: Option<&'a StringArray>,
    last: Option<(&'a str, Pattern)>,
}

impl<'a> Formats<'a> {
    fn of(column: Option<&'a ArrayRef>) -> Self {
        Self { patterns: column.map(|column| column.as_string::<i32>()), last: None }
    }

    /// `None`: the row has no pattern.
    fn at(&mut self, row: usize) -> Result<Option<&Pattern>> {
        let pattern = match self.patterns {
            None => PLAIN,
            Some(patterns) if patterns.is_null(row) => return Ok(None),
            Some(patterns) => patterns.value(row),
        };
        if self.last.as_ref().is_none_or(|(last, _)| *last != pattern) {
            match Pattern::read(pattern) {
                Some(known) => self.last = Some((pattern, known)),
                None => return mistake("a date pattern has a letter that is not known; write one like yyyy-MM-dd"),
            }
        }
        Ok(self.last.as_ref().map(|(_, known)| known))
    }
}

fn unix_timestamp(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let now = Utc::now();
    let Some(column) = args.first() else {
        return Ok(Arc::new(Int64Array::from_value(now.timestamp(), rows)));
    };
    let seconds = |at: NaiveDateTime| at.and_utc().timestamp();
    if *column.data_type() != DataType::Utf8 {
        return Ok(Arc::new(moments(column)?.into_iter().map(|at| at.map(seconds)).collect::<Int64Array>()));
    }
    let texts = column.as_string::<i32>();
    let is_plain = args.len() < 2;
    let mut formats = Formats::of(args.get(1));
    let mut answers = Vec::with_capacity(rows);
    for (row, text) in texts.iter().enumerate() {
        let (Some(pattern), Some(text)) = (formats.at(row)?, text) else {
            answers.push(None);
            continue;
        };
        // Without a pattern what says an offset, or no time at all, is read too.
        let whole = if is_plain { with_time(text.trim()).map(seconds) } else { None };
        let found = whole.or_else(|| pattern.parse(text, now.naive_utc()));
        answers.push(found.or_else(|| if is_plain { read(text).map(seconds) } else { None }));
    }
    Ok(Arc::new(Int64Array::from(answers)))
}

fn from_unixtime(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [seconds, rest @ ..] = args else { return exec_err!("a number of seconds is missing") };
    let moments = seconds.as_primitive::<Int64Type>().iter();
    let moments = moments.map(|at| at.and_then(|at| DateTime::from_timestamp(at, 0)).map(|at| at.naive_utc()));
    formatted(moments.collect(), rest.first())
}

fn date_format(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [column, rest @ ..] = args else { return exec_err!("a date is missing") };
    formatted(moments(column)?, rest.first())
}

fn formatted(moments: Vec<Option<NaiveDateTime>>, patterns: Option<&ArrayRef>) -> Result<ArrayRef> {
    let mut formats = Formats::of(patterns);
    let mut answers = Vec::with_capacity(moments.len());
    for (row, at) in moments.into_iter().enumerate() {
        let text = match (formats.at(row)?, at) {
            (Some(pattern), Some(at)) => Some(pattern.write(at)),
            _ => None,
        };
        answers.push(text);
    }
    Ok(Arc::new(StringArray::from(answers)))
}

use arrow::datatypes::{DataType as Arrow, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use datafusion::{
    common::DataFusionError,
    scalar::ScalarValue,
    sql::sqlparser::ast::{CastKind, DataType, Expr, TimezoneInfo},
};

use super::{
    ast::{call, text},
    path::text_of,
};
use crate::Error;

/// A day, with a time of it where the text has one, and the distance from UTC in seconds that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The day that is written. `24:00` ends it, and is the next day's midnight.
    pub date: NaiveDate,
    pub local: NaiveDateTime,
    pub offset: Option<i32>,
}

impl Moment {
    /// Reads what clients of PostgreSQL send for dates and times: `2024-02-29`, with ` 12:34[:56.789]` or `T12:34...` after
    /// it, and with `Z`, `+02`, `+0530` or `-05:30` at the end, after a blank or without. `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(text.len());
        match Self::of(text, end) {
            // The sign before a distance looks like the one before a month.
            None => Self::of(text, text.get(..end)?.rfind('-')?),
            read => read,
        }
    }

    fn of(text: &str, end: usize) -> Option<Self> {
        let (date, rest) = (day(text.get(..end)?)?, text.get(end..)?);
        let rest = rest.strip_prefix(['T', 't']).unwrap_or(rest).trim_start();
        let is_clock = |letter: char| letter.is_ascii_digit() || matches!(letter, ':' | '.');
        let (clock, zone) = rest.split_at(rest.find(|letter| !is_clock(letter)).unwrap_or(rest.len()));
        let micros = if clock.is_empty() { 0 } else { of_day(clock)? };
        let local = date.and_hms_opt(0, 0, 0)?.checked_add_signed(TimeDelta::microseconds(micros))?;
        let zone = zone.trim_start();
        Some(Self { date, local, offset: if zone.is_empty() { None } else { Some(distance(zone)?) } })
    }

    /// As it is in UTC; what says no distance is in UTC already.
    #[must_use]
    pub fn utc(self) -> Option<NaiveDateTime> {
        self.local.checked_sub_signed(TimeDelta::seconds(i64::from(self.offset.unwrap_or_default())))
    }

    /// As the engine reads it for a type: a time without a zone leaves the distance out, as PostgreSQL does.
    pub(super) fn written(self, zoned: bool) -> Option<String> {
        let time = if zoned { self.utc()? } else { self.local };
        Some(format!("{}{}", time.format("%Y-%m-%d %H:%M:%S%.6f"), if zoned { "+00:00" } else { "" }))
    }
}

fn day(text: &str) -> Option<NaiveDate> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    if !(4..=6).contains(&year.len()) || ![month, day].iter().all(|part| (1..=2).contains(&part.len())) {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

/// Microseconds from midnight.
fn of_day(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts = clock.split(':').map(digits).collect::<Option<Vec<i64>>>()?;
    let seconds = match parts.as_slice() {
        [24, 0] | [24, 0, 0] if fraction.bytes().all(|digit| digit == b'0') => 24 * 3_600,
        [hours @ 0..24, minutes @ 0..60] if fraction.is_empty() => hours * 3_600 + minutes * 60,
        [hours @ 0..24, minutes @ 0..60, seconds @ 0..=60] => hours * 3_600 + minutes * 60 + seconds,
        _ => return None,
    };
    // One digit more, to round by.
    let fraction = if fraction.is_empty() { 0 } else { format!("{fraction:0<7}").get(..7)?.parse::<i64>().ok()? };
    Some(seconds * 1_000_000 + (fraction + 5) / 10)
}

/// Why PostgreSQL knows a text as a date or a time, and the engine does not.
///
/// `None` for every other text, whether it is a time or not.
#[must_use]
pub fn out_of_range(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let before_christ = || {
        let era = text.len().checked_sub(2).and_then(|at| text.split_at_checked(at));
        era.is_some_and(|(date, era)| {
            era.eq_ignore_ascii_case("bc") && date.starts_with(|letter: char| letter.is_ascii_digit())
        })
    };
    if infinity(text).is_some() {
        Some("times here are finite: infinity can only be written beside a time that it is compared with")
    } else if before_christ() {
        Some("years before Christ are out of the range of times")
    } else if is_end_of_day(text) {
        Some("24:00 is out of the range of times of a day")
    } else {
        None
    }
}

/// Whether a time of a day is its end.
fn is_end_of_day(text: &str) -> bool {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, ':' | '.')).unwrap_or(text.len());
    text.get(..end).and_then(of_day) == Some(24 * 3_600_000_000)
}

/// Whether a text is the time after all others, or the one before them.
pub(super) fn infinity(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    }
}

/// The latest or the earliest value of a type: what is compared with it is as what is compared with an infinity.
pub(super) fn farthest(of: &Arrow, latest: bool) -> Option<ScalarValue> {
    let day = if latest { NaiveDate::MAX } else { NaiveDate::MIN };
    let time = if latest { NaiveDateTime::MAX } else { NaiveDateTime::MIN }.and_utc();
    Some(match of {
        Arrow::Date32 => {
            let days = day.signed_duration_since(NaiveDate::default()).num_days();
            ScalarValue::Date32(Some(i32::try_from(days).ok()?))
        }
        Arrow::Timestamp(TimeUnit::Second, zone) => ScalarValue::TimestampSecond(Some(time.timestamp()), zone.clone()),
        Arrow::Timestamp(TimeUnit::Millisecond, zone) => {
            ScalarValue::TimestampMillisecond(Some(time.timestamp_millis()), zone.clone())
        }
        // Nanoseconds become microseconds after this, and reach farther then.
        Arrow::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(time.timestamp_micros()), zone.clone())
        }
        _ => return None,
    })
}

/// The error of a time that there is none of here.
pub(super) fn beyond(reason: &str) -> DataFusionError {
    DataFusionError::External(Box::new(Error::Value { message: reason.to_owned() }))
}

/// The function that a text becomes which is cast to a time and is none here: its call says why.
pub(super) const BEYOND: &str = "time_out_of_range";

fn digits(text: &str) -> Option<i64> {
    let is_short = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_short { text.parse().ok() } else { None }
}

/// Seconds east of UTC: `Z`, `+02`, `+0200`, `+02:00`, `-00:09:21`.
fn distance(text: &str) -> Option<i32> {
    if ["z", "utc", "gmt"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let parts = match rest.len() {
        4 if !rest.contains(':') => vec![digits(rest.get(..2)?)?, digits(rest.get(2..)?)?],
        _ => rest.split(':').map(digits).collect::<Option<Vec<i64>>>()?,
    };
    let seconds = match parts.as_slice() {
        [hours @ 0..16] => hours * 3_600,
        [hours @ 0..16, minutes @ 0..60] => hours * 3_600 + minutes * 60,
        [hours @ 0..16, minutes @ 0..60, seconds @ 0..60] => hours * 3_600 + minutes * 60 + seconds,
        _ => return None,
    };
    i32::try_from(sign * seconds).ok()
}

/// `TIMESTAMP '2024-02-29 12:34+02'`, also with `::`, as the engine reads it; `None` for what it reads as PostgreSQL does.
pub(super) fn cast(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    let written = text_of(inner)?;
    let is_time = matches!(data_type, DataType::Time(..));
    let is_moment = matches!(data_type, DataType::Date | DataType::Timestamp(..) | DataType::Datetime(_));
    if is_time && is_end_of_day(&written) || is_moment && !is_end_of_day(&written) && out_of_range(&written).is_some() {
        return Some(call(BEYOND, vec![inner.clone()]));
    }
    let written = literal(&written, data_type)?;
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(text(&written)),
        data_type: data_type.clone(),
        array: false,
        format: None,
    })
}

/// A text as the engine reads it for a type.
pub(super) fn literal(written: &str, data_type: &DataType) -> Option<String> {
    let moment = Moment::read(written)?;
    match data_type {
        DataType::Date => Some(moment.date.to_string()),
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) | DataType::Datetime(_) => {
            moment.written(false)
        }
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => moment.written(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2024-02-29", "2024-02-29 00:00:00", None)]
    #[case("2024-02-29 +00", "2024-02-29 00:00:00", Some(0))]
    #[case("2024-02-29+02", "2024-02-29 00:00:00", Some(7_200))]
    #[case("2024-02-29-05", "2024-02-29 00:00:00", Some(-18_000))]
    #[case("2024-02-29Z", "2024-02-29 00:00:00", Some(0))]
    #[case("2024-02-29 12:34", "2024-02-29 12:34:00", None)]
    #[case("2024-02-29T12:34:56.789Z", "2024-02-29 12:34:56.789", Some(0))]
    #[case("2024-02-29 12:34:56.1234567 -0530", "2024-02-29 12:34:56.123457", Some(-19_800))]
    #[case("2024-2-9 1:02:03+05:30", "2024-02-09 01:02:03", Some(19_800))]
    #[case("1900-01-01 00:00:00+00:09:21", "1900-01-01 00:00:00", Some(561))]
    #[case("9999-12-31 23:59:59", "9999-12-31 23:59:59", None)]
    #[case("2024-02-29 24:00", "2024-03-01 00:00:00", None)]
    #[case("2024-12-31 24:00:00.000+02", "2025-01-01 00:00:00", Some(7_200))]
    fn a_moment_is_read(#[case] text: &str, #[case] local: &str, #[case] offset: Option<i32>) {
        let read = Moment::read(text).unwrap();
        assert_eq!((read.local.to_string().as_str(), read.offset), (local, offset));
    }

    #[rstest]
    #[case("")]
    #[case("now")]
    #[case("2024")]
    #[case("2024-02")]
    #[case("2024-02-30")]
    #[case("2024-02-29 25:00")]
    #[case("2024-02-29 24:01")]
    #[case("2024-02-29 24:00:00.001")]
    #[case("infinity")]
    #[case("2024-02-29 12")]
    #[case("2024-02-29 12:00 CEST")]
    #[case("2024-02-29 12:00 BC")]
    #[case("2024-02-29 x")]
    fn what_is_none_is_not_read(#[case] text: &str) {
        assert_eq!(Moment::read(text), None);
    }

    #[rstest]
    #[case("infinity", true)]
    #[case(" -Infinity", true)]
    #[case("0044-03-15 BC", true)]
    #[case("24:00", true)]
    #[case("24:00:00.0+02", true)]
    #[case("24:00:01", false)]
    #[case("23:59", false)]
    #[case("2024-02-29 24:00", false)]
    #[case("2024-02-29", false)]
    #[case("bc", false)]
    #[case("", false)]
    fn a_time_is_out_of_range(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(out_of_range(text).is_some(), expected);
    }

    #[test]
    fn the_end_of_a_day_is_on_it() {
        assert_eq!(literal("2024-02-29 24:00", &DataType::Date).as_deref(), Some("2024-02-29"));
    }

    #[test]
    fn every_time_is_between_the_farthest() {
        let last = ScalarValue::Date32(Some(2_932_896));
        assert!(farthest(&Arrow::Date32, false).unwrap() < last && last < farthest(&Arrow::Date32, true).unwrap());
    }
}

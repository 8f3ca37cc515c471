//! `AT TIME ZONE`: a time without a zone becomes one with a zone, and the other way round.

use std::{str::FromStr, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray, timezone::Tz},
    datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::{
    common::{DataFusionError, Result, plan_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
    scalar::ScalarValue,
};

use crate::Error;

const UTC: &str = "UTC";

/// The function that PostgreSQL makes of `time AT TIME ZONE zone`.
pub(super) const NAME: &str = "timezone";

/// `timezone(zone, time)`.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(AtZone { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtZone {
    signature: Signature,
}

fn is_zoned(time: &DataType) -> bool {
    matches!(time, DataType::Timestamp(_, Some(_)))
}

impl ScalarUDFImpl for AtZone {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        let zone = if given.get(1).is_some_and(is_zoned) { None } else { Some(UTC.into()) };
        Ok(DataType::Timestamp(TimeUnit::Microsecond, zone))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = given else { return plan_err!("{NAME} takes a zone and a time") };
        let zone = match zone {
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
            other => return plan_err!("a time zone is a text or an interval, not a {other}"),
        };
        let own = match time {
            DataType::Timestamp(_, own) => own.clone(),
            // What may be either has a zone, as in PostgreSQL.
            DataType::Date32 | DataType::Date64 | DataType::Null => Some(UTC.into()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(UTC.into()),
            other => return plan_err!("AT TIME ZONE takes a time, not a {other}"),
        };
        Ok(vec![zone, DataType::Timestamp(TimeUnit::Microsecond, own)])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let [zones, times] = args.args.as_slice() else { return plan_err!("{NAME} takes a zone and a time") };
        let array = moved(&zones.to_array(rows)?, &times.to_array(rows)?)?;
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
            false => ColumnarValue::Array(array),
        })
    }
}

fn moved(zones: &ArrayRef, times: &ArrayRef) -> Result<ArrayRef> {
    let to_local = is_zoned(times.data_type());
    let times = times.as_primitive::<TimestampMicrosecondType>();
    // Most columns name one zone.
    let mut known: Option<(String, Zone)> = None;
    let mut moved = TimestampMicrosecondArray::builder(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || zones.is_null(row) {
            moved.append_null();
            continue;
        }
        let zone = match zones.data_type() {
            DataType::Interval(_) => {
                let distance = zones.as_primitive::<IntervalMonthDayNanoType>().value(row);
                let seconds =
                    (distance.months == 0 && distance.days == 0).then_some(distance.nanoseconds / 1_000_000_000);
                Zone::East(seconds.and_then(east).ok_or_else(unknown)?)
            }
            _ => {
                let name = zones.as_string::<i32>().value(row);
                match &known {
                    Some((own, zone)) if own == name => *zone,
                    _ => {
                        let zone = Zone::read(name).ok_or_else(unknown)?;
                        known = Some((name.to_owned(), zone));
                        zone
                    }
                }
            }
        };
        let time = DateTime::from_timestamp_micros(times.value(row)).map(|time| time.naive_utc());
        let there = time.and_then(|time| if to_local { zone.local(time) } else { zone.utc(time) });
        moved.append_value(there.ok_or_else(beyond)?.and_utc().timestamp_micros());
    }
    let moved = moved.finish();
    Ok(Arc::new(if to_local { moved } else { moved.with_timezone(UTC) }))
}

fn unknown() -> DataFusionError {
    DataFusionError::External(Box::new(Error::Value { message: "there is no time zone of that name".to_owned() }))
}

fn beyond() -> DataFusionError {
    let message = "a time at the end of the calendar has no time in another zone".to_owned();
    DataFusionError::External(Box::new(Error::Value { message }))
}

/// A zone that does not move the clock, or one by its name.
#[derive(Debug, Clone, Copy)]
enum Zone {
    East(FixedOffset),
    Named(Tz),
}

/// Seconds that PostgreSQL's usual abbreviations are east of UTC: they do not move the clock, whatever the place does.
const SHORT: [(&str, i32); 27] = [
    ("utc", 0),
    ("gmt", 0),
    ("uct", 0),
    ("z", 0),
    ("zulu", 0),
    ("wet", 0),
    ("west", 3_600),
    ("bst", 3_600),
    ("cet", 3_600),
    ("met", 3_600),
    ("cest", 7_200),
    ("mest", 7_200),
    ("eet", 7_200),
    ("eest", 10_800),
    ("msk", 10_800),
    ("jst", 32_400),
    ("kst", 32_400),
    ("ast", -14_400),
    ("adt", -10_800),
    ("est", -18_000),
    ("edt", -14_400),
    ("cst", -21_600),
    ("cdt", -18_000),
    ("mst", -25_200),
    ("mdt", -21_600),
    ("pst", -28_800),
    ("pdt", -25_200),
];

impl Zone {
    fn read(name: &str) -> Option<Self> {
        let name = name.trim();
        let short = SHORT.iter().find(|(short, _)| name.eq_ignore_ascii_case(short));
        if let Some((_, seconds)) = short {
            return east(i64::from(*seconds)).map(Zone::East);
        }
        if !name.starts_with(['+', '-'])
            && let Some(zone) =
                [name.to_owned(), name.to_uppercase(), titled(name)].iter().find_map(|name| Tz::from_str(name).ok())
        {
            return Some(Zone::Named(zone));
        }
        // POSIX counts to the west: `+02`, `UTC+2`.
        let letters = name.find(|letter: char| !letter.is_ascii_alphabetic())?;
        let (letters, distance) = name.split_at(letters);
        if !(letters.is_empty() || letters.len() >= 3) {
            return None;
        }
        let (sign, distance) = match distance.strip_prefix('-') {
            Some(distance) => (1, distance),
            None => (-1, distance.strip_prefix('+')?),
        };
        let mut parts = distance.split(':').map(|part| part.parse::<u16>().ok());
        let (hours, minutes) = (i64::from(parts.next()??), i64::from(parts.next().unwrap_or(Some(0))?));
        if parts.next().is_some() || hours > 167 || minutes > 59 {
            return None;
        }
        east(sign * (hours * 3_600 + minutes * 60)).map(Zone::East)
    }

    /// What clocks there show at a time of UTC.
    fn local(self, utc: NaiveDateTime) -> Option<NaiveDateTime> {
        let offset = match self {
            Zone::East(offset) => offset,
            Zone::Named(zone) => zone.offset_from_utc_datetime(&utc).fix(),
        };
        utc.checked_add_signed(seconds(offset))
    }

    /// When clocks there show this. What they show twice is the later one; what they pass over is told as if they did not.
    fn utc(self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let offset = match self {
            Zone::East(offset) => offset,
            Zone::Named(zone) => match zone.offset_from_local_datetime(&local) {
                MappedLocalTime::Single(offset) => offset.fix(),
                MappedLocalTime::Ambiguous(one, other) => {
                    let (one, other) = (one.fix(), other.fix());
                    if one.local_minus_utc() < other.local_minus_utc() { one } else { other }
                }
                MappedLocalTime::None => {
                    zone.offset_from_utc_datetime(&local.checked_sub_signed(TimeDelta::days(1))?).fix()
                }
            },
        };
        local.checked_sub_signed(seconds(offset))
    }
}

fn seconds(offset: FixedOffset) -> TimeDelta {
    TimeDelta::seconds(i64::from(offset.local_minus_utc()))
}

fn east(seconds: i64) -> Option<FixedOffset> {
    FixedOffset::east_opt(i32::try_from(seconds).ok()?)
}

/// `europe/paris` as the list of zones spells it.
fn titled(name: &str) -> String {
    let mut begins = true;
    let letters = name.chars().map(|letter| {
        let put = if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        begins = !letter.is_ascii_alphabetic();
        put
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn time(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    /// As PostgreSQL 15 moves them.
    #[rstest]
    #[case("Europe/Paris", "2020-01-01T12:00:00", "2020-01-01T13:00:00")]
    #[case("europe/paris", "2020-07-01T12:00:00", "2020-07-01T14:00:00")]
    #[case("America/New_York", "2020-01-01T12:00:00", "2020-01-01T07:00:00")]
    #[case("utc", "2020-01-01T12:00:00", "2020-01-01T12:00:00")]
    #[case("CET", "2020-07-01T12:00:00", "2020-07-01T13:00:00")]
    #[case("+02", "2020-01-01T12:00:00", "2020-01-01T10:00:00")]
    #[case("+02:00", "2020-01-01T12:00:00", "2020-01-01T10:00:00")]
    #[case("UTC+2", "2020-01-01T12:00:00", "2020-01-01T10:00:00")]
    #[case("Etc/GMT+2", "2020-01-01T12:00:00", "2020-01-01T10:00:00")]
    fn clocks_of_a_zone_show(#[case] zone: &str, #[case] utc: &str, #[case] local: &str) {
        let zone = Zone::read(zone).unwrap();
        assert_eq!(zone.local(time(utc)), Some(time(local)));
        assert_eq!(zone.utc(time(local)), Some(time(utc)));
    }

    #[rstest]
    #[case("2020-03-29T02:30:00", "2020-03-29T01:30:00")]
    #[case("2020-10-25T02:30:00", "2020-10-25T01:30:00")]
    fn an_hour_that_is_left_out_or_twice_there_is_told_as_postgresql_does(#[case] local: &str, #[case] utc: &str) {
        assert_eq!(Zone::read("Europe/Paris").unwrap().utc(time(local)), Some(time(utc)));
    }

    #[rstest]
    #[case("")]
    #[case("Nowhere/X")]
    #[case("+")]
    #[case("UTC+x")]
    #[case("2")]
    fn what_is_no_zone_is_not_read(#[case] name: &str) {
        assert!(Zone::read(name).is_none());
    }
}

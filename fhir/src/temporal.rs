//! FHIR's dates and times, which may be partial, as the periods that they cover.

/// How much of a date or time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    Year,
    Month,
    Day,
    Minute,
    Second,
    /// With a fraction of a second.
    Fraction,
}

/// The period that a date, dateTime or instant covers: `2020-02` is the whole of February 2020.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    /// First microsecond, since 1970-01-01T00:00:00Z.
    pub start: i64,
    /// First microsecond after it: the period is half-open.
    pub end: i64,
    pub precision: Precision,
    /// Whether a time zone is written; without one the text is read as UTC.
    pub zoned: bool,
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Reads a date, dateTime or instant: `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, or a day with `Thh:mm`, seconds, a fraction and a time
/// zone, of which everything after the minute may be missing. Digits of the fraction beyond microseconds are dropped.
/// `None` where it is none of these or no such day or time exists.
#[must_use]
pub fn parse(text: &str) -> Option<Period> {
    let bytes = text.as_bytes();
    let year = number(bytes, 0, 4).filter(|year| *year > 0)?;
    if bytes.len() == 4 {
        return Some(whole(days(year, 1, 1), days(year + 1, 1, 1), Precision::Year));
    }
    let month = number(bytes, 5, 2).filter(|month| (1..=12).contains(month) && bytes[4] == b'-')?;
    if bytes.len() == 7 {
        let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
        return Some(whole(days(year, month, 1), next, Precision::Month));
    }
    let day = number(bytes, 8, 2).filter(|day| (1..=days_in(year, month)).contains(day) && bytes[7] == b'-')?;
    let date = days(year, month, day);
    if bytes.len() == 10 {
        return Some(whole(date, date + 1, Precision::Day));
    }
    if bytes[10] != b'T' {
        return None;
    }
    let time = time(&bytes[11..])?;
    let offset = zone(&bytes[11 + time.length..])?;
    let start = date * DAY + time.start - offset.unwrap_or(0) * 60 * SECOND;
    Some(Period { start, end: start + time.span, precision: time.precision, zoned: offset.is_some() })
}

fn whole(first: i64, next: i64, precision: Precision) -> Period {
    Period { start: first * DAY, end: next * DAY, precision, zoned: false }
}

/// A time of day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// Microseconds since midnight.
    pub(crate) start: i64,
    span: i64,
    pub(crate) precision: Precision,
    /// Bytes read.
    pub(crate) length: usize,
}

/// Reads `hh:mm`, `hh:mm:ss` or `hh:mm:ss.f...` from the front.
pub(crate) fn time(bytes: &[u8]) -> Option<Time> {
    let hour = number(bytes, 0, 2).filter(|hour| *hour < 24)?;
    let minute = number(bytes, 3, 2).filter(|minute| *minute < 60 && bytes[2] == b':')?;
    let start = (hour * 60 + minute) * 60 * SECOND;
    if bytes.get(5) != Some(&b':') {
        return Some(Time { start, span: 60 * SECOND, precision: Precision::Minute, length: 5 });
    }
    // A leap second is written 60.
    let second = number(bytes, 6, 2).filter(|second| *second <= 60)?;
    let start = start + second * SECOND;
    if bytes.get(8) != Some(&b'.') {
        return Some(Time { start, span: SECOND, precision: Precision::Second, length: 8 });
    }
    let digits = bytes[9..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = digits.min(6);
    let unit = 10_i64.pow(6 - u32::try_from(kept).ok()?);
    let fraction = number(bytes, 9, kept).filter(|_| digits > 0)? * unit;
    Some(Time { start: start + fraction, span: unit, precision: Precision::Fraction, length: 9 + digits })
}

/// Minutes east of UTC; `Some(None)` where nothing is written.
#[allow(clippy::option_option, reason = "no zone is allowed, a wrong one is not")]
fn zone(bytes: &[u8]) -> Option<Option<i64>> {
    match bytes {
        [] => Some(None),
        b"Z" => Some(Some(0)),
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (number(rest, 0, 2)?, number(rest, 3, 2)?);
            let offset = hours * 60 + minutes;
            (minutes < 60 && offset <= 14 * 60).then_some(Some(if *sign == b'-' { -offset } else { offset }))
        }
        _ => None,
    }
}

#[inline]
fn number(bytes: &[u8], from: usize, length: usize) -> Option<i64> {
    bytes
        .get(from..from + length)?
        .iter()
        .try_fold(0_i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March, so that the leap day ends one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn micros(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[rstest]
    #[case("2020", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", Precision::Year)]
    #[case("2020-02", "2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z", Precision::Month)]
    #[case("1969-12", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z", Precision::Month)]
    #[case("2020-02-29", "2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z", Precision::Day)]
    #[case("2020-02-29T23:30", "2020-02-29T23:30:00Z", "2020-02-29T23:31:00Z", Precision::Minute)]
    #[case("2020-02-29T23:30:10", "2020-02-29T23:30:10Z", "2020-02-29T23:30:11Z", Precision::Second)]
    #[case("2020-02-29T23:30:10+02:00", "2020-02-29T21:30:10Z", "2020-02-29T21:30:11Z", Precision::Second)]
    #[case("2020-02-29T23:30:10.5-05:30", "2020-03-01T05:00:10.5Z", "2020-03-01T05:00:10.6Z", Precision::Fraction)]
    #[case(
        "2020-01-01T00:00:00.1234567Z",
        "2020-01-01T00:00:00.123456Z",
        "2020-01-01T00:00:00.123457Z",
        Precision::Fraction
    )]
    #[case("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z", Precision::Second)]
    fn a_text_covers_its_period(
        #[case] text: &str,
        #[case] start: &str,
        #[case] end: &str,
        #[case] precision: Precision,
    ) {
        let period = parse(text).unwrap();
        assert_eq!((period.start, period.end, period.precision), (micros(start), micros(end), precision));
    }

    #[rstest]
    #[case("")]
    #[case("20")]
    #[case("0000")]
    #[case("2020-")]
    #[case("2020-13")]
    #[case("2020-00-10")]
    #[case("2021-02-29")]
    #[case("2020-1-1")]
    #[case("2020/01/01")]
    #[case("2020-01-01 10:00:00Z")]
    #[case("2020-01-01T24:00:00Z")]
    #[case("2020-01-01T10:60:00Z")]
    #[case("2020-01-01T10:00:61Z")]
    #[case("2020-01-01T10:00:00.Z")]
    #[case("2020-01-01T10:00:00+14:01")]
    #[case("2020-01-01T10:00:00+0200")]
    #[case("2020-01-01T")]
    #[case("2020-01-01é")]
    #[case("٢٠٢٠")]
    fn what_is_no_date_is_none(#[case] text: &str) {
        assert_eq!(parse(text), None);
    }

    proptest! {
        #[test]
        fn days_are_those_of_the_calendar(day in 0_i32..3_652_000) {
            let date = NaiveDate::from_num_days_from_ce_opt(day + 1).unwrap();
            let period = parse(&date.format("%Y-%m-%d").to_string()).unwrap();
            prop_assert_eq!(period.start, date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros());
        }

        #[test]
        fn no_text_makes_it_stumble(text in "\\PC{0,12}|[0-9TZ:.+-]{0,30}") {
            if let Some(period) = parse(&text) {
                prop_assert!(period.start < period.end);
            }
        }
    }
}

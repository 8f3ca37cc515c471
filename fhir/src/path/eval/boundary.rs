//! `lowBoundary()` and `highBoundary()`: the least and the greatest value that a written precision allows.

use crate::temporal::{self, Precision};

/// Of a decimal as written, or of an integer: half a unit of its last digit down or up. `None` where it is no number.
pub(super) fn decimal(text: &str, high: bool, digits: Option<i64>) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let scale = i32::try_from(mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len())).ok()?;
    let written: i128 = mantissa.replace('.', "").parse().ok()?;
    let boundary = written.checked_mul(10)?.checked_add(if high { 5 } else { -5 })?;
    let mut number = format!("{boundary}e{}", exponent - scale - 1).parse::<f64>().ok()?;
    if let Some(digits) = digits {
        let factor = 10_f64.powi(i32::try_from(digits).ok().filter(|digits| (0..=31).contains(digits))?);
        let scaled = number * factor;
        number = (if high { scaled.ceil() } else { scaled.floor() }) / factor;
    }
    number.is_finite().then_some(number)
}

/// Of a date: its first or last day.
pub(super) fn date(text: &str, high: bool) -> Option<String> {
    let period = temporal::parse(text)?;
    let micros = if high { period.end - 1 } else { period.start };
    let day = chrono::DateTime::from_timestamp_micros(micros)?;
    Some(day.format("%Y-%m-%d").to_string())
}

/// Of a dateTime or instant: to the millisecond. One without a time zone may lie in any, from +14:00 to -12:00.
pub(super) fn date_time(text: &str, high: bool) -> Option<String> {
    let period = temporal::parse(text)?;
    let zone = if period.zoned {
        zone_of(text)?
    } else if high {
        "-12:00"
    } else {
        "+14:00"
    };
    let local = |micros: i64| chrono::DateTime::from_timestamp_micros(micros);
    // of a zoned one the local time is as written: the offset goes back on
    let offset = if period.zoned { minutes(zone)? * 60_000_000 } else { 0 };
    let at = if high { local(period.end - 1 + offset)? } else { local(period.start + offset)? };
    let fraction = match (period.precision, high) {
        // finer than a millisecond is cut
        (Precision::Fraction, _) | (_, true) => at.format("%.3f").to_string(),
        _ => ".000".to_owned(),
    };
    Some(format!("{}{fraction}{zone}", at.format("%Y-%m-%dT%H:%M:%S")))
}

fn zone_of(text: &str) -> Option<&str> {
    let at = text.rfind(['Z', '+', '-'])?;
    Some(&text[at..])
}

fn minutes(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (hours, rest) = zone.get(1..)?.split_once(':')?;
    let minutes = hours.parse::<i64>().ok()? * 60 + rest.parse::<i64>().ok()?;
    Some(if zone.starts_with('-') { -minutes } else { minutes })
}

/// Of a time: to the millisecond.
pub(super) fn time(text: &str, high: bool) -> Option<String> {
    let read = temporal::time(text.as_bytes()).filter(|read| read.length == text.len())?;
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = match (read.precision, high) {
        (Precision::Minute, false) => ":00",
        (Precision::Minute, true) => ":59",
        _ => "",
    };
    let filler = if high { '9' } else { '0' };
    let fraction: String = fraction.chars().chain(std::iter::repeat(filler)).take(3).collect();
    Some(format!("{clock}{seconds}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("1.0", 0.95, 1.05)]
    #[case("1.587", 1.5865, 1.5875)]
    #[case("-1.5", -1.55, -1.45)]
    #[case("120", 119.5, 120.5)]
    #[case("1.5e2", 145.0, 155.0)]
    #[case("0", -0.5, 0.5)]
    fn a_decimal_lies_within_half_a_unit(#[case] text: &str, #[case] low: f64, #[case] high: f64) {
        assert_eq!((super::decimal(text, false, None), super::decimal(text, true, None)), (Some(low), Some(high)));
    }

    #[rstest]
    #[case("2010", "2010-01-01T00:00:00.000+14:00", "2010-12-31T23:59:59.999-12:00")]
    #[case("2010-10-10", "2010-10-10T00:00:00.000+14:00", "2010-10-10T23:59:59.999-12:00")]
    #[case("2010-10-10T10:30:00+02:00", "2010-10-10T10:30:00.000+02:00", "2010-10-10T10:30:00.999+02:00")]
    #[case("2010-10-10T10:30:00.5Z", "2010-10-10T10:30:00.500Z", "2010-10-10T10:30:00.599Z")]
    fn a_date_time_covers_its_precision(#[case] text: &str, #[case] low: &str, #[case] high: &str) {
        assert_eq!(super::date_time(text, false).as_deref(), Some(low));
        assert_eq!(super::date_time(text, true).as_deref(), Some(high));
    }

    #[rstest]
    #[case("2020-02", "2020-02-01", "2020-02-29")]
    #[case("1969", "1969-01-01", "1969-12-31")]
    #[case("2020-02-03", "2020-02-03", "2020-02-03")]
    fn a_date_covers_its_days(#[case] text: &str, #[case] low: &str, #[case] high: &str) {
        assert_eq!(super::date(text, false).as_deref(), Some(low));
        assert_eq!(super::date(text, true).as_deref(), Some(high));
    }

    #[rstest]
    #[case("12:34", "12:34:00.000", "12:34:59.999")]
    #[case("12:34:00", "12:34:00.000", "12:34:00.999")]
    #[case("12:34:00.5", "12:34:00.500", "12:34:00.599")]
    fn a_time_covers_its_precision(#[case] text: &str, #[case] low: &str, #[case] high: &str) {
        assert_eq!(super::time(text, false).as_deref(), Some(low));
        assert_eq!(super::time(text, true).as_deref(), Some(high));
    }
}

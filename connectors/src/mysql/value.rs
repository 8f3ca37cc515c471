//! Values of the text protocol taken apart.

use super::{ZeroDates, types::Wire};
use crate::{decimal, gather::Cell};

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;

/// A value as a cell of its column; the error says what kind of value has no place there, never which.
pub(super) fn decode<'a>(wire: Wire, value: &'a [u8], zero_dates: ZeroDates) -> Result<Cell<'a>, &'static str> {
    match wire {
        Wire::Int(bits) => integer(value)
            .filter(|number| (i64::MIN >> (64 - bits)..=i64::MAX >> (64 - bits)).contains(number))
            .map(Cell::Int)
            .ok_or("an integer that its type has no place for"),
        Wire::Unsigned => decimal::scaled(value, 20, 0).map(Cell::Wide).ok_or("not an integer"),
        Wire::Decimal { precision, scale } => decimal::scaled(value, precision, scale)
            .map(Cell::Wide)
            .ok_or("a number that its precision has no place for"),
        Wire::Float32 | Wire::Float64 => {
            std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).map(Cell::Float).ok_or("not a number")
        }
        Wire::Bit => Ok(Cell::Bool(value.iter().any(|byte| *byte != 0))),
        Wire::Bits => {
            bits(value).and_then(|bits| i64::try_from(bits).ok()).map(Cell::Int).ok_or("more bits than its type has")
        }
        Wire::Bits64 => bits(value).map(|bits| Cell::Wide(bits.into())).ok_or("more bits than its type has"),
        Wire::Date => match date(value) {
            Some(Day::At(days)) => Ok(Cell::Int(days)),
            Some(Day::Zero) if zero_dates == ZeroDates::Null => Ok(Cell::Null),
            other => Err(no_date(other.as_ref())),
        },
        Wire::Timestamp | Wire::TimestampTz => {
            let (day, time) = value.split_at_checked(10).ok_or("not a date and time")?;
            match (date(day), time_of_day(time)) {
                (Some(Day::At(days)), Some(micros)) => Ok(Cell::Int(days * 86_400_000_000 + micros)),
                (Some(Day::Zero), Some(0)) if zero_dates == ZeroDates::Null => Ok(Cell::Null),
                (Some(_), None) => Err("a time of day that there is none of"),
                (other, _) => Err(no_date(other.as_ref())),
            }
        }
        Wire::Text => std::str::from_utf8(value).map(Cell::Text).map_err(|_| "text that is not UTF-8"),
        Wire::Bytes => Ok(Cell::Bytes(value)),
        Wire::Geometry => value.get(4..).map(Cell::Bytes).ok_or("a geometry that is cut short"),
    }
}

fn no_date(day: Option<&Day>) -> &'static str {
    match day {
        Some(Day::Zero) => {
            "a zero date (0000-00-00); set `zero_dates` to `null` to take it as no value, or to `text` to keep it as it is \
             written"
        }
        Some(Day::Partial) => {
            "a date without a month or a day, or that no calendar has; set `zero_dates` to `text` to keep it"
        }
        _ => "not a date",
    }
}

#[inline]
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    // Downwards, where there is one number more.
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

fn bits(bytes: &[u8]) -> Option<u64> {
    if bytes.len() > 8 {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

enum Day {
    /// Days of the Unix epoch.
    At(i64),
    Zero,
    Partial,
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        Some(value * 10 + i64::from(digit))
    })
}

/// `YYYY-MM-DD`
fn date(text: &[u8]) -> Option<Day> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return None };
    let (year, month, day) = (digits(&[*y0, *y1, *y2, *y3])?, digits(&[*m0, *m1])?, digits(&[*d0, *d1])?);
    if (year, month, day) == (0, 0, 0) {
        return Some(Day::Zero);
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    if day == 0 || day > length {
        return Some(Day::Partial);
    }
    // Years that begin in March, so that the leap day is the last one.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1;
    Some(Day::At(days - EPOCH))
}

/// ` HH:MM:SS[.ffffff]` in microseconds.
fn time_of_day(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = text.split_at_checked(9)?;
    let [b' ', h0, h1, b':', m0, m1, b':', s0, s1] = whole else { return None };
    let (hours, minutes, seconds) = (digits(&[*h0, *h1])?, digits(&[*m0, *m1])?, digits(&[*s0, *s1])?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = match fraction {
        [] => 0,
        [b'.', rest @ ..] if (1..=6).contains(&rest.len()) => {
            digits(rest)? * 10_i64.pow(u32::try_from(6 - rest.len()).ok()?)
        }
        _ => return None,
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike, NaiveDate};
    use proptest::prelude::*;
    use rstest::rstest;

    const WIRES: [Wire; 16] = [
        Wire::Int(8),
        Wire::Int(16),
        Wire::Int(32),
        Wire::Int(64),
        Wire::Unsigned,
        Wire::Float32,
        Wire::Float64,
        Wire::Decimal { precision: 10, scale: 2 },
        Wire::Bit,
        Wire::Bits,
        Wire::Bits64,
        Wire::Date,
        Wire::Timestamp,
        Wire::Text,
        Wire::Bytes,
        Wire::Geometry,
    ];

    #[rstest]
    #[case(Wire::Int(8), b"-128", Cell::Int(-128))]
    #[case(Wire::Int(64), b"-9223372036854775808", Cell::Int(i64::MIN))]
    #[case(Wire::Int(64), b"9223372036854775807", Cell::Int(i64::MAX))]
    #[case(Wire::Int(16), b"0000", Cell::Int(0))]
    #[case(Wire::Unsigned, b"18446744073709551615", Cell::Wide(u64::MAX as i128))]
    #[case(Wire::Bits, &[1, 2], Cell::Int(258))]
    #[case(Wire::Bits64, &[255; 8], Cell::Wide(u64::MAX as i128))]
    #[case(Wire::Date, b"1970-01-01", Cell::Int(0))]
    #[case(Wire::Date, b"2000-02-29", Cell::Int(11_016))]
    #[case(Wire::Timestamp, b"1970-01-02 00:00:01.5", Cell::Int(86_401_500_000))]
    #[case(Wire::Timestamp, b"1969-12-31 23:59:59.999999", Cell::Int(-1))]
    #[case(Wire::Geometry, &[0, 0, 0, 0, 1, 2], Cell::Bytes(&[1, 2]))]
    fn values_are_decoded_exactly(#[case] wire: Wire, #[case] value: &[u8], #[case] expected: Cell<'_>) {
        assert_eq!(decode(wire, value, ZeroDates::Reject), Ok(expected));
    }

    #[rstest]
    #[case(Wire::Int(8), b"128")]
    #[case(Wire::Int(64), b"9223372036854775808")]
    #[case(Wire::Int(32), b"")]
    #[case(Wire::Date, b"0000-00-00")]
    #[case(Wire::Date, b"2020-00-00")]
    #[case(Wire::Date, b"2021-02-29")]
    #[case(Wire::Timestamp, b"0000-00-00 00:00:00")]
    #[case(Wire::Timestamp, b"2020-01-01 24:00:00")]
    #[case(Wire::Timestamp, b"2020-01-01")]
    #[case(Wire::Text, &[0xff])]
    #[case(Wire::Bits, &[255; 9])]
    #[case(Wire::Geometry, &[0, 0])]
    fn what_has_no_place_is_refused(#[case] wire: Wire, #[case] value: &[u8]) {
        assert!(decode(wire, value, ZeroDates::Reject).is_err());
    }

    #[test]
    fn a_zero_date_is_null_where_asked_and_a_partial_one_never() {
        for value in [&b"0000-00-00 00:00:00"[..], b"0000-00-00 00:00:00.000000"] {
            assert_eq!(decode(Wire::Timestamp, value, ZeroDates::Null), Ok(Cell::Null));
        }
        assert_eq!(decode(Wire::Date, b"0000-00-00", ZeroDates::Null), Ok(Cell::Null));
        assert!(decode(Wire::Date, b"2020-00-01", ZeroDates::Null).is_err());
        assert!(decode(Wire::Timestamp, b"0000-00-00 12:00:00", ZeroDates::Null).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(wire in 0..WIRES.len(), value in proptest::collection::vec(any::<u8>(), 0..40)) {
            drop(decode(WIRES[wire], &value, ZeroDates::Null));
        }

        #[test]
        fn integers_are_read_back(value in any::<i64>()) {
            let text = value.to_string();
            prop_assert_eq!(decode(Wire::Int(64), text.as_bytes(), ZeroDates::Reject), Ok(Cell::Int(value)));
        }

        #[test]
        fn doubles_are_read_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            let text = value.to_string();
            prop_assert_eq!(decode(Wire::Float64, text.as_bytes(), ZeroDates::Reject), Ok(Cell::Float(value)));
        }

        #[test]
        fn every_day_and_moment_is_read_as_the_calendar_has_it(seconds in -62_135_596_800_i64..253_402_300_800, micros in 0_u32..1_000_000) {
            let moment = DateTime::from_timestamp(seconds, micros * 1000).unwrap().naive_utc();
            let text = moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            prop_assert_eq!(
                decode(Wire::Timestamp, text.as_bytes(), ZeroDates::Reject),
                Ok(Cell::Int(moment.and_utc().timestamp_micros()))
            );
            let days = i64::from(moment.date().num_days_from_ce() - NaiveDate::default().num_days_from_ce());
            prop_assert_eq!(decode(Wire::Date, &text.as_bytes()[..10], ZeroDates::Reject), Ok(Cell::Int(days)));
        }
    }
}

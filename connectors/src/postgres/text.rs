//! Values as PostgreSQL writes them in text, put into the binary form that the columns are decoded from: a change that comes
//! by logical replication becomes the same value as the same row read by COPY.
//!
//! The settings of our sessions hold: ISO dates, UTC, hexadecimal `bytea`, shortest exact floats.

use super::types::Wire;

/// 2000-01-01 in days of 1970-01-01.
const EPOCH_DAYS: i64 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;

/// The text in the form of the wire, or what is wrong with it.
pub(super) fn to_wire(wire: Wire, text: &[u8]) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "a value that is not written as its type is";
    if matches!(wire, Wire::Text) {
        return Ok(text.to_vec());
    }
    let text = std::str::from_utf8(text).map_err(|_| "text that is not UTF-8")?;
    let bytes = match wire {
        Wire::Bool => Some(vec![u8::from(text == "t" || text == "true")]),
        Wire::Int16 => text.parse::<i16>().ok().map(|value| value.to_be_bytes().to_vec()),
        Wire::Int32 => text.parse::<i32>().ok().map(|value| value.to_be_bytes().to_vec()),
        Wire::Int64 => text.parse::<i64>().ok().map(|value| value.to_be_bytes().to_vec()),
        Wire::Oid => text.parse::<u32>().ok().map(|value| value.to_be_bytes().to_vec()),
        Wire::Float32 => text.parse::<f32>().ok().map(|value| value.to_be_bytes().to_vec()),
        Wire::Float64 => text.parse::<f64>().ok().map(|value| value.to_be_bytes().to_vec()),
        Wire::Uuid => text.parse::<uuid::Uuid>().ok().map(|value| value.as_bytes().to_vec()),
        Wire::Bytes => unhex(text),
        Wire::Date => days(text).map(|days| days.to_be_bytes().to_vec()),
        Wire::Timestamp | Wire::TimestampTz => micros(text).map(|micros| micros.to_be_bytes().to_vec()),
        Wire::Numeric { .. } => numeric(text),
        Wire::Text => None,
    };
    bytes.ok_or(WRONG)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// `2024-02-29`, `0044-03-15 BC`, `infinity`: days since 2000-01-01.
fn days(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    i32::try_from(day_number(text, before_christ)?).ok()
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// Days since 2000-01-01 of a date without its era.
fn day_number(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let year = if before_christ { 1 - year } else { year };
    // Days of the proleptic Gregorian calendar, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some(era * 146_097 + of_era - 719_468 - EPOCH_DAYS)
}

/// `2024-01-01 12:00:00.5`, `... BC`, with or without `+00` after it: microseconds since 2000-01-01.
fn micros(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let text = text.strip_suffix("+00").unwrap_or(text);
    let (date, time) = text.split_once(' ')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let seconds = part()? * 3600 + part()? * 60 + part()?;
    let fraction = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    day_number(date, before_christ)?.checked_mul(DAY_MICROS)?.checked_add(seconds * 1_000_000 + fraction)
}

/// PostgreSQL's binary form of a NUMERIC: how many digits to the base of 10,000, the weight of the first, sign, decimal
/// places, digits.
fn numeric(text: &str) -> Option<Vec<u8>> {
    let special = |sign: u16| Some([[0, 0], [0, 0], sign.to_be_bytes(), [0, 0]].concat());
    match text {
        "NaN" => return special(0xC000),
        "Infinity" => return special(0xD000),
        "-Infinity" => return special(0xF000),
        _ => {}
    }
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let weight = i16::try_from(padded.len() / 4).ok()? - 1;
    let digits = format!("{padded}{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let digits: Vec<i16> = digits
        .as_bytes()
        .chunks(4)
        .map(|group| std::str::from_utf8(group).ok()?.parse().ok())
        .collect::<Option<_>>()?;
    let mut bytes = Vec::with_capacity(8 + 2 * digits.len());
    bytes.extend(i16::try_from(digits.len()).ok()?.to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend((if negative { 0x4000_u16 } else { 0 }).to_be_bytes());
    bytes.extend(u16::try_from(fraction.len()).ok()?.to_be_bytes());
    bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2000-01-01", 0)]
    #[case("1999-12-31", -1)]
    #[case("2024-02-29", 8825)]
    #[case("0001-01-01", -730_119)]
    #[case("0001-12-31 BC", -730_120)]
    #[case("infinity", i32::MAX)]
    fn dates_are_counted_as_postgresql_counts_them(#[case] text: &str, #[case] expected: i32) {
        assert_eq!(days(text), Some(expected));
    }

    #[rstest]
    #[case("2000-01-01 00:00:00", 0)]
    #[case("2000-01-01 00:00:01.5", 1_500_000)]
    #[case("1999-12-31 23:59:59.999999+00", -1)]
    #[case("0001-12-31 00:00:00+00 BC", -730_120 * DAY_MICROS)]
    fn times_are_counted_as_postgresql_counts_them(#[case] text: &str, #[case] expected: i64) {
        assert_eq!(micros(text), Some(expected));
    }

    #[rstest]
    #[case("12.34", 2, 1234)]
    #[case("-0.01", 2, -1)]
    #[case("0", 3, 0)]
    #[case("123456789012345678901234567.8901", 4, 1_234_567_890_123_456_789_012_345_678_901)]
    #[case("10000", 0, 10_000)]
    fn numbers_mean_what_they_say(#[case] text: &str, #[case] scale: u8, #[case] expected: i128) {
        let bytes = numeric(text).unwrap();
        assert_eq!(super::super::numeric::scaled(&bytes, scale), Some(expected));
    }

    #[test]
    fn what_is_no_value_of_its_type_is_refused() {
        for (wire, text) in [
            (Wire::Int16, "70000"),
            (Wire::Date, "yesterday"),
            (Wire::Timestamp, "2024-01-01"),
            (Wire::Numeric { precision: 5, scale: 2 }, "1e5"),
            (Wire::Bytes, "\\x0"),
            (Wire::Uuid, "no"),
        ] {
            assert!(to_wire(wire, text.as_bytes()).is_err(), "{wire:?} {text}");
        }
        assert_eq!(to_wire(Wire::Bytes, b"\\x00ff"), Ok(vec![0, 255]));
        assert_eq!(to_wire(Wire::Bool, b"t"), Ok(vec![1]));
    }
}

//! Whether a text is a value of a primitive type (R4, datatypes, section 2.24.0.1).

use chrono::NaiveDate;

use crate::definitions::Primitive;

/// Whether the text, which is not empty, is a value of the type; whole numbers and booleans are not texts and not asked.
pub(super) fn is_valid(primitive: Primitive, text: &str) -> bool {
    match primitive {
        Primitive::Boolean => matches!(text, "true" | "false"),
        Primitive::Integer => text.parse::<i32>().is_ok(),
        Primitive::PositiveInt => text.parse::<i32>().is_ok_and(|number| number > 0),
        Primitive::UnsignedInt => text.parse::<i32>().is_ok_and(|number| number >= 0),
        Primitive::Decimal => is_decimal(text),
        Primitive::Date => is_date(text),
        Primitive::DateTime => is_date_time(text),
        Primitive::Instant => text.len() > 10 && is_date_time(text),
        Primitive::Time => is_time(text),
        Primitive::Code => {
            !text.starts_with(char::is_whitespace)
                && !text.ends_with(char::is_whitespace)
                && !text.chars().any(|c| c.is_whitespace() && c != ' ')
                && !text.contains("  ")
        }
        Primitive::Id => {
            text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        }
        Primitive::Canonical | Primitive::Uri | Primitive::Url => !text.contains(char::is_whitespace),
        Primitive::Oid => text.strip_prefix("urn:oid:").is_some_and(is_oid),
        Primitive::Uuid => text.strip_prefix("urn:uuid:").is_some_and(is_uuid),
        Primitive::Base64Binary => is_base64(text),
        Primitive::String | Primitive::Markdown | Primitive::Xhtml => {
            !text.chars().any(|c| c < ' ' && !matches!(c, '\t' | '\r' | '\n'))
        }
    }
}

/// A JSON number: exponents as R4 allows, no sign `+`, no zero in front.
pub(super) fn is_decimal(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

fn number(text: &str, digits: usize) -> Option<u32> {
    if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (year, month, day, more) = (parts.next(), parts.next(), parts.next(), parts.next());
    let Some(year) = year.and_then(|year| number(year, 4)).filter(|year| *year > 0) else { return false };
    let Some(month) = month else { return true };
    let Some(month) = number(month, 2).filter(|month| (1..=12).contains(month)) else { return false };
    let Some(day) = day else { return true };
    let day = number(day, 2);
    more.is_none() && day.is_some_and(|day| NaiveDate::from_ymd_opt(year.cast_signed(), month, day).is_some())
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else { return is_date(text) };
    if date.len() != 10 || !is_date(date) {
        return false;
    }
    if let Some(time) = time.strip_suffix('Z') {
        return is_time(time);
    }
    let Some(at) = time.rfind(['+', '-']) else { return false };
    let (time, zone) = time.split_at(at);
    let zone = zone.get(1..).and_then(|zone| zone.split_once(':'));
    let zone = zone.and_then(|(hours, minutes)| Some((number(hours, 2)?, number(minutes, 2)?)));
    is_time(time) && zone.is_some_and(|(hours, minutes)| hours * 60 + minutes <= 14 * 60 && minutes < 60)
}

fn is_time(text: &str) -> bool {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next(), parts.next(), parts.next());
    let (Some(hours), Some(minutes), Some(seconds), None) = (hours, minutes, seconds, parts.next()) else {
        return false;
    };
    let (whole, fraction) = match seconds.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (seconds, None),
    };
    number(hours, 2).is_some_and(|hours| hours < 24)
        && number(minutes, 2).is_some_and(|minutes| minutes < 60)
        && number(whole, 2).is_some_and(|seconds| seconds <= 60)
        && fraction.is_none_or(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    arcs.next().is_some_and(|first| matches!(first, "0" | "1" | "2"))
        && text.contains('.')
        && arcs.all(|arc| {
            !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
        })
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.len() == 5
        && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
}

fn is_base64(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let data = digits.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
    digits.len().is_multiple_of(4) && digits.len() - data <= 2 && digits[data..].iter().all(|byte| *byte == b'=')
}

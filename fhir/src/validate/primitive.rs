//! Formats of the primitive types (R4, 2.24.0.1).

use super::Severity;
use crate::{
    bundle::is_id,
    definitions::Primitive,
    json::Value,
    temporal::{self, Precision},
};

type Finding = Option<(Severity, &'static str)>;

const fn error(message: &'static str) -> Finding {
    Some((Severity::Error, message))
}

const fn warning(message: &'static str) -> Finding {
    Some((Severity::Warning, message))
}

/// The JSON kind that a primitive must have, where a value has another one.
pub(super) fn wrong_kind(primitive: Primitive, value: &Value<'_>) -> Option<&'static str> {
    match (primitive, value) {
        (Primitive::Boolean, Value::Bool(_)) => None,
        (Primitive::Boolean, _) => Some("a boolean"),
        (primitive, Value::Number(_)) if primitive.is_number() => None,
        (primitive, Value::String(_)) if !primitive.is_number() => None,
        (primitive, _) => Some(if primitive.is_number() { "a number" } else { "a string" }),
    }
}

/// What is wrong with a value of the right kind.
pub(super) fn check(primitive: Primitive, value: &Value<'_>) -> Finding {
    match value {
        Value::Number(text) => number(primitive, text),
        Value::String(text) => self::text(primitive, text),
        _ => None,
    }
}

fn number(primitive: Primitive, text: &str) -> Finding {
    if primitive == Primitive::Decimal {
        let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        return if is_finite { None } else { error("the decimal is out of range") };
    }
    match (text.parse::<i32>(), primitive) {
        (Err(_), _) => error("a whole number of 32 bits is expected"),
        (Ok(..0), Primitive::UnsignedInt) => error("the number must not be negative"),
        (Ok(..=0), Primitive::PositiveInt) => error("the number must be positive"),
        _ => None,
    }
}

fn text(primitive: Primitive, text: &str) -> Finding {
    if text.is_empty() && !primitive.is_temporal() && primitive != Primitive::Time {
        return warning("the text is empty");
    }
    match primitive {
        Primitive::Date => match temporal::parse(text) {
            Some(period) if period.precision <= Precision::Day => None,
            _ => error("it is no date: YYYY, YYYY-MM or YYYY-MM-DD"),
        },
        Primitive::DateTime => match temporal::parse(text) {
            None => error("it is no dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz"),
            Some(period) if period.precision <= Precision::Day => None,
            Some(period) => clock(period),
        },
        Primitive::Instant => match temporal::parse(text) {
            Some(period) if period.precision > Precision::Day => clock(period),
            _ => error("it is no instant: YYYY-MM-DDThh:mm:ss.sss+zz:zz"),
        },
        Primitive::Time => match temporal::time(text.as_bytes()) {
            Some(time) if time.length == text.len() && time.precision > Precision::Minute => None,
            _ => error("it is no time: hh:mm:ss"),
        },
        Primitive::Id if !is_id(text) => warning("an id is 1 to 64 letters, digits, `-` or `.`"),
        Primitive::Code if !is_code(text) => warning("a code has no spaces at its ends and single ones within"),
        Primitive::Uri | Primitive::Url | Primitive::Canonical if has_space(text) => warning("a URI has no spaces"),
        Primitive::Oid if !is_oid(text) => warning("an oid is written urn:oid:1.2.3"),
        Primitive::Uuid if !is_uuid(text) => warning("a uuid is written urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
        Primitive::Base64Binary if !is_base64(text) => warning("it is no base64"),
        Primitive::Xhtml if !text.trim_start().starts_with("<div") => warning("the narrative is no <div>"),
        _ => None,
    }
}

fn clock(period: temporal::Period) -> Finding {
    if period.precision == Precision::Minute {
        warning("the time has no seconds")
    } else if !period.zoned {
        warning("the time has no zone; it is read as UTC")
    } else {
        None
    }
}

fn has_space(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_whitespace())
}

fn is_code(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Nearly every code is one word.
    !has_space(text)
        || (!bytes.first().is_some_and(u8::is_ascii_whitespace)
            && !bytes.last().is_some_and(u8::is_ascii_whitespace)
            && !bytes.windows(2).any(|pair| pair.iter().all(u8::is_ascii_whitespace)))
}

fn is_oid(text: &str) -> bool {
    let Some(numbers) = text.strip_prefix("urn:oid:") else { return false };
    let mut arcs = numbers.split('.');
    let is_root = matches!(arcs.next(), Some("0" | "1" | "2"));
    let rest: Vec<_> = arcs.collect();
    let is_arc = |arc: &&str| {
        !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc.len() == 1 || !arc.starts_with('0'))
    };
    is_root && !rest.is_empty() && rest.iter().all(is_arc)
}

fn is_uuid(text: &str) -> bool {
    let Some(uuid) = text.strip_prefix("urn:uuid:") else { return false };
    let is_hyphen_at = |place: usize| matches!(place, 8 | 13 | 18 | 23);
    uuid.len() == 36
        && uuid.bytes().enumerate().all(|(place, byte)| match byte {
            b'-' => is_hyphen_at(place),
            b'0'..=b'9' | b'a'..=b'f' => !is_hyphen_at(place),
            _ => false,
        })
}

fn is_base64(text: &str) -> bool {
    let mut count = 0_usize;
    let mut padding = 0_usize;
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        match byte {
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return false,
        }
        count += 1;
    }
    padding <= 2 && count.is_multiple_of(4)
}

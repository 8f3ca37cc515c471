//! One value against what is searched for, by the rules of R4 section 3.1.1.4.

use serde_json::Value;

use super::paths::Kind;

/// The values at a path of member names, lists opened.
pub(crate) fn at<'r>(value: &'r Value, path: &str) -> Vec<&'r Value> {
    let mut here = vec![value];
    for name in path.split('.') {
        here = here
            .into_iter()
            .filter_map(|value| value.get(name))
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                one => vec![one],
            })
            .collect();
    }
    here
}

pub(super) fn fits(kind: Kind, modifier: &str, value: &Value, wanted: &str) -> bool {
    wanted.split(',').any(|wanted| match kind {
        Kind::Token => token(modifier, value, wanted),
        Kind::Text => texts(value).iter().any(|text| matches_text(modifier, text, wanted)),
        Kind::Date => range(value).is_some_and(|range| date_fits(range, wanted)),
        Kind::Quantity => quantity(value, wanted),
        Kind::Reference => reference(modifier, value, wanted),
        Kind::Uri => value == wanted,
    })
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// System and code of all that a token may be found by.
fn codes(value: &Value) -> Vec<(Option<&str>, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::String(code) => vec![(None, Some(code.clone()))],
        Value::Bool(truth) => vec![(None, Some(truth.to_string()))],
        value if value["coding"].is_array() => at(value, "coding").into_iter().flat_map(codes).collect(),
        // a Coding has a code; an Identifier and a ContactPoint have a value
        value if value.get("code").is_some() => vec![(value["system"].as_str(), text(&value["code"]))],
        value => vec![(value["system"].as_str(), text(&value["value"]))],
    }
}

fn token(modifier: &str, value: &Value, wanted: &str) -> bool {
    if modifier == "text" {
        let texts = [at(value, "text"), at(value, "coding.display"), at(value, "display"), at(value, "type.text")];
        return texts
            .concat()
            .into_iter()
            .filter_map(Value::as_str)
            .any(|text| lower(text).starts_with(&lower(wanted)));
    }
    codes(value).into_iter().any(|(system, code)| {
        let same = |wanted: &str| code.as_deref().is_some_and(|code| lower(code) == lower(wanted));
        match wanted.split_once('|') {
            None => same(wanted),
            Some(("", wanted)) => system.is_none() && same(wanted),
            Some((wanted, "")) => system == Some(wanted),
            Some((wanted_system, wanted)) => system == Some(wanted_system) && same(wanted),
        }
    })
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Object(members) => {
            let kept =
                members.iter().filter(|(name, _)| !matches!(name.as_str(), "use" | "type" | "period" | "extension"));
            kept.flat_map(|(_, value)| match value {
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect::<Vec<_>>(),
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

fn matches_text(modifier: &str, text: &str, wanted: &str) -> bool {
    match modifier {
        "exact" => text == wanted,
        "contains" => lower(text).contains(&lower(wanted)),
        _ => lower(text).starts_with(&lower(wanted)),
    }
}

fn reference(modifier: &str, value: &Value, wanted: &str) -> bool {
    let Some(written) = value["reference"].as_str() else { return false };
    match (modifier, wanted.contains('/')) {
        ("", true) => written == wanted,
        ("", false) => written.rsplit('/').next() == Some(wanted),
        (kind, _) => written == format!("{kind}/{wanted}"),
    }
}

/// Milliseconds since 1970: the first that a date covers, and the first after it.
pub(crate) fn date(text: &str) -> (i64, i64) {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let year = number(0, 4);
    let day_ms = 86_400_000;
    match text.len() {
        4 => return (days(year, 1, 1) * day_ms, days(year + 1, 1, 1) * day_ms),
        7 => {
            let month = number(5, 7);
            let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            return (days(year, month, 1) * day_ms, days(next_year, next, 1) * day_ms);
        }
        _ => {}
    }
    let day = days(year, number(5, 7), number(8, 10)) * day_ms;
    if text.len() == 10 {
        return (day, day + day_ms);
    }
    let mut start = day + number(11, 13) * 3_600_000 + number(14, 16) * 60_000 + number(17, 19) * 1000;
    let rest = &text[19..];
    let (fraction, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap());
    let mut length = 1000;
    if let Some(digits) = fraction.strip_prefix('.') {
        assert!(digits.len() <= 3, "finer than a millisecond: {text}");
        length = 10_i64.pow(3 - digits.len() as u32);
        start += digits.parse::<i64>().unwrap() * length;
    }
    if zone != "Z" {
        let minutes = zone[1..3].parse::<i64>().unwrap() * 60 + zone[4..6].parse::<i64>().unwrap();
        start -= if zone.starts_with('-') { -minutes } else { minutes } * 60_000;
    }
    (start, start + length)
}

/// Days since 1970-01-01, counted year by year and month by month.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let of_year = |year: i64| if leap(year) { 366 } else { 365 };
    let before: i64 =
        if year >= 1970 { (1970..year).map(of_year).sum() } else { -(year..1970).map(of_year).sum::<i64>() };
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    before + lengths[..(month - 1) as usize].iter().sum::<i64>() + day - 1
}

/// Of a date its own range, of a Period from its start to its end; a side that is not there is open.
fn range(value: &Value) -> Option<(i64, i64)> {
    if let Some(text) = value.as_str() {
        return Some(date(text));
    }
    let start = value["start"].as_str().map(|text| date(text).0);
    let end = value["end"].as_str().map(|text| date(text).1);
    (start.is_some() || end.is_some()).then(|| (start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX)))
}

fn prefixed(wanted: &str) -> (&str, &str) {
    match wanted.get(..2) {
        Some("eq" | "ne" | "gt" | "lt" | "ge" | "le" | "sa" | "eb") => wanted.split_at(2),
        _ => ("eq", wanted),
    }
}

fn date_fits((start, end): (i64, i64), wanted: &str) -> bool {
    let (prefix, text) = prefixed(wanted);
    let (low, high) = date(text);
    let inside = low <= start && end <= high;
    match prefix {
        "eq" => inside,
        "ne" => !inside,
        "gt" => end > high,
        "lt" => start < low,
        "ge" => end > high || inside,
        "le" => start < low || inside,
        "sa" => start >= high,
        _ => end <= low,
    }
}

/// A decimal in units of 10^-20.
fn fixed(text: &str) -> i128 {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number: i128 = format!("{whole}{fraction:0<20}").parse().unwrap();
    if negative { -number } else { number }
}

/// What the units of the synthetic patients measure, and their size as a power of ten.
const UNITS: [(&str, &str, i32); 16] = [
    ("g/L", "concentration", 0),
    ("g/dL", "concentration", 1),
    ("mg/L", "concentration", -3),
    ("mg/dL", "concentration", -2),
    ("ug/L", "concentration", -6),
    ("ug/dL", "concentration", -5),
    ("ug/mL", "concentration", -3),
    ("ng/mL", "concentration", -6),
    ("pg/mL", "concentration", -9),
    ("kg", "mass", 3),
    ("pg", "mass", -12),
    ("cm", "length", -2),
    ("mm", "length", -3),
    ("mL/min", "flow", 0),
    ("mL/min/{1.73_m2}", "flow", 0),
    ("kU/L", "activity", 3),
];

/// How many powers of ten a unit of UCUM is larger than another.
fn larger(unit: &str, than: &str) -> Option<i32> {
    let find = |code: &str| match code {
        "U/L" => Some(("activity", 0)),
        code => UNITS.iter().find(|(known, ..)| *known == code).map(|(_, what, size)| (*what, *size)),
    };
    let (unit, than) = (find(unit)?, find(than)?);
    (unit.0 == than.0).then_some(unit.1 - than.1)
}

fn quantity(value: &Value, wanted: &str) -> bool {
    let (prefix, wanted) = prefixed(wanted);
    let parts: Vec<&str> = wanted.split('|').collect();
    let mut powers = 0;
    let unit = match parts.as_slice() {
        [_, "", unit] => value["code"] == *unit || value["unit"] == *unit,
        [_, system, code] if value["system"] == *system => {
            let own = value["code"].as_str().unwrap_or_default();
            let converts = larger(own, code).filter(|_| *system == "http://unitsofmeasure.org");
            powers = converts.unwrap_or(0);
            own == *code || converts.is_some()
        }
        [_, _, _] => false,
        _ => true,
    };
    // the shortest digits that mean the number: what it was written as, but for zeros at its end
    let Some(number) = value["value"].as_f64() else { return false };
    let (mut number, asked) = (fixed(&number.to_string()), fixed(parts[0]));
    number = if powers < 0 { number / 10_i128.pow(powers.unsigned_abs()) } else { number * 10_i128.pow(powers as u32) };
    let decimals = parts[0].split_once('.').map_or(0, |(_, fraction)| fraction.len() as u32);
    let half = 10_i128.pow(20 - decimals) / 2;
    let within = asked - half <= number && number < asked + half;
    unit && match prefix {
        "eq" => within,
        "ne" => !within,
        "gt" | "sa" => number > asked,
        "lt" | "eb" => number < asked,
        "ge" => number >= asked,
        _ => number <= asked,
    }
}

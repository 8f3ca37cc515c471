//! What is searched for, read from a parameter's values.

use chrono::{DateTime, Utc};

use super::{
    codes::CodeSet,
    decimal::Decimal,
    near::Near,
    token::{OfType, Token},
    units::{Measure, UCUM},
    value::{Prefix, split, unescape},
};
use crate::{
    ResourceType,
    definitions::{ParameterKind, TypeId},
    functions::fold,
    path::Step,
    temporal,
};

/// A condition on one value of an element; several values mean any of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Test {
    /// There is a value.
    Present,
    Token(Vec<Token>),
    /// `:text`: the folded beginning of the text beside a code.
    TokenText(Vec<String>),
    OfType(Vec<OfType>),
    /// Codes of any of the sets.
    Concepts(Vec<CodeSet>),
    Text(How, Vec<String>),
    Date(Vec<DateTest>),
    Number(Vec<NumberTest>),
    Quantity(Vec<QuantityTest>),
    Reference(Vec<ReferenceTest>),
    /// `:identifier`.
    Identifier(Vec<Token>),
    Uri(UriHow, Vec<String>),
    Near(Vec<Near>),
    /// Of a composite parameter: every part of an alternative, on one element.
    Composite(Vec<Vec<Part>>),
}

/// A part of a composite: a test on what its ways lead to, each from the composite's own element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) ways: Vec<Way>,
    pub(super) targets: &'static [&'static str],
    pub(super) test: Test,
}

/// A path below an element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) steps: Vec<Step>,
    pub(super) type_id: TypeId,
    pub(super) systems: &'static [&'static str],
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum How {
    /// Folded, from the beginning.
    Starts,
    /// Folded, anywhere.
    Contains,
    Exact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum UriHow {
    Equal,
    Below,
    Above,
}

/// A half-open period in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DateTest {
    pub(super) prefix: Prefix,
    pub(super) start: i64,
    pub(super) end: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct NumberTest {
    pub(super) prefix: Prefix,
    pub(super) value: Decimal,
    /// Half-open range by the written precision; for `ap` what is near, both ends included.
    pub(super) low: Decimal,
    pub(super) high: Decimal,
}

/// The numbers that a value stands for, from one to another; an end that is missing is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Option<Decimal>,
    pub(super) to: Option<Decimal>,
    /// The ends do not belong to it.
    pub(super) strict: bool,
}

impl Span {
    /// One number.
    pub(super) fn of(number: Decimal) -> Self {
        Self { from: Some(number), to: Some(number), strict: false }
    }

    /// Of numbers that are so many times larger; `None` where they have more digits than are kept.
    pub(super) fn times(self, factor: Decimal) -> Option<Self> {
        let times = |number: Decimal| number.times(factor).or_else(|| number.shortened().times(factor));
        let side = |side: Option<Decimal>| match side {
            Some(number) => times(number).map(Some),
            None => Some(None),
        };
        Some(Self { from: side(self.from)?, to: side(self.to)?, strict: self.strict })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct QuantityTest {
    pub(super) number: NumberTest,
    /// `None`: any unit.
    pub(super) unit: Option<Unit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unit {
    /// Where it is given, `code` is the code; else code or unit.
    pub(super) system: Option<String>,
    pub(super) code: String,
    /// Where it is a unit of UCUM that others convert to.
    pub(super) measure: Option<Measure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReferenceTest {
    pub(super) target: Target,
    /// As it is written, for canonicals and URIs.
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// An id of any type.
    Id(String),
    Typed(ResourceType, String),
    /// An absolute URL or URN.
    Url,
}

/// The reason is for whoever asked; it does not repeat the value.
type Read<T> = Result<T, String>;

impl Test {
    /// Reads a parameter's value.
    pub(super) fn parse(kind: ParameterKind, modifier: Option<&str>, text: &str, now: DateTime<Utc>) -> Read<Self> {
        let parts = split(text, ',');
        if parts.iter().any(|part| part.is_empty()) {
            return Err("a value is empty: leave the parameter or the comma out".to_owned());
        }
        let texts = || parts.iter().map(|part| unescape(part));
        // what is nothing but marks would be the beginning of everything
        let folded = || -> Read<Vec<String>> {
            let folded: Vec<String> = texts().map(|text| fold(&text).into_owned()).collect();
            if folded.iter().any(String::is_empty) { Err("has no letter".to_owned()) } else { Ok(folded) }
        };
        let urls = || -> Read<Vec<String>> {
            if texts().any(|text| text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"))) {
                return Err("`:below` and `:above` are about URLs, not about URNs (R4 3.1.1.4.12)".to_owned());
            }
            Ok(texts().collect())
        };
        let unknown = |allowed: &str| {
            let modifier = modifier.unwrap_or_default();
            Err(format!("the modifier `:{modifier}` is not for it: it takes {allowed}"))
        };
        Ok(match kind {
            ParameterKind::Token => match modifier {
                None | Some("not") => Self::Token(all(&parts, Token::parse)?),
                Some("text") => Self::TokenText(folded()?),
                Some("of-type") => Self::OfType(all(&parts, OfType::parse)?),
                _ => return unknown(":missing, :not, :text, :of-type, :in, :not-in, :below, :above"),
            },
            ParameterKind::String => match modifier {
                None => Self::Text(How::Starts, folded()?),
                Some("contains") => Self::Text(How::Contains, folded()?),
                Some("exact") => Self::Text(How::Exact, texts().collect()),
                _ => return unknown(":missing, :exact, :contains"),
            },
            ParameterKind::Uri => match modifier {
                None => Self::Uri(UriHow::Equal, texts().collect()),
                Some("below") => Self::Uri(UriHow::Below, urls()?),
                Some("above") => Self::Uri(UriHow::Above, urls()?),
                _ => return unknown(":missing, :below, :above"),
            },
            ParameterKind::Reference => match modifier {
                Some("identifier") => Self::Identifier(all(&parts, Token::parse)?),
                None => Self::Reference(all(&parts, |part| ReferenceTest::parse(None, part))?),
                Some(name) => match name.parse::<ResourceType>() {
                    Ok(target) => Self::Reference(all(&parts, |part| ReferenceTest::parse(Some(target), part))?),
                    Err(_) => return unknown(":missing, :identifier, or a resource type"),
                },
            },
            ParameterKind::Special if modifier.is_none() => Self::Near(all(&parts, Near::parse)?),
            ParameterKind::Date if modifier.is_none() => Self::Date(all(&parts, |part| DateTest::parse(part, now))?),
            ParameterKind::Number if modifier.is_none() => Self::Number(all(&parts, NumberTest::parse)?),
            ParameterKind::Quantity if modifier.is_none() => Self::Quantity(all(&parts, QuantityTest::parse)?),
            _ => return unknown(":missing"),
        })
    }
}

fn all<T>(parts: &[&str], read: impl Fn(&str) -> Read<T>) -> Read<Vec<T>> {
    parts.iter().map(|part| read(part)).collect()
}

impl DateTest {
    fn parse(text: &str, now: DateTime<Utc>) -> Read<Self> {
        let (prefix, date) = Prefix::take(text);
        // a `+` of a time zone that was not encoded arrives as a space
        let date = date.replace(' ', "+");
        let period = temporal::parse(&date)
            .ok_or("is not a date: write YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a time zone")?;
        let (mut start, mut end) = (period.start, period.end);
        if prefix == Prefix::Ap {
            // 10 % of the way between now and the date
            let now = now.timestamp_micros();
            start -= (now - start).abs() / 10;
            end += (now - end).abs() / 10;
        }
        Ok(Self { prefix, start, end })
    }
}

impl NumberTest {
    fn parse(text: &str) -> Read<Self> {
        let (prefix, number) = Prefix::take(text);
        let (value, low, high) = Decimal::parse_range(number).ok_or("is not a number: write 100, 5.40 or 1e2")?;
        let (low, high) = if prefix == Prefix::Ap { value.about() } else { (low, high) };
        Ok(Self { prefix, value, low, high })
    }

    /// Against the numbers that a value stands for.
    pub(super) fn matches(&self, span: &Span) -> bool {
        let Span { from, to, strict } = span;
        let within = from.is_some_and(|from| self.low <= from) && to.is_some_and(|to| to < self.high);
        // an end that does not belong to the span is compared as if it lay a little inside
        let over = |to: Decimal, limit: Decimal| if *strict { to > limit } else { to >= limit };
        let under = |from: Decimal, limit: Decimal| if *strict { from < limit } else { from <= limit };
        match self.prefix {
            Prefix::Eq => within,
            Prefix::Ne => !within,
            Prefix::Gt => to.is_none_or(|to| to > self.value),
            Prefix::Lt => from.is_none_or(|from| from < self.value),
            Prefix::Ge => to.is_none_or(|to| over(to, self.value)),
            Prefix::Le => from.is_none_or(|from| under(from, self.value)),
            // with these too the number is as exact as can be (R4 3.1.1.4.4)
            Prefix::Sa => from.is_some_and(|from| !under(from, self.value)),
            Prefix::Eb => to.is_some_and(|to| !over(to, self.value)),
            Prefix::Ap => from.is_none_or(|from| under(from, self.high)) && to.is_none_or(|to| over(to, self.low)),
        }
    }
}

impl NumberTest {
    /// The same question of numbers that are so many times larger; `None` where they have more digits than are kept.
    pub(super) fn times(&self, factor: Decimal) -> Option<Self> {
        let times = |number: Decimal| number.times(factor);
        let (value, low, high) = (times(self.value)?, times(self.low)?, times(self.high)?);
        Some(Self { prefix: self.prefix, value, low, high })
    }
}

impl QuantityTest {
    fn parse(text: &str) -> Read<Self> {
        let parts = split(text, '|');
        let number = NumberTest::parse(parts[0])?;
        let unit = match parts.as_slice() {
            [_] => None,
            [_, system, code] if !code.is_empty() => {
                let (system, code) = (unescape(system), unescape(code));
                let measure = if system == UCUM { Measure::read(&code) } else { None };
                Some(Unit { system: Some(system).filter(|system| !system.is_empty()), code, measure })
            }
            [_, "", ""] => None,
            _ => return Err("a quantity is written `number`, `number|system|code` or `number||code`".to_owned()),
        };
        Ok(Self { number, unit })
    }
}

impl ReferenceTest {
    fn parse(target: Option<ResourceType>, part: &str) -> Read<Self> {
        let text = unescape(part);
        let reference = |target| Ok(Self { target, text: text.clone() });
        if text.contains("://") || text.starts_with("urn:") {
            return reference(Target::Url);
        }
        let plain = text.split_once("/_history/").map_or(text.as_str(), |(plain, _)| plain);
        let (name, id) = match plain.split_once('/') {
            Some((name, id)) => (Some(name), id),
            None => (None, plain),
        };
        let is_id = !id.is_empty()
            && id.len() <= 64
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        if !is_id {
            return Err("is not a reference: write an id, Type/id or an absolute URL".to_owned());
        }
        let named = name.map(str::parse::<ResourceType>).transpose().map_err(|error| error.to_string())?;
        match (named, target) {
            (Some(named), Some(target)) if named != target => {
                Err(format!("the reference is to a {named}, its modifier says {target}"))
            }
            (Some(one), _) | (None, Some(one)) => reference(Target::Typed(one, id.to_owned())),
            (None, None) => reference(Target::Id(id.to_owned())),
        }
    }
}

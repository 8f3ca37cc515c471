use arrow::{
    array::{Array, AsArray, StringArray},
    buffer::BooleanBuffer,
    error::ArrowError,
};

use super::At;
use crate::{
    definitions::Primitive,
    functions::fold,
    path::navigate::{Leaves, text},
    search::{
        codes::CodeSet,
        token::{OfType, Token},
    },
};

pub(super) fn get(texts: &Option<StringArray>, place: usize) -> Option<&str> {
    texts.as_ref().filter(|texts| texts.is_valid(place)).map(|texts| texts.value(place))
}

pub(super) fn tokens(at: &At<'_>, tokens: &[Token]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    let Some(primitive) = at.type_id().primitive() else {
        return match at.type_id().name() {
            "CodeableConcept" => match leaves.member("coding")? {
                Some(coding) => pairs(&coding, "code", tokens),
                None => Ok(at.none()),
            },
            "Coding" => pairs(leaves, "code", tokens),
            "ContactPoint" => contacts(leaves, tokens),
            _ => pairs(leaves, "value", tokens),
        };
    };
    if primitive == Primitive::Boolean {
        let Some(values) = leaves.values.as_boolean_opt() else { return Ok(at.none()) };
        let fits = |value: bool| tokens.iter().any(|token| token.truth() == Some(value));
        let mask =
            BooleanBuffer::collect_bool(leaves.len(), |place| values.is_valid(place) && fits(values.value(place)));
        return Ok(leaves.any(&mask));
    }
    let texts = text(&leaves.values)?;
    let fits = |text: &str| match primitive {
        Primitive::Code => tokens.iter().any(|token| token.matches_code(text, at.systems)),
        _ => tokens.iter().any(|token| token.matches(None, Some(text))),
    };
    let mask = BooleanBuffer::collect_bool(texts.len(), |place| texts.is_valid(place) && fits(texts.value(place)));
    Ok(leaves.any(&mask))
}

/// Codes of value sets: of a code alone the system is implied, a coding must have it.
pub(super) fn concepts(at: &At<'_>, sets: &[CodeSet]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    if at.type_id().primitive().is_some() {
        let texts = text(&leaves.values)?;
        let fits = |code: &str| sets.iter().any(|set| set.has_of(at.systems, code));
        let mask = BooleanBuffer::collect_bool(texts.len(), |place| texts.is_valid(place) && fits(texts.value(place)));
        return Ok(leaves.any(&mask));
    }
    let codings = match at.type_id().name() {
        "CodeableConcept" => leaves.member("coding")?,
        _ => Some(leaves.clone()),
    };
    let Some(codings) = codings else { return Ok(at.none()) };
    let (systems, codes) = (codings.texts("system")?, codings.texts("code")?);
    let mask = BooleanBuffer::collect_bool(codings.len(), |place| match (get(&systems, place), get(&codes, place)) {
        (Some(system), Some(code)) => sets.iter().any(|set| set.has(system, code)),
        _ => false,
    });
    Ok(codings.any(&mask))
}

/// Values with a `system` and a code, whose member is named.
fn pairs(leaves: &Leaves, member: &str, tokens: &[Token]) -> Result<BooleanBuffer, ArrowError> {
    Ok(leaves.any(&pair_mask(leaves, member, tokens)?))
}

/// What stands before the `|` is a ContactPoint's use (R4 3.1.1.4.10); the kind of contact, which never means the same, is
/// taken as well: `home|555`, `phone|555`.
fn contacts(leaves: &Leaves, tokens: &[Token]) -> Result<BooleanBuffer, ArrowError> {
    let (uses, kinds, values) = (leaves.texts("use")?, leaves.texts("system")?, leaves.texts("value")?);
    let mask = BooleanBuffer::collect_bool(leaves.len(), |place| {
        let (usage, kind, value) = (get(&uses, place), get(&kinds, place), get(&values, place));
        let fits = |token: &Token| token.matches(usage, value) || token.is_of(kind, value);
        (usage.is_some() || kind.is_some() || value.is_some()) && tokens.iter().any(fits)
    });
    Ok(leaves.any(&mask))
}

pub(super) fn pair_mask(leaves: &Leaves, member: &str, tokens: &[Token]) -> Result<BooleanBuffer, ArrowError> {
    let (systems, codes) = (leaves.texts("system")?, leaves.texts(member)?);
    Ok(BooleanBuffer::collect_bool(leaves.len(), |place| {
        let code = get(&codes, place);
        let system = get(&systems, place);
        (code.is_some() || system.is_some()) && tokens.iter().any(|token| token.matches(system, code))
    }))
}

/// `:text`: `CodeableConcept.text`, `Coding.display`, `Identifier.type.text`; for a text the text itself.
pub(super) fn texts(at: &At<'_>, wanted: &[String]) -> Result<BooleanBuffer, ArrowError> {
    let leaves = &at.leaves;
    let starts = |leaves: &Leaves, texts: Option<StringArray>| {
        let Some(texts) = texts else { return at.none() };
        let fits = |text: &str| {
            let text = fold(text);
            wanted.iter().any(|wanted| text.starts_with(wanted.as_str()))
        };
        leaves.any(&BooleanBuffer::collect_bool(texts.len(), |place| texts.is_valid(place) && fits(texts.value(place))))
    };
    match (at.type_id().primitive(), at.type_id().name()) {
        (Some(Primitive::Boolean), _) => Ok(at.none()),
        (Some(_), _) => Ok(starts(leaves, Some(text(&leaves.values)?))),
        (None, "CodeableConcept") => {
            let own = starts(leaves, leaves.texts("text")?);
            let display = match leaves.member("coding")? {
                Some(coding) => starts(&coding, coding.texts("display")?),
                None => at.none(),
            };
            Ok(&own | &display)
        }
        (None, "Coding") => Ok(starts(leaves, leaves.texts("display")?)),
        (None, "Identifier") => match leaves.member("type")? {
            Some(kind) => Ok(starts(&kind, kind.texts("text")?)),
            None => Ok(at.none()),
        },
        (None, _) => Ok(starts(leaves, leaves.texts("value")?)),
    }
}

/// `:of-type` of an Identifier: a coding of its type, and its value.
pub(super) fn of_type(at: &At<'_>, types: &[OfType]) -> Result<BooleanBuffer, ArrowError> {
    if at.type_id().name() != "Identifier" {
        return Ok(at.none());
    }
    let mut found = at.none();
    let values = at.leaves.texts("value")?;
    for wanted in types {
        let fits = |place| get(&values, place).is_some_and(|value| value.eq_ignore_ascii_case(&wanted.value));
        // one identifier must have both: keep those of the value, and ask for the type of what is left
        let kept = at.leaves.keep(&BooleanBuffer::collect_bool(at.leaves.len(), fits))?;
        if let Some(kind) = kept.member("type")?
            && let Some(coding) = kind.member("coding")?
        {
            found = &found | &pairs(&coding, "code", std::slice::from_ref(&wanted.of))?;
        }
    }
    Ok(found)
}

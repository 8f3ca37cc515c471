use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A step into JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// The member of an object.
    Name(&'a str),
    /// The item of a list, from 0, or from -1 backwards.
    Place(i64),
    /// The one or the other, whichever there is: a step of a path.
    Either(&'a str),
}

/// A text as JSON; `None` for any other text.
pub(super) fn whole(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// What stands at the end of a path, as it is written.
pub(super) fn at<'a, 'n>(text: &'a str, steps: impl IntoIterator<Item = Step<'n>>) -> Option<&'a RawValue> {
    steps.into_iter().try_fold(whole(text)?, step)
}

fn step<'a>(value: &'a RawValue, step: Step<'_>) -> Option<&'a RawValue> {
    match (step, value.get().as_bytes().first()?) {
        (Step::Name(name) | Step::Either(name), b'{') => members(value)?.remove(name),
        (Step::Place(place), b'[') => item(value, place),
        (Step::Either(place), b'[') => item(value, place.parse().ok()?),
        _ => None,
    }
}

/// The members of an object. Of two with one name, the last.
fn members(value: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(value.get()).ok()
}

fn item(value: &RawValue, place: i64) -> Option<&RawValue> {
    let items = items(value.get())?;
    let place = if place < 0 {
        items.len().checked_sub(usize::try_from(place.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(place).ok()?
    };
    items.get(place).copied()
}

/// The items of a list; `None` for what is none.
pub(super) fn items(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// The names of an object's members in the order in which they stand; `None` for what is none.
pub(super) fn names(text: &str) -> Option<Vec<String>> {
    struct Names;
    impl<'de> serde::de::Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    let whole = whole(text)?;
    let mut json = serde_json::Deserializer::from_str(whole.get());
    serde::de::Deserializer::deserialize_map(&mut json, Names).ok()
}

/// A value as text: a string without its quotes, everything else as it is written, and nothing for `null`.
pub(super) fn text_of(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        other => Some(other.to_owned()),
    }
}

/// What PostgreSQL's `json_typeof` says.
pub(super) fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // What PostgreSQL 15 answers.
    #[rstest]
    #[case(r#"{"a" : {"b":  1}}"#, &[Step::Name("a")], Some(r#"{"b":  1}"#))]
    #[case(r#"{"a":1,"a":2}"#, &[Step::Name("a")], Some("2"))]
    #[case(r#"{"a":null}"#, &[Step::Name("a")], Some("null"))]
    #[case(r#"{"a":1}"#, &[Step::Name("b")], None)]
    #[case(r#"{"1":5}"#, &[Step::Place(1)], None)]
    #[case("[5]", &[Step::Name("0")], None)]
    #[case("[5]", &[Step::Either("0")], Some("5"))]
    #[case("[1,2.50]", &[Step::Place(-1)], Some("2.50"))]
    #[case("[1,2.50]", &[Step::Place(-3)], None)]
    #[case("[1,2.50]", &[Step::Place(2)], None)]
    #[case(r#"{"a":[1,{"b":"z"}]}"#, &[Step::Either("a"), Step::Either("-1"), Step::Either("b")], Some("\"z\""))]
    #[case(r#"{"a":"x\u00e9y"}"#, &[Step::Name("a")], Some(r#""x\u00e9y""#))]
    #[case("5", &[Step::Name("a")], None)]
    // (PostgreSQL refuses these.)
    #[case("{a", &[Step::Name("a")], None)]
    #[case("", &[Step::Name("a")], None)]
    fn a_path_leads_to(#[case] json: &str, #[case] steps: &[Step<'_>], #[case] expected: Option<&str>) {
        assert_eq!(at(json, steps.iter().copied()).map(RawValue::get), expected);
    }

    #[rstest]
    #[case(r#""x\u00e9y""#, Some("xéy"))]
    #[case("null", None)]
    #[case(" 12345678901234567890.10 ", Some("12345678901234567890.10"))]
    #[case("[ 1 ]", Some("[ 1 ]"))]
    fn a_value_is_the_text(#[case] json: &str, #[case] expected: Option<&str>) {
        assert_eq!(text_of(whole(json).unwrap()).as_deref(), expected);
    }

    #[test]
    fn names_keep_their_order() {
        assert_eq!(names(r#" {"b":1,"a":{"c":2}} "#).unwrap(), ["b", "a"]);
        assert!(names("[1]").is_none());
    }
}

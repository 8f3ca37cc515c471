//! A document passed over as a stream: the records of one list, a few values beside it, and nothing held.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, value::RawValue};

use crate::reading::Halt;

/// Names from the document down: `meta.next`. Empty: the document itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// Reads `meta.next`; `.` and the empty text are the document itself.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_start_matches("$.").trim_matches('.');
        if text.is_empty() || text == "$" {
            return Ok(Self::default());
        }
        let names: Vec<String> = text.split('.').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(|name| name.is_empty() || name.contains(['[', ']', '*'])) {
            return Err(format!("`{text}` is not a path of names like `meta.next`"));
        }
        Ok(Self(names))
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }

    fn begins_with(&self, names: &[String]) -> bool {
        self.0.len() > names.len() && self.0.starts_with(names)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What of a document is looked for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The list of records; `None`: none is looked for.
    pub(crate) records: Option<&'a Path>,
    pub(crate) values: &'a BTreeSet<Path>,
}

/// What was found beside the records.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The list of records is there.
    pub(crate) has_records: bool,
    pub(crate) values: BTreeMap<Path, Value>,
    /// Top-level members that are lists, and whether each of their items is an object.
    pub(crate) lists: Vec<(String, bool)>,
}

/// Passes over a document and hands each record to `each` as its text.
///
/// # Errors
/// What `each` answered ([`Err`] of the outer result), or why the document cannot be read (of the inner one).
pub(crate) fn walk<'de, D: Deserializer<'de>>(
    deserializer: D,
    wanted: &Wanted<'_>,
    each: &mut dyn FnMut(&str) -> Result<(), Halt>,
) -> Result<Result<Found, D::Error>, Halt> {
    let mut state = State { wanted, each, halt: None, found: Found::default(), names: Vec::new() };
    let outcome = Node { state: &mut state }.deserialize(deserializer);
    match (state.halt, outcome) {
        (Some(halt), _) => Err(halt),
        (None, Ok(())) => Ok(Ok(state.found)),
        (None, Err(error)) => Ok(Err(error)),
    }
}

struct State<'w, 'e> {
    wanted: &'w Wanted<'w>,
    each: &'e mut dyn FnMut(&str) -> Result<(), Halt>,
    halt: Option<Halt>,
    found: Found,
    names: Vec<String>,
}

/// A value on the way to something that is looked for, or the thing itself.
struct Node<'s, 'w, 'e> {
    state: &'s mut State<'w, 'e>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Node<'_, '_, '_> {
    fn is_list_of_records(&self) -> bool {
        self.state.wanted.records.is_some_and(|path| path.names() == self.state.names)
    }

    /// What is not a list where the list of records should be.
    fn other<E: serde::de::Error>(&self, what: &str) -> Result<(), E> {
        if self.is_list_of_records() {
            Err(E::custom(format!("{what} where the list of records should be")))
        } else {
            Ok(())
        }
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.other::<A::Error>("an object")?;
        while let Some(name) = map.next_key::<String>()? {
            let state = &mut *self.state;
            state.names.push(name);
            let here = Path(state.names.clone());
            let is_records = state.wanted.records == Some(&here);
            let leads_on = state.wanted.records.iter().any(|path| path.begins_with(&here.0))
                || state.wanted.values.iter().any(|path| path.begins_with(&here.0));
            if state.wanted.values.contains(&here) && !is_records {
                let value = map.next_value::<Value>()?;
                state.found.values.insert(here, value);
            } else if is_records || leads_on {
                map.next_value_seed(Node { state: &mut *state })?;
            } else if state.names.len() == 1 {
                if let Some(holds_objects) = map.next_value_seed(ListOfObjects)? {
                    state.found.lists.push((here.to_string(), holds_objects));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            state.names.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if !self.is_list_of_records() {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.state.found.has_records = true;
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            if let Err(halt) = (self.state.each)(item.get()) {
                self.state.halt = Some(halt);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.other("null")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.other("true or false")
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.other("a number")
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.other("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.other("a number")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.other("a text")
    }
}

/// Whether a value is a list, and then whether all of its items are objects.
struct ListOfObjects;

impl<'de> DeserializeSeed<'de> for ListOfObjects {
    type Value = Option<bool>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<bool>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListOfObjects {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<bool>, A::Error> {
        let mut all = true;
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            all &= item.get().starts_with('{');
        }
        Ok(Some(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<bool>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<bool>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<bool>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<bool>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<bool>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<bool>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<bool>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pass(text: &str, records: Option<&str>, values: &[&str]) -> (Vec<String>, Result<Found, String>) {
        let records = records.map(|path| Path::parse(path).unwrap());
        let values = values.iter().map(|path| Path::parse(path).unwrap()).collect();
        let wanted = Wanted { records: records.as_ref(), values: &values };
        let mut seen = Vec::new();
        let found = walk(&mut serde_json::Deserializer::from_reader(text.as_bytes()), &wanted, &mut |text| {
            seen.push(text.to_owned());
            Ok(())
        });
        (seen, found.unwrap().map_err(|error| error.to_string()))
    }

    #[test]
    fn records_come_with_their_own_text_and_values_beside_them() {
        let text = r#"{"meta": {"next": 7, "x": [1]}, "data": {"items": [{"a": 1.10}, [2]], "n": 2}, "b": "t"}"#;
        let (seen, found) = pass(text, Some("data.items"), &["meta.next", "b", "absent.x"]);
        assert_eq!(seen, [r#"{"a": 1.10}"#, "[2]"]);
        let values: Vec<String> = found.unwrap().values.iter().map(|(path, value)| format!("{path}={value}")).collect();
        assert_eq!(values, ["b=\"t\"", "meta.next=7"]);
    }

    #[rstest]
    #[case(r#"[{"a": 1}, {"a": 2}]"#, ".", Ok((2, true)))]
    #[case(r#"{"error": "expired"}"#, "data", Ok((0, false)))]
    #[case(r#"{"data": []}"#, "data", Ok((0, true)))]
    #[case(r#"{"data": null}"#, "data", Err("null where"))]
    #[case(r#"{"data": {"a": 1}}"#, "data", Err("an object where"))]
    #[case(r#"{"data": "x"}"#, "data.items", Ok((0, false)))]
    #[case(r#"{"data": [1, 2"#, "data", Err("EOF"))]
    fn a_list_that_is_not_there_is_told_from_an_empty_one(
        #[case] text: &str,
        #[case] path: &str,
        #[case] wanted: Result<(usize, bool), &str>,
    ) {
        let (seen, found) = pass(text, Some(path), &[]);
        match (found, wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!((seen.len(), found.has_records), wanted),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_at_the_top_are_told() {
        let (_, found) = pass(r#"{"data": [{}, {}], "codes": [1], "more": true, "o": {"l": []}}"#, None, &["more"]);
        assert_eq!(found.unwrap().lists, [("data".to_owned(), true), ("codes".to_owned(), false)]);
    }
}

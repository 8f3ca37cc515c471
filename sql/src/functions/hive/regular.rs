//! Functions of regular expressions: Rust's, applied where Java would apply its own.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListBuilder, MapBuilder, MapFieldNames, StringBuilder},
    datatypes::{DataType, Field, Int64Type},
};
use datafusion::common::{DataFusionError, Result, exec_err};
use regex::Regex;

use super::{
    call::{Call, Takes, mistake},
    steady,
    text::pairs,
};

/// Patterns that one batch may bring; a column of patterns is for few distinct ones.
const PATTERNS: usize = 1_000;

pub(super) fn functions() -> Vec<Call> {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false);
    vec![
        steady("regexp_extract")
            .takes(&[Takes::Text, Takes::Text, Takes::Whole], 2)
            .gives(DataType::Utf8, |args, _| regexp_extract(args)),
        steady("split").takes(&[Takes::Text, Takes::Text], 2).gives(list, |args, _| split(args)),
        steady("str_to_map").takes(&[Takes::Text, Takes::Text, Takes::Text], 1).gives(map, |args, _| str_to_map(args)),
    ]
}

/// Patterns that were read, by their text.
#[derive(Default)]
struct Patterns(HashMap<String, Regex>);

impl Patterns {
    fn get(&mut self, pattern: &str) -> Result<&Regex> {
        if !self.0.contains_key(pattern) {
            if self.0.len() >= PATTERNS {
                self.0.clear();
            }
            // (The pattern may be a patient's text: what is told of the error is its kind, see `fault`.)
            let read = Regex::new(pattern).map_err(|error| DataFusionError::External(Box::new(error)))?;
            self.0.insert(pattern.to_owned(), read);
        }
        match self.0.get(pattern) {
            Some(read) => Ok(read),
            None => mistake("a regular expression cannot be read"),
        }
    }
}

/// The group of that number (default 1) of the first match: empty where nothing matches, NULL where the match left the group
/// out (Hive).
fn regexp_extract(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, patterns, rest @ ..] = args else { return exec_err!("a text and a pattern are needed") };
    let groups = rest.first().map(|groups| groups.as_primitive::<Int64Type>());
    let mut known = Patterns::default();
    let mut answers = StringBuilder::new();
    for (row, (text, pattern)) in pairs(texts, patterns).enumerate() {
        let group = match groups {
            None => Some(1),
            Some(groups) if groups.is_null(row) => None,
            Some(groups) => usize::try_from(groups.value(row)).ok(),
        };
        let (Some(text), Some(pattern), Some(group)) = (text, pattern, group) else {
            answers.append_null();
            continue;
        };
        let pattern = known.get(pattern)?;
        if group >= pattern.captures_len() {
            return mistake(format!("regexp_extract: the pattern has no group {group}"));
        }
        match pattern.captures(text) {
            None => answers.append_value(""),
            Some(captures) => answers.append_option(captures.get(group).map(|found| found.as_str())),
        }
    }
    Ok(Arc::new(answers.finish()))
}

fn split(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, patterns] = args else { return exec_err!("a text and a pattern are needed") };
    let mut known = Patterns::default();
    let mut answers = ListBuilder::new(StringBuilder::new());
    for (text, pattern) in pairs(texts, patterns) {
        if let (Some(text), Some(pattern)) = (text, pattern) {
            for part in parts(known.get(pattern)?, text) {
                answers.values().append_value(part);
            }
            answers.append(true);
        } else {
            answers.append(false);
        }
    }
    Ok(Arc::new(answers.finish()))
}

/// The parts of a text between matches, as Java splits it: empty ones at the end are kept, one before an empty match at the
/// beginning is not.
fn parts<'a>(pattern: &Regex, text: &'a str) -> Vec<&'a str> {
    let (mut parts, mut begin, mut from) = (Vec::new(), 0, 0);
    while let Some(found) = pattern.find_at(text, from) {
        // Unlike Rust, Java looks for an empty match right after one that was not.
        let letter = text[found.end()..].chars().next();
        if found.end() > 0 {
            parts.push(&text[begin..found.start()]);
            begin = found.end();
        }
        match letter {
            Some(letter) if found.is_empty() => from = found.end() + letter.len_utf8(),
            None if found.is_empty() => break,
            _ => from = found.end(),
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// `str_to_map(text, ',', ':')`: what the first pattern separates are entries, the second ends their keys.
fn str_to_map(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, rest @ ..] = args else { return exec_err!("a text is needed") };
    let pattern = |place: usize, row: usize, default: &'static str| match rest.get(place) {
        None => Some(default.to_owned()),
        Some(patterns) => {
            let patterns = patterns.as_string::<i32>();
            patterns.is_valid(row).then(|| patterns.value(row).to_owned())
        }
    };
    let (mut entries_by, mut keys_by) = (Patterns::default(), Patterns::default());
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut answers = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for (row, text) in texts.as_string::<i32>().iter().enumerate() {
        let (Some(text), Some(between), Some(after_key)) = (text, pattern(0, row, ","), pattern(1, row, ":")) else {
            answers.append(false)?;
            continue;
        };
        let mut entries = parts(entries_by.get(&between)?, text);
        while entries.len() > 1 && entries.last().is_some_and(|last| last.is_empty()) {
            entries.pop();
        }
        let after_key = keys_by.get(&after_key)?;
        // What comes last under a key is kept, where the key came first.
        let mut keys: Vec<(&str, Option<&str>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for entry in entries {
            let (key, value) = match after_key.find(entry).filter(|found| found.end() > 0) {
                Some(found) => (&entry[..found.start()], Some(&entry[found.end()..])),
                None => (entry, None),
            };
            let place = *places.entry(key).or_insert(keys.len());
            match keys.get_mut(place) {
                Some(known) => known.1 = value,
                None => keys.push((key, value)),
            }
        }
        for (key, value) in keys {
            answers.keys().append_value(key);
            answers.values().append_option(value);
        }
        answers.append(true)?;
    }
    Ok(Arc::new(answers.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // What Java's own class answers.
    #[rstest]
    #[case("abc", "", &["a", "b", "c", ""])]
    #[case("é1b", "", &["é", "1", "b", ""])]
    #[case("a|b", "|", &["a", "|", "b", ""])]
    #[case("abc", "b*", &["a", "", "c", ""])]
    #[case("a,b,,", ",", &["a", "b", "", ""])]
    #[case(",a", ",", &["", "a"])]
    #[case("", ",", &[""])]
    #[case("", "", &[""])]
    #[case("a1b22c", "[0-9]+", &["a", "b", "c"])]
    fn a_text_is_split(#[case] text: &str, #[case] pattern: &str, #[case] expected: &[&str]) {
        assert_eq!(parts(&Regex::new(pattern).unwrap(), text), expected);
    }
}

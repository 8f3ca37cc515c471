use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder},
    datatypes::{DataType, Field, Int64Type},
};
use datafusion::common::{Result, exec_err};
use regex::Regex;

use super::{
    call::{Call, Takes, mistake},
    json::Path,
    steady,
};

/// Patterns that one batch may bring; a column of patterns is for few distinct ones.
const PATTERNS: usize = 1_000;

pub(super) fn functions() -> Vec<Call> {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    vec![
        steady("regexp_extract")
            .takes(&[Takes::Text, Takes::Text, Takes::Whole], 2)
            .gives(DataType::Utf8, |args, _| regexp_extract(args)),
        steady("split").takes(&[Takes::Text, Takes::Text], 2).gives(list, |args, _| split(args)),
        steady("get_json_object")
            .takes(&[Takes::Text, Takes::Text], 2)
            .gives(DataType::Utf8, |args, _| get_json_object(args)),
        steady("locate")
            .takes(&[Takes::Text, Takes::Text, Takes::Whole], 2)
            .gives(DataType::Int32, |args, _| locate(args)),
        steady("lcase").takes(&[Takes::Text], 1).gives(DataType::Utf8, |args, _| changed(args, str::to_lowercase)),
        steady("ucase").takes(&[Takes::Text], 1).gives(DataType::Utf8, |args, _| changed(args, str::to_uppercase)),
        steady("space").takes(&[Takes::Whole], 1).gives(DataType::Utf8, |args, _| space(args)),
        steady("isnull").takes(&[Takes::Anything], 1).gives(DataType::Boolean, |args, _| is_null(args, true)),
        steady("isnotnull").takes(&[Takes::Anything], 1).gives(DataType::Boolean, |args, _| is_null(args, false)),
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
            // the pattern may be a patient's text: it is not repeated
            let Ok(read) = Regex::new(pattern) else { return mistake("a regular expression cannot be read") };
            self.0.insert(pattern.to_owned(), read);
        }
        match self.0.get(pattern) {
            Some(read) => Ok(read),
            None => mistake("a regular expression cannot be read"),
        }
    }
}

/// The group of that number (default 1) of the first match; empty where nothing matches (Hive).
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
        let found = pattern.captures(text).and_then(|captures| captures.get(group));
        answers.append_value(found.map_or("", |found| found.as_str()));
    }
    Ok(Arc::new(answers.finish()))
}

fn split(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, patterns] = args else { return exec_err!("a text and a pattern are needed") };
    let mut known = Patterns::default();
    let mut answers = ListBuilder::new(StringBuilder::new());
    for (text, pattern) in pairs(texts, patterns) {
        if let (Some(text), Some(pattern)) = (text, pattern) {
            for part in known.get(pattern)?.split(text) {
                answers.values().append_value(part);
            }
            answers.append(true);
        } else {
            answers.append(false);
        }
    }
    Ok(Arc::new(answers.finish()))
}

fn get_json_object(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, paths] = args else { return exec_err!("a text and a path are needed") };
    let mut last: Option<(String, Option<Path>)> = None;
    let mut answers = StringBuilder::new();
    for (text, path) in pairs(texts, paths) {
        let (Some(text), Some(path)) = (text, path) else {
            answers.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| known != path) {
            last = Some((path.to_owned(), Path::read(path)));
        }
        let found = last.as_ref().and_then(|(_, path)| path.as_ref()).and_then(|path| path.of(text));
        answers.append_option(found);
    }
    Ok(Arc::new(answers.finish()))
}

/// `locate(part, text, from)`: the place of the first, counted in characters from 1; 0 for none.
fn locate(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [parts, texts, rest @ ..] = args else { return exec_err!("two texts are needed") };
    let starts = rest.first().map(|starts| starts.as_primitive::<Int64Type>());
    let found = pairs(parts, texts).enumerate().map(|(row, (part, text))| {
        let (part, text) = (part?, text?);
        let from = starts.map_or(1, |starts| starts.value(row));
        let Some(skipped) = usize::try_from(from).ok().and_then(|from| from.checked_sub(1)) else { return Some(0) };
        let Some((begin, _)) = text.char_indices().nth(skipped).or((skipped == 0).then_some((0, ' '))) else {
            return Some(0);
        };
        let place = text.get(begin..)?.find(part).map(|at| text[..begin + at].chars().count() + 1);
        Some(place.and_then(|place| i32::try_from(place).ok()).unwrap_or(0))
    });
    Ok(Arc::new(found.collect::<Int32Array>()))
}

fn changed(args: &[ArrayRef], how: fn(&str) -> String) -> Result<ArrayRef> {
    let [texts] = args else { return exec_err!("a text is needed") };
    Ok(Arc::new(texts.as_string::<i32>().iter().map(|text| text.map(how)).collect::<StringArray>()))
}

fn space(args: &[ArrayRef]) -> Result<ArrayRef> {
    const MOST: i64 = 1 << 16;
    const ALL: i64 = 1 << 28;
    let [counts] = args else { return exec_err!("a number is needed") };
    if counts.as_primitive::<Int64Type>().iter().flatten().map(|count| count.clamp(0, MOST)).sum::<i64>() > ALL {
        return mistake("space() makes too long texts");
    }
    let blanks = |count: i64| " ".repeat(usize::try_from(count.clamp(0, MOST)).unwrap_or_default());
    Ok(Arc::new(counts.as_primitive::<Int64Type>().iter().map(|count| count.map(blanks)).collect::<StringArray>()))
}

fn is_null(args: &[ArrayRef], wanted: bool) -> Result<ArrayRef> {
    let [values] = args else { return exec_err!("a value is needed") };
    let nulls = values.logical_nulls();
    let is = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) == wanted;
    Ok(Arc::new((0..values.len()).map(|row| Some(is(row))).collect::<BooleanArray>()))
}

fn pairs<'a>(one: &'a ArrayRef, other: &'a ArrayRef) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    one.as_string::<i32>().iter().zip(other.as_string::<i32>().iter())
}

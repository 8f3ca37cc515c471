//! Functions of single texts.

use std::collections::HashMap;

use regex::Regex;

use super::{
    EvalError,
    compute::{integers_to_items, texts_to_items, truths_to_items},
    items::{Items, place},
    read::{Read, Value},
};
use crate::{definitions::Primitive, path::expr::Function};

/// How large a compiled regular expression may be, in bytes: patterns come from users.
const LARGEST_PATTERN: usize = 1 << 18;

/// The one text of a focus.
fn text(read: &Read<'_>, focus: usize, what: &'static str) -> Result<Option<String>, EvalError> {
    Ok(read.one(focus, what)?.and_then(|value| value.to_text().map(|text| text.into_owned())))
}

fn integer(read: &Read<'_>, focus: usize, what: &'static str) -> Result<Option<i64>, EvalError> {
    Ok(read.one(focus, what)?.and_then(|value| match value {
        Value::Integer(number) => Some(number),
        _ => None,
    }))
}

/// Functions that answer with a text.
pub(super) fn to_text(function: Function, base: &Items, arguments: &[Items], count: usize) -> Result<Items, EvalError> {
    let read = Read::new(base, count)?;
    let arguments = arguments.iter().map(|items| Read::new(items, count)).collect::<Result<Vec<_>, _>>()?;
    let answer = |focus| -> Result<Option<String>, EvalError> {
        let Some(base) = text(&read, focus, "a function of texts")? else { return Ok(None) };
        Ok(match (function, arguments.as_slice()) {
            (Function::Upper, _) => Some(base.to_uppercase()),
            (Function::Lower, _) => Some(base.to_lowercase()),
            (Function::Trim, _) => Some(base.trim().to_owned()),
            (Function::Replace, [from, to]) => {
                let (from, to) = (text(from, focus, "`replace()`")?, text(to, focus, "`replace()`")?);
                from.zip(to).map(|(from, to)| base.replace(&from, &to))
            }
            (Function::Substring, [start, rest @ ..]) => {
                let start = integer(start, focus, "`substring()`")?;
                let length = match rest.first() {
                    Some(length) => integer(length, focus, "`substring()`")?,
                    None => Some(i64::MAX),
                };
                let start = start.and_then(|start| usize::try_from(start).ok());
                start.zip(length).filter(|(start, _)| *start < base.chars().count()).map(|(start, length)| {
                    base.chars().skip(start).take(usize::try_from(length).unwrap_or(0)).collect()
                })
            }
            _ => Some(base),
        })
    };
    Ok(texts_to_items((0..count).map(answer).collect::<Result<Vec<_>, _>>()?, Primitive::String))
}

/// `startsWith()`, `endsWith()`, `contains()`, `matches()`.
pub(super) fn test(function: Function, base: &Items, argument: &Items, count: usize) -> Result<Items, EvalError> {
    let (read, argument) = (Read::new(base, count)?, Read::new(argument, count)?);
    let mut patterns: HashMap<String, Regex> = HashMap::new();
    let mut answers = Vec::with_capacity(count);
    for focus in 0..count {
        let base = text(&read, focus, "a function of texts")?;
        let wanted = text(&argument, focus, "a function of texts")?;
        let Some((base, wanted)) = base.zip(wanted) else {
            answers.push(None);
            continue;
        };
        answers.push(Some(match function {
            Function::StartsWith => base.starts_with(&wanted),
            Function::EndsWith => base.ends_with(&wanted),
            Function::Contains => base.contains(&wanted),
            _ => match patterns.get(&wanted) {
                Some(pattern) => pattern.is_match(&base),
                None => {
                    let pattern = regex::RegexBuilder::new(&wanted)
                        .size_limit(LARGEST_PATTERN)
                        .dot_matches_new_line(true)
                        .build();
                    let pattern = pattern.map_err(|_| EvalError::Expression)?;
                    let is_match = pattern.is_match(&base);
                    // patterns are almost always one literal
                    if patterns.len() < 64 {
                        patterns.insert(wanted, pattern);
                    }
                    is_match
                }
            },
        }));
    }
    Ok(truths_to_items(answers))
}

/// `length()`, `indexOf()`.
pub(super) fn to_integer(
    function: Function,
    base: &Items,
    arguments: &[Items],
    count: usize,
) -> Result<Items, EvalError> {
    let read = Read::new(base, count)?;
    let wanted = arguments.first().map(|items| Read::new(items, count)).transpose()?;
    let answer = |focus| -> Result<Option<i64>, EvalError> {
        let Some(base) = text(&read, focus, "a function of texts")? else { return Ok(None) };
        let letters = |text: &str| i64::try_from(text.chars().count()).ok();
        match (function, &wanted) {
            (Function::IndexOf, Some(wanted)) => {
                let wanted = text(wanted, focus, "`indexOf()`")?;
                Ok(wanted.and_then(|wanted| base.find(&wanted).map_or(Some(-1), |at| letters(&base[..at]))))
            }
            _ => Ok(letters(&base)),
        }
    };
    Ok(integers_to_items((0..count).map(answer).collect::<Result<_, _>>()?))
}

/// `join()`: the texts of each focus in a row; nothing where there are none.
pub(super) fn join(base: &Items, separator: Option<&Items>, count: usize) -> Result<Items, EvalError> {
    let read = Read::new(base, count)?;
    let separator = separator.map(|items| Read::new(items, count)).transpose()?;
    let answer = |focus| -> Result<Option<String>, EvalError> {
        let between = match &separator {
            Some(separator) => text(separator, focus, "`join()`")?.unwrap_or_default(),
            None => String::new(),
        };
        let texts: Vec<_> = read.range(focus).filter_map(|item| read.at(item)?.to_text()).collect();
        Ok((!texts.is_empty()).then(|| texts.join(&between)))
    };
    Ok(texts_to_items((0..count).map(answer).collect::<Result<Vec<_>, _>>()?, Primitive::String))
}

/// `getReferenceKey()`: the key of the resource that a reference means. One within this server is its id, as
/// `getResourceKey()` gives it; one elsewhere is its whole URL, which is equal to no key here; a reference within its own
/// resource, or to something that was not there (`urn:`), has none. `target` keeps references to one type.
pub(super) fn reference_key(base: &Items, target: Option<&str>) -> Items {
    use arrow::array::{Array, AsArray, StringBuilder};
    let mut keys = StringBuilder::new();
    let mut owners = Vec::with_capacity(base.len());
    let columns: Vec<_> = base
        .parts
        .iter()
        .map(|part| {
            let reference = part.values.as_struct_opt();
            let column = |name: &str| reference?.column_by_name(name)?.as_string_opt::<i32>();
            (column("reference"), column("__type"), column("__id"))
        })
        .collect();
    for item in 0..base.len() {
        let at = base.index[item] as usize;
        let Some((reference, types, ids)) = columns.get(base.part_of(item)) else { continue };
        let value = |column: &Option<&'_ arrow::array::StringArray>| {
            column.filter(|column| column.is_valid(at)).map(|column| column.value(at).to_owned())
        };
        let (type_name, key) = match (value(types), value(ids), value(reference)) {
            (Some(type_name), Some(id), _) => (type_name, id),
            (_, _, Some(url)) if url.contains("://") => {
                let url = url.split_once("/_history/").map_or(url.as_str(), |(url, _)| url).to_owned();
                let Some(type_name) = url.rsplit('/').nth(1).map(str::to_owned) else { continue };
                (type_name, url)
            }
            _ => continue,
        };
        if target.is_none_or(|target| target == type_name) {
            keys.append_value(key);
            owners.push(base.owners[item]);
        }
    }
    let mut items =
        Items::of_column(crate::path::expr::primitive(Primitive::String), std::sync::Arc::new(keys.finish()));
    debug_assert_eq!(items.index.last().map_or(0, |last| *last + 1), place(owners.len()));
    items.owners = owners;
    items
}

//! A JSON document: its records, one after the other, and the values that paging needs.

use std::collections::BTreeSet;

use serde_json::{error::Category, value::RawValue};

use super::{Each, Item, Passed, broken, cut, malformed};
use crate::{
    Error,
    http::table::Table,
    json::{Path, Wanted, walk},
    reading::Halt,
    web::Answer,
};

/// Where the records are: as declared, else the list that the document is, or the only list in it.
pub(super) fn records(answer: &Answer, table: &Table, is_list: bool) -> Result<Option<Path>, Error> {
    if let Some(declared) = &table.params.records {
        let path = Path::parse(declared).map_err(|reason| malformed(answer, &format!("`records`: {reason}")))?;
        return Ok((is_list || !path.names().is_empty()).then_some(path));
    }
    if is_list {
        return Ok(Some(Path::default()));
    }
    let body = answer.body.open().map_err(|error| broken(answer, &error))?;
    let mut document = serde_json::Deserializer::from_reader(body);
    let wanted = Wanted { records: None, values: &BTreeSet::new() };
    let found = match walk(&mut document, &wanted, &mut |_| Ok(())) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(reason(answer, &error)),
        Err(_) => return Err(malformed(answer, "the document cannot be read")),
    };
    let of_objects: Vec<&String> = found.lists.iter().filter(|(_, objects)| *objects).map(|(name, _)| name).collect();
    match of_objects.as_slice() {
        [only] => Path::parse(only).map(Some).map_err(|reason| malformed(answer, &reason)),
        [] => Err(malformed(
            answer,
            "the document has no list of records: set `records` to where they are (`.` where the document itself is one)",
        )),
        several => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            Err(malformed(
                answer,
                &format!("the document has the lists {}: set `records` to one of them", names.join(", ")),
            ))
        }
    }
}

/// Passes over a document; `None`: it is one record.
pub(super) fn pass(
    answer: &Answer,
    table: &Table,
    records: Option<&Path>,
    each: &mut Each<'_>,
) -> Result<Passed, Halt> {
    let body = answer.body.open().map_err(|error| broken(answer, &error))?;
    let mut document = serde_json::Deserializer::from_reader(body);
    let Some(path) = records else {
        let raw: Box<RawValue> =
            serde::Deserialize::deserialize(&mut document).map_err(|error| reason(answer, &error))?;
        document.end().map_err(|error| reason(answer, &error))?;
        each(Item::Record(raw.get()))?;
        return Ok(Passed { is_complete: true, ..Passed::default() });
    };
    let wanted = Wanted { records: Some(path), values: &table.wanted };
    let found = match walk(&mut document, &wanted, &mut |text| each(Item::Record(text)))? {
        Ok(found) => found,
        Err(error) => return Err(reason(answer, &error).into()),
    };
    document.end().map_err(|error| reason(answer, &error))?;
    if !found.has_records {
        let place = if path.names().is_empty() {
            "the document is no list".to_owned()
        } else {
            format!("it has no list `{path}`")
        };
        let reason = format!("the answer is no page of `{}`: {place}; is it an error message?", table.name);
        return Err(malformed(answer, &reason).into());
    }
    Ok(Passed { values: found.values, is_complete: true })
}

/// Why a document cannot be read, without a value of it.
fn reason(answer: &Answer, error: &serde_json::Error) -> Error {
    match error.classify() {
        Category::Eof => cut(answer, "the JSON ends in the middle"),
        Category::Io => cut(answer, "the answer cannot be unpacked"),
        Category::Data => {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            // Only our own words: others may hold a value.
            let own = text.ends_with("where the list of records should be");
            let reason = if own { text } else { "the document is not made as declared" };
            malformed(answer, &format!("{reason}; is it an error message?"))
        }
        Category::Syntax => {
            malformed(answer, &format!("it is not valid JSON at line {}, column {}", error.line(), error.column()))
        }
    }
}

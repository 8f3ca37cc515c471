//! XML: each record element as an object of texts.
//!
//! A child with nothing but text is a member; repeated children are a list, children with children an object; attributes
//! are members called `@name`, text beside either is `#text`. An empty element, or one with `xsi:nil`, is null. Names go
//! without their namespace. Entities beyond XML's own five are not expanded.

use std::{
    collections::BTreeMap,
    io::{BufRead, Read},
};

use quick_xml::{
    Reader,
    encoding::DecodingReader,
    errors::{Error as XmlError, SyntaxError},
    events::{BytesStart, Event},
};
use serde_json::{Map, Value};

use super::{Each, Item, Passed, broken, cut, malformed};
use crate::{Error, http::table::Table, json::Path, reading::Halt, web::Answer};

/// Elements within elements, at most.
const DEPTH: usize = 100;

type Source = DecodingReader<std::io::BufReader<Box<dyn Read + Send>>>;

/// An element that is being read.
#[derive(Default)]
struct Element {
    name: String,
    members: Map<String, Value>,
    text: String,
    is_nil: bool,
}

impl Element {
    fn of(start: &BytesStart<'_>) -> Result<Self, String> {
        let mut element = Self { name: local(start.local_name().as_ref()), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| "an attribute is not well formed".to_owned())?;
            let key = attribute.key;
            if key.as_ref().starts_with("xmlns") {
                continue;
            }
            let name = local(key.local_name().as_ref());
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map_err(|_| "an attribute holds an unknown entity".to_owned())?
                .into_owned();
            if name == "nil" && key.prefix().is_some() {
                element.is_nil = value == "true" || value == "1";
                continue;
            }
            element.members.insert(format!("@{name}"), Value::String(value));
        }
        Ok(element)
    }

    /// The element as a value of the one that it is in.
    fn value(mut self) -> Value {
        let is_blank = self.text.trim().is_empty();
        if self.members.is_empty() {
            return if is_blank || self.is_nil { Value::Null } else { Value::String(self.text) };
        }
        if !is_blank {
            self.members.insert("#text".to_owned(), Value::String(self.text));
        }
        Value::Object(self.members)
    }

    fn put(&mut self, name: &str, value: Value) {
        match self.members.get_mut(name) {
            None => {
                self.members.insert(name.to_owned(), value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(known) => {
                let first = std::mem::take(known);
                *known = Value::Array(vec![first, value]);
            }
        }
    }

    /// The text of a record.
    fn record(mut self) -> String {
        if !self.text.trim().is_empty() {
            self.members.insert("#text".to_owned(), Value::String(self.text));
        }
        Value::Object(self.members).to_string()
    }
}

fn local(name: &str) -> String {
    name.to_owned()
}

/// The names from the root down to the records: as declared, else the root and the only name that its children have.
pub(super) fn names(answer: &Answer, table: &Table) -> Result<Vec<String>, Error> {
    if let Some(declared) = &table.params.records {
        let names: Vec<String> =
            declared.split(['/', '.']).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.len() < 2 {
            return Err(malformed(answer, "`records` of XML names the way from the root: `export/patient`"));
        }
        return Ok(names);
    }
    let mut names: Vec<String> = Vec::new();
    let mut children: BTreeMap<String, u64> = BTreeMap::new();
    let mut depth = 0;
    events(answer, &mut |event| {
        let opened = match &event {
            Event::Start(start) | Event::Empty(start) => Some(local(start.local_name().as_ref())),
            _ => None,
        };
        match (opened, depth) {
            (Some(name), 0) => names = vec![name],
            (Some(name), 1) => *children.entry(name).or_default() += 1,
            _ => {}
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        Ok(())
    })
    .map_err(|halt| match halt {
        Halt::Failed(error) => error,
        Halt::Dropped => malformed(answer, "the document cannot be read"),
    })?;
    let found: Vec<String> = children.into_keys().collect();
    match found.as_slice() {
        [] => Ok(names),
        [only] => {
            names.push(only.clone());
            Ok(names)
        }
        several => Err(malformed(
            answer,
            &format!(
                "under `{}` there are {}: set `records` to the way to the records, as in `{}/{}`",
                names.concat(),
                several.join(", "),
                names.concat(),
                several[0]
            ),
        )),
    }
}

pub(super) fn pass(answer: &Answer, table: &Table, names: &[String], each: &mut Each<'_>) -> Result<Passed, Halt> {
    let mut passed = Passed { is_complete: true, ..Passed::default() };
    // Names above and beside the records; elements of the record that is being read.
    let mut above: Vec<String> = Vec::new();
    let mut inside: Vec<Element> = Vec::new();
    let mut has_parent = false;
    let wrong = |reason: String| Halt::Failed(malformed(answer, &reason));
    events(answer, &mut |event| {
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(start) | Event::Empty(start) => {
                let element = Element::of(&start).map_err(wrong)?;
                if inside.is_empty() {
                    above.push(element.name.clone());
                    let is_record = names.len() >= 2 && above == names;
                    has_parent |= names.starts_with(&above) && above.len() + 1 >= names.len();
                    if !is_record {
                        for (name, value) in &element.members {
                            note(&mut passed.values, table, &above, Some(name), value);
                        }
                        if is_empty {
                            above.pop();
                        }
                        return Ok(());
                    }
                    above.pop();
                }
                if inside.len() >= DEPTH {
                    return Err(wrong(format!("elements are nested deeper than {DEPTH}")));
                }
                inside.push(element);
                if is_empty {
                    close(&mut inside, each)?;
                }
            }
            Event::End(_) if !inside.is_empty() => close(&mut inside, each)?,
            Event::End(_) => {
                above.pop();
            }
            Event::Text(text) => {
                let text = text.xml10_content();
                match inside.last_mut() {
                    Some(element) => element.text.push_str(&text),
                    None => note(&mut passed.values, table, &above, None, &Value::String(text.trim().to_owned())),
                }
            }
            Event::CData(text) => {
                if let Some(element) = inside.last_mut() {
                    element.text.push_str(&text.xml10_content());
                }
            }
            Event::GeneralRef(entity) => {
                let name = entity.xml10_content();
                let text = match entity.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    Ok(None) => match name.as_ref() {
                        "lt" => "<".to_owned(),
                        "gt" => ">".to_owned(),
                        "amp" => "&".to_owned(),
                        "apos" => "'".to_owned(),
                        "quot" => "\"".to_owned(),
                        _ => return Err(wrong("it uses an entity that XML does not have".to_owned())),
                    },
                    Err(_) => return Err(wrong("it refers to a character that there is not".to_owned())),
                };
                if let Some(element) = inside.last_mut() {
                    element.text.push_str(&text);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if !has_parent {
        let reason = format!(
            "the answer is no page of `{}`: it has no `{}`; is it an error message?",
            table.name,
            names[..names.len().saturating_sub(1).max(1).min(names.len())].join("/")
        );
        return Err(malformed(answer, &reason).into());
    }
    Ok(passed)
}

/// Ends the innermost element: it goes into the one around it, or out as a record.
fn close(inside: &mut Vec<Element>, each: &mut Each<'_>) -> Result<(), Halt> {
    let Some(element) = inside.pop() else { return Ok(()) };
    match inside.last_mut() {
        Some(around) => {
            let name = element.name.clone();
            around.put(&name, element.value());
            Ok(())
        }
        None => each(Item::Record(&element.record())),
    }
}

/// Keeps a value beside the records that paging needs.
fn note(
    values: &mut BTreeMap<Path, Value>,
    table: &Table,
    above: &[String],
    attribute: Option<&String>,
    value: &Value,
) {
    let names = || above.iter().chain(attribute);
    let is_there = |path: &&Path| path.names().len() == names().count() && path.names().iter().eq(names());
    if value.as_str().is_some_and(|text| !text.is_empty())
        && let Some(path) = table.wanted.iter().find(is_there)
    {
        values.insert(path.clone(), value.clone());
    }
}

/// Hands each event on, from the declaration to the root's end.
fn events(answer: &Answer, each: &mut dyn FnMut(Event<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
    let mut reader = open(answer)?;
    let mut buffer = Vec::new();
    let (mut depth, mut has_root) = (0_usize, false);
    loop {
        buffer.clear();
        let event = reader.read_event_into(&mut buffer).map_err(|error| Halt::Failed(unreadable(answer, &error)))?;
        match &event {
            Event::Start(_) => {
                depth += 1;
                has_root = true;
            }
            Event::Empty(_) => has_root = true,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => return Err(cut(answer, "the XML ends in the middle").into()),
            Event::Eof if !has_root => return Err(malformed(answer, "the answer is empty where XML should be").into()),
            Event::Eof => return Ok(()),
            _ => {}
        }
        each(event)?;
    }
}

fn open(answer: &Answer) -> Result<Reader<Source>, Error> {
    let start = answer.body.beginning(256).map_err(|error| broken(answer, &error))?;
    let body = answer.body.open().map_err(|error| broken(answer, &error))?;
    let mut decoded = DecodingReader::new(body);
    if let Some(encoding) = declared(&start) {
        decoded.set_encoding(encoding);
    }
    decoded.fill_buf().map_err(|error| broken(answer, &error))?;
    Ok(Reader::from_reader(decoded))
}

/// The encoding that the declaration names.
fn declared(start: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let text = std::str::from_utf8(&start[..start.iter().position(|byte| *byte == b'>')?]).ok()?;
    let (_, after) = text.split_once("encoding")?;
    let quoted = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    encoding_rs::Encoding::for_label(quoted[1..].split(quote).next()?.as_bytes())
}

fn unreadable(answer: &Answer, error: &XmlError) -> Error {
    match error {
        XmlError::Io(_) => cut(answer, "the answer cannot be unpacked"),
        XmlError::Syntax(
            SyntaxError::UnclosedTag
            | SyntaxError::UnclosedComment
            | SyntaxError::UnclosedCData
            | SyntaxError::UnclosedXmlDecl
            | SyntaxError::UnclosedPI
            | SyntaxError::UnclosedDoctype,
        ) => cut(answer, "the XML ends in the middle"),
        XmlError::Encoding(_) => malformed(answer, "it is not of the encoding that it declares"),
        _ => malformed(answer, "it is not well-formed XML"),
    }
}

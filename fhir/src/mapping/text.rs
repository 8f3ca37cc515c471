//! The mapping as TOML, read and written.

use std::{collections::HashMap, fmt::Write, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ElementPath, Mapping, MappingProblem};
use crate::ResourceType;

const FIELDS: [&str; 8] = ["version", "resource", "from", "key", "for_each", "where", "resource_json", "set"];

/// The version of the form that this code reads.
const VERSION: u32 = 1;

/// A mapping and the line of each of its places.
pub(super) struct Located {
    pub(super) mapping: Mapping,
    lines: HashMap<String, usize>,
}

impl Located {
    /// Puts the line in front of each place that has one.
    pub(super) fn locate(&self, problems: Vec<MappingProblem>) -> Vec<MappingProblem> {
        problems
            .into_iter()
            .map(|problem| match self.lines.get(&problem.place) {
                Some(line) => MappingProblem::new(format!("line {line}, {}", problem.place), problem.message),
                None => problem,
            })
            .collect()
    }
}

struct Reader<'t> {
    text: &'t str,
    lines: HashMap<String, usize>,
    problems: Vec<MappingProblem>,
}

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1
    }

    fn problem(&mut self, span: &Range<usize>, place: &str, message: impl Into<String>) {
        let line = self.line(span);
        let place = if place.is_empty() { format!("line {line}") } else { format!("line {line}, {place}") };
        self.problems.push(MappingProblem::new(place, message));
    }

    /// A text that is not blank.
    fn text(&mut self, place: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        self.lines.insert(place.to_owned(), self.line(&value.span()));
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            DeValue::String(_) => {
                self.problem(&value.span(), place, "is empty");
                None
            }
            other => {
                self.problem(&value.span(), place, format!("is a TOML {}, not a text", other.type_str()));
                None
            }
        }
    }

    fn version(&mut self, value: &Spanned<DeValue<'_>>) -> Option<u32> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.problem(&value.span(), "version", "is not a whole number");
            return None;
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(VERSION) => Some(VERSION),
            _ => {
                let message = format!("version {} is not known: this program reads version {VERSION}", number.as_str());
                self.problem(&value.span(), "version", message);
                None
            }
        }
    }

    fn key(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
        let DeValue::Array(parts) = value.get_ref() else {
            return self.text("key", value).map(|part| vec![part]);
        };
        self.lines.insert("key".to_owned(), self.line(&value.span()));
        if parts.is_empty() {
            self.problem(&value.span(), "key", "has no part");
            return None;
        }
        parts.iter().map(|part| self.text("key", part)).collect()
    }

    fn set(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(ElementPath, String)> {
        let DeValue::Table(table) = value.get_ref() else {
            self.problem(&value.span(), "set", "is not a table: write [set]");
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut set = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            if matches!(value.get_ref(), DeValue::Table(_)) {
                self.problem(&key.span(), name, "is a table: a path with dots stands in quotes, \"name[0].family\"");
                continue;
            }
            let expression = self.text(name, value);
            match name.parse::<ElementPath>() {
                Ok(path) => set.extend(expression.map(|expression| (path, expression))),
                Err(reason) => self.problem(&key.span(), name, reason),
            }
        }
        set
    }
}

pub(super) fn parse(toml: &str) -> Result<Located, Vec<MappingProblem>> {
    let mut reader = Reader { text: toml, lines: HashMap::new(), problems: Vec::new() };
    let table = match DeTable::parse(toml) {
        Ok(table) => table,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            reader.problem(&span, "", format!("not valid TOML: {}", error.message()));
            return Err(reader.problems);
        }
    };
    let mut fields: Vec<_> = table.get_ref().iter().collect();
    fields.sort_by_key(|(key, _)| key.span().start);

    let (mut version, mut resource, mut from, mut key) = (None, None, None, None);
    let (mut for_each, mut filter, mut resource_json, mut set) = (None, None, None, None);
    let mut seen = Vec::new();
    for (name, value) in fields {
        let span = name.span();
        let name = name.get_ref().as_ref();
        seen.push(name.to_owned());
        match name {
            "version" => version = reader.version(value),
            "resource" => {
                resource = reader.text(name, value).and_then(|text| match text.parse::<ResourceType>() {
                    Ok(resource) => Some(resource),
                    Err(error) => {
                        let known = nearest(&text, ResourceType::all().map(ResourceType::name));
                        reader.problem(&value.span(), "resource", format!("{error}{known}"));
                        None
                    }
                });
            }
            "from" => from = reader.text(name, value),
            "key" => key = reader.key(value),
            "for_each" => for_each = reader.text(name, value),
            "where" => filter = reader.text(name, value),
            "resource_json" => resource_json = reader.text(name, value),
            "set" => set = Some(reader.set(value)),
            _ => {
                let known = nearest(name, FIELDS.into_iter());
                reader.problem(&span, name, format!("is not a field of a mapping{known}"));
            }
        }
    }
    for required in ["version", "resource", "from", "key"] {
        if !seen.iter().any(|name| name == required) {
            reader.problems.push(MappingProblem::new(required, "is missing"));
        }
    }
    let has = |name: &str| seen.iter().any(|seen| seen == name);
    match (has("set"), has("resource_json")) {
        (true, true) => {
            reader
                .problems
                .push(MappingProblem::new("resource_json", "stands in the place of [set]: give only one of them"));
        }
        (false, false) => {
            reader
                .problems
                .push(MappingProblem::new("set", "is missing: say which elements are set, or give resource_json"));
        }
        _ => {}
    }
    match (version, resource, from, key) {
        (Some(version), Some(resource), Some(from), Some(key)) if reader.problems.is_empty() => {
            let set = set.unwrap_or_default();
            let mapping = Mapping { version, resource, from, key, for_each, filter, set, resource_json };
            Ok(Located { mapping, lines: reader.lines })
        }
        _ => Err(reader.problems),
    }
}

/// `: did you mean ...?` with the nearest of the names, where one is near; else nothing.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let lower = name.to_lowercase();
    known
        .map(|known| (strsim::osa_distance(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= (known.len().min(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| format!(": did you mean `{known}`?"))
        .unwrap_or_default()
}

pub(super) fn write(mapping: &Mapping) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut out = format!("version = {}\nresource = {}\n", mapping.version, quoted(mapping.resource.name()));
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        writeln!(out, "{name} = {value}").ok();
    };
    line("from", &quoted(&mapping.from));
    match mapping.key.as_slice() {
        [part] => line("key", &quoted(part)),
        parts => line("key", &format!("[{}]", parts.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(", "))),
    }
    let optional =
        [("for_each", &mapping.for_each), ("where", &mapping.filter), ("resource_json", &mapping.resource_json)];
    for (name, value) in optional {
        if let Some(value) = value {
            line(name, &quoted(value));
        }
    }
    if mapping.resource_json.is_none() {
        out.push_str("\n[set]\n");
        for (path, expression) in &mapping.set {
            writeln!(out, "\"{path}\" = {}", quoted(expression)).ok();
        }
    }
    out
}

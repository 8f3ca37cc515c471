//! The replaced system's `fhir_mapping.json`: source column to FHIR path, per table.
//!
//! It was written by hand in more than one form, so it is read leniently; what is not understood is told, never skipped.

use mavis_types::normalize_name;
use serde_json::{Map, Value, json};

use super::{ElementPath, Mapping, MappingProblem, sql};
use crate::{
    ResourceType,
    definitions::{self, Element, Primitive},
};

const RESOURCE_WORDS: [&str; 4] = ["resourceType", "resource", "fhir_resource", "resource_type"];
const COLUMN_WORDS: [&str; 5] = ["columns", "mapping", "mappings", "fields", "column_mapping"];
const PATH_WORDS: [&str; 6] = ["path", "target", "fhir", "fhir_path", "element", "to"];
const SOURCE_WORDS: [&str; 5] = ["source", "column", "from", "name", "field"];

pub(super) fn parse(text: &str, source: &str) -> Result<Vec<Mapping>, Vec<MappingProblem>> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}", error.line());
        vec![MappingProblem::new(place, format!("not valid JSON: {}", category(&error)))]
    })?;
    let mut problems = Vec::new();
    let mut mappings = Vec::new();
    for (table, entry) in tables(&value, &mut problems) {
        let mut reader = Reader { source, table: &table, problems: &mut problems };
        mappings.extend(reader.table(&entry));
    }
    if mappings.is_empty() && problems.is_empty() {
        problems.push(MappingProblem::new("", "there is no table in it"));
    }
    if problems.is_empty() { Ok(mappings) } else { Err(problems) }
}

fn category(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ => "the syntax is wrong",
    }
}

/// Tables as an object by name, as a list, or either of them under `tables` or `mappings`.
fn tables(value: &Value, problems: &mut Vec<MappingProblem>) -> Vec<(String, Map<String, Value>)> {
    let mut found = Vec::new();
    match value {
        Value::Object(object) => {
            let inner = ["tables", "mappings"].iter().find_map(|word| object.get(*word));
            if let Some(inner @ (Value::Object(_) | Value::Array(_))) = inner {
                return tables(inner, problems);
            }
            for (name, entry) in object {
                match entry {
                    Value::Object(entry) => found.push((name.clone(), entry.clone())),
                    _ if name.starts_with(['_', '$']) || name == "version" => {}
                    _ => {
                        problems.push(MappingProblem::new(name, "is not a table: an object with its columns is needed"))
                    }
                }
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let name = entry.get("table").or_else(|| entry.get("source_table")).and_then(Value::as_str);
                match (name, entry) {
                    (Some(name), Value::Object(entry)) => found.push((name.to_owned(), entry.clone())),
                    _ => problems.push(MappingProblem::new(format!("[{index}]"), "has no `table`")),
                }
            }
        }
        _ => problems.push(MappingProblem::new("", "is neither an object nor a list of tables")),
    }
    found
}

struct Reader<'r> {
    source: &'r str,
    table: &'r str,
    problems: &'r mut Vec<MappingProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, column: &str, message: impl Into<String>) {
        let place = if column.is_empty() { self.table.to_owned() } else { format!("{}.{column}", self.table) };
        self.problems.push(MappingProblem::new(place, message));
    }

    fn table(&mut self, entry: &Map<String, Value>) -> Option<Mapping> {
        let Some(name) = RESOURCE_WORDS.iter().find_map(|word| entry.get(*word)).and_then(Value::as_str) else {
            self.problem("", "has no `resourceType`");
            return None;
        };
        let Ok(resource) = name.parse::<ResourceType>() else {
            self.problem("", format!("`{name}` is not a FHIR R4 resource type"));
            return None;
        };
        let text = |word: &str| entry.get(word).and_then(Value::as_str).map(str::to_owned);
        let table = normalize_name(self.table.rsplit('.').next().unwrap_or(self.table));
        let mut mapping = Mapping {
            version: 1,
            resource,
            from: text("from").unwrap_or_else(|| format!("processed.{}.{table} p", normalize_name(self.source))),
            key: Vec::new(),
            for_each: text("for_each"),
            filter: text("where"),
            set: Vec::new(),
            resource_json: text("resource_json"),
        };
        match entry.get("key") {
            Some(Value::String(key)) => mapping.key.push(key.clone()),
            Some(Value::Array(parts)) => mapping.key.extend(parts.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
        let keyed = !mapping.key.is_empty();
        for (column, target) in self.columns(entry) {
            self.column(&mut mapping, keyed, &column, &target);
        }
        if let Some(Value::Object(set)) = entry.get("set") {
            for (path, expression) in set {
                match (path.parse::<ElementPath>(), expression.as_str()) {
                    (Ok(path), Some(expression)) => mapping.set.push((path, expression.to_owned())),
                    (Err(reason), _) => self.problem(path, reason),
                    (_, None) => self.problem(path, "is not a text with an SQL expression"),
                }
            }
        }
        if mapping.key.is_empty() {
            self.problem("", "no column is mapped to `id`, so its resources would have no key");
        }
        if !keyed && !mapping.key.is_empty() {
            keep_identifier(&mut mapping, self.source);
        }
        Some(mapping)
    }

    /// Column and target as written, whichever way the table says them.
    fn columns(&mut self, entry: &Map<String, Value>) -> Vec<(String, Value)> {
        let within = COLUMN_WORDS.iter().find_map(|word| entry.get(*word));
        match within {
            Some(Value::Object(columns)) => columns.iter().map(|(name, to)| (name.clone(), to.clone())).collect(),
            Some(Value::Array(columns)) => {
                let mut found = Vec::new();
                for (index, column) in columns.iter().enumerate() {
                    let name = SOURCE_WORDS.iter().find_map(|word| column.get(*word)).and_then(Value::as_str);
                    match name {
                        Some(name) => found.push((name.to_owned(), column.clone())),
                        None => self.problem(&format!("[{index}]"), "does not name its source column"),
                    }
                }
                found
            }
            Some(_) => {
                self.problem("", "its columns are neither an object nor a list");
                Vec::new()
            }
            None => {
                let own = [
                    "table",
                    "source_table",
                    "key",
                    "from",
                    "where",
                    "for_each",
                    "set",
                    "resource_json",
                    "description",
                ];
                entry
                    .iter()
                    .filter(|(name, _)| {
                        !RESOURCE_WORDS.contains(&name.as_str())
                            && !own.contains(&name.as_str())
                            && !name.starts_with(['_', '$'])
                    })
                    .map(|(name, to)| (name.clone(), to.clone()))
                    .collect()
            }
        }
    }

    fn column(&mut self, mapping: &mut Mapping, keyed: bool, column: &str, target: &Value) {
        match target {
            Value::Null => {}
            Value::String(target) => self.assign(mapping, keyed, column, target),
            Value::Array(targets) => targets.iter().for_each(|target| self.column(mapping, keyed, column, target)),
            Value::Object(target) => match PATH_WORDS.iter().find_map(|word| target.get(*word)) {
                Some(Value::String(path)) => match target.get("sql").and_then(Value::as_str) {
                    Some(expression) => match path.parse::<ElementPath>() {
                        Ok(path) => mapping.set.push((path, expression.to_owned())),
                        Err(reason) => self.problem(column, reason),
                    },
                    None => self.assign(mapping, keyed, column, path),
                },
                _ => self.problem(column, "does not name its FHIR path"),
            },
            _ => self.problem(column, "its FHIR path is not a text"),
        }
    }

    fn assign(&mut self, mapping: &mut Mapping, keyed: bool, column: &str, target: &str) {
        let prefix = format!("{}.", mapping.resource);
        let strip = |text: &str| text.strip_prefix(&prefix).unwrap_or(text).to_owned();
        let (mut column, mut target) = (column.to_owned(), strip(target));
        // written the other way round: FHIR path first
        let known =
            |text: &str| text == "id" || text.parse().is_ok_and(|path| element(mapping.resource, &path).is_some());
        if !known(&target) && known(&strip(&column)) {
            (column, target) = (target, strip(&column));
        }
        let expression = format!("p.{}", normalize_name(&column));
        if target == "id" {
            if !keyed {
                mapping.key.push(expression);
            }
            return;
        }
        match target.parse::<ElementPath>() {
            Ok(path) => {
                let path = free(&mapping.set, mapping.resource, path);
                let expression = expression_for(mapping.resource, &path, &expression);
                mapping.set.push((path, expression));
            }
            Err(reason) => self.problem(&column, reason),
        }
    }
}

/// The id becomes a UUID: the source's own number stays as an identifier, unless the mapping sets one.
fn keep_identifier(mapping: &mut Mapping, source: &str) {
    let named = |(path, _): &(ElementPath, String)| path.0.first().is_some_and(|step| step.name == "identifier");
    let many = definitions::find(mapping.resource, &["identifier"]).is_some_and(|element| element.many);
    if !many || mapping.key.len() != 1 || mapping.set.iter().any(named) {
        return;
    }
    let system = format!("'urn:mavis:{}:{}'", normalize_name(source), mapping.resource.table());
    let pairs = [("identifier[0].system", system), ("identifier[0].value", mapping.key[0].clone())];
    let pairs = pairs.into_iter().filter_map(|(path, expression)| Some((path.parse().ok()?, expression)));
    mapping.set.splice(0..0, pairs.collect::<Vec<_>>());
}

fn element(resource: ResourceType, path: &ElementPath) -> Option<&'static Element> {
    let names: Vec<&str> = path.0.iter().map(|step| step.name.as_str()).collect();
    definitions::find(resource, &names)
}

/// The path with indices written out; where the same element is set already, the next one of the last element that
/// repeats (two columns for `name.given`).
fn free(set: &[(ElementPath, String)], resource: ResourceType, mut path: ElementPath) -> ElementPath {
    let mut names: Vec<&str> = Vec::new();
    let mut repeating = None;
    let steps = path.0.clone();
    for (place, step) in steps.iter().enumerate() {
        names.push(&step.name);
        if definitions::find(resource, &names).is_some_and(|element| element.many) {
            path.0[place].index.get_or_insert(0);
            repeating = Some(place);
        }
    }
    if let Some(place) = repeating
        && steps[place].index.is_none()
    {
        while set.iter().any(|(other, _)| *other == path) {
            path.0[place].index = path.0[place].index.map(|index| index + 1);
        }
    }
    path
}

/// The SQL that brings a column into an element: dates, coded values and references need more than the column.
pub(super) fn expression_for(resource: ResourceType, path: &ElementPath, column: &str) -> String {
    let Some(element) = element(resource, path) else { return column.to_owned() };
    let last = path.0.last().map_or("", |step| step.name.as_str());
    let parent = ElementPath(path.0[..path.0.len().saturating_sub(1)].to_vec());
    let target = |element: &Element| {
        let targets = element.targets;
        if targets.contains(&"Patient") {
            Some("Patient")
        } else {
            targets.first().copied().filter(|name| *name != "Resource")
        }
    };
    if element.type_id.is_reference()
        && let Some(target) = target(element)
    {
        return format!("reference('{target}', {column})");
    }
    if last == "reference"
        && let Some(target) = self::element(resource, &parent).and_then(target)
    {
        return format!("reference('{target}', {column})");
    }
    if element.required_codes.is_some() {
        let map = match last {
            "gender" => "administrative-gender".to_owned(),
            _ => format!("{}-{}", resource.table(), last.to_lowercase()),
        };
        return format!("code_map('{map}', {column})");
    }
    match element.type_id.primitive() {
        Some(Primitive::Date) => format!("fhir_date({column})"),
        _ => column.to_owned(),
    }
}

pub(super) fn write(mappings: &[Mapping]) -> String {
    let mut tables = Map::new();
    for mapping in mappings {
        let from = sql::relations(&mapping.from).ok();
        let name = from.as_ref().and_then(|tables| tables.first()).map(|table| table.relation.to_string());
        let name = name.as_deref().and_then(|name| name.split(' ').next()).unwrap_or(&mapping.from);
        let mut entry = Map::new();
        entry.insert("resourceType".to_owned(), json!(mapping.resource.name()));
        entry.insert("from".to_owned(), json!(mapping.from));
        entry.insert("key".to_owned(), json!(mapping.key));
        for (word, value) in
            [("for_each", &mapping.for_each), ("where", &mapping.filter), ("resource_json", &mapping.resource_json)]
        {
            if let Some(value) = value {
                entry.insert(word.to_owned(), json!(value));
            }
        }
        let (mut columns, mut set) = (Map::new(), Map::new());
        for (path, expression) in &mapping.set {
            match plain_column(mapping, path, expression) {
                Some(column) => match columns.entry(column) {
                    serde_json::map::Entry::Vacant(entry) => {
                        entry.insert(json!(path.to_string()));
                    }
                    serde_json::map::Entry::Occupied(mut entry) => {
                        let first = entry.get().clone();
                        match entry.get_mut() {
                            Value::Array(paths) => paths.push(json!(path.to_string())),
                            other => *other = json!([first, path.to_string()]),
                        }
                    }
                },
                None => {
                    set.insert(path.to_string(), json!(expression));
                }
            }
        }
        entry.insert("columns".to_owned(), Value::Object(columns));
        entry.insert("set".to_owned(), Value::Object(set));
        let mut table = name.rsplit('.').next().unwrap_or(name).to_owned();
        while tables.contains_key(&table) {
            table.push('_');
        }
        tables.insert(table, Value::Object(entry));
    }
    serde_json::to_string_pretty(&Value::Object(tables)).unwrap_or_default()
}

/// The column where the expression is what reading the form back would make of it.
fn plain_column(mapping: &Mapping, path: &ElementPath, expression: &str) -> Option<String> {
    let at = expression.rfind("p.")?;
    let column: String = expression[at + 2..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let same = expression_for(mapping.resource, path, &format!("p.{column}")) == expression;
    (same && normalize_name(&column) == column).then_some(column)
}

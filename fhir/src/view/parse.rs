use std::collections::HashMap;

use super::{Column, Over, Select, View, ViewError};
use crate::{json::Value, path::syntax::Literal, temporal};

/// How deep selects may lie in each other.
const DEEPEST: usize = 16;

impl View {
    /// Reads a ViewDefinition; `resourceType` may be missing.
    ///
    /// # Errors
    /// [`ViewError::Structure`].
    pub fn parse(json: &Value<'_>) -> Result<Self, ViewError> {
        if json.as_object().is_none() {
            return Err(ViewError::structure("ViewDefinition", "it is not an object"));
        }
        if let Some(other) = json.get("resourceType").filter(|value| value.as_str() != Some("ViewDefinition")) {
            let name = other.as_str().unwrap_or("something else");
            return Err(ViewError::structure("resourceType", format!("`{name}` where ViewDefinition is expected")));
        }
        let resource = json.get_str("resource").ok_or_else(|| ViewError::structure("resource", "it is missing"))?;
        let resource = resource.parse().map_err(|error| ViewError::structure("resource", format!("{error}")))?;
        let selects = objects(json, "select", "select")?;
        if selects.is_empty() {
            return Err(ViewError::structure("select", "there is none"));
        }
        let wheres = objects(json, "where", "where")?;
        let name = text(json, "name", "name")?;
        if let Some(name) = &name {
            sql_name(name, "name")?;
        }
        Ok(Self {
            name,
            url: text(json, "url", "url")?,
            resource,
            constants: constants(json)?,
            wheres: wheres
                .into_iter()
                .map(|(place, value)| needed_text(value, "path", &place))
                .collect::<Result<_, _>>()?,
            selects: selects.into_iter().map(|(place, value)| select(value, &place, 0)).collect::<Result<_, _>>()?,
        })
    }
}

/// The objects of an array, each with its place; none where the member is missing.
fn objects<'v, 'j>(parent: &'v Value<'j>, name: &str, place: &str) -> Result<Vec<(String, &'v Value<'j>)>, ViewError> {
    let Some(value) = parent.get(name).filter(|value| **value != Value::Null) else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or_else(|| ViewError::structure(place, "it is not an array"))?;
    let object = |(index, item): (usize, &'v Value<'j>)| {
        let place = format!("{place}[{index}]");
        match item {
            Value::Object(_) => Ok((place, item)),
            _ => Err(ViewError::structure(place, "it is not an object")),
        }
    };
    items.iter().enumerate().map(object).collect()
}

fn text(parent: &Value<'_>, name: &str, place: &str) -> Result<Option<String>, ViewError> {
    match parent.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone().into_owned())),
        Some(_) => Err(ViewError::structure(place, "it is not a text")),
    }
}

fn needed_text(parent: &Value<'_>, name: &str, place: &str) -> Result<String, ViewError> {
    let place = format!("{place}.{name}");
    let found = text(parent, name, &place)?.filter(|text| !text.trim().is_empty());
    found.ok_or_else(|| ViewError::structure(place, "it is missing"))
}

/// What may stand in a select or column: a misspelt member would otherwise be passed over in silence.
fn only(parent: &Value<'_>, known: &[&str], place: &str) -> Result<(), ViewError> {
    const ALWAYS: [&str; 3] = ["id", "extension", "modifierExtension"];
    let unknown = parent.members().map(|(name, _)| name).find(|name| {
        !known.contains(name) && !ALWAYS.contains(name) && !name.starts_with('_') && *name != "fhir_comments"
    });
    match unknown {
        None => Ok(()),
        Some(name) => Err(ViewError::structure(format!("{place}.{name}"), "there is no such element")),
    }
}

/// Names that SQL takes without quotes.
fn sql_name(name: &str, place: &str) -> Result<(), ViewError> {
    let mut letters = name.chars();
    let is_name = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && name.len() <= 255;
    if is_name {
        return Ok(());
    }
    Err(ViewError::structure(place, "a name begins with a letter and has letters, digits and `_` (at most 255)"))
}

fn select(value: &Value<'_>, place: &str, depth: usize) -> Result<Select, ViewError> {
    if depth > DEEPEST {
        return Err(ViewError::structure(place, format!("selects are nested deeper than {DEEPEST}")));
    }
    only(value, &["column", "select", "forEach", "forEachOrNull", "repeat", "unionAll"], place)?;
    let columns = objects(value, "column", &format!("{place}.column"))?;
    let nested = |name: &str| {
        let found = objects(value, name, &format!("{place}.{name}"))?;
        found.into_iter().map(|(place, value)| select(value, &place, depth + 1)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Select {
        over: over(value, place)?,
        columns: columns.into_iter().map(|(place, value)| column(value, &place)).collect::<Result<_, _>>()?,
        selects: nested("select")?,
        unions: nested("unionAll")?,
    })
}

fn over(value: &Value<'_>, place: &str) -> Result<Over, ViewError> {
    let each = text(value, "forEach", &format!("{place}.forEach"))?.map(Over::ForEach);
    let each_or_null = text(value, "forEachOrNull", &format!("{place}.forEachOrNull"))?.map(Over::ForEachOrNull);
    let repeat = match value.get("repeat") {
        None | Some(Value::Null) => None,
        Some(Value::Array(paths)) => {
            let texts: Option<Vec<String>> = paths.iter().map(|path| path.as_str().map(str::to_owned)).collect();
            let texts = texts.filter(|texts| !texts.is_empty());
            Some(texts.ok_or_else(|| ViewError::structure(format!("{place}.repeat"), "it holds no expressions"))?)
        }
        Some(_) => return Err(ViewError::structure(format!("{place}.repeat"), "it is not an array")),
    };
    let mut all = [each, each_or_null, repeat.map(Over::Repeat)].into_iter().flatten();
    match (all.next(), all.next()) {
        (None, _) => Ok(Over::Parent),
        (Some(one), None) => Ok(one),
        _ => Err(ViewError::structure(place, "of `forEach`, `forEachOrNull` and `repeat` only one can stand")),
    }
}

fn column(value: &Value<'_>, place: &str) -> Result<Column, ViewError> {
    only(value, &["name", "path", "description", "collection", "type", "tag"], place)?;
    let name = needed_text(value, "name", place)?;
    sql_name(&name, &format!("{place}.name"))?;
    let collection = match value.get("collection") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(collection)) => *collection,
        Some(_) => return Err(ViewError::structure(format!("{place}.collection"), "it is not a boolean")),
    };
    let type_name = text(value, "type", &format!("{place}.type"))?;
    Ok(Column { name, path: needed_text(value, "path", place)?, type_name, collection })
}

fn constants(view: &Value<'_>) -> Result<HashMap<String, Literal>, ViewError> {
    let mut constants = HashMap::new();
    for (place, value) in objects(view, "constant", "constant")? {
        let name = needed_text(value, "name", &place)?;
        sql_name(&name, &format!("{place}.name"))?;
        if constants.insert(name, constant(value, &place)?).is_some() {
            return Err(ViewError::structure(place, "another constant has its name"));
        }
    }
    Ok(constants)
}

fn constant(value: &Value<'_>, place: &str) -> Result<Literal, ViewError> {
    let mut given = value.members().filter(|(name, _)| name.starts_with("value"));
    let (Some((name, content)), None) = (given.next(), given.next()) else {
        return Err(ViewError::structure(place, "exactly one value belongs to a constant"));
    };
    let wrong = || ViewError::structure(format!("{place}.{name}"), "the value is not of that type");
    let text = || content.as_str().map(str::to_owned).ok_or_else(wrong);
    let moment = || {
        let text = text()?;
        if temporal::parse(&text).is_some() { Ok(text) } else { Err(wrong()) }
    };
    match &name["value".len()..] {
        "Boolean" => content.as_bool().map(Literal::Boolean).ok_or_else(wrong),
        "Integer" | "PositiveInt" | "UnsignedInt" => {
            content.as_number().and_then(|text| text.parse().ok()).map(Literal::Integer).ok_or_else(wrong)
        }
        // JSON has no 64 bits: it is written as a text
        "Integer64" => {
            let text = content.as_number().or_else(|| content.as_str());
            text.and_then(|text| text.parse().ok()).map(Literal::Integer).ok_or_else(wrong)
        }
        "Decimal" => content.as_number().map(|text| Literal::Decimal(text.to_owned())).ok_or_else(wrong),
        "Date" => moment().map(Literal::Date),
        "DateTime" | "Instant" => moment().map(Literal::DateTime),
        "Time" => text().map(Literal::Time),
        "String" | "Code" | "Base64Binary" | "Canonical" | "Id" | "Markdown" | "Oid" | "Uri" | "Url" | "Uuid" => {
            text().map(Literal::Text)
        }
        _ => Err(ViewError::structure(format!("{place}.{name}"), "constants are primitives")),
    }
}

//! A plain reader of R4 search: one resource after the other, as its JSON stands, written from the specification and from
//! nothing of the server. It is slow and knows only what the synthetic patients hold.

mod paths;
mod value;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::Read,
    path::Path,
};

use bzip2::read::BzDecoder;
use serde_json::Value;

pub(crate) use self::{
    paths::{COMPOSITES, Kind, PARAMETERS, Parameter, REFERENCES},
    value::{at, date},
};

/// All resources, their references written `Type/id`.
pub(crate) struct Reader {
    by_type: HashMap<String, Vec<Value>>,
}

impl Reader {
    /// From a folder of compressed transaction Bundles.
    pub(crate) fn of_bundles(folder: &Path) -> Self {
        let mut resources: Vec<Value> = Vec::new();
        let mut keys: HashMap<String, String> = HashMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let mut text = String::new();
            BzDecoder::new(fs::File::open(entry.unwrap().path()).unwrap()).read_to_string(&mut text).unwrap();
            let mut bundle: Value = serde_json::from_str(&text).unwrap();
            for entry in bundle["entry"].as_array_mut().unwrap() {
                let resource = entry["resource"].take();
                let kind = resource["resourceType"].as_str().unwrap();
                let key = format!("{kind}/{}", resource["id"].as_str().unwrap());
                keys.insert(entry["fullUrl"].as_str().unwrap().to_owned(), key.clone());
                for identifier in at(&resource, "identifier") {
                    if let (Some(system), Some(value)) = (identifier["system"].as_str(), identifier["value"].as_str()) {
                        keys.insert(format!("{kind}?identifier={system}|{value}"), key.clone());
                    }
                }
                resources.push(resource);
            }
        }
        let mut by_type: HashMap<String, Vec<Value>> = HashMap::new();
        for mut resource in resources {
            resolve(&mut resource, &keys);
            by_type.entry(resource["resourceType"].as_str().unwrap().to_owned()).or_default().push(resource);
        }
        Self { by_type }
    }

    pub(crate) fn all(&self, kind: &str) -> &[Value] {
        self.by_type.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Ids of the resources of a type that `name=value` finds; commas mean any, escapes are not read.
    pub(crate) fn find(&self, kind: &str, name: &str, value: &str) -> BTreeSet<String> {
        if let Some(rest) = name.strip_prefix("_has:") {
            let mut parts = rest.splitn(3, ':');
            let (of, by, rest) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let found = self.find(of, rest, value);
            let by = parameter(of, by);
            let referring = self.all(of).iter().filter(|resource| found.contains(id(resource)));
            return referring
                .flat_map(|resource| by.values(resource))
                .filter_map(|reference| reference["reference"].as_str())
                .filter_map(|reference| reference.strip_prefix(&format!("{kind}/")))
                .map(str::to_owned)
                .collect();
        }
        if let Some((head, rest)) = name.split_once('.') {
            let (code, target) = head.split_once(':').expect("chains name their type");
            let wanted = self.find(target, rest, value);
            let by = parameter(kind, code);
            let refers = |resource: &&Value| {
                let mut references = by.values(resource).into_iter().filter_map(|one| one["reference"].as_str());
                references.any(|one| one.strip_prefix(&format!("{target}/")).is_some_and(|id| wanted.contains(id)))
            };
            return self.all(kind).iter().filter(refers).map(|resource| id(resource).to_owned()).collect();
        }
        if let Some((_, _, elements, parts)) = COMPOSITES.iter().find(|one| one.0 == kind && one.1 == name) {
            let alternatives: Vec<(&str, &str)> = value.split(',').map(|one| one.split_once('$').unwrap()).collect();
            let part = |element: &Value, (kind, path): (Kind, &str), wanted: &str| {
                at(element, path).into_iter().any(|one| value::fits(kind, "", one, wanted))
            };
            let fits = |resource: &&Value| {
                let all =
                    elements.iter().flat_map(|path| if path.is_empty() { vec![*resource] } else { at(resource, path) });
                let both = |element: &Value, (one, other): (&str, &str)| {
                    part(element, parts[0], one) && part(element, parts[1], other)
                };
                all.into_iter().any(|element| alternatives.iter().any(|wanted| both(element, *wanted)))
            };
            return self.all(kind).iter().filter(fits).map(|resource| id(resource).to_owned()).collect();
        }
        let (code, modifier) = name.split_once(':').map_or((name, ""), |(code, modifier)| (code, modifier));
        let fits: Box<dyn Fn(&Value) -> bool> = match (code, modifier) {
            ("_id", _) => Box::new(move |resource| value.split(',').any(|wanted| wanted == id(resource))),
            _ => {
                let parameter = parameter(kind, code);
                let test = move |resource: &Value| {
                    let values = parameter.values(resource);
                    match modifier {
                        "missing" => values.is_empty() == (value == "true"),
                        "not" => !values.iter().any(|one| value::fits(parameter.kind, "", one, value)),
                        modifier => values.iter().any(|one| value::fits(parameter.kind, modifier, one, value)),
                    }
                };
                Box::new(test)
            }
        };
        self.all(kind).iter().filter(|resource| fits(resource)).map(|resource| id(resource).to_owned()).collect()
    }

    /// What a whole query finds: `name=value` joined by `&`.
    pub(crate) fn search(&self, kind: &str, query: &str) -> BTreeSet<String> {
        let mut parts = query.split('&').map(|part| part.split_once('=').unwrap());
        let (name, value) = parts.next().unwrap();
        let mut found = self.find(kind, name, value);
        for (name, value) in parts {
            let also = self.find(kind, name, value);
            found.retain(|id| also.contains(id));
        }
        found
    }
}

pub(crate) fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap()
}

pub(crate) fn parameter(kind: &str, code: &str) -> &'static Parameter {
    let find = |of: &str| PARAMETERS.iter().find(|one| one.of == of && one.code == code);
    find(kind).or_else(|| find("*")).unwrap_or_else(|| panic!("the reader does not know {kind}?{code}"))
}

fn resolve(value: &mut Value, keys: &HashMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members.iter_mut() {
                match inner {
                    Value::String(text) if name == "reference" => {
                        if let Some(key) = keys.get(text.as_str()) {
                            text.clone_from(key);
                        }
                    }
                    inner => resolve(inner, keys),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| resolve(item, keys)),
        _ => {}
    }
}

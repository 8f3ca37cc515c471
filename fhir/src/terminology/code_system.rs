use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::json::Value;

/// A code system with its concepts.
#[derive(Debug, Clone, Default)]
pub struct CodeSystem {
    pub url: String,
    pub version: Option<String>,
    pub name: Option<String>,
    /// `complete`, `fragment`, `example`, `not-present` or `supplement`.
    pub content: String,
    pub case_sensitive: bool,
    concepts: Vec<Concept>,
    /// Code, in lower case where the system does not tell cases apart, to its place.
    places: HashMap<String, usize>,
}

/// One concept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Concept {
    pub code: String,
    pub display: Option<String>,
    pub definition: Option<String>,
    /// Language, use, and value.
    pub designations: Vec<(Option<String>, Option<String>, String)>,
    pub properties: Vec<(String, Property)>,
    /// Codes that this one is directly below.
    pub parents: BTreeSet<String>,
}

/// The value of a concept's property.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    Code(String),
    Text(String),
    Bool(bool),
    Number(String),
    DateTime(String),
    Coding { system: Option<String>, code: Option<String> },
}

impl Property {
    /// As a filter compares it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Code(text) | Self::Text(text) | Self::Number(text) | Self::DateTime(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Coding { system, code } => match system {
                Some(system) => format!("{system}|{}", code.as_deref().unwrap_or_default()),
                None => code.clone().unwrap_or_default(),
            },
        }
    }
}

fn text(value: &Value<'_>, name: &str) -> Option<String> {
    value.get_str(name).map(str::to_owned)
}

impl CodeSystem {
    /// Reads a CodeSystem; `None` where it has no URL.
    #[must_use]
    pub fn read(resource: &Value<'_>) -> Option<Self> {
        let mut system = Self {
            url: text(resource, "url")?,
            version: text(resource, "version"),
            name: text(resource, "name"),
            content: text(resource, "content").unwrap_or_default(),
            case_sensitive: resource.get("caseSensitive").and_then(Value::as_bool).unwrap_or(true),
            ..Self::default()
        };
        for concept in resource.get("concept").into_iter().flat_map(Value::items) {
            system.add(concept, None);
        }
        // Hierarchies may also be told by properties.
        let mut parents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for concept in &system.concepts {
            for (name, value) in &concept.properties {
                let Property::Code(other) = value else { continue };
                match name.as_str() {
                    "parent" | "subsumedBy" => parents.entry(concept.code.clone()).or_default().insert(other.clone()),
                    "child" => parents.entry(other.clone()).or_default().insert(concept.code.clone()),
                    _ => continue,
                };
            }
        }
        for concept in &mut system.concepts {
            concept.parents.extend(parents.remove(&concept.code).unwrap_or_default());
        }
        Some(system)
    }

    fn add(&mut self, value: &Value<'_>, parent: Option<&str>) {
        let Some(code) = text(value, "code") else { return };
        let key = self.key(&code);
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => {
                let designations = value.get("designation").into_iter().flat_map(Value::items);
                let properties = value.get("property").into_iter().flat_map(Value::items);
                self.concepts.push(Concept {
                    code: code.clone(),
                    display: text(value, "display"),
                    definition: text(value, "definition"),
                    designations: designations
                        .filter_map(|one| {
                            let usage = one.get("use").and_then(|usage| text(usage, "code"));
                            Some((text(one, "language"), usage, text(one, "value")?))
                        })
                        .collect(),
                    properties: properties.filter_map(property).collect(),
                    parents: BTreeSet::new(),
                });
                self.places.insert(key, self.concepts.len() - 1);
                self.concepts.len() - 1
            }
        };
        if let (Some(parent), Some(concept)) = (parent, self.concepts.get_mut(place)) {
            concept.parents.insert(parent.to_owned());
        }
        for child in value.get("concept").into_iter().flat_map(Value::items) {
            self.add(child, Some(&code));
        }
    }

    fn key(&self, code: &str) -> String {
        if self.case_sensitive { code.to_owned() } else { code.to_lowercase() }
    }

    /// In the order of the resource, those within others after them.
    pub fn concepts(&self) -> impl Iterator<Item = &Concept> {
        self.concepts.iter()
    }

    #[must_use]
    pub fn find(&self, code: &str) -> Option<&Concept> {
        self.concepts.get(*self.places.get(&self.key(code))?)
    }

    /// Whether everything that the code system has is in the resource.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.content == "complete"
    }

    /// The code and every code below it.
    #[must_use]
    pub fn below(&self, code: &str) -> BTreeSet<&str> {
        let Some(root) = self.find(code) else { return BTreeSet::new() };
        let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
        for concept in &self.concepts {
            for parent in &concept.parents {
                children.entry(parent.as_str()).or_default().push(&concept.code);
            }
        }
        reach(&root.code, |code| children.get(code).cloned().unwrap_or_default())
    }

    /// The code and every code above it.
    #[must_use]
    pub fn above(&self, code: &str) -> BTreeSet<&str> {
        let Some(root) = self.find(code) else { return BTreeSet::new() };
        let parents = |code: &str| {
            let concept = self.find(code);
            concept.map(|concept| concept.parents.iter().map(String::as_str).collect()).unwrap_or_default()
        };
        reach(&root.code, parents)
    }
}

/// What can be reached, the start included; each once, so that a cycle ends.
fn reach<'a>(start: &'a str, next: impl Fn(&str) -> Vec<&'a str>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(code) = open.pop() {
        for other in next(code) {
            if found.insert(other) {
                open.push(other);
            }
        }
    }
    found
}

fn property(value: &Value<'_>) -> Option<(String, Property)> {
    let name = text(value, "code")?;
    let (member, content) = value.members().find(|(member, _)| member.starts_with("value"))?;
    let property = match member {
        "valueCode" => Property::Code(content.as_str()?.to_owned()),
        "valueString" => Property::Text(content.as_str()?.to_owned()),
        "valueBoolean" => Property::Bool(content.as_bool()?),
        "valueInteger" | "valueDecimal" => Property::Number(content.as_number()?.to_owned()),
        "valueDateTime" => Property::DateTime(content.as_str()?.to_owned()),
        "valueCoding" => Property::Coding { system: text(content, "system"), code: text(content, "code") },
        _ => return None,
    };
    Some((name, property))
}

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{Canonical, CodeSystem, Concept, Library, TerminologyError};
use crate::json::Value;

/// Value sets within value sets, at most.
const MAX_DEPTH: usize = 20;
/// A filter's regular expression compiles to at most so many bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// A code of a value set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coded {
    pub system: String,
    pub code: String,
    pub display: Option<String>,
}

/// A value set's definition.
#[derive(Debug, Clone, Default)]
pub struct ValueSet {
    pub url: String,
    pub version: Option<String>,
    pub name: Option<String>,
    include: Vec<Part>,
    exclude: Vec<Part>,
    /// Where there is no definition.
    stored: Option<Vec<Coded>>,
}

#[derive(Debug, Clone, Default)]
struct Part {
    system: Option<String>,
    concepts: Option<Vec<(String, Option<String>)>>,
    /// Property, operator, value.
    filters: Vec<(String, String, String)>,
    value_sets: Vec<String>,
}

fn text(value: &Value<'_>, name: &str) -> Option<String> {
    value.get_str(name).map(str::to_owned)
}

fn list<'v, 'a>(value: &'v Value<'a>, name: &str) -> impl Iterator<Item = &'v Value<'a>> {
    value.get(name).into_iter().flat_map(Value::items)
}

impl ValueSet {
    /// Reads a ValueSet; one without a URL is named by the empty text.
    #[must_use]
    pub fn read(resource: &Value<'_>) -> Self {
        let compose = resource.get("compose");
        let parts = |name: &str| compose.into_iter().flat_map(|compose| list(compose, name)).map(part).collect();
        let mut stored = Vec::new();
        let expansion = resource.get("expansion").filter(|_| compose.is_none());
        for contained in expansion.into_iter().flat_map(|expansion| list(expansion, "contains")) {
            gather(contained, &mut stored);
        }
        Self {
            url: text(resource, "url").unwrap_or_default(),
            version: text(resource, "version"),
            name: text(resource, "name"),
            include: parts("include"),
            exclude: parts("exclude"),
            stored: expansion.map(|_| stored),
        }
    }
}

fn part(value: &Value<'_>) -> Part {
    let concepts: Vec<_> =
        list(value, "concept").filter_map(|one| Some((text(one, "code")?, text(one, "display")))).collect();
    let filters = list(value, "filter")
        .filter_map(|one| Some((text(one, "property")?, text(one, "op")?, text(one, "value")?)))
        .collect();
    Part {
        system: text(value, "system"),
        concepts: (!concepts.is_empty()).then_some(concepts),
        filters,
        value_sets: list(value, "valueSet").filter_map(|one| one.as_str().map(str::to_owned)).collect(),
    }
}

fn gather(contained: &Value<'_>, out: &mut Vec<Coded>) {
    let is_abstract = contained.get("abstract").and_then(Value::as_bool).unwrap_or(false);
    if let (Some(system), Some(code), false) = (text(contained, "system"), text(contained, "code"), is_abstract) {
        out.push(Coded { system, code, display: text(contained, "display") });
    }
    for inner in list(contained, "contains") {
        gather(inner, out);
    }
}

/// Codes by system and code, in the order in which they were found.
#[derive(Debug, Default)]
struct Codes {
    places: BTreeMap<(String, String), usize>,
    codes: Vec<Option<Coded>>,
}

impl Codes {
    fn add(&mut self, coded: Coded) {
        let key = (coded.system.clone(), coded.code.clone());
        if !self.places.contains_key(&key) {
            self.places.insert(key, self.codes.len());
            self.codes.push(Some(coded));
        }
    }

    fn remove(&mut self, coded: &Coded) {
        let key = (coded.system.clone(), coded.code.clone());
        if let Some(place) = self.places.remove(&key)
            && let Some(code) = self.codes.get_mut(place)
        {
            *code = None;
        }
    }

    fn has(&self, coded: &Coded) -> bool {
        self.places.contains_key(&(coded.system.clone(), coded.code.clone()))
    }

    fn into_list(self) -> Vec<Coded> {
        self.codes.into_iter().flatten().collect()
    }
}

/// Every code of a value set, at most `limit`.
///
/// # Errors
/// [`TerminologyError`]; [`TerminologyError::Missing`] asks for more of the library.
pub fn expand(set: &ValueSet, library: &Library, limit: usize) -> Result<Vec<Coded>, TerminologyError> {
    Ok(codes(set, library, limit, &mut vec![set.url.clone()])?.into_list())
}

/// Whether a code is in a value set, with how the set shows it. `system`: `None` where the caller does not know it.
///
/// # Errors
/// As [`expand`].
pub fn contains(
    set: &ValueSet,
    library: &Library,
    system: Option<&str>,
    code: &str,
) -> Result<Option<Coded>, TerminologyError> {
    let all = expand(set, library, usize::MAX)?;
    let same_system = |coded: &&Coded| system.is_none_or(|system| coded.system == system);
    let same_code = |coded: &&Coded| {
        let loose = matches!(library.code_systems.get(&coded.system), Some(Some(system)) if !system.case_sensitive);
        coded.code == code || (loose && coded.code.eq_ignore_ascii_case(code))
    };
    Ok(all.iter().filter(same_system).find(same_code).cloned())
}

fn codes(set: &ValueSet, library: &Library, limit: usize, within: &mut Vec<String>) -> Result<Codes, TerminologyError> {
    let mut found = Codes::default();
    for coded in set.stored.iter().flatten() {
        found.add(coded.clone());
    }
    if found.codes.len() > limit {
        return Err(TerminologyError::TooMany(limit));
    }
    for include in &set.include {
        for coded in of_part(include, library, limit, within)? {
            found.add(coded);
            if found.codes.len() > limit {
                return Err(TerminologyError::TooMany(limit));
            }
        }
    }
    for exclude in &set.exclude {
        for coded in of_part(exclude, library, usize::MAX, within)? {
            found.remove(&coded);
        }
    }
    Ok(found)
}

/// What an include or exclude means: everything that meets all of what it says.
fn of_part(
    part: &Part,
    library: &Library,
    limit: usize,
    within: &mut Vec<String>,
) -> Result<Vec<Coded>, TerminologyError> {
    let mut imported: Option<Codes> = None;
    for reference in &part.value_sets {
        let url = Canonical::read(reference).url;
        if within.iter().any(|known| known == url) {
            return Err(TerminologyError::Cycle);
        }
        if within.len() > MAX_DEPTH {
            return Err(TerminologyError::Unsupported("value sets within value sets lie too deep".to_owned()));
        }
        let set = library.value_set(url)?;
        within.push(url.to_owned());
        let codes = codes(set, library, limit, within)?;
        within.pop();
        imported = Some(match imported {
            None => codes,
            Some(before) => {
                let mut both = Codes::default();
                before.into_list().into_iter().filter(|coded| codes.has(coded)).for_each(|coded| both.add(coded));
                both
            }
        });
    }
    let Some(url) = &part.system else { return Ok(imported.map(Codes::into_list).unwrap_or_default()) };
    let mut listed = of_system(part, url, library)?;
    if let Some(imported) = &imported {
        listed.retain(|coded| imported.has(coded));
    }
    Ok(listed)
}

fn of_system(part: &Part, url: &str, library: &Library) -> Result<Vec<Coded>, TerminologyError> {
    if let Some(concepts) = &part.concepts {
        // An enumeration needs no code system; where there is one it gives the words.
        let system = match library.code_system(url) {
            Ok(system) => Some(system),
            Err(TerminologyError::UnknownSystem(_)) => None,
            Err(error) => return Err(error),
        };
        let words = |code: &str| system.and_then(|system| system.find(code)?.display.clone());
        return Ok(concepts
            .iter()
            .map(|(code, display)| Coded {
                system: url.to_owned(),
                code: code.clone(),
                display: display.clone().or_else(|| words(code)),
            })
            .collect());
    }
    let system = library.code_system(url)?;
    if system.content == "not-present" {
        return Err(TerminologyError::Unsupported(format!("the concepts of the code system `{url}` are not here")));
    }
    let filters = part.filters.iter().map(|filter| Filter::new(filter, system)).collect::<Result<Vec<_>, _>>()?;
    let meets = |concept: &&Concept| filters.iter().all(|filter| filter.meets(concept));
    Ok(system
        .concepts()
        .filter(meets)
        .map(|concept| Coded { system: url.to_owned(), code: concept.code.clone(), display: concept.display.clone() })
        .collect())
}

/// `compose.include.filter` (R4, value set "filter-operator").
enum Filter<'a> {
    Codes { codes: BTreeSet<&'a str>, wanted: bool },
    Equals { property: &'a str, values: Vec<&'a str>, wanted: bool },
    Regex { property: &'a str, regex: Regex },
    Exists { property: &'a str, wanted: bool },
}

impl<'a> Filter<'a> {
    fn new(
        (property, op, value): &'a (String, String, String),
        system: &'a CodeSystem,
    ) -> Result<Self, TerminologyError> {
        let is_concept = matches!(property.as_str(), "concept" | "code");
        let unsupported = |what: String| Err(TerminologyError::Unsupported(what));
        let hierarchy = |codes: BTreeSet<&'a str>, wanted: bool| {
            if is_concept {
                Ok(Self::Codes { codes, wanted })
            } else {
                unsupported(format!("the filter `{op}` is about the property `concept` only"))
            }
        };
        match op.as_str() {
            "is-a" => hierarchy(system.below(value), true),
            "descendent-of" | "descendant-of" => {
                let mut below = system.below(value);
                below.remove(system.find(value).map_or("", |concept| concept.code.as_str()));
                hierarchy(below, true)
            }
            "is-not-a" => hierarchy(system.below(value), false),
            "generalizes" => hierarchy(system.above(value), true),
            "=" => Ok(Self::Equals { property, values: vec![value], wanted: true }),
            "in" | "not-in" => {
                let values = value.split(',').map(str::trim).collect();
                Ok(Self::Equals { property, values, wanted: op == "in" })
            }
            "regex" => {
                let whole = format!("^(?:{value})$");
                match regex::RegexBuilder::new(&whole).size_limit(MAX_REGEX_BYTES).build() {
                    Ok(regex) => Ok(Self::Regex { property, regex }),
                    Err(_) => unsupported("a filter has a regular expression that cannot be used".to_owned()),
                }
            }
            "exists" => Ok(Self::Exists { property, wanted: value == "true" }),
            other => {
                let other: String = other.chars().take(32).collect();
                unsupported(format!("the filter `{other}` is not supported"))
            }
        }
    }

    fn meets(&self, concept: &Concept) -> bool {
        match self {
            Self::Codes { codes, wanted } => codes.contains(concept.code.as_str()) == *wanted,
            Self::Equals { property, values, wanted } => {
                values_of(concept, property).iter().any(|value| values.contains(&value.as_str())) == *wanted
            }
            Self::Regex { property, regex } => values_of(concept, property).iter().any(|value| regex.is_match(value)),
            Self::Exists { property, wanted } => values_of(concept, property).is_empty() != *wanted,
        }
    }
}

fn values_of(concept: &Concept, property: &str) -> Vec<String> {
    match property {
        "concept" | "code" => vec![concept.code.clone()],
        "display" => concept.display.iter().cloned().collect(),
        "parent" => concept.parents.iter().cloned().collect(),
        name => {
            let named = concept.properties.iter().filter(|(known, _)| known == name);
            named.map(|(_, value)| value.text()).collect()
        }
    }
}

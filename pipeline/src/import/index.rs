//! The first pass: which ids and identifiers there are, and what refers to what.

use std::collections::{BTreeSet, HashMap, HashSet};

use mavis_fhir::{ResourceType, bundle, json::Value, resource_id, validate};
use mavis_types::SourceId;
use xxhash_rust::xxh3::xxh3_128;

use super::document::{Item, Piece, Position, Want, visit};

/// How ids of an import's resources are made.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    pub(crate) source: SourceId,
    /// Keep the resources' own.
    pub(crate) keep: bool,
}

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    Store,
    Delete,
    /// A method that an import does not do, or an entry that says nothing.
    Refused(String),
}

/// An entry, as both passes understand it.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) verb: Verb,
    pub(crate) resource: ResourceType,
    /// The id in the lake; a conditional update has it only once its condition is resolved.
    pub(crate) id: String,
    /// `Type?query` of a conditional update or deletion.
    pub(crate) condition: Option<String>,
}

/// Reads what an entry asks for; `Err` says why it is no resource.
pub(crate) fn intent(entry: &bundle::Entry<'_>, at: Position, file_digest: &str, ids: &Ids) -> Result<Intent, String> {
    let method = entry.method.as_deref().unwrap_or("POST").to_ascii_uppercase();
    let url = entry.url.as_deref().unwrap_or_default();
    let (named, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let mut path = named.rsplit('/');
    let last = path.next().unwrap_or_default();
    let before = path.next().unwrap_or_default();
    if method == "DELETE" {
        let (kind, id) = if query.is_some() { (last, "") } else { (before, last) };
        let resource =
            kind.parse::<ResourceType>().map_err(|_| "request.url: names no resource to delete".to_owned())?;
        let condition = query.map(|query| format!("{resource}?{query}"));
        return Ok(Intent { verb: Verb::Delete, resource, id: ids.of(resource, id), condition });
    }
    let value = entry.resource.as_ref().ok_or("the entry has no resource")?;
    let resource = validate::resource_type(value).map_err(|issue| format!("{}: {}", issue.path, issue.message))?;
    let own = value.get("id").and_then(Value::as_str).unwrap_or_default();
    let verb = match method.as_str() {
        "POST" | "PUT" => Verb::Store,
        other => Verb::Refused(format!("request.method: {} is not imported", &other[..other.len().min(12)])),
    };
    let condition = match (method.as_str(), query) {
        ("PUT", Some(query)) => Some(format!("{resource}?{query}")),
        _ => None,
    };
    let named = if method == "PUT" && query.is_none() && before == resource.name() { last } else { own };
    let id = if named.is_empty() {
        // Without an id of its own a resource is what stands in this place of this file.
        let place = match &entry.full_url {
            Some(url) => url.clone(),
            None => format!("{file_digest}:{}:{}", at.line, at.entry),
        };
        resource_id(ids.source, resource, &[&place])
    } else {
        ids.of(resource, named)
    };
    Ok(Intent { verb, resource, id, condition })
}

impl Ids {
    pub(crate) fn of(&self, resource: ResourceType, own: &str) -> String {
        if self.keep { own.to_owned() } else { resource_id(self.source, resource, &[own]) }
    }
}

/// Names a `Type/id`, or an identifier of a type.
pub(crate) fn name_hash(parts: &[&str]) -> u128 {
    xxh3_128(parts.join("\u{1f}").as_bytes())
}

/// The identifiers of a resource, each with and without its system.
pub(crate) fn identifiers(resource: ResourceType, value: &Value<'_>) -> Vec<u128> {
    let mut hashes = Vec::new();
    let mut add = |identifier: &Value<'_>| {
        if let Some(code) = identifier.get("value").and_then(Value::as_str) {
            let system = identifier.get("system").and_then(Value::as_str).unwrap_or_default();
            hashes.push(identifier_hash(resource, Some(system), code));
            hashes.push(identifier_hash(resource, None, code));
        }
    };
    match value.get("identifier") {
        Some(Value::Array(items)) => items.iter().for_each(add),
        Some(one) => add(one),
        None => {}
    }
    hashes
}

/// `system`: `None` for any.
pub(crate) fn identifier_hash(resource: ResourceType, system: Option<&str>, value: &str) -> u128 {
    match system {
        Some(system) => name_hash(&[resource.name(), "system", system, value]),
        None => name_hash(&[resource.name(), "any", value]),
    }
}

/// An entry that is created only where nothing has its identifier.
#[derive(Debug, Clone)]
pub(crate) struct Create {
    pub(crate) at: Position,
    pub(crate) resource: ResourceType,
    pub(crate) id: String,
    /// `Type?query`.
    pub(crate) condition: String,
    pub(crate) full_url: Option<String>,
}

/// A resource of the set that has an identifier.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) at: Position,
    pub(crate) id: String,
}

/// The index of a set, or of a piece of it.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The last entry of each `Type/id`.
    pub(crate) last: HashMap<u128, Position>,
    /// `fullUrl` to `Type/id`.
    pub(crate) full_urls: HashMap<String, String>,
    /// `Type/id` in the files to `Type/id` here, where they differ.
    pub(crate) renamed: HashMap<String, String>,
    pub(crate) holders: HashMap<u128, Vec<Holder>>,
    /// Conditional references, and conditions of updates and deletions.
    pub(crate) conditions: BTreeSet<String>,
    pub(crate) creates: Vec<Create>,
    pub(crate) types: BTreeSet<ResourceType>,
    pub(crate) entries: u64,
    /// References that only a name of an entry can resolve, as [`name_hash`] names them.
    asked: HashSet<u128>,
    /// Entries whose `Type/id` comes again later.
    pub(crate) superseded: u64,
}

/// Reads one piece.
pub(crate) fn index(piece: &Piece, paths: &[std::path::PathBuf], digests: &[String], ids: &Ids) -> Index {
    let mut index = Index::default();
    visit(piece, paths, Want::Names { relative: !ids.keep }, &mut |at, item| {
        let Item::Entry { entry, .. } = item else { return };
        index.entries += 1;
        let digest = digests.get(at.file as usize).map_or("", String::as_str);
        let Ok(intent) = intent(&entry, at, digest, ids) else { return };
        index.types.insert(intent.resource);
        if let Some(condition) = &intent.condition {
            index.conditions.insert(condition.clone());
        } else {
            let before = index.last.insert(name_hash(&[intent.resource.name(), &intent.id]), at);
            index.superseded += u64::from(before.is_some());
        }
        if intent.verb != Verb::Store {
            return;
        }
        let Some(value) = &entry.resource else { return };
        let here = || format!("{}/{}", intent.resource, intent.id);
        if let Some(url) = &entry.full_url
            && *url != here()
        {
            index.full_urls.insert(url.clone(), here());
        }
        if !ids.keep
            && let Some(own) = value.get("id").and_then(Value::as_str)
        {
            index.renamed.insert(format!("{}/{own}", intent.resource), here());
        }
        for hash in identifiers(intent.resource, value) {
            index.holders.entry(hash).or_default().push(Holder { at, id: intent.id.clone() });
        }
        bundle::for_each_reference(value, &mut |reference| {
            if reference.contains('?') {
                if bundle::Condition::parse(reference).is_some() {
                    index.conditions.insert(reference.to_owned());
                }
            } else if reference.starts_with("urn:") || (!ids.keep && bundle::relative_reference(reference).is_some()) {
                index.asked.insert(name_hash(&[reference]));
            }
        });
        if let Some(query) = &entry.if_none_exist {
            let query = query.rsplit('?').next().unwrap_or(query);
            index.creates.push(Create {
                at,
                resource: intent.resource,
                id: intent.id,
                condition: format!("{}?{query}", intent.resource),
                full_url: entry.full_url.clone(),
            });
        }
    });
    index
}

impl Index {
    /// Puts the index of a later piece behind this one.
    pub(crate) fn extend(&mut self, later: Index) {
        self.superseded += later.superseded;
        for (name, at) in later.last {
            self.superseded += u64::from(self.last.insert(name, at).is_some());
        }
        self.full_urls.extend(later.full_urls);
        self.renamed.extend(later.renamed);
        for (hash, mut holders) in later.holders {
            self.holders.entry(hash).or_default().append(&mut holders);
        }
        self.conditions.extend(later.conditions);
        self.creates.extend(later.creates);
        self.types.extend(later.types);
        self.entries += later.entries;
        self.asked.extend(later.asked);
    }

    /// Whether references may lead to entries that are not here.
    pub(crate) fn lacks_names(&self) -> bool {
        let mut open = self.asked.clone();
        for name in self.full_urls.keys().chain(self.renamed.keys()) {
            open.remove(&name_hash(&[name]));
        }
        !open.is_empty()
    }

    /// The index of a later set, with the names of the entries of this one, which is in the lake already.
    pub(crate) fn names_for(mut self, later: Index) -> Index {
        self.last.clear();
        self.conditions.clear();
        self.types.clear();
        self.entries = 0;
        self.superseded = 0;
        self.asked.clear();
        self.extend(later);
        self
    }
}

//! Resources to versions: parsed once; the same parse is validated, hashed, compared and turned into columns.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use mavis_fhir::{
    ResourceType, json,
    shape::{self, Meta},
    validate::{self, Severity},
};
use mavis_types::Counts;

use super::{
    State,
    versions::{self, Version, Versions},
};
use crate::{failure::Failure, quarantine::Rejected};

/// A resource as it comes: JSON text and the id that it will have.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) id: String,
    pub(crate) json: String,
    /// Where it came from, for quarantine.
    pub(crate) origin: String,
}

/// What all encoders of one unit share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) resource: ResourceType,
    pub(crate) state: State,
    /// Columns of the current table so far; grows with what encoders find, so that batches agree.
    columns: RwLock<SchemaRef>,
    pub(crate) source: String,
    pub(crate) made_by: String,
    pub(crate) run: String,
    pub(crate) now: DateTime<Utc>,
}

impl Shared {
    pub(crate) fn new(
        resource: ResourceType,
        state: State,
        columns: SchemaRef,
        source: &str,
        made_by: &str,
        run: &str,
    ) -> Self {
        Self {
            resource,
            state,
            columns: RwLock::new(columns),
            source: source.to_owned(),
            made_by: made_by.to_owned(),
            run: run.to_owned(),
            now: Utc::now(),
        }
    }

    /// Columns of the current table, with all that were found so far.
    pub(crate) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.columns.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn learn(&self, found: &SchemaRef) {
        let mut columns = self.columns.write().unwrap_or_else(PoisonError::into_inner);
        if *columns != *found {
            *columns = shape::union(&columns, found);
        }
    }
}

/// What became of a chunk of resources.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// New versions, for history; their texts are those of `current`, not copies.
    pub(crate) history: Vec<RecordBatch>,
    /// The same, for the current table.
    pub(crate) current: Option<RecordBatch>,
    /// Ids whose newest version is a tombstone.
    pub(crate) gone: Vec<String>,
    pub(crate) counts: Counts,
    /// Ids that are in the FHIR zone after this, as [`super::state::id_hash`] names them.
    pub(crate) seen: Vec<u128>,
    pub(crate) rejected: Vec<Rejected>,
    /// Warnings of validation, counted.
    pub(crate) warnings: BTreeMap<String, u64>,
    /// Hashes of what the rows say whose id several rows have.
    pub(crate) contents: Vec<(u128, [u8; 16])>,
}

/// Turns a chunk of resources of one type into versions. Ids must not come twice in a unit.
pub(crate) struct Encoder<'s> {
    shared: &'s Shared,
    current: shape::Encoder,
    tombstones: Versions,
    out: Encoded,
}

impl<'s> Encoder<'s> {
    pub(crate) fn new(shared: &'s Shared) -> Self {
        Self {
            current: shape::Encoder::new(shared.resource, Some(shared.columns())),
            shared,
            tombstones: Versions::new(),
            out: Encoded::default(),
        }
    }

    /// A row that is not kept because another one of its id is.
    pub(crate) fn note_deduplicated(&mut self) {
        self.out.counts.read += 1;
        self.out.counts.deduplicated += 1;
    }

    /// What a row says whose id ([`super::state::id_hash`]) several rows have, to tell copies from rows that differ.
    pub(crate) fn note_content(&mut self, id: u128, text: &str) {
        let hash = match json::parse(text.as_bytes()) {
            Ok(value) => shape::content_hash(&value),
            Err(_) => xxhash_rust::xxh3::xxh3_128(text.as_bytes()).to_le_bytes(),
        };
        self.out.contents.push((id, hash));
    }

    /// A row that cannot be a resource.
    pub(crate) fn reject(&mut self, rejected: Rejected) {
        self.out.counts.read += 1;
        self.out.counts.quarantined += 1;
        self.out.rejected.push(rejected);
    }

    /// Parses and puts.
    pub(crate) fn put_text(&mut self, incoming: &Incoming) {
        match json::parse(incoming.json.as_bytes()) {
            Ok(value) => self.put(&incoming.id, &value, &incoming.json, &|| incoming.origin.clone()),
            Err(error) => self.reject(Rejected {
                reason: error.to_string(),
                origin: incoming.origin.clone(),
                payload: incoming.json.clone(),
            }),
        }
    }

    /// Takes a resource in: as a new version, or not at all where its content is known.
    pub(crate) fn put(&mut self, id: &str, value: &json::Value<'_>, text: &str, origin: &dyn Fn() -> String) {
        let reject = |reason: String| Rejected { reason, origin: origin(), payload: payload(value, id) };
        match validate::resource_type(value) {
            Ok(resource) if resource == self.shared.resource => {}
            Ok(resource) => {
                return self.reject(reject(format!("a {resource} where a {} is expected", self.shared.resource)));
            }
            Err(issue) => return self.reject(reject(format!("{}: {}", issue.path, issue.message))),
        }
        if !is_id(id) {
            return self.reject(reject(format!("{}.id: not a FHIR id", self.shared.resource)));
        }
        let issues = validate::validate(self.shared.resource, value);
        if let Some(first) = issues.iter().find(|issue| issue.severity == Severity::Error) {
            return self.reject(reject(format!("{}: {}", first.path, first.message)));
        }
        let known = self.shared.state.get(id).copied();
        if let Some(known) = &known {
            let owner = self.shared.state.source(known);
            if !known.deleted && owner != self.shared.source {
                let reason = format!(
                    "{}.id: belongs to a resource of source `{owner}`; import it with `--source {owner}` to update it",
                    self.shared.resource
                );
                return self.reject(reject(reason));
            }
        }
        for issue in issues {
            *self.out.warnings.entry(format!("{}: {}", without_indices(&issue.path), issue.message)).or_insert(0) += 1;
        }
        self.out.counts.read += 1;
        self.out.seen.push(super::state::id_hash(id));
        let hash = shape::content_hash(value);
        if known.is_some_and(|known| !known.deleted && known.hash == hash) {
            self.out.counts.unchanged += 1;
            return;
        }
        let version = known.map_or(1, |known| known.version + 1);
        if known.is_some_and(|known| !known.deleted) {
            self.out.counts.updated += 1;
        } else {
            self.out.counts.inserted += 1;
        }
        let meta = Meta {
            id,
            version,
            last_updated: self.shared.now,
            source: &self.shared.source,
            run: &self.shared.run,
            hash,
        };
        self.current.push(value, text, &meta);
    }

    /// Deletes a resource of this source; one that is not there, or is another one's, is left alone.
    pub(crate) fn delete(&mut self, id: &str) {
        let Some(known) = self.shared.state.get(id).copied() else { return };
        if known.deleted || self.shared.state.source(&known) != self.shared.source {
            return;
        }
        self.out.counts.deleted += 1;
        self.tombstones.push(&Version {
            id,
            version: known.version + 1,
            last_updated: self.shared.now,
            hash: [0; 16],
            source: &self.shared.source,
            run: &self.shared.run,
            made_by: &self.shared.made_by,
            text: None,
        });
        self.out.gone.push(id.to_owned());
    }

    pub(crate) fn finish(mut self) -> Result<Encoded, Failure> {
        if !self.current.is_empty() {
            let batch = self.current.finish()?;
            self.shared.learn(&batch.schema());
            self.out.history.push(versions::of_current(&batch, &self.shared.made_by)?);
            self.out.current = Some(batch);
        }
        self.out.history.extend(self.tombstones.finish()?);
        Ok(self.out)
    }
}

/// `[A-Za-z0-9\-\.]{1,64}` (R4, data type `id`).
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// The resource with the id that it would have had: what a person corrects and sends again.
pub(crate) fn payload(value: &json::Value<'_>, id: &str) -> String {
    let mut value = value.clone();
    if let json::Value::Object(members) = &mut value {
        members.retain(|(name, _)| name != "id");
        let at = usize::from(members.first().is_some_and(|(name, _)| name == "resourceType"));
        members.insert(at, ("id".into(), json::Value::String(id.into())));
    }
    let mut text = Vec::new();
    value.write(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// `name[3].given[0]` as `name.given`, so that warnings can be counted.
fn without_indices(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a-1.B", true)]
    #[case("", false)]
    #[case("a_b", false)]
    #[case("é", false)]
    fn ids_are_what_r4_allows(#[case] id: &str, #[case] valid: bool) {
        assert_eq!(is_id(id), valid);
        assert!(!is_id(&"a".repeat(65)));
    }

    #[test]
    fn warnings_of_repeated_elements_count_together() {
        assert_eq!(without_indices("Patient.name[3].given[0]"), "Patient.name.given");
    }
}

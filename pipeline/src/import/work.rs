//! The second pass on one core: entries to versions.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use mavis_fhir::{ResourceType, bundle, json};

use super::{
    document::{Item, Piece, Position, Want, visit},
    index::{Ids, Intent, Verb, intent, name_hash},
    resolve::Resolution,
};
use crate::{
    failure::Failure,
    fhir_zone::{Encoded, Encoder, Shared, encode},
    quarantine::Rejected,
};

/// A payload in quarantine is cut to this; the file itself stays in the spool.
const PAYLOAD: usize = 256 << 10;

/// What the second pass made of a piece.
#[derive(Default)]
pub(super) struct Landed {
    pub(super) by_type: BTreeMap<ResourceType, Encoded>,
    /// What belongs to no resource type: file number and reason.
    pub(super) broken: Vec<Rejected>,
    pub(super) dangling: u64,
}

/// What a core needs for the second pass.
pub(super) struct Work {
    pub(super) paths: Arc<Vec<PathBuf>>,
    pub(super) digests: Arc<Vec<String>>,
    pub(super) names: Arc<Vec<String>>,
    pub(super) ids: Ids,
    pub(super) shared: Arc<BTreeMap<ResourceType, Arc<Shared>>>,
    pub(super) resolution: Arc<Resolution>,
}

impl Work {
    pub(super) fn encode(&self, piece: &Piece) -> Result<Landed, Failure> {
        let mut encoders: BTreeMap<ResourceType, Encoder<'_>> = BTreeMap::new();
        let mut landed = Landed::default();
        visit(piece, &self.paths, Want::All, &mut |at, item| match item {
            Item::Broken { reason, text } => {
                let text = String::from_utf8_lossy(&text[..text.len().min(PAYLOAD)]).into_owned();
                landed.broken.push(Rejected { reason, origin: self.origin(at), payload: text });
            }
            Item::Entry { entry, text } => self.entry(at, entry, text, &mut encoders, &mut landed),
        });
        for (resource, encoder) in encoders {
            landed.by_type.insert(resource, encoder.finish()?);
        }
        Ok(landed)
    }

    fn origin(&self, at: Position) -> String {
        let name = self.names.get(at.file as usize).map_or("", String::as_str);
        match at.line {
            0 => format!("{name} entry {}", at.entry),
            line => format!("{name} line {line}"),
        }
    }

    fn entry<'s>(
        &'s self,
        at: Position,
        entry: bundle::Entry<'_>,
        text: Option<&str>,
        encoders: &mut BTreeMap<ResourceType, Encoder<'s>>,
        landed: &mut Landed,
    ) {
        let digest = self.digests.get(at.file as usize).map_or("", String::as_str);
        let asked = intent(&entry, at, digest, &self.ids);
        let (Intent { verb, resource, mut id, condition }, shared) = match asked {
            Ok(asked) => match self.shared.get(&asked.resource) {
                Some(shared) => (asked, shared),
                None => return,
            },
            Err(reason) => {
                let payload = entry.resource.as_ref().map(written).unwrap_or_default();
                landed.broken.push(Rejected { reason, origin: self.origin(at), payload });
                return;
            }
        };
        let encoder = encoders.entry(resource).or_insert_with(|| Encoder::new(shared));
        let own_id = id.clone();
        let reject = |reason: String| Rejected {
            reason,
            origin: self.origin(at),
            payload: entry.resource.as_ref().map(|value| encode::payload(value, &own_id)).unwrap_or_default(),
        };
        if let Some(reason) = self.resolution.refused.get(&at) {
            return encoder.reject(reject(format!("request.ifNoneExist: {reason}")));
        }
        if self.resolution.existing.contains(&at) {
            return encoder.note_deduplicated();
        }
        if let Some(condition) = &condition {
            match self.resolution.conditions.get(condition) {
                Some(Some(found)) => id.clone_from(found),
                // A conditional update that matches nothing creates; a deletion does nothing.
                Some(None) if self.resolution.failed.get(condition).is_none_or(|r| r.contains("no resource")) => {}
                _ => {
                    return encoder.reject(reject(
                        "request.url: the condition matches several resources, or is not supported".to_owned(),
                    ));
                }
            }
        } else if self.resolution.last.get(&name_hash(&[resource.name(), &id])).is_some_and(|last| *last != at) {
            if verb != Verb::Delete {
                encoder.note_deduplicated();
            }
            return;
        }
        match verb {
            Verb::Delete => encoder.delete(&id),
            Verb::Refused(reason) => encoder.reject(reject(reason)),
            Verb::Store => self.store(at, &id, entry, text, encoder, landed),
        }
    }

    fn store(
        &self,
        at: Position,
        id: &str,
        entry: bundle::Entry<'_>,
        text: Option<&str>,
        encoder: &mut Encoder<'_>,
        landed: &mut Landed,
    ) {
        let Some(mut value) = entry.resource else { return };
        let (mut failed, mut resolved, mut dangling) = (None, false, 0);
        bundle::for_each_reference(&value, &mut |reference| {
            if self.resolution.references.contains_key(reference) {
                resolved = true;
            } else if let Some(reason) = self.resolution.failed.get(reference) {
                failed = Some(*reason);
            } else if reference.starts_with("urn:") {
                dangling += 1;
            }
        });
        if let Some(reason) = failed {
            let payload = encode::payload(&value, id);
            return encoder.reject(Rejected {
                reason: format!("reference: {reason}"),
                origin: self.origin(at),
                payload,
            });
        }
        landed.dangling += dangling;
        let origin = || self.origin(at);
        let changed = resolved && bundle::rewrite_references(&mut value, &self.resolution.references);
        match text {
            Some(text) if !changed => encoder.put(id, &value, text, &origin),
            _ => encoder.put(id, &value, &written(&value), &origin),
        }
    }
}

fn written(value: &json::Value<'_>) -> String {
    let mut text = Vec::with_capacity(1_024);
    value.write(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

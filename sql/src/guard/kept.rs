//! What is left of resources where something of them is hidden: of the rows of a table, of those that stand within others, and of
//! those that a source's own tables hold as they came.

use std::collections::{BTreeMap, BTreeSet};

use mavis_fhir::ResourceType;
use mavis_types::{Mask, Principal, TableName, Zone};

use super::policy::{Policy, Seen};

/// The schema with resources as they are now.
const CURRENT: &str = "r4";
/// Tables whose resources may hold any other, each with elements of its own.
const HOLDERS: [&str; 2] = ["bundle", "parameters"];
/// Columns of a source's table of resources that say nothing of what a resource holds: its identity, and when it came.
const IDENTITY: [&str; 9] =
    ["resource_type", "id", "resource", "version_id", "last_updated", "position", "__run", "__ingested_at", "__source"];

/// What is left of resources of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    /// Elements that are kept; `None`: all but those that are masked.
    pub(super) elements: Option<BTreeSet<String>>,
    pub(super) masks: BTreeMap<String, Mask>,
}

impl Kept {
    /// Of two masks on one element the stricter holds.
    pub(super) fn mask(&mut self, element: &str, mask: Mask) {
        let known = self.masks.entry(element.to_owned()).or_insert(mask);
        *known = mask.min(*known);
    }
}

/// Resources in a table of the source that they came from.
#[derive(Debug, Clone)]
pub(super) struct Brought {
    /// `None`: of no type that R4 knows.
    pub(super) resource: Option<ResourceType>,
    pub(super) kept: Kept,
}

/// Whether a column of such a table may be shown where something of the resources is hidden. All others are parts of them (a
/// key, the search that an entry was sent with), or tell where they stood.
pub(super) fn is_identity(column: &str) -> bool {
    IDENTITY.contains(&column)
}

pub(super) fn current(resource: ResourceType) -> TableName {
    TableName::new(Zone::Fhir, CURRENT, resource.table())
}

pub(super) fn holds_others(table: &str) -> bool {
    HOLDERS.contains(&table)
}

/// What is shown of resources that stand within others, by type; `None`: all of all. A type that may not be read is not among
/// them, nor is one of which rows are hidden: nothing tells whether what stands there is one of those.
pub(super) fn within(principal: &Principal) -> Option<BTreeMap<ResourceType, Kept>> {
    let (mut shown, mut whole) = (BTreeMap::new(), true);
    for resource in ResourceType::all() {
        match Policy::of_rows(principal, &current(resource)) {
            Seen::Through(policy) if !policy.hides_rows() => {
                let kept = policy.kept();
                whole &= kept == Kept::default();
                shown.insert(resource, kept);
            }
            _ => whole = false,
        }
    }
    (!whole).then_some(shown)
}

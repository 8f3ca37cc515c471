//! Codes told by a value set or by their place in a code system.
//!
//! The codes are not here: a search says which it needs ([`CodesOf`]), whoever runs it brings them ([`CodeSet`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Codes that a search needs to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CodesOf {
    /// Those of a value set, by its canonical URL (which may end in `|` and a version) or as `ValueSet/[id]`.
    ValueSet(String),
    /// A code and everything below it.
    Below { system: String, code: String },
    /// A code and everything above it.
    Above { system: String, code: String },
}

/// What is known of the codes that searches need.
pub type KnownCodes = BTreeMap<CodesOf, CodeSet>;

/// Codes by their system.
#[derive(Debug, Clone, Default)]
pub struct CodeSet(Arc<BTreeMap<String, BTreeSet<String>>>);

impl FromIterator<(String, String)> for CodeSet {
    /// From systems and codes.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(codes: I) -> Self {
        let mut by_system: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (system, code) in codes {
            by_system.entry(system).or_default().insert(code);
        }
        Self(Arc::new(by_system))
    }
}

impl CodeSet {
    pub(super) fn has(&self, system: &str, code: &str) -> bool {
        self.0.get(system).is_some_and(|codes| codes.contains(code))
    }

    /// A code whose system is implied; `systems` may be empty where it is not known.
    pub(super) fn has_of(&self, systems: &[&str], code: &str) -> bool {
        if systems.is_empty() {
            return self.0.values().any(|codes| codes.contains(code));
        }
        systems.iter().any(|system| self.has(system, code))
    }
}

impl PartialEq for CodeSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for CodeSet {}

// A plan's expressions are hashed often and a set may be large: its size tells enough, equality decides.
impl Hash for CodeSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
        self.0.values().map(BTreeSet::len).sum::<usize>().hash(state);
    }
}

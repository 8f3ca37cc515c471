//! Code systems, value sets and concept maps: what they hold, and what follows from it (R4, "terminology-service.html").
//!
//! Pure: whoever asks brings the resources. What is missing is told by its canonical URL ([`Missing`]), so that the caller
//! can fetch it and ask again.
//!
//! What it does: code systems whose concepts are in the resource; value sets by enumeration, by whole code system, by other
//! value sets, and by the filters `is-a`, `descendent-of`, `is-not-a`, `generalizes`, `=`, `in`, `not-in`, `regex` and
//! `exists`; exclusions; stored expansions where there is no definition. What it does not do: post-coordination, and code
//! systems of which only a fragment is there (they are used as they are, and told as incomplete).

mod canonical;
mod code_system;
mod expand;
#[cfg(test)]
mod tests;
mod translate;

use std::collections::BTreeMap;

pub use self::{
    canonical::Canonical,
    code_system::{CodeSystem, Concept, Property},
    expand::{Coded, ValueSet, contains, expand},
    translate::{Translation, translate},
};

/// Resources by their URL, as far as they were brought.
#[derive(Debug, Default)]
pub struct Library {
    pub code_systems: BTreeMap<String, Option<CodeSystem>>,
    pub value_sets: BTreeMap<String, Option<ValueSet>>,
}

/// Something that an answer depends on and that was not asked for yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    CodeSystem(String),
    ValueSet(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TerminologyError {
    /// Bring it, or `None` where there is none, and ask again.
    #[error("not asked for yet")]
    Missing(Missing),
    #[error("there is no code system `{0}` here")]
    UnknownSystem(String),
    #[error("there is no value set `{0}` here")]
    UnknownValueSet(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("the value set includes itself")]
    Cycle,
    #[error("the expansion has more than {0} codes: narrow it with `filter`")]
    TooMany(usize),
}

impl Library {
    fn code_system(&self, url: &str) -> Result<&CodeSystem, TerminologyError> {
        match self.code_systems.get(url) {
            None => Err(TerminologyError::Missing(Missing::CodeSystem(url.to_owned()))),
            Some(None) => Err(TerminologyError::UnknownSystem(url.to_owned())),
            Some(Some(system)) => Ok(system),
        }
    }

    fn value_set(&self, url: &str) -> Result<&ValueSet, TerminologyError> {
        match self.value_sets.get(url) {
            None => Err(TerminologyError::Missing(Missing::ValueSet(url.to_owned()))),
            Some(None) => Err(TerminologyError::UnknownValueSet(url.to_owned())),
            Some(Some(set)) => Ok(set),
        }
    }
}

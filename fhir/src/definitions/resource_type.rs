use std::{fmt, str::FromStr};

use super::DEFINITIONS;

/// One of the 147 concrete resource types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType(pub(crate) u16);

/// A word that names no resource type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a FHIR R4 resource type")]
pub struct UnknownResourceType(pub String);

impl ResourceType {
    /// All of them, by name.
    pub fn all() -> impl Iterator<Item = ResourceType> {
        (0..).map(ResourceType).take(DEFINITIONS.resources.len())
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        DEFINITIONS.resources[usize::from(self.0)].name
    }

    /// The table's name: the type in lower case (`medicationrequest`).
    #[must_use]
    pub fn table(self) -> &'static str {
        DEFINITIONS.resources[usize::from(self.0)].table
    }

    /// The type whose table has this name.
    #[must_use]
    pub fn from_table(table: &str) -> Option<Self> {
        Self::all().find(|resource| resource.table() == table)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ResourceType {
    type Err = UnknownResourceType;

    /// Exact, as FHIR writes it; names are case-sensitive.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DEFINITIONS.resource_by_name.get(text).copied().ok_or_else(|| UnknownResourceType(text.to_owned()))
    }
}

//! The official R4 definitions as compact tables: resource types, their elements, search parameters, compartments.

use std::{fmt, str::FromStr};

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
        std::iter::empty()
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        todo!()
    }

    /// The table's name: the type in lower case (`medicationrequest`).
    #[must_use]
    pub fn table(self) -> &'static str {
        todo!()
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
        Err(UnknownResourceType(text.to_owned()))
    }
}

/// The type of an element: a FHIR primitive, a complex data type, or a backbone element of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId(pub(crate) u16);

/// An element of a type.
#[derive(Debug, Clone)]
pub struct Element {
    /// As it stands in JSON; a choice element `value[x]` is listed once for each of its types (`valueQuantity`, ...).
    pub name: &'static str,
    pub type_id: TypeId,
    /// Lower bound; for a choice it holds for the group.
    pub min: u32,
    /// Whether it repeats.
    pub many: bool,
    /// Name of the choice group (`value`) where it belongs to one.
    pub choice: Option<&'static str>,
    /// Value set with a required binding, where its codes are few enough to be carried.
    pub required_codes: Option<&'static [&'static str]>,
    /// Types that a reference may point to; empty: any.
    pub targets: &'static [&'static str],
}

/// A search parameter of R4.
#[derive(Debug, Clone)]
pub struct SearchParameter {
    pub code: &'static str,
    pub kind: ParameterKind,
    /// FHIRPath, as in the definitions.
    pub expression: &'static str,
    pub targets: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    Number,
    Date,
    String,
    Token,
    Reference,
    Composite,
    Quantity,
    Uri,
    Special,
}

/// The elements of a type, in the order of the definitions.
#[must_use]
pub fn elements(type_id: TypeId) -> &'static [Element] {
    let _ = type_id;
    &[]
}

/// The type of a resource's root.
#[must_use]
pub fn root(resource: ResourceType) -> TypeId {
    let _ = resource;
    todo!()
}

/// Search parameters of a resource type, those of `Resource` and `DomainResource` included, by code.
#[must_use]
pub fn search_parameters(resource: ResourceType) -> &'static [SearchParameter] {
    let _ = resource;
    &[]
}

/// Whether a path of element names (as in JSON) exists in a resource, and its type: what mappings are checked with.
#[must_use]
pub fn find(resource: ResourceType, path: &[&str]) -> Option<&'static Element> {
    let _ = (resource, path);
    None
}

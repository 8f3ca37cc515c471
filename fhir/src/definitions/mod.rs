//! The official R4 definitions as compact tables: resource types, their elements, search parameters, compartments.
//!
//! The tables are the text files in `fhir/definitions/`, derived from the official files by the script that stands
//! beside them, and are read once, at first use (a few milliseconds).

mod load;
mod lookup;
mod primitive;
mod resource_type;
mod summary;
#[cfg(test)]
mod tests;

use std::{fmt, sync::LazyLock};

use self::{load::Definitions, lookup::Lookup};
pub use self::{
    primitive::Primitive,
    resource_type::{ResourceType, UnknownResourceType},
    summary::summary,
};

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(load::load);

/// The type of an element: a FHIR primitive, a complex data type, a backbone element of one resource, or a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u16);

/// What sort of type a [`TypeId`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypeKind {
    Primitive(Primitive),
    /// A complex data type: `CodeableConcept`, `Quantity`.
    Complex,
    /// The structure of one element of one type: `Patient.contact`.
    Backbone,
    Resource(ResourceType),
    /// Any resource, its type in `resourceType`: `contained`, `Bundle.entry.resource`.
    AnyResource,
}

impl TypeId {
    /// As FHIR names it: `string`, `CodeableConcept`, `Patient.contact`, `Patient`; `Resource` for any resource.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    #[must_use]
    pub fn kind(self) -> TypeKind {
        self.definition().kind
    }

    #[must_use]
    pub fn primitive(self) -> Option<Primitive> {
        match self.kind() {
            TypeKind::Primitive(primitive) => Some(primitive),
            _ => None,
        }
    }

    /// Whether it is `Reference`.
    #[must_use]
    pub fn is_reference(self) -> bool {
        self == DEFINITIONS.reference
    }

    /// Whether it is `Extension`.
    #[must_use]
    pub fn is_extension(self) -> bool {
        self == DEFINITIONS.extension
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        DEFINITIONS.type_by_name.get(name).copied()
    }

    /// The type of a primitive.
    #[must_use]
    pub fn of_primitive(primitive: Primitive) -> Self {
        // Primitives are loaded first, in this order.
        let place = Primitive::ALL.into_iter().position(|other| other == primitive).unwrap_or_default();
        Self(u16::try_from(place).unwrap_or_default())
    }

    fn definition(self) -> &'static load::TypeDefinition {
        // A `TypeId` is only made by the loader, as the index of its definition.
        &DEFINITIONS.types[usize::from(self.0)]
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// URLs of the code systems that those codes are of; empty where they are not carried.
    pub systems: &'static [&'static str],
    /// Types that a reference may point to; empty: any.
    pub targets: &'static [&'static str],
}

/// A search parameter of R4.
#[derive(Debug, Clone)]
pub struct SearchParameter {
    pub code: &'static str,
    pub kind: ParameterKind,
    /// FHIRPath, as in the definitions, with only those alternatives of a union that are about the resource type; empty
    /// for `_content`, `_query`, `_text`.
    pub expression: &'static str,
    /// Types that a reference may point to; empty: any.
    pub targets: &'static [&'static str],
    /// Parts of a composite, in the order in which `$` separates their values; empty for every other kind.
    pub components: &'static [Component],
}

/// A part of a composite search parameter.
#[derive(Debug, Clone)]
pub struct Component {
    /// Code of the parameter that defines it.
    pub code: &'static str,
    pub kind: ParameterKind,
    /// FHIRPath, from each element that the composite's own expression selects.
    pub expression: &'static str,
}

/// How the value of a search parameter is read and compared.
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

/// The elements of a type, in the order of the definitions; none for a primitive and for any resource.
#[must_use]
pub fn elements(type_id: TypeId) -> &'static [Element] {
    &type_id.definition().elements
}

/// The element of this name, as in JSON.
#[must_use]
pub fn element(type_id: TypeId, name: &str) -> Option<&'static Element> {
    let definition = type_id.definition();
    definition.lookup.find(name, &definition.elements).map(|index| &definition.elements[index])
}

/// Elements with a lower bound above zero, by their place in [`elements`]; of a choice only its first one.
#[must_use]
pub fn required(type_id: TypeId) -> &'static [usize] {
    &type_id.definition().required
}

/// The place of the element of this name in [`elements`].
#[must_use]
pub fn element_index(type_id: TypeId, name: &str) -> Option<usize> {
    let definition = type_id.definition();
    definition.lookup.find(name, &definition.elements)
}

/// The type of a resource's root.
#[must_use]
pub fn root(resource: ResourceType) -> TypeId {
    DEFINITIONS.resources[usize::from(resource.0)].root
}

/// Search parameters of a resource type, those of `Resource` and `DomainResource` included, by code.
#[must_use]
pub fn search_parameters(resource: ResourceType) -> &'static [SearchParameter] {
    &DEFINITIONS.resources[usize::from(resource.0)].parameters
}

/// The search parameter of this code.
#[must_use]
pub fn search_parameter(resource: ResourceType, code: &str) -> Option<&'static SearchParameter> {
    let parameters = search_parameters(resource);
    parameters.binary_search_by(|parameter| parameter.code.cmp(code)).ok().map(|index| &parameters[index])
}

/// Codes of the search parameters that put a resource of this type into a Patient's compartment; empty where no resource
/// of the type is in one.
#[must_use]
pub fn patient_compartment(resource: ResourceType) -> &'static [&'static str] {
    &DEFINITIONS.resources[usize::from(resource.0)].compartment
}

/// The types that compartments are of, beside Patient.
pub const COMPARTMENTS: [&str; 4] = ["Device", "Encounter", "Practitioner", "RelatedPerson"];

/// Stands among the parameters of [`compartment`] for the resource itself that the compartment is of.
pub const ITSELF: &str = "{def}";

/// Codes of the search parameters that put a resource of this type into a compartment of `of`, one of [`COMPARTMENTS`]; empty
/// where no resource of the type is in one.
#[must_use]
pub fn compartment(of: ResourceType, resource: ResourceType) -> &'static [&'static str] {
    let all = &DEFINITIONS.resources[usize::from(resource.0)].compartments;
    all.iter().find(|(known, _)| *known == of.name()).map_or(&[], |(_, codes)| codes)
}

/// Whether a path of element names (as in JSON) exists in a resource, and its type: what mappings are checked with.
#[must_use]
pub fn find(resource: ResourceType, path: &[&str]) -> Option<&'static Element> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(element(root(resource), first)?, |parent, name| element(parent.type_id, name))
}

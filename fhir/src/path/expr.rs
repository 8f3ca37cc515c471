//! An expression with its meaning: names found in the definitions, functions known, types checked.

use super::syntax::{Literal, Operator};
use crate::definitions::{self, Primitive, TypeId, TypeKind};

/// A checked expression and the types that its values can have; no type: it is always empty.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) node: Node,
    pub(crate) types: Vec<TypeId>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Empty,
    Literal(Literal),
    /// The focus.
    This,
    /// The resource that the focus is in.
    Resource,
    /// What the whole expression is about.
    Context,
    /// Place of the focus among those that `where`, `select`, `all` or `exists` walk over.
    Index,
    /// Place of the row among those of its `forEach` or `repeat`.
    RowIndex,
    Member(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    /// Only values of these types.
    OfType(Box<Expr>, Vec<TypeId>),
    /// Whether the one value is of these types.
    Is(Box<Expr>, Vec<TypeId>),
    Where(Box<Expr>, Box<Expr>),
    Select(Box<Expr>, Box<Expr>),
    All(Box<Expr>, Box<Expr>),
    /// `iif(condition, then, else)`
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Negative(Box<Expr>),
    /// Both, one after the other, values that are equal kept.
    Combine(Box<Expr>, Box<Expr>),
    Call(Function, Box<Expr>, Vec<Expr>),
}

/// Functions of a collection that evaluate their arguments once for each focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Exists,
    Empty,
    Count,
    Not,
    First,
    Last,
    Tail,
    Skip,
    Take,
    Single,
    Distinct,
    IsDistinct,
    AllTrue,
    AnyTrue,
    AllFalse,
    AnyFalse,
    HasValue,
    Join,
    ResourceKey,
    /// The argument, where there is one, is the name of a type.
    ReferenceKey,
    LowBoundary,
    HighBoundary,
    StartsWith,
    EndsWith,
    Contains,
    Matches,
    IndexOf,
    Substring,
    Replace,
    Upper,
    Lower,
    Trim,
    Length,
    ToText,
    ToInteger,
    ToDecimal,
    ToBoolean,
    Absolute,
    Ceiling,
    Floor,
    Truncate,
    Round,
}

impl Function {
    /// The function of this name, the fewest and the most arguments that it takes.
    pub(super) fn named(name: &str) -> Option<(Self, usize, usize)> {
        Some(match name {
            "empty" => (Self::Empty, 0, 0),
            "count" => (Self::Count, 0, 0),
            "not" => (Self::Not, 0, 0),
            "first" => (Self::First, 0, 0),
            "last" => (Self::Last, 0, 0),
            "tail" => (Self::Tail, 0, 0),
            "skip" => (Self::Skip, 1, 1),
            "take" => (Self::Take, 1, 1),
            "single" => (Self::Single, 0, 0),
            "distinct" => (Self::Distinct, 0, 0),
            "isDistinct" => (Self::IsDistinct, 0, 0),
            "allTrue" => (Self::AllTrue, 0, 0),
            "anyTrue" => (Self::AnyTrue, 0, 0),
            "allFalse" => (Self::AllFalse, 0, 0),
            "anyFalse" => (Self::AnyFalse, 0, 0),
            "hasValue" => (Self::HasValue, 0, 0),
            "join" => (Self::Join, 0, 1),
            "getResourceKey" => (Self::ResourceKey, 0, 0),
            "lowBoundary" => (Self::LowBoundary, 0, 1),
            "highBoundary" => (Self::HighBoundary, 0, 1),
            "startsWith" => (Self::StartsWith, 1, 1),
            "endsWith" => (Self::EndsWith, 1, 1),
            "contains" => (Self::Contains, 1, 1),
            "matches" => (Self::Matches, 1, 1),
            "indexOf" => (Self::IndexOf, 1, 1),
            "substring" => (Self::Substring, 1, 2),
            "replace" => (Self::Replace, 2, 2),
            "upper" => (Self::Upper, 0, 0),
            "lower" => (Self::Lower, 0, 0),
            "trim" => (Self::Trim, 0, 0),
            "length" => (Self::Length, 0, 0),
            "toString" => (Self::ToText, 0, 0),
            "toInteger" => (Self::ToInteger, 0, 0),
            "toDecimal" => (Self::ToDecimal, 0, 0),
            "toBoolean" => (Self::ToBoolean, 0, 0),
            "abs" => (Self::Absolute, 0, 0),
            "ceiling" => (Self::Ceiling, 0, 0),
            "floor" => (Self::Floor, 0, 0),
            "truncate" => (Self::Truncate, 0, 0),
            "round" => (Self::Round, 0, 1),
            _ => return None,
        })
    }
}

/// What sort of value a type has, where values are compared and computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Integer,
    Decimal,
    Text,
    /// A date, dateTime or instant.
    Moment,
    Time,
    Complex,
}

pub(crate) fn kind(type_id: TypeId) -> Kind {
    match type_id.primitive() {
        None => Kind::Complex,
        Some(Primitive::Boolean) => Kind::Boolean,
        Some(Primitive::Decimal) => Kind::Decimal,
        Some(Primitive::Time) => Kind::Time,
        Some(primitive) if primitive.is_integer() => Kind::Integer,
        Some(primitive) if primitive.is_temporal() => Kind::Moment,
        Some(_) => Kind::Text,
    }
}

impl Kind {
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Decimal)
    }
}

/// The type of a primitive.
pub(crate) fn primitive(primitive: Primitive) -> TypeId {
    TypeId::of_primitive(primitive)
}

impl Expr {
    pub(super) fn new(node: Node, types: Vec<TypeId>) -> Self {
        Self { node, types }
    }

    pub(super) fn of(node: Node, primitive_type: Primitive) -> Self {
        Self { node, types: vec![primitive(primitive_type)] }
    }

    /// Whether every value has one of these kinds (also where there can be none).
    pub(crate) fn is_only(&self, allowed: impl Fn(Kind) -> bool) -> bool {
        self.types.iter().all(|type_id| allowed(kind(*type_id)))
    }

    pub(crate) fn can_be(&self, wanted: impl Fn(Kind) -> bool) -> bool {
        self.types.is_empty() || self.types.iter().any(|type_id| wanted(kind(*type_id)))
    }
}

/// The type of this name and those that specialise it: `string`, `FHIR.string`, `System.String`.
pub(super) fn types_named(name: &str) -> Option<Vec<TypeId>> {
    let plain = match name.split_once('.') {
        Some(("FHIR", name)) => name.to_owned(),
        Some(("System", name)) => {
            let mut letters = name.chars();
            letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str())?
        }
        _ => name.to_owned(),
    };
    let also: &[&str] = match plain.as_str() {
        "string" => &["code", "id", "markdown"],
        "uri" => &["url", "canonical", "oid", "uuid"],
        "integer" => &["positiveInt", "unsignedInt"],
        "Quantity" => &["Age", "Count", "Distance", "Duration"],
        _ => &[],
    };
    // System types that FHIR writes otherwise
    let plain = if name.starts_with("System.") && plain == "quantity" { "Quantity".to_owned() } else { plain };
    let first = TypeId::from_name(&plain)?;
    Some(std::iter::once(first).chain(also.iter().filter_map(|name| TypeId::from_name(name))).collect())
}

/// The elements that a name means in a type: one, or all of a choice. They are named as in JSON.
pub(crate) fn members(type_id: TypeId, name: &str) -> Vec<&'static definitions::Element> {
    match definitions::element(type_id, name) {
        Some(element) => vec![element],
        None => definitions::elements(type_id).iter().filter(|element| element.choice == Some(name)).collect(),
    }
}

/// Whether a type's values are in no column: whole resources, narratives.
pub(crate) fn has_no_columns(type_id: TypeId) -> bool {
    match type_id.kind() {
        TypeKind::AnyResource | TypeKind::Resource(_) => true,
        TypeKind::Primitive(primitive) => primitive == Primitive::Xhtml,
        TypeKind::Complex => type_id.name() == "Narrative",
        TypeKind::Backbone => false,
    }
}

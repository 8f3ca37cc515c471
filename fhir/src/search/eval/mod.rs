//! Tests evaluated on whole columns: walk to the leaf arrays, test every leaf, and fold `any` back to the rows.

mod coded;
mod composite;
mod date;
mod near;
mod number;
mod reference;
mod text;

use arrow::{
    array::{Array, ArrayRef},
    buffer::BooleanBuffer,
    error::ArrowError,
};

use super::test::{Test, Way};
use crate::{
    definitions::{ParameterKind, Primitive, TypeId},
    path::{
        Step,
        navigate::{Leaves, follow, walk},
    },
};

/// Which rows have a value at the end of the way that passes; the columns are those that the way needs, its own first.
pub(super) fn rows(
    way: &Way,
    targets: &[&'static str],
    test: &Test,
    columns: &[ArrayRef],
    row_count: usize,
) -> Result<BooleanBuffer, ArrowError> {
    let none = || BooleanBuffer::new_unset(row_count);
    let Some(column) = columns.first() else { return Ok(none()) };
    let Some(leaves) = walk(column, &way.steps, None)? else { return Ok(none()) };
    let Way { steps, type_id, systems } = way;
    At { type_id: *type_id, systems, targets, steps, origin: Origin::Columns(columns), leaves }.passing(test)
}

/// Where a path ends: its values, and the way to walk again for what is kept beside them.
pub(super) struct At<'a> {
    type_id: TypeId,
    pub(super) systems: &'a [&'static str],
    targets: &'a [&'static str],
    steps: &'a [Step],
    origin: Origin<'a>,
    pub(super) leaves: Leaves,
}

/// What a path begins at.
enum Origin<'a> {
    /// The column of its first step, and for a path of one step the columns kept beside it.
    Columns(&'a [ArrayRef]),
    /// Values that its first step is a member of.
    Values(&'a Leaves),
}

impl<'a> At<'a> {
    /// The end of a way that begins at values; `None` where nothing is there.
    fn below(values: &'a Leaves, way: &'a Way, targets: &'a [&'static str]) -> Result<Option<Self>, ArrowError> {
        let Way { steps, type_id, systems } = way;
        let leaves = follow(values.clone(), steps, None)?;
        let origin = Origin::Values(values);
        Ok(leaves.map(|leaves| Self { type_id: *type_id, systems, targets, steps, origin, leaves }))
    }

    /// Rows (or, where the path begins at values, those values) with a value that passes.
    fn passing(&self, test: &Test) -> Result<BooleanBuffer, ArrowError> {
        match test {
            Test::Present => Ok(self.leaves.any(&valid(&self.leaves))),
            Test::Token(tokens) => coded::tokens(self, tokens),
            Test::TokenText(texts) => coded::texts(self, texts),
            Test::Concepts(sets) => coded::concepts(self, sets),
            Test::OfType(types) => coded::of_type(self, types),
            Test::Text(how, texts) => text::texts(self, *how, texts),
            Test::Uri(how, uris) => text::uris(self, *how, uris),
            Test::Date(dates) => date::dates(self, dates),
            Test::Number(numbers) => number::numbers(self, numbers),
            Test::Quantity(quantities) => number::quantities(self, quantities),
            Test::Reference(references) => reference::references(self, references),
            Test::Identifier(tokens) => reference::identifiers(self, tokens),
            Test::Near(places) => near::near(self, places),
            Test::Composite(alternatives) => composite::composites(self, alternatives),
        }
    }

    pub(super) fn type_id(&self) -> TypeId {
        self.type_id
    }

    pub(super) fn targets(&self) -> &[&'static str] {
        self.targets
    }

    /// What is kept beside the values (`start`), in the same order as they; `index` is its place among the columns where
    /// the path is a column of its own.
    pub(super) fn beside(&self, what: &str, index: usize) -> Result<Option<Leaves>, ArrowError> {
        match &self.origin {
            Origin::Columns(columns) if self.steps.len() == 1 => columns.get(index).map(Leaves::of_column).transpose(),
            Origin::Columns(columns) => match columns.first() {
                Some(column) => walk(column, self.steps, Some(what)),
                None => Ok(None),
            },
            Origin::Values(values) => follow((*values).clone(), self.steps, Some(what)),
        }
    }

    pub(super) fn none(&self) -> BooleanBuffer {
        BooleanBuffer::new_unset(self.leaves.row_count())
    }
}

pub(super) fn valid(leaves: &Leaves) -> BooleanBuffer {
    leaves.values.logical_nulls().map_or_else(|| BooleanBuffer::new_set(leaves.len()), |nulls| nulls.inner().clone())
}

/// Whether values of a type can be tested as a kind of parameter.
pub(crate) fn supports(kind: ParameterKind, type_id: TypeId) -> bool {
    let name = type_id.name();
    match kind {
        ParameterKind::Token => match type_id.primitive() {
            Some(primitive) => !primitive.is_number() && !primitive.is_temporal(),
            None => matches!(name, "Coding" | "CodeableConcept" | "Identifier" | "ContactPoint"),
        },
        ParameterKind::String => match type_id.primitive() {
            Some(primitive) => !primitive.is_number() && !primitive.is_temporal() && primitive != Primitive::Boolean,
            None => matches!(name, "HumanName" | "Address"),
        },
        ParameterKind::Uri => type_id.primitive().is_some_and(|primitive| {
            matches!(
                primitive,
                Primitive::Uri | Primitive::Url | Primitive::Canonical | Primitive::Oid | Primitive::Uuid
            )
        }),
        ParameterKind::Reference => match type_id.primitive() {
            Some(primitive) => matches!(primitive, Primitive::Uri | Primitive::Url | Primitive::Canonical),
            None => type_id.is_reference(),
        },
        ParameterKind::Date => match type_id.primitive() {
            Some(primitive) => primitive.is_temporal(),
            None => matches!(name, "Period" | "Timing"),
        },
        ParameterKind::Number => type_id.primitive().is_some_and(Primitive::is_number) || name == "Range",
        ParameterKind::Quantity => is_quantity(name) || matches!(name, "Range" | "Money" | "SampledData"),
        ParameterKind::Composite | ParameterKind::Special => false,
    }
}

/// `Quantity` and its specialisations.
pub(super) fn is_quantity(name: &str) -> bool {
    matches!(name, "Quantity" | "SimpleQuantity" | "MoneyQuantity" | "Age" | "Count" | "Distance" | "Duration")
}

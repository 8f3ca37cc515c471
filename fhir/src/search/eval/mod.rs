//! Tests evaluated on whole columns: walk to the leaf arrays, test every leaf, and fold `any` back to the rows.

mod coded;
mod date;
mod number;
mod reference;
mod text;

use arrow::{
    array::{Array, ArrayRef},
    buffer::BooleanBuffer,
    error::ArrowError,
};

use super::{matcher::Matcher, test::Test};
use crate::{
    definitions::{ParameterKind, Primitive, TypeId},
    path::navigate::{Leaves, walk},
};

/// Which rows have a value that passes.
pub(super) fn rows(matcher: &Matcher, columns: &[ArrayRef], row_count: usize) -> Result<BooleanBuffer, ArrowError> {
    let none = || BooleanBuffer::new_unset(row_count);
    let Some(column) = columns.first() else { return Ok(none()) };
    let Some(leaves) = walk(column, &matcher.steps, None)? else { return Ok(none()) };
    let at = At { matcher, columns, leaves };
    match &matcher.test {
        Test::Present => Ok(at.leaves.any(&valid(&at.leaves))),
        Test::Token(tokens) => coded::tokens(&at, tokens),
        Test::TokenText(texts) => coded::texts(&at, texts),
        Test::OfType(types) => coded::of_type(&at, types),
        Test::Text(how, texts) => text::texts(&at, *how, texts),
        Test::Uri(how, uris) => text::uris(&at, *how, uris),
        Test::Date(dates) => date::dates(&at, dates),
        Test::Number(numbers) => number::numbers(&at, numbers),
        Test::Quantity(quantities) => number::quantities(&at, quantities),
        Test::Reference(references) => reference::references(&at, references),
        Test::Identifier(tokens) => reference::identifiers(&at, tokens),
    }
}

/// Where a path ends: its values, and the columns to walk again for what is kept beside them.
pub(super) struct At<'a> {
    matcher: &'a Matcher,
    columns: &'a [ArrayRef],
    pub(super) leaves: Leaves,
}

impl At<'_> {
    pub(super) fn type_id(&self) -> TypeId {
        self.matcher.type_id
    }

    pub(super) fn targets(&self) -> &'static [&'static str] {
        self.matcher.targets
    }

    /// What is kept beside the values (`start`), in the same order as they; `index` is its place among the columns where
    /// the path is a column of its own.
    pub(super) fn beside(&self, what: &str, index: usize) -> Result<Option<Leaves>, ArrowError> {
        if self.matcher.steps.len() == 1 {
            return self.columns.get(index).map(Leaves::of_column).transpose();
        }
        walk(&self.columns[0], &self.matcher.steps, Some(what))
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
        ParameterKind::Number => type_id.primitive().is_some_and(Primitive::is_number),
        ParameterKind::Quantity => is_quantity(name) || matches!(name, "Range" | "Money"),
        ParameterKind::Composite | ParameterKind::Special => false,
    }
}

/// `Quantity` and its specialisations.
pub(super) fn is_quantity(name: &str) -> bool {
    matches!(name, "Quantity" | "SimpleQuantity" | "MoneyQuantity" | "Age" | "Count" | "Distance" | "Duration")
}

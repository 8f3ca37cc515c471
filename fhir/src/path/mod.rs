//! FHIRPath compiled onto columns: what search parameters use today, views later.
//!
//! The subset is that of R4's search parameters: member paths, `|`, `ofType()`, `as`, `.where(resolve() is Type)`,
//! `.where(member = 'text')`, parentheses, and `X.exists() and X != false`. An expression becomes one [`Path`] for each
//! element that it can reach; a choice (`Observation.value`) becomes one for each of its types.
//!
//! [`navigate`] walks a path over a column of the current table: lists are flattened by their offsets, never row by row.

pub(crate) mod check;
mod compile;
pub(crate) mod eval;
pub(crate) mod expr;
pub(crate) mod navigate;
mod parse;
pub(crate) mod syntax;
#[cfg(test)]
mod tests;
mod token;

use crate::{
    ResourceType,
    definitions::{self, Element},
};

pub use compile::compile;

/// A way from a resource's root to elements of one type. The first step is a member: the column of the current table.
#[derive(Debug, Clone)]
pub struct Path {
    pub steps: Vec<Step>,
    /// The element at the end.
    pub element: &'static Element,
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// An element, by its name in JSON; where it repeats, each of it.
    Member(&'static str),
    /// Only those whose member is this text.
    Where { member: &'static str, value: String },
    /// Only references to this type.
    Resolves(ResourceType),
}

/// What an expression selects.
#[derive(Debug, Clone)]
pub enum Selection {
    /// The elements of all the paths.
    Elements(Vec<Path>),
    /// One truth: whether any of the paths has a value other than `false`.
    Truth(Vec<Path>),
}

impl Selection {
    #[must_use]
    pub fn paths(&self) -> &[Path] {
        match self {
            Selection::Elements(paths) | Selection::Truth(paths) => paths,
        }
    }
}

/// Why an expression cannot be compiled onto columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("it has no expression")]
    Empty,
    #[error("the expression is not of the FHIRPath subset: {0}")]
    Syntax(String),
    #[error("there is no element `{0}`")]
    UnknownElement(String),
    #[error("`{0}` holds whole resources, which have no columns")]
    Resource(String),
    #[error("there is no constant `%{0}`")]
    Constant(String),
    /// Operands or arguments of a type that the operator or function does not take.
    #[error("{0}")]
    Type(String),
}

impl Path {
    /// The column of the current table.
    #[must_use]
    pub fn column(&self) -> &'static str {
        self.steps
            .iter()
            .find_map(|step| match step {
                Step::Member(name) => Some(*name),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Whether a resource can have several values at its end.
    #[must_use]
    pub fn repeats(&self, resource: ResourceType) -> bool {
        let mut at = definitions::root(resource);
        self.steps.iter().any(|step| match step {
            Step::Member(name) => definitions::element(at, name).is_none_or(|element| {
                at = element.type_id;
                element.many
            }),
            _ => false,
        })
    }

    /// Whether it is one value in a column of its own.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.steps.len() == 1 && !self.element.many
    }
}

//! Checked expressions evaluated over Arrow columns.
//!
//! An expression is evaluated for all its foci at once. Its answer is [`Items`]: for each focus any number of values, each a
//! place in an array of the table. A step to a member moves on to the child array with the same places, a list is opened by
//! its offsets, `where` keeps some of the places: nothing is copied before the end, where a column is gathered from the
//! places that are left.

mod boundary;
mod call;
mod compare;
mod compute;
mod items;
mod logic;
mod member;
mod read;
mod run;
#[cfg(test)]
mod tests;
mod text;

use arrow::error::ArrowError;

pub(crate) use self::{
    items::{Items, NOTHING, Part},
    run::{Around, Scope, evaluate},
};

/// Why an expression has no answer for these data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvalError {
    /// Something that takes one value met several.
    #[error("{0} meets more than one value; `first()` or `where()` would leave one")]
    Many(&'static str),
    /// The same of an operator.
    #[error("`{0}` meets more than one value; `first()` or `where()` would leave one")]
    Operands(&'static str),
    #[error("the regular expression of `matches()` is not valid or too large")]
    Expression,
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

//! SQL on FHIR's views as tables.
//!
//! A view is planned anew for every caller: [`ViewTable`] stands over the guarded table of the resources, so that it shows
//! nothing that the caller could not read there, and [`exec::ViewExec`] makes its rows batch by batch. Only the columns that
//! a query asks for are made, and only what they need is read.

mod exec;
mod only;
mod stored;
mod table;

pub use only::Only;
pub(crate) use stored::{SCHEMA, is_seen, plan, schema};
pub(crate) use table::ViewTable;

use mavis_fhir::view::ViewError;

use crate::Error;

/// An error of a view as one of a query. It says where in the view, never a value.
pub(crate) fn told(error: &ViewError) -> Error {
    match error {
        ViewError::Arrow(_) => Error::Execution { message: "a view could not be computed".to_owned() },
        error => Error::Invalid { message: format!("the view is not valid: {error}"), line: None, column: None },
    }
}

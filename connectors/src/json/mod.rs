//! JSON as rows: the types that its values have, objects appended to columns, and documents walked through without holding
//! them.

mod rows;
mod shape;
mod walk;

pub(crate) use rows::{Rows, members, merge};
pub(crate) use shape::{Members, Shape};
pub(crate) use walk::{Path, Wanted, walk};

//! The one guard between a principal and the rows of the lake.
//!
//! [`table::GuardedTable`] is the only kind of table of the lake that a session holds. Its scans end in a
//! [`barrier::Barrier`]: rows pass through, predicates pass down only where evaluating them on rows that the caller may
//! not see tells nothing (a comparison of an unmasked column with a literal cannot fail and returns nothing but a
//! boolean). [`policy`] says what a principal sees of a table, [`lens`] what that means for the columns that it has: which are
//! there, what [`mask`] shows in their place, which rows. A [`resource`]'s own text is cut to what its columns show ([`kept`]), in tables of the source
//! that it came from, too; references lose what they repeat of it ([`untold`]). What joins
//! learn while they run drops rows as they come out of the barrier ([`sift`]). Queries for the rows of
//! a key are known as they are ([`point`], over [`keys`]). [`walk`] looks over every finished plan and
//! denies what it does not know; where rows are hidden nothing tells which files were read ([`closed`]); [`explain`] cuts out of EXPLAIN what lies below the barrier.

mod barrier;
mod closed;
mod explain;
mod kept;
mod keys;
mod lens;
mod mask;
mod point;
mod policy;
mod predicate;
mod resource;
mod sift;
mod table;
mod untold;
mod walk;

pub(crate) use explain::cut_explained;
pub(crate) use lens::Lens;
pub(crate) use point::plan as point_plan;
pub(crate) use policy::{Policy, RowFilter, Seen};
pub(crate) use table::GuardedTable;
pub(crate) use untold::Untold;
pub(crate) use walk::check;

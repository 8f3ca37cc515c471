//! Tables that statements make and change: one Delta commit per statement, under the table's lease.
//!
//! Such a table has the columns that it was given and no others: no hashes, no run. Rows are told apart by where they stand:
//! [`Change::places`] scans the version that a change stands on and tells of each row its **place** (which file, which row of
//! it). What is to be changed or deleted is named by its place ([`Change::mark`]), what is new is pushed, and
//! [`Change::commit`] copies the files that lose rows and commits all of it at once. A file in which nothing changes is not
//! touched.
//!
//! A new table ([`Making`]) is written into a folder that is nobody's, and is seen when its row stands in the catalog.

mod change;
mod folders;
mod making;
mod places;

pub use change::{Change, Doing};
pub use making::{Finished, Kept, Making};
pub use places::PLACE;

use arrow::datatypes::{Field, Schema, SchemaRef};
use mavis_catalog::NewColumn;

use crate::evolve::storable;

/// The types in which a table's columns are stored. Other than for tables of sources, a column may forbid nulls.
#[must_use]
pub fn stored_as(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| Field::new(field.name(), storable(field.data_type()), field.is_nullable()));
    std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn new_columns(schema: &Schema) -> Vec<NewColumn> {
    let column = |field: &std::sync::Arc<Field>| NewColumn {
        name: field.name().clone(),
        source_name: None,
        data_type: field.data_type().to_string(),
        source_type: None,
        nullable: field.is_nullable(),
        comment: None,
    };
    schema.fields().iter().map(column).collect()
}

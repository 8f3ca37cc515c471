//! From one table to the next: the change feed of the input since the last hop, or the whole input to compare.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;

use crate::{Error, Writer};

/// Name of the boolean column that a hop's input has after the table's own: true where the row is gone.
pub const DELETED: &str = "__deleted";

/// A unit whose transaction version is the input's Delta version.
#[derive(Debug)]
pub struct Hop {}

/// What the output has not seen yet.
#[derive(Debug, Clone)]
pub enum HopInput {
    /// The output is up to date.
    Nothing,
    /// The last change of each key in `(from, to]`: the input's columns as of the change, and [`DELETED`].
    Changes { rows: Arc<dyn TableProvider>, from: i64, to: i64 },
    /// All rows at version `to`, to be compared by key and hash: a first hop, a new rule, or a feed that is gone.
    Whole { rows: Arc<dyn TableProvider>, to: i64 },
}

impl Hop {
    #[must_use]
    pub fn input(&self) -> &HopInput {
        todo!()
    }

    /// Starts writing the output, with its key. Rows pushed replace those of their key; rows with [`DELETED`] true delete
    /// it (they need only the key). For [`HopInput::Whole`], output rows of this input that were not pushed are deleted:
    /// those for which the SQL condition `owned` over the output holds (`None`: all).
    ///
    /// # Errors
    /// As [`crate::Unit::write`].
    pub async fn write(self, schema: SchemaRef, owned: Option<&str>) -> Result<Writer, Error> {
        let _ = (schema, owned);
        todo!()
    }

    /// Gives the lease back without writing.
    pub async fn abandon(self) {}
}

//! Function names of Hive that analysts use daily and DataFusion lacks, or knows with another meaning.
//!
//! As in Hive a value that cannot be read gives NULL, not an error: one odd date does not fail a report. Dates come as dates
//! where Hive gives text of the form `2024-01-31`; printed they look the same. Everything is in UTC.
//! `collect_list`, `collect_set`, `if` and `explode` are rewritten before planning (`dialect::hive`).

mod call;
mod dates;
mod json;
mod lists;
mod numbers;
mod patterns;
mod text;

use std::sync::Arc;

use datafusion::logical_expr::{ScalarUDF, Volatility};

use call::Call;

/// The functions, built once.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [dates::functions(), text::functions(), lists::functions(), numbers::functions()];
    all.into_iter().flatten().map(|call| Arc::new(ScalarUDF::new_from_impl(call))).collect()
}

/// A function whose answer depends on its arguments alone.
fn steady(name: &'static str) -> Call {
    Call::new(name, Volatility::Immutable)
}

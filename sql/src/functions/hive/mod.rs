//! Function names of Hive that analysts use daily and DataFusion lacks, or knows with another meaning.
//!
//! As in Hive a value that cannot be read gives NULL, not an error: one odd date does not fail a report. Dates come as dates
//! where Hive gives text of the form `2024-01-31`; printed they look the same. Everything is in UTC.
//! What is only another name, and what no function can be (`collect_list`, `if`, `explode`), is rewritten before planning
//! (`dialect::hive`).

mod bytes;
mod call;
mod dates;
mod json;
mod lists;
mod numbers;
mod patterns;
mod regular;
mod text;
mod url;
mod zones;

use std::sync::Arc;

use datafusion::logical_expr::{ScalarUDF, Volatility};

use call::Call;

/// The functions, built once.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        dates::functions(),
        zones::functions(),
        text::functions(),
        regular::functions(),
        url::functions(),
        bytes::functions(),
        lists::functions(),
        numbers::functions(),
    ];
    all.into_iter().flatten().map(|call| Arc::new(ScalarUDF::new_from_impl(call))).collect()
}

/// `function`, or where Hive has a second one of that name, both.
pub(super) fn beside(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if function.name() != "trunc" {
        return function;
    }
    Arc::new(ScalarUDF::new_from_impl(zones::Trunc::beside(function)))
}

/// A function whose answer depends on its arguments alone.
fn steady(name: &'static str) -> Call {
    Call::new(name, Volatility::Immutable)
}

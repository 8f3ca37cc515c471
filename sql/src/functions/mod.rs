//! The functions that queries have: DataFusion's own, less those that tell about files, and those that mappings share.

mod ages;
mod bounded;
mod hive;
mod intervals;
mod json;
mod ordered;
mod own;
mod patterns;
mod sum;
mod various;

use std::sync::Arc;

use datafusion::{
    catalog::TableFunction,
    execution::{FunctionRegistry, SessionState, SessionStateDefaults},
    logical_expr::ScalarUDF,
};
use mavis_lake::Sessions;

use crate::{Error, exact::Exact, lengths::Lengths, micros::Microseconds, multisets::Multisets, reduce::ReduceEarly};

/// Functions that tell where a row is stored.
const LEAKING: [&str; 2] = ["input_file_name", "file_row_index"];

/// The state that every query starts from: functions and rules registered once, no tables, no file formats, no catalogs.
///
/// # Errors
/// [`Error::Execution`] when a function cannot be registered.
pub(crate) fn template(sessions: &Sessions) -> Result<SessionState, Error> {
    let config = sessions
        .config()
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let mut state = sessions
        .builder(config)
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(scalar_functions())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(
            SessionStateDefaults::default_aggregate_functions().into_iter().map(sum::checked).collect(),
        )
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_function_list(SessionStateDefaults::default_table_functions())
        .with_analyzer_rule(Arc::new(Microseconds))
        .with_analyzer_rule(Arc::new(Exact))
        .with_analyzer_rule(Arc::new(Lengths))
        .with_analyzer_rule(Arc::new(Multisets))
        .with_optimizer_rule(Arc::new(ReduceEarly))
        .build();
    for function in hive::functions() {
        state.register_udf(function).map_err(|error| crate::fault::planning(&error))?;
    }
    let of_postgres =
        [ages::functions(), intervals::functions(), json::functions(), ordered::functions(), various::functions()];
    for function in of_postgres.into_iter().flatten() {
        state.register_udf(function).map_err(|error| crate::fault::planning(&error))?;
    }
    state.register_expr_planner(Arc::new(intervals::Times)).map_err(|error| crate::fault::planning(&error))?;
    state.register_expr_planner(Arc::new(json::Arrows)).map_err(|error| crate::fault::planning(&error))?;
    for function in crate::postgres::shared() {
        state.register_udf(function).map_err(|error| crate::fault::planning(&error))?;
    }
    for function in mavis_fhir::functions::shared() {
        state.register_udf(Arc::new(function)).map_err(|error| crate::fault::planning(&error))?;
    }
    Ok(state)
}

fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.retain(|function| !LEAKING.contains(&function.name()));
    functions
        .into_iter()
        .map(bounded::bounded)
        .map(crate::micros::far)
        .map(patterns::with_patterns)
        .map(hive::beside)
        .map(various::named)
        .collect()
}

/// A table function by name: `generate_series` and `range`.
pub(crate) fn table_function(state: &SessionState, name: &str) -> Option<Arc<TableFunction>> {
    state.table_functions().get(name).cloned()
}

/// What the dialect puts in other words, beside what is registered.
const SPELLINGS: [(&str, &str); 17] = [
    ("array", "scalar"),
    ("collect_list", "aggregate"),
    ("collect_set", "aggregate"),
    ("explode", "table"),
    ("if", "scalar"),
    ("json_agg", "aggregate"),
    ("json_object_agg", "aggregate"),
    ("jsonb_agg", "aggregate"),
    ("jsonb_object_agg", "aggregate"),
    ("listagg", "aggregate"),
    ("mod", "scalar"),
    ("mode", "aggregate"),
    ("percentile", "aggregate"),
    ("percentile_approx", "aggregate"),
    ("percentile_disc", "aggregate"),
    ("sign", "scalar"),
    ("sort_array", "scalar"),
];

/// Every function that a statement may call, with its kind, by name.
pub(crate) fn names(state: &SessionState) -> Vec<(String, &'static str)> {
    let of = |names: Vec<String>, kind: &'static str| names.into_iter().map(move |name| (name, kind));
    let mut names: Vec<(String, &'static str)> = of(state.scalar_functions().keys().cloned().collect(), "scalar")
        .chain(of(state.higher_order_functions().keys().cloned().collect(), "scalar"))
        .chain(of(state.aggregate_functions().keys().cloned().collect(), "aggregate"))
        .chain(of(state.window_functions().keys().cloned().collect(), "window"))
        .chain(of(state.table_functions().keys().cloned().collect(), "table"))
        .chain(SPELLINGS.map(|(name, kind)| (name.to_owned(), kind)))
        .collect();
    // Those that only the dialect calls.
    names.retain(|(name, _)| !name.ends_with("__"));
    names.sort_unstable();
    names.dedup_by(|one, other| one.0 == other.0);
    names
}

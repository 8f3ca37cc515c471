//! Functions in a FROM.

use datafusion::sql::sqlparser::{
    ast::{Expr, Ident, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef, TableFactor},
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use super::{
    ast::{bare_call, call, last, meant, quoted, value_of},
    series::{SERIES, called, is_of_json, is_table},
};
use crate::system;

/// Functions of one value that clients ask as if they were tables.
pub(super) const SCALARS: [&str; 20] = [
    "version",
    "now",
    "current_database",
    "current_schema",
    "current_setting",
    "set_config",
    "format_type",
    "to_regclass",
    "to_regtype",
    "inet_client_addr",
    "inet_server_addr",
    "pg_backend_pid",
    "pg_conf_load_time",
    "pg_index_column_has_property",
    "pg_index_has_property",
    "pg_indexam_has_property",
    "pg_is_in_recovery",
    "pg_postmaster_start_time",
    "pg_size_pretty",
    "txid_current",
];

/// The call of a function of one value that stands as a table, and how its column is called: as the function's alias, or
/// else as the function. A table has that name afterwards.
pub(super) fn scalar(factor: &mut TableFactor) -> Option<(Expr, String)> {
    let TableFactor::Table { name, args, alias, .. } = factor else { return None };
    let of = last(name);
    let values = match (args, name.0.as_slice()) {
        (None, [only]) if only.as_ident().and_then(bare_call).is_some() => Vec::new(),
        (Some(args), parts) if SCALARS.contains(&of.as_str()) && is_own(parts) => {
            args.args.iter().map(value_of).collect::<Option<Vec<Expr>>>()?
        }
        _ => return None,
    };
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', &of),
        columns: Vec::new(),
        at: None,
    });
    let quotes = alias.name.quote_style.is_some();
    let column = if quotes { alias.name.value.clone() } else { alias.name.value.to_lowercase() };
    Some((call(&of, values), column))
}

fn is_own(parts: &[ObjectNamePart]) -> bool {
    match parts {
        [_] => true,
        [schema, _] => schema.as_ident().is_some_and(|schema| schema.value.eq_ignore_ascii_case(system::PG_CATALOG)),
        _ => false,
    }
}

/// A value as a table of one row with one column.
pub(super) fn one_row(factor: &mut TableFactor, value: &Expr, column: &str) {
    replace(factor, &format!("(SELECT {value} AS {})", quoted(column)));
}

/// Functions in a FROM: `pg_catalog.unnest(x)`, `generate_series(1, 3) AS i` whose column is `i`, a function of one value.
pub(super) fn table_function(factor: &mut TableFactor, database: &str) {
    let TableFactor::Table { name, args: Some(args), alias, .. } = factor else { return };
    let of = last(name);
    let values: Vec<Expr> = args.args.iter().filter_map(value_of).collect();
    match of.as_str() {
        "unnest" => {
            *factor = TableFactor::UNNEST {
                alias: alias.take().map(with_column),
                array_exprs: values,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            };
        }
        SERIES if !is_table(&values) => rows(factor, &of, values),
        of_json if is_of_json(of_json) => rows(factor, &of, values),
        "generate_series" | "range" => {
            *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(&of))]);
            *alias = alias.take().map(with_column);
        }
        "pg_show_all_settings" => {
            replace(factor, &format!("(SELECT * FROM {}.pg_catalog.pg_settings)", quoted(database)))
        }
        "pg_get_keywords" => replace(
            factor,
            "(SELECT CAST(NULL AS TEXT) AS word, CAST(NULL AS TEXT) AS catcode, CAST(NULL AS TEXT) AS catdesc WHERE false)",
        ),
        "string_to_array" | "current_schemas" | "parse_ident" | "regexp_split_to_array" => {
            let column = alias.as_ref().map_or_else(|| of.clone(), |alias| alias.name.value.clone());
            let call = call(&of, values);
            one_row(factor, &call, &column);
        }
        _ => {}
    }
}

/// A function that gives rows as the rows of its list.
fn rows(factor: &mut TableFactor, of: &str, values: Vec<Expr>) {
    let TableFactor::Table { alias, with_ordinality: false, .. } = factor else { return };
    let own = with_column(alias.take().unwrap_or_else(|| called(of)));
    let column = own.columns.first().map(|column| meant(&column.name)).unwrap_or_default();
    *alias = Some(own);
    replace(factor, &format!("(SELECT unnest({}) AS {})", call(of, values), quoted(&column)));
}

/// The only column of a function is called as the function's alias.
fn with_column(mut alias: TableAlias) -> TableAlias {
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    alias
}

fn replace(factor: &mut TableFactor, sql: &str) {
    let alias = match factor {
        TableFactor::Table { alias, .. } => alias.take(),
        _ => None,
    };
    let parsed =
        Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_table_factor());
    if let Ok(TableFactor::Derived { subquery, lateral, sample, .. }) = parsed {
        *factor = TableFactor::Derived { lateral, subquery, alias, sample };
    }
}

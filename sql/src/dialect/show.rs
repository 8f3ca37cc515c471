use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Set, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn,
    ShowStatementInClause, ShowStatementOptions, Statement, Value,
};

use super::parse;
use crate::{Error, Home, fault};

/// A `SHOW` statement as a query on `information_schema`; `None` for a statement that is none.
///
/// # Errors
/// [`Error::Invalid`] for a form that is not known.
pub(super) fn as_query(statement: &Statement) -> Result<Option<Statement>, Error> {
    let sql = match statement {
        Statement::ShowTables { show_options, .. } => tables(show_options, None)?,
        Statement::ShowViews { show_options, .. } => tables(show_options, Some("VIEW"))?,
        Statement::ShowSchemas { show_options, .. } | Statement::ShowDatabases { show_options, .. } => {
            schemas(show_options)?
        }
        Statement::ShowCatalogs { show_options, .. } => {
            let filter = like("catalog_name", show_options.filter_position.as_ref())?;
            format!("SELECT DISTINCT catalog_name FROM information_schema.schemata WHERE true{filter} ORDER BY 1")
        }
        Statement::ShowVariable { variable } => {
            match variable.iter().map(|i| i.value.to_lowercase()).collect::<Vec<_>>().as_slice() {
                [time, zone] if time == "time" && zone == "zone" => "SELECT 'UTC' AS timezone".to_owned(),
                [name] if name == "timezone" => "SELECT 'UTC' AS timezone".to_owned(),
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    parse(&sql).map(Some)
}

/// `SHOW TABLES` and `SHOW SCHEMAS` that name no place are about the session's own.
pub(crate) fn at_home(mut statement: Statement, home: &Home) -> Statement {
    let (options, place) = match &mut statement {
        Statement::ShowTables { show_options, .. } | Statement::ShowViews { show_options, .. } => {
            (show_options, home.catalog.iter().chain(&home.schema).collect::<Vec<_>>())
        }
        Statement::ShowSchemas { show_options, .. } => (show_options, home.catalog.iter().collect()),
        _ => return statement,
    };
    if options.show_in.is_none() && !place.is_empty() {
        let parts = place.into_iter().map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part)));
        options.show_in = Some(ShowStatementIn {
            clause: ShowStatementInClause::IN,
            parent_type: None,
            parent_name: Some(ObjectName(parts.collect())),
        });
    }
    statement
}

/// Whether a `SET` asks for the time zone that everything is in anyway.
pub(super) fn sets_utc(set: &Set) -> bool {
    let utc = |expr: &Expr| {
        matches!(expr, Expr::Value(value)
            if matches!(&value.value, Value::SingleQuotedString(zone) if zone.eq_ignore_ascii_case("utc")))
    };
    match set {
        Set::SetTimeZone { value, .. } => utc(value),
        Set::SingleAssignment { variable, values, .. } => {
            variable.to_string().eq_ignore_ascii_case("timezone") && values.iter().all(utc)
        }
        _ => false,
    }
}

/// The table whose columns `SHOW COLUMNS FROM t` asks for.
pub(super) fn described(options: ShowStatementOptions) -> Result<ObjectName, Error> {
    options
        .show_in
        .and_then(|place| place.parent_name)
        .ok_or_else(|| fault::invalid("say which table: `SHOW COLUMNS FROM zone.schema.table`"))
}

fn tables(options: &ShowStatementOptions, kind: Option<&str>) -> Result<String, Error> {
    let mut filter = like("table_name", options.filter_position.as_ref())?;
    match parent(options).as_slice() {
        [] => filter.push_str(" AND table_schema <> 'information_schema'"),
        [one] => {
            let one = literal(one);
            filter.push_str(&format!(
                " AND (table_schema = {one} OR (table_catalog = {one} AND table_schema <> 'information_schema'))"
            ));
        }
        [catalog, schema] => {
            filter.push_str(&format!(
                " AND table_catalog = {} AND table_schema = {}",
                literal(catalog),
                literal(schema)
            ));
        }
        _ => return Err(fault::invalid("write `SHOW TABLES IN schema` or `SHOW TABLES IN zone.schema`")),
    }
    if let Some(kind) = kind {
        filter.push_str(&format!(" AND table_type = {}", literal(kind)));
    }
    Ok(format!(
        "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables \
         WHERE true{filter} ORDER BY 1, 2, 3"
    ))
}

fn schemas(options: &ShowStatementOptions) -> Result<String, Error> {
    let mut filter = like("schema_name", options.filter_position.as_ref())?;
    match parent(options).as_slice() {
        [] => {}
        [catalog] => {
            filter.push_str(&format!(" AND catalog_name = {}", literal(catalog)));
        }
        _ => return Err(fault::invalid("write `SHOW SCHEMAS IN zone`")),
    }
    Ok(format!("SELECT catalog_name, schema_name FROM information_schema.schemata WHERE true{filter} ORDER BY 1, 2"))
}

fn parent(options: &ShowStatementOptions) -> Vec<String> {
    let name = options.show_in.as_ref().and_then(|place| place.parent_name.as_ref());
    name.map(|name| {
        let parts = name.0.iter().filter_map(|part| part.as_ident());
        parts.map(|i| if i.quote_style.is_some() { i.value.clone() } else { i.value.to_lowercase() }).collect()
    })
    .unwrap_or_default()
}

/// Hive writes `*` for any text; names have no star, so both are taken.
fn like(column: &str, filter: Option<&ShowStatementFilterPosition>) -> Result<String, Error> {
    let filter = match filter {
        None => return Ok(String::new()),
        Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) => filter,
    };
    match filter {
        ShowStatementFilter::Like(pattern)
        | ShowStatementFilter::ILike(pattern)
        | ShowStatementFilter::NoKeyword(pattern) => {
            Ok(format!(" AND {column} ILIKE {}", literal(&pattern.replace('*', "%"))))
        }
        ShowStatementFilter::Where(condition) => Ok(format!(" AND ({condition})")),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

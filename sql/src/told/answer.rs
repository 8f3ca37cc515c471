use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::SchemaRef;
use datafusion::{execution::SessionState, logical_expr::LogicalPlan, sql::sqlparser::ast::ObjectName};
use mavis_catalog::{Column, Table};
use mavis_types::TableName;

use super::{
    read::{Form, Told},
    sheet::Sheet,
    types::sql_type,
};
use crate::{
    Error,
    catalogs::View,
    fault, functions,
    listing::{like, schemas},
    names::TableKey,
    planner::plain,
    sight::{known_columns, known_table},
    work,
};

const COLUMNS: &[&str] = &["column_name", "data_type", "is_nullable"];
const WHOLE: &[&str] = &["col_name", "data_type", "comment"];

/// The lines of an answer, as a plan.
///
/// # Errors
/// [`Error::NoSuchTable`] also for what the principal may not see; [`Error::Invalid`] for what a table does not have.
pub(crate) async fn answer(view: &View<'_>, state: &SessionState, told: Told) -> Result<LogicalPlan, Error> {
    match told {
        Told::Columns { table, like } => columns(&bound(view, &table).await?.columns, like.as_deref()),
        Told::Describe { table, form: Form::Plain } => columns(&bound(view, &table).await?.columns, None),
        Told::Describe { table, form: Form::Whole } => whole(&bound(view, &table).await?).plan(),
        Told::History { table, limit } => history(view, &bound(view, &table).await?, limit).await,
        Told::CreateTable(table) => {
            let mut sheet = Sheet::new(&["createtab_stmt"]);
            sheet.line([Some(statement(&bound(view, &table).await?))]);
            sheet.plan()
        }
        Told::Properties { table, only } => {
            let table = bound(view, &table).await?;
            let mut sheet = Sheet::new(&["prpt_name", "prpt_value"]);
            for (name, value) in properties(&table) {
                if only.as_deref().is_none_or(|only| only == name) {
                    sheet.line([Some(name.to_owned()), Some(value)]);
                }
            }
            sheet.plan()
        }
        Told::Functions { like: pattern } => {
            let wanted = like(pattern.map(|pattern| pattern.replace('*', "%")).as_deref())?;
            let mut sheet = Sheet::new(&["function", "kind"]);
            for (name, kind) in functions::names(state) {
                if wanted.is_match(&name) {
                    sheet.line([Some(name), Some(kind.to_owned())]);
                }
            }
            sheet.plan()
        }
        Told::Function(name) => function(state, &name),
        Told::Database(name) => database(view, &name).await,
    }
}

/// The query that answers `SHOW PARTITIONS`: folders are values of rows, so it passes what every query does.
///
/// # Errors
/// As [`answer`].
pub(crate) async fn partitions(view: &View<'_>, table: &ObjectName) -> Result<String, Error> {
    let bound = bound(view, table).await?;
    let mut folders = match &bound.table {
        Some(table) => view.lake.folder_columns(table.id).await?,
        None => Vec::new(),
    };
    folders.retain(|name| bound.columns.field_with_name(name).is_ok());
    if folders.is_empty() {
        let name = bound.name.join(".");
        return Err(fault::invalid(format!("`{name}` is not partitioned: its files are found by their statistics")));
    }
    let folder = |name: &String| {
        format!("{} || coalesce(CAST({} AS VARCHAR), '{NO_VALUE}')", text(&format!("{name}=")), in_quotes(name))
    };
    let folders = folders.iter().map(folder).collect::<Vec<_>>().join(" || '/' || ");
    let table = bound.name.each_ref().map(|part| in_quotes(part)).join(".");
    Ok(format!("SELECT DISTINCT {folders} AS \"partition\" FROM {table} ORDER BY 1"))
}

/// The folder of rows without a value, as Hive calls it.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { in_quotes(name) }
}

/// A name as SQL reads it, whatever word or number it is.
fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table as the principal knows it.
struct Bound {
    name: [String; 3],
    columns: SchemaRef,
    /// `None` for views and tables about the lake.
    table: Option<Table>,
    notes: HashMap<String, Column>,
    /// The query of a view of SQL, where the principal may see it.
    query: Option<String>,
}

async fn bound(view: &View<'_>, name: &ObjectName) -> Result<Bound, Error> {
    let (bound, _) = view.bind(&TableKey::read(name, None)?).await?;
    let [catalog, schema, table] = &bound.name;
    let store = view.lake.catalog();
    let found = match catalog.parse() {
        Ok(zone) => store.find_table(&TableName::new(zone, schema, table)).await?,
        Err(_) => None,
    };
    let found = found.and_then(|table| known_table(view.principal, table));
    let notes = match &found {
        Some(table) => known_columns(view.principal, &table.name, store.columns(table.id).await?),
        None => Vec::new(),
    };
    let notes = notes.into_iter().map(|column| (column.name.clone(), column)).collect();
    let query = found.as_ref().and_then(|table| work::definition(view.principal, table)).map(|view| view.text.clone());
    let table = found.filter(|table| table.view.is_none());
    Ok(Bound { name: bound.name, columns: plain(&bound.columns), table, notes, query })
}

fn columns(columns: &SchemaRef, pattern: Option<&str>) -> Result<LogicalPlan, Error> {
    let wanted = like(pattern.map(|pattern| pattern.replace('*', "%")).as_deref())?;
    let mut sheet = Sheet::new(COLUMNS);
    for field in plain(columns).fields().iter().filter(|field| wanted.is_match(field.name())) {
        let nullable = if field.is_nullable() { "YES" } else { "NO" };
        sheet.line([Some(field.name().clone()), Some(field.data_type().to_string()), Some(nullable.to_owned())]);
    }
    sheet.plan()
}

/// `DESCRIBE FORMATTED`: the columns, and below them what is known of the table.
fn whole(table: &Bound) -> Sheet {
    let mut sheet = Sheet::new(WHOLE);
    for field in table.columns.fields() {
        let comment = table.notes.get(field.name()).and_then(|column| column.comment.clone());
        sheet.line([Some(field.name().clone()), Some(sql_type(field.data_type())), comment]);
    }
    sheet.line([Some(String::new()), None, None]);
    sheet.line([Some("# Detailed Table Information".to_owned()), None, None]);
    for (name, value) in properties(table) {
        sheet.line([Some(name.to_owned()), Some(value), None]);
    }
    sheet
}

/// What is known of a table beside its columns.
fn properties(bound: &Bound) -> BTreeMap<&'static str, String> {
    let [catalog, schema, name] = &bound.name;
    let mut known = BTreeMap::from([
        ("catalog", catalog.clone()),
        ("schema", schema.clone()),
        ("table", name.clone()),
        ("columns", bound.columns.fields().len().to_string()),
        ("type", if bound.table.is_some() { "TABLE".to_owned() } else { "VIEW".to_owned() }),
    ]);
    let Some(table) = &bound.table else { return known };
    known.insert("provider", "delta".to_owned());
    known.insert("created_at", table.created_at.to_rfc3339());
    known.insert("updated_at", table.updated_at.to_rfc3339());
    let mut put = |name, value: Option<String>| {
        if let Some(value) = value {
            known.insert(name, value);
        }
    };
    put("comment", table.comment.clone());
    put("key", (!table.key.is_empty()).then(|| table.key.join(", ")));
    put("rows", table.rows.map(|rows| rows.to_string()));
    put("version", table.version.map(|version| version.to_string()));
    put("source_table", table.source_table.clone());
    known
}

/// The statement that would make a table of these columns in `work`, which keeps no key: that is among the properties.
fn statement(table: &Bound) -> String {
    let lines = table.columns.fields().iter().map(|field| {
        let comment = table.notes.get(field.name()).and_then(|column| column.comment.as_deref());
        let comment = comment.map(|comment| format!(" COMMENT {}", text(comment))).unwrap_or_default();
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        // A column may be called as a constraint begins.
        format!("  {} {}{null}{comment}", in_quotes(field.name()), sql_type(field.data_type()))
    });
    let name = table.name.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
    if let Some(query) = &table.query {
        return format!("CREATE VIEW {name} AS\n{query}");
    }
    let mut statement = format!("CREATE TABLE {name} (\n{}\n)", lines.collect::<Vec<_>>().join(",\n"));
    if let Some(comment) = table.table.as_ref().and_then(|table| table.comment.as_deref()) {
        statement.push_str(&format!("\nCOMMENT {}", text(comment)));
    }
    statement
}

async fn history(view: &View<'_>, bound: &Bound, limit: usize) -> Result<LogicalPlan, Error> {
    let Some(table) = &bound.table else {
        return Err(fault::invalid(format!("`{}` keeps no versions", bound.name.join("."))));
    };
    let mut sheet = Sheet::new(&["version", "timestamp", "operation"]);
    for commit in view.lake.commits(table.id, limit).await? {
        let at = commit.at.map(|at| at.to_rfc3339());
        sheet.line([Some(commit.version.to_string()), at, commit.operation]);
    }
    sheet.plan()
}

fn function(state: &SessionState, name: &str) -> Result<LogicalPlan, Error> {
    let found = functions::names(state).into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let (name, kind) = found.ok_or_else(|| fault::invalid(format!("there is no function `{name}`")))?;
    let documentation = state
        .scalar_functions()
        .get(&name)
        .and_then(|function| function.documentation())
        .or_else(|| state.aggregate_functions().get(&name).and_then(|function| function.documentation()))
        .or_else(|| state.window_functions().get(&name).and_then(|function| function.documentation()));
    let mut sheet = Sheet::new(&["function_desc"]);
    sheet.line([Some(format!("{name} ({kind})"))]);
    if let Some(documentation) = documentation {
        sheet.line([Some(documentation.syntax_example.clone())]);
        sheet.line([Some(documentation.description.trim().to_owned())]);
    }
    sheet.plan()
}

async fn database(view: &View<'_>, name: &ObjectName) -> Result<LogicalPlan, Error> {
    let parts = TableKey::read(name, None)?.parts;
    let (catalog, schema) = match parts.as_slice() {
        [schema] => (None, schema),
        [catalog, schema] => (Some(catalog.as_str()), schema),
        _ => return Err(fault::invalid("write `DESCRIBE DATABASE zone.schema`")),
    };
    let exact = schema.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let found = schemas(view.lake.catalog(), view.principal, catalog, Some(&exact)).await?;
    if found.is_empty() {
        return Err(fault::invalid(format!("there is no schema `{}`", parts.join("."))));
    }
    let mut sheet = Sheet::new(&["catalog_name", "schema_name"]);
    for (catalog, schema) in found {
        sheet.line([Some(catalog), Some(schema)]);
    }
    sheet.plan()
}

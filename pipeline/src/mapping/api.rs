//! Mappings as doors see them: checked, stored, suggested.

use std::sync::Arc;

use mavis_catalog::{MappingRow, NewMapping, Source};
use mavis_fhir::mapping::{self as fhir_mapping, Mapping, MappingProblem, Suggestion};
use mavis_types::{SourceId, TableName, Zone};

use super::{Planned, Rule, plan, rule::source_of_table};
use crate::{
    Error,
    context::Context,
    discover::{self, rules_of},
    failure::Failure,
    to_processed::processed_name,
};

fn refused(failure: Failure) -> Error {
    Error::Invalid { reason: failure.to_string() }
}

fn problem(place: &str, message: impl Into<String>) -> MappingProblem {
    MappingProblem { place: place.to_owned(), message: message.into() }
}

/// The mappings of a text: one in TOML, or those of a `fhir_mapping.json`, with the names that they get.
pub(crate) fn read(name: &str, text: &str) -> Result<Vec<(String, Mapping)>, Vec<MappingProblem>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(vec![(name.to_owned(), Mapping::parse(text)?)]);
    }
    let schema = name.split('.').next().unwrap_or(name);
    let mappings = Mapping::parse_json(text, schema)?;
    let named = |mapping: Mapping| {
        let table = plan::inputs(&mapping).ok().and_then(|inputs| inputs.into_iter().next());
        let name = table.map_or_else(|| name.to_owned(), |table| format!("{}.{}", table.schema, table.table));
        (name, mapping)
    };
    Ok(mappings.into_iter().map(named).collect())
}

/// Everything that is wrong with a mapping: against the definitions, and against those of its tables that are there.
pub(crate) async fn check(context: &Context, mapping: &Mapping) -> Result<Vec<MappingProblem>, Error> {
    let mut problems = mapping.check();
    let inputs = match plan::inputs(mapping) {
        Ok(inputs) => inputs,
        Err(failure) => {
            if problems.is_empty() {
                problems.push(problem("from", failure.to_string()));
            }
            return Ok(problems);
        }
    };
    let mut providers = Vec::new();
    for input in &inputs {
        match provider(context, input).await? {
            Some(provider) => providers.push((input, provider)),
            // It may be ingested later; unless its source has no such table.
            None => {
                if let Some(hint) = missing(context, input).await? {
                    problems.push(problem("from", hint));
                }
                return Ok(problems);
            }
        }
    }
    let source = match inputs.first() {
        Some(input) => source_of_table(context, input).await.map_err(refused)?,
        None => None,
    };
    let maps = Arc::new(super::code_maps::all(context).await.map_err(refused)?);
    let rule = Rule {
        name: String::new(),
        mapping: mapping.clone(),
        source: source.unwrap_or_else(nobody),
        inputs: inputs.clone(),
        maps,
        keeps_ids: false,
    };
    let planned = Planned::new(context, &rule);
    for (input, provider) in providers {
        planned.table(input, provider).map_err(refused)?;
    }
    match planned.frame(mapping).await {
        Ok(frame) => problems.extend(mapping.check_types(frame.schema().as_arrow())),
        Err(failure) => problems.push(problem(&place_of(mapping, &failure.to_string()), failure.to_string())),
    }
    Ok(problems)
}

/// The element whose expression names the column that planning did not find.
fn place_of(mapping: &Mapping, message: &str) -> String {
    let words: Vec<&str> = message.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).collect();
    let names = |expression: &str| words.iter().any(|word| word.contains('.') && expression.contains(word));
    mapping
        .set
        .iter()
        .find(|(_, expression)| names(expression))
        .map_or_else(|| "from".to_owned(), |(path, _)| path.to_string())
}

fn nobody() -> Source {
    let now = chrono::Utc::now();
    let name = mavis_types::SourceName::new("check").unwrap_or_else(|_| unreachable!("`check` has letters"));
    Source {
        id: SourceId::new(),
        name,
        kind: String::new(),
        params: serde_json::Value::Null,
        authoritative: false,
        created_at: now,
        updated_at: now,
        removed_at: None,
    }
}

/// The table's columns: as ingested, else as discovery and the rules say they will be.
async fn provider(
    context: &Context,
    name: &TableName,
) -> Result<Option<Arc<dyn datafusion::catalog::TableProvider>>, Error> {
    if let Some(table) = context.catalog.find_table(name).await.map_err(Error::Catalog)? {
        match context.lake.schema(table.id).await {
            Ok(schema) => return Ok(Some(Arc::new(datafusion::datasource::empty::EmptyTable::new(schema)))),
            Err(mavis_lake::Error::NoSuchTable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let Some(source) = source_of_table(context, name).await.map_err(refused)? else { return Ok(None) };
    let Some(report) = discover::latest(context, &source).await.map_err(refused)? else { return Ok(None) };
    let Some(table) = report.tables.iter().find(|table| processed_name(table) == *name) else { return Ok(None) };
    let rules = rules_of(table);
    let raw = arrow::datatypes::Schema::new(
        table
            .columns
            .iter()
            .map(|column| {
                let data_type = column.data_type.parse().unwrap_or(arrow::datatypes::DataType::Utf8);
                arrow::datatypes::Field::new(&column.lake_name, data_type, true)
            })
            .collect::<Vec<_>>(),
    );
    let cleaner = crate::clean::Cleaner::new(&rules, &raw);
    let schema = crate::to_processed::output_schema(&cleaner, &rules);
    Ok(Some(Arc::new(datafusion::datasource::empty::EmptyTable::new(schema))))
}

/// What to say of a table that is not there; nothing where it may come with the first ingest.
async fn missing(context: &Context, name: &TableName) -> Result<Option<String>, Error> {
    let tables = context
        .catalog
        .tables(Some(Zone::Processed), Some(&name.schema), None, Some(1_000))
        .await
        .map_err(Error::Catalog)?;
    let raw =
        context.catalog.tables(Some(Zone::Raw), Some(&name.schema), None, Some(1_000)).await.map_err(Error::Catalog)?;
    let mut known: Vec<&str> = tables.iter().chain(&raw).map(|table| table.name.table.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        return Ok(None);
    }
    let near = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, &name.table).total_cmp(&strsim::jaro_winkler(b, &name.table)));
    Ok(Some(format!(
        "there is no table `{name}`{}",
        near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
    )))
}

/// The tables that the mappings of a text read, and those that the mappings read whose place they take: none of a text that
/// is no mapping.
pub(crate) async fn tables(context: &Context, name: &str, text: &str) -> Result<Vec<TableName>, Error> {
    let Ok(mappings) = read(name, text) else { return Ok(Vec::new()) };
    let names: Vec<&str> = match mappings.as_slice() {
        [_] => vec![name],
        several => several.iter().map(|(own, _)| own.as_str()).collect(),
    };
    let known = context.catalog.mappings().await.map_err(Error::Catalog)?;
    let replaced = known.iter().filter(|row| names.contains(&row.name.as_str()));
    let replaced = replaced.filter_map(|row| Mapping::parse(&row.text).ok());
    let all = mappings.iter().map(|(_, mapping)| mapping.clone()).chain(replaced);
    // One whose tables cannot be named is not stored, and runs nowhere.
    let mut tables: Vec<TableName> = all.filter_map(|mapping| plan::inputs(&mapping).ok()).flatten().collect();
    tables.sort();
    tables.dedup();
    Ok(tables)
}

/// Stores mappings that check out.
pub(crate) async fn apply(context: &Context, name: &str, text: &str) -> Result<MappingRow, Error> {
    let listed = |problems: &[MappingProblem]| Error::Invalid {
        reason: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    let mappings = read(name, text).map_err(|problems| listed(&problems))?;
    let single = mappings.len() == 1;
    let mut stored = None;
    for (_, mapping) in &mappings {
        let problems = check(context, mapping).await?;
        if !problems.is_empty() {
            return Err(listed(&problems));
        }
    }
    for (own, mapping) in mappings {
        let inputs = plan::inputs(&mapping).map_err(refused)?;
        let source = match inputs.first() {
            Some(input) => source_of_table(context, input).await.map_err(refused)?,
            None => None,
        };
        let toml = !text.trim_start().starts_with(['{', '[']);
        let new = NewMapping {
            name: if single { name.to_owned() } else { own },
            resource: mapping.resource.name().to_owned(),
            source: source.map(|source| source.id),
            text: if toml { text.to_owned() } else { mapping.to_toml() },
        };
        stored = Some(context.catalog.apply_mapping(new).await.map_err(Error::Catalog)?);
    }
    stored.ok_or_else(|| Error::Invalid { reason: "the text holds no mapping".to_owned() })
}

/// Suggests mappings for the tables of a source.
pub(crate) async fn suggest(context: &Context, source: &Source) -> Result<Vec<Suggestion>, Error> {
    let report = discover::latest(context, source).await.map_err(refused)?.ok_or_else(|| Error::Invalid {
        reason: format!("source `{}` was not discovered yet: run `source discover {}`", source.name, source.name),
    })?;
    let mut suggestions = Vec::new();
    for table in &report.tables {
        let name = processed_name(table);
        let Some(provider) = provider(context, &name).await? else { continue };
        let columns: Vec<(String, String)> = provider
            .schema()
            .fields()
            .iter()
            .filter(|field| !field.name().starts_with("__"))
            .map(|field| (field.name().clone(), field.data_type().to_string()))
            .collect();
        suggestions.extend(fhir_mapping::suggest(&name.to_string(), &columns, &rules_of(table).key));
    }
    suggestions.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    Ok(suggestions)
}

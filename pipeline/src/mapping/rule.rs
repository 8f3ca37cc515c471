//! Which mappings a source's ingest runs.

use std::{collections::BTreeMap, sync::Arc};

use mavis_catalog::{MappingRow, Source};
use mavis_connectors::TableKind;
use mavis_fhir::{ResourceType, functions::CodeMaps, mapping::Mapping};
use mavis_types::{TableName, Zone};

use super::plan;
use crate::{
    DiscoveryReport,
    context::{Context, Running},
    discover::rules_of,
    failure::Failure,
    to_processed::processed_name,
};

/// A mapping to run for a source.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Unique name; history remembers it.
    pub(crate) name: String,
    pub(crate) mapping: Mapping,
    pub(crate) source: Source,
    /// Processed tables that it reads, the driving one first.
    pub(crate) inputs: Vec<TableName>,
    pub(crate) maps: Arc<CodeMaps>,
    /// Ids of the resources are kept: the source is authoritative and holds whole resources.
    pub(crate) keeps_ids: bool,
}

impl Rule {
    /// Changes when the resources that the mapping makes may change.
    pub(crate) fn hash(&self) -> String {
        let mut text = self.mapping.rule_hash();
        text.push_str(&self.name);
        text.push(if self.keeps_ids { '=' } else { '~' });
        let sql = self.mapping.to_sql();
        let used: BTreeMap<&String, _> =
            self.maps.iter().filter(|(name, _)| sql.contains(&format!("'{name}'"))).collect();
        for (name, codes) in used {
            let mut lines: Vec<String> = codes
                .iter()
                .map(|(from, to)| format!("{from}\u{1}{}\u{1}{:?}\u{1}{:?}", to.code, to.system, to.display))
                .collect();
            lines.sort();
            text.push_str(name);
            text.push_str(&lines.join("\u{2}"));
        }
        format!("map-{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }
}

/// The mappings that read processed tables of a source: those that were applied, and for tables of FHIR resources that
/// none of them reads, one that takes the resources as they are.
pub(crate) async fn rules_of_source(
    running: &Running,
    source: &Source,
    report: &DiscoveryReport,
) -> Result<Vec<Rule>, Failure> {
    let maps = Arc::new(super::code_maps::all(&running.context).await?);
    let own: Vec<TableName> = report.tables.iter().map(processed_name).collect();
    let mut rules = Vec::new();
    for row in running.catalog().mappings().await? {
        match of_row(&running.context, &row, &maps).await {
            Ok(Some(rule)) if rule.source.id == source.id || rule.inputs.iter().any(|input| own.contains(input)) => {
                rules.push(rule);
            }
            Ok(_) => {}
            Err(failure) if row.source == Some(source.id) => {
                running.warn(format!("mapping `{}` was left out: {failure}", row.name)).await;
            }
            Err(_) => {}
        }
    }
    for table in report.tables.iter().filter(|table| table.kind == TableKind::Resources) {
        let input = processed_name(table);
        if rules.iter().any(|rule| rule.inputs.contains(&input)) {
            continue;
        }
        let Ok(resource) = table.table.name.parse::<ResourceType>() else {
            running
                .warn(format!("`{}` is no FHIR R4 resource type; it stays in the processed zone", table.table))
                .await;
            continue;
        };
        let column = |name: &str| table.columns.iter().find(|c| c.name == name).map(|c| format!("t.{}", c.lake_name));
        let Some(json) = column("resource") else { continue };
        let declared = rules_of(table).key;
        let key: Vec<String> = if declared.is_empty() {
            column("id").into_iter().collect()
        } else {
            declared.iter().map(|name| format!("t.{name}")).collect()
        };
        let mapping = Mapping {
            version: 1,
            resource,
            from: format!("{input} t"),
            key,
            for_each: None,
            filter: None,
            set: Vec::new(),
            resource_json: Some(json),
        };
        let keeps_ids = source.authoritative && keeps_ids(&mapping);
        rules.push(Rule {
            name: format!("{}.{}", input.schema, input.table),
            mapping,
            source: source.clone(),
            inputs: vec![input],
            maps: Arc::clone(&maps),
            keeps_ids,
        });
    }
    Ok(rules)
}

/// Whole resources under their own ids: the key is the column `id`.
fn keeps_ids(mapping: &Mapping) -> bool {
    mapping.resource_json.is_some() && plan::key_columns(mapping) == Some(vec!["id".to_owned()])
}

/// A stored mapping, made ready; `None` where the source of its driving table is not registered.
async fn of_row(context: &Context, row: &MappingRow, maps: &Arc<CodeMaps>) -> Result<Option<Rule>, Failure> {
    let mapping = Mapping::parse(&row.text).map_err(|problems| {
        Failure::Permanent(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let inputs = plan::inputs(&mapping)?;
    let Some(source) = source_of(context, row, &inputs).await? else { return Ok(None) };
    let keeps_ids = source.authoritative && keeps_ids(&mapping);
    Ok(Some(Rule { name: row.name.clone(), mapping, source, inputs, maps: Arc::clone(maps), keeps_ids }))
}

async fn source_of(context: &Context, row: &MappingRow, inputs: &[TableName]) -> Result<Option<Source>, Failure> {
    if let Some(id) = row.source {
        return match context.catalog.source_by_id(id).await {
            Ok(source) => Ok(source.removed_at.is_none().then_some(source)),
            Err(mavis_catalog::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    match inputs.first() {
        Some(input) => source_of_table(context, input).await,
        None => Ok(None),
    }
}

/// The source whose tables a processed table belongs to, by the catalog, else by its schema's name.
pub(crate) async fn source_of_table(context: &Context, table: &TableName) -> Result<Option<Source>, Failure> {
    if table.zone == Zone::Processed
        && let Some(known) = context.catalog.find_table(table).await?
        && let Some(id) = known.source
    {
        return Ok(Some(context.catalog.source_by_id(id).await?));
    }
    let sources = context.catalog.sources().await?;
    let owner = |source: &Source| {
        let name = source.name.as_str();
        table.schema == name || table.schema.strip_prefix(name).is_some_and(|rest| rest.starts_with("__"))
    };
    Ok(sources.into_iter().find(owner))
}

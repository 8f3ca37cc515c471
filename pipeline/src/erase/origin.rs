//! What the resources were made from: rows of the raw and processed zones, quarantined payloads, files of imports.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
    sync::Arc,
};

use arrow::array::{Array, BooleanArray, RecordBatch, StringArray};
use mavis_catalog::{QuarantineFilter, Quarantined};
use mavis_fhir::{ResourceType, functions::canonical_text, json, resource_id, shape::patients_of};
use mavis_lake::erase::Matches;
use mavis_types::{SourceId, SourceName, TableName, Zone};

use super::{Erasure, Past, find::Found, patiently};
use crate::{
    context::Running,
    discover::latest,
    failure::Failure,
    import::{Spool, open_file},
    mapping::{self, Rule, plan},
    replay::CORRECTIONS,
};

/// Quarantined rows that are looked at together.
const PAGE: u32 = 1_000;
/// Bytes of a file that are looked at together, and how many of them once more with the next.
const BLOCK: usize = 1 << 20;
const AGAIN: usize = 256;

/// How a mapping's rows are told: by the ids that their keys make.
#[derive(Debug, Clone)]
struct Key {
    source: SourceId,
    resource: ResourceType,
    columns: Vec<String>,
    keeps_ids: bool,
    ids: BTreeSet<String>,
}

impl Key {
    fn of(rule: &Rule, ids: &BTreeSet<String>) -> Option<Self> {
        Some(Self {
            source: rule.source.id,
            resource: rule.mapping.resource,
            columns: plan::key_in_order(&rule.mapping)?,
            keeps_ids: rule.keeps_ids,
            ids: ids.clone(),
        })
    }

    fn is(&self, parts: &[&str]) -> bool {
        match parts {
            [id] if self.keeps_ids => self.ids.contains(*id),
            parts => self.ids.contains(&resource_id(self.source, self.resource, parts)),
        }
    }

    fn matches(&self) -> Matches {
        let key = self.clone();
        Arc::new(move |batch: &RecordBatch| {
            let text = |name: &String| -> Result<StringArray, mavis_lake::Error> {
                let failed = || {
                    mavis_lake::Error::Query(datafusion::error::DataFusionError::Plan(format!("`{name}` is no key")))
                };
                canonical_text(batch.column_by_name(name).ok_or_else(failed)?).map_err(|_| failed())
            };
            let columns = key.columns.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            let row = |row: usize| {
                let parts: Option<Vec<&str>> =
                    columns.iter().map(|column| column.is_valid(row).then(|| column.value(row).trim())).collect();
                Some(parts.is_some_and(|parts| key.is(&parts)))
            };
            Ok((0..batch.num_rows()).map(row).collect::<BooleanArray>())
        })
    }
}

/// Erases the rows of both zones.
pub(super) async fn rows(running: &Running, found: &Found, done: &mut Erasure, past: &mut Past) -> Result<(), Failure> {
    let rules = Box::pin(rules(running, found)).await?;
    let known: BTreeSet<&str> = rules.iter().map(|(rule, _)| rule.name.as_str()).collect();
    for maker in found.makers.iter().filter(|maker| *maker != "import" && !known.contains(maker.as_str())) {
        done.unreached
            .push(format!("rows that `{maker}` made resources from: there is no such mapping that can be planned"));
    }
    for (rule, ids) in rules {
        let unreached = |why: &str| format!("rows of the tables that mapping `{}` reads: {why}", rule.name);
        let [input] = rule.inputs.as_slice() else {
            done.unreached.push(unreached("it joins several tables"));
            continue;
        };
        let Some(key) = Key::of(&rule, &ids) else {
            done.unreached.push(unreached("its key is not made of plain columns"));
            continue;
        };
        for zone in [Zone::Processed, Zone::Raw] {
            let name = TableName::new(zone, &input.schema, &input.table);
            let Some(table) = running.catalog().find_table(&name).await? else { continue };
            let schema = running.lake().schema(table.id).await?;
            if key.columns.iter().any(|column| schema.field_with_name(column).is_err()) {
                done.unreached.push(format!("rows of `{name}`: it lacks a column of the key of `{}`", rule.name));
                continue;
            }
            let erased = patiently(running, table.id, &key.columns, &key.matches()).await?;
            if !erased.foreign.is_empty() {
                done.unreached.push(format!(
                    "files that `{name}` was taken over from in place, and that it reads no more: they are not Mavis's and hold \
                     the rows still; their owner must delete them, or write them without the rows: {}",
                    erased.foreign.join(", ")
                ));
            }
            if erased.rows > 0 {
                *done.rows.entry(name.to_string()).or_default() += erased.rows;
            }
            past.insert(table.id);
        }
    }
    Ok(())
}

/// How rows of a raw table are told that go, by the mappings that read it: the columns of the key, and whether a row has it.
pub(super) async fn keys(
    running: &Running,
    found: &Found,
    raw: &TableName,
) -> Result<Vec<(BTreeSet<String>, Matches)>, Failure> {
    let reads = |rule: &Rule| rule.inputs.iter().any(|i| i.schema == raw.schema && i.table == raw.table);
    let rules = Box::pin(rules(running, found)).await?;
    let keys = rules.iter().filter(|(rule, _)| rule.inputs.len() == 1 && reads(rule));
    Ok(keys
        .filter_map(|(rule, ids)| Key::of(rule, ids))
        .map(|key| (key.columns.iter().cloned().collect(), key.matches()))
        .collect())
}

/// The mappings that made what goes, with the ids of their type.
async fn rules(running: &Running, found: &Found) -> Result<Vec<(Rule, BTreeSet<String>)>, Failure> {
    let mut rules: BTreeMap<String, (Rule, BTreeSet<String>)> = BTreeMap::new();
    for source in running.catalog().sources().await? {
        let Some(report) = latest(&running.context, &source).await? else { continue };
        for rule in Box::pin(mapping::rules_of_source(running, &source, &report)).await? {
            if let Some(ids) = found.ids.get(&rule.mapping.resource).filter(|_| found.makers.contains(&rule.name)) {
                rules.insert(rule.name.clone(), (rule, ids.clone()));
            }
        }
    }
    Ok(rules.into_values().collect())
}

/// Erases payloads in quarantine.
pub(super) async fn quarantined(running: &Running, patient: &str, found: &Found) -> Result<u64, Failure> {
    let mut keys: BTreeMap<TableName, Vec<Key>> = BTreeMap::new();
    for (rule, ids) in Box::pin(rules(running, found)).await? {
        let (Some(key), Some(input)) = (Key::of(&rule, &ids), rule.inputs.first()) else { continue };
        for zone in [Zone::Processed, Zone::Raw] {
            keys.entry(TableName::new(zone, &input.schema, &input.table)).or_default().push(key.clone());
        }
    }
    let (mut after, mut gone) = (None, Vec::new());
    loop {
        let filter = QuarantineFilter { after, limit: Some(PAGE), ..QuarantineFilter::default() };
        let page = running.catalog().quarantined(&filter).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for row in &page {
            let name = running.catalog().table_by_id(row.table).await?.name;
            let keys = keys.get(&name).map_or(&[][..], Vec::as_slice);
            if refers(&row.payload, patient) || is_theirs(row, &name, patient, found, keys) {
                gone.push(row.id);
            }
        }
    }
    Ok(running.catalog().erase_quarantined(&gone).await?)
}

fn is_theirs(row: &Quarantined, table: &TableName, patient: &str, found: &Found, keys: &[Key]) -> bool {
    let Ok(value) = json::parse(row.payload.as_bytes()) else { return false };
    if let Some(resource) = value.get_str("resourceType").and_then(|name| name.parse::<ResourceType>().ok()) {
        let id = value.get_str("id").unwrap_or_default();
        return found.ids.get(&resource).is_some_and(|ids| ids.contains(id))
            || patients_of(resource, &value, id).any(|of| of == patient);
    }
    // Set aside on the way into a table of the FHIR zone, without its type.
    let of_type = || found.ids.iter().find(|(resource, _)| resource.table() == table.table).map(|(_, ids)| ids);
    if table.zone == Zone::Fhir && of_type().zip(value.get_str("id")).is_some_and(|(ids, id)| ids.contains(id)) {
        return true;
    }
    keys.iter().any(|key| {
        let part = |name: &String| match value.get(name)? {
            json::Value::String(text) => Some(text.trim().to_owned()),
            json::Value::Number(number) => Some((*number).to_owned()),
            _ => None,
        };
        let parts: Option<Vec<String>> = key.columns.iter().map(part).collect();
        parts.is_some_and(|parts| key.is(&parts.iter().map(String::as_str).collect::<Vec<_>>()))
    })
}

/// Whether a text names the patient as FHIR's JSON does.
fn names(text: &str, patient: &str) -> bool {
    refers(text, patient) || is_id(text, patient)
}

/// Whether a text refers to the patient as FHIR's JSON does.
fn refers(text: &str, patient: &str) -> bool {
    let needles = [
        format!("Patient/{patient}\""),
        format!("Patient/{patient}/"),
        format!("Patient\\/{patient}\""),
        format!("urn:uuid:{patient}\""),
    ];
    needles.iter().any(|needle| text.contains(needle.as_str()))
}

/// `"id" : "..."`, with or without blanks.
fn is_id(text: &str, patient: &str) -> bool {
    text.match_indices("\"id\"").any(|(at, name)| {
        let rest = text[at + name.len()..].trim_start();
        let value = rest.strip_prefix(':').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'));
        value.and_then(|value| value.strip_prefix(patient)).is_some_and(|rest| rest.starts_with('"'))
    })
}

/// Deletes the files of imports that name the patient: history holds what they brought of others. Corrections that were
/// replayed are deleted too.
pub(super) async fn files(running: &Running, patient: &str, unreached: &mut Vec<String>) -> Result<u64, Failure> {
    let mut deleted = 0;
    let folder = &running.context.options.spool;
    let failed = |error: crate::Error| Failure::Transient(error.to_string());
    for source in sources(folder).await {
        let spool = Spool::of(folder, &source);
        for path in spool.contents().await.map_err(failed)? {
            let (blob, wanted) = (path.clone(), patient.to_owned());
            match tokio::task::spawn_blocking(move || file_names(&blob, &wanted)).await? {
                Ok(true) => {
                    spool.drop_content(&path).await.map_err(failed)?;
                    deleted += 1;
                }
                Ok(false) => {}
                Err(_) => unreached.push(format!("a file of the imports of `{source}` cannot be read")),
            }
        }
    }
    match tokio::fs::remove_dir_all(folder.join(CORRECTIONS)).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            unreached.push(format!("corrections of quarantined rows: {error}"));
        }
        _ => {}
    }
    Ok(deleted)
}

/// Whose files are there, also of sources that were removed.
async fn sources(folder: &Path) -> Vec<SourceName> {
    let mut names = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return names };
    while let Ok(Some(entry)) = entries.next_entry().await {
        names.extend(entry.file_name().to_str().and_then(|name| SourceName::new(name).ok()));
    }
    names
}

fn file_names(path: &Path, patient: &str) -> std::io::Result<bool> {
    let mut file = open_file(path)?;
    let mut block = Vec::with_capacity(BLOCK + AGAIN);
    loop {
        let before = block.len();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if names(&String::from_utf8_lossy(&block), patient) {
            return Ok(true);
        }
        if block.len() == before {
            return Ok(false);
        }
        block.drain(..block.len().saturating_sub(AGAIN));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"subject":{"reference":"Patient/a"}}"#, true)]
    #[case(r#"{"subject":{"reference":"Patient/a/_history/2"}}"#, true)]
    #[case(r#"{"subject":{"reference":"Patient\/a"}}"#, true)]
    #[case(r#"{"resourceType":"Patient", "id" : "a"}"#, true)]
    #[case(r#"{"fullUrl":"urn:uuid:a"}"#, true)]
    #[case(r#"{"subject":{"reference":"Patient/ab"}}"#, false)]
    #[case(r#"{"id":"ab","value":"a"}"#, false)]
    fn a_text_names_a_patient_by_a_whole_id(#[case] text: &str, #[case] is: bool) {
        assert_eq!(names(text, "a"), is);
    }
}

//! Between the passes: what every reference of the set points to.

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::prelude::ident;
use futures::TryStreamExt;
use mavis_fhir::{ResourceType, bundle::Condition};
use mavis_types::{TableName, Zone};

use super::{
    document::Position,
    index::{Index, identifier_hash},
};
use crate::{context::Running, failure::Failure, fhir_zone::target::CURRENT, tables::SESSION_BYTES};

/// The answers that the second pass needs.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// Reference as written to `Type/id`.
    pub(crate) references: HashMap<String, String>,
    /// References that cannot be resolved, with the reason.
    pub(crate) failed: HashMap<String, &'static str>,
    /// Conditions of updates and deletions to ids; none: nothing matches.
    pub(crate) conditions: HashMap<String, Option<String>>,
    /// Entries that are not created because something has their identifier.
    pub(crate) existing: HashSet<Position>,
    /// Entries that fail on their own condition.
    pub(crate) refused: HashMap<Position, &'static str>,
    pub(crate) last: HashMap<u128, Position>,
}

const NOTHING: &str = "the conditional reference matches no resource";
const SEVERAL: &str = "the condition matches more than one resource";
const UNSUPPORTED: &str = "the condition is not one identifier or _id, which is all that an import resolves";

/// Ids in the lake by identifier, for the types that conditions ask for.
type InLake = HashMap<u128, BTreeSet<String>>;

enum Criterion {
    Identifier(u128),
    Id(String),
}

fn criterion(condition: &Condition) -> Option<Criterion> {
    if let Some((system, value)) = condition.identifier() {
        return Some(Criterion::Identifier(identifier_hash(condition.resource, system, value)));
    }
    match condition.criteria.as_slice() {
        [(name, value)] if name == "_id" => Some(Criterion::Id(value.clone())),
        _ => None,
    }
}

/// Resolves everything.
pub(crate) async fn resolve(running: &Running, index: Index) -> Result<Resolution, Failure> {
    let mut asked: BTreeSet<ResourceType> = BTreeSet::new();
    let texts = index.conditions.iter().chain(index.creates.iter().map(|create| &create.condition));
    asked.extend(texts.filter_map(|text| Condition::parse(text)).map(|condition| condition.resource));
    let mut in_lake = InLake::new();
    for resource in asked {
        read_lake(running, resource, &mut in_lake).await?;
    }
    Ok(decide(index, &in_lake))
}

fn decide(mut index: Index, in_lake: &InLake) -> Resolution {
    let mut out = Resolution::default();
    let nothing = BTreeSet::new();
    // In the order of the set: an earlier entry exists for a later one.
    index.creates.sort_by_key(|create| create.at);
    for create in &index.creates {
        let parsed = Condition::parse(&create.condition);
        let Some(criterion) = parsed.as_ref().and_then(criterion) else {
            out.refused.insert(create.at, UNSUPPORTED);
            continue;
        };
        let mut matches: BTreeSet<&str> = BTreeSet::new();
        match &criterion {
            Criterion::Identifier(hash) => {
                matches.extend(in_lake.get(hash).unwrap_or(&nothing).iter().map(String::as_str));
                let holders = index.holders.get(hash).map_or(&[][..], Vec::as_slice);
                let earlier =
                    |at: Position| at < create.at && !out.existing.contains(&at) && !out.refused.contains_key(&at);
                matches.extend(holders.iter().filter(|holder| earlier(holder.at)).map(|holder| holder.id.as_str()));
            }
            Criterion::Id(id) => {
                matches.insert(id);
            }
        }
        match (matches.len(), matches.first()) {
            (0, _) | (_, None) => {}
            (1, Some(id)) => {
                out.existing.insert(create.at);
                let there = format!("{}/{id}", create.resource);
                if let Some(url) = &create.full_url {
                    index.full_urls.insert(url.clone(), there.clone());
                }
                if create.id != **id {
                    index.renamed.insert(format!("{}/{}", create.resource, create.id), there);
                }
            }
            _ => {
                out.refused.insert(create.at, SEVERAL);
            }
        }
    }
    for text in &index.conditions {
        let Some(condition) = Condition::parse(text) else { continue };
        let found: Result<Option<String>, &'static str> = match criterion(&condition) {
            None => Err(UNSUPPORTED),
            Some(Criterion::Id(id)) => Ok(Some(id)),
            Some(Criterion::Identifier(hash)) => {
                let mut matches: BTreeSet<&str> =
                    in_lake.get(&hash).unwrap_or(&nothing).iter().map(String::as_str).collect();
                let holders = index.holders.get(&hash).map_or(&[][..], Vec::as_slice);
                let stays = |at: &Position| !out.existing.contains(at) && !out.refused.contains_key(at);
                matches.extend(holders.iter().filter(|h| stays(&h.at)).map(|holder| holder.id.as_str()));
                match matches.len() {
                    0 => Ok(None),
                    1 => Ok(matches.first().map(|id| (*id).to_owned())),
                    _ => Err(SEVERAL),
                }
            }
        };
        match &found {
            Ok(Some(id)) => {
                out.references.insert(text.clone(), format!("{}/{id}", condition.resource));
            }
            Ok(None) => {
                out.failed.insert(text.clone(), NOTHING);
            }
            Err(reason) => {
                out.failed.insert(text.clone(), reason);
            }
        }
        out.conditions.insert(text.clone(), found.ok().flatten());
    }
    out.references.extend(index.full_urls);
    out.references.extend(index.renamed);
    out.last = index.last;
    out
}

/// Reads who has which identifier among the current resources of a type.
async fn read_lake(running: &Running, resource: ResourceType, found: &mut InLake) -> Result<(), Failure> {
    let name = TableName::new(Zone::Fhir, CURRENT, resource.table());
    let Some(table) = running.catalog().find_table(&name).await? else { return Ok(()) };
    let provider = match running.lake().provider(table.id, None).await {
        Ok(provider) => provider,
        Err(mavis_lake::Error::NoSuchTable { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if provider.schema().field_with_name("identifier").is_err() {
        return Ok(());
    }
    let session = running.lake().sessions().session(SESSION_BYTES);
    let frame = session.read_table(provider)?.select(["id", "identifier"].map(ident))?;
    let mut stream = frame.execute_stream().await?;
    while let Some(batch) = stream.try_next().await? {
        add_identifiers(resource, &batch, found)?;
    }
    Ok(())
}

fn add_identifiers(resource: ResourceType, batch: &RecordBatch, found: &mut InLake) -> Result<(), Failure> {
    use arrow::{compute::cast, datatypes::DataType};
    let ids = cast(batch.column(0), &DataType::Utf8)?;
    let ids = ids.as_string::<i32>();
    let column = batch.column(1);
    // One identifier (QuestionnaireResponse, Composition) or a list of them.
    let each: Vec<(usize, arrow::array::ArrayRef)> = match column.data_type() {
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            (0..lists.len()).filter(|row| lists.is_valid(*row)).map(|row| (row, lists.value(row))).collect()
        }
        DataType::Struct(_) => {
            (0..column.len()).filter(|row| column.is_valid(*row)).map(|row| (row, column.slice(row, 1))).collect()
        }
        _ => Vec::new(),
    };
    for (row, items) in each {
        let Some(items) = items.as_struct_opt() else { continue };
        let Some(values) = items.column_by_name("value") else { continue };
        let values = cast(values, &DataType::Utf8)?;
        let systems = items.column_by_name("system").map(|systems| cast(systems, &DataType::Utf8)).transpose()?;
        for item in 0..values.len() {
            if values.is_null(item) {
                continue;
            }
            let value = values.as_string::<i32>().value(item);
            let system = match &systems {
                Some(systems) if systems.is_valid(item) => systems.as_string::<i32>().value(item),
                _ => "",
            };
            for hash in [identifier_hash(resource, Some(system), value), identifier_hash(resource, None, value)] {
                found.entry(hash).or_default().insert(ids.value(row).to_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::index::{Create, Holder};

    fn at(entry: u32) -> Position {
        Position { file: 0, line: 0, entry }
    }

    fn practitioner() -> ResourceType {
        "Practitioner".parse().unwrap()
    }

    fn holder(index: &mut Index, entry: u32, id: &str, value: &str) {
        let hash = identifier_hash(practitioner(), Some("s"), value);
        index.holders.entry(hash).or_default().push(Holder { at: at(entry), id: id.to_owned() });
    }

    fn create(entry: u32, id: &str, value: &str) -> Create {
        Create {
            at: at(entry),
            resource: practitioner(),
            id: id.to_owned(),
            condition: format!("Practitioner?identifier=s|{value}"),
            full_url: Some(format!("urn:uuid:{id}")),
        }
    }

    #[test]
    fn an_entry_is_not_created_where_an_earlier_one_has_its_identifier() {
        let mut index = Index::default();
        for (entry, id) in [(0, "a"), (1, "b")] {
            holder(&mut index, entry, id, "1");
            index.creates.push(create(entry, id, "1"));
        }
        let out = decide(index, &InLake::new());
        assert_eq!(out.existing, HashSet::from([at(1)]));
        assert_eq!(out.references["urn:uuid:b"], "Practitioner/a");
    }

    #[test]
    fn an_entry_is_not_created_where_the_lake_has_its_identifier() {
        let mut index = Index::default();
        holder(&mut index, 0, "a", "1");
        index.creates.push(create(0, "a", "1"));
        let hash = identifier_hash(practitioner(), Some("s"), "1");
        let out = decide(index, &InLake::from([(hash, BTreeSet::from(["old".to_owned()]))]));
        assert_eq!(out.existing.len(), 1);
        assert_eq!(out.references["urn:uuid:a"], "Practitioner/old");
    }

    #[test]
    fn conditional_references_need_exactly_one_match() {
        let mut index = Index::default();
        holder(&mut index, 0, "a", "1");
        holder(&mut index, 1, "b", "2");
        holder(&mut index, 2, "c", "2");
        let texts = ["1", "2", "3"].map(|value| format!("Practitioner?identifier=s|{value}"));
        index.conditions.extend(texts.iter().cloned());
        index.conditions.insert("Practitioner?name=x".to_owned());
        let out = decide(index, &InLake::new());
        assert_eq!(out.references[&texts[0]], "Practitioner/a");
        assert_eq!(out.failed[&texts[1]], SEVERAL);
        assert_eq!(out.failed[&texts[2]], NOTHING);
        assert_eq!(out.failed["Practitioner?name=x"], UNSUPPORTED);
    }
}

//! What comes with the matches: `_include` and `_revinclude`, followed until nothing new is found.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use datafusion::{logical_expr::lit, prelude::ident};
use futures::TryStreamExt;
use mavis_fhir::{ResourceType, bundle::relative_reference, search::Include};
use mavis_sql::Error;

use super::{
    matches::{is_one_of, keys, texts},
    tables::Tables,
};
use crate::fhir::{read::unplanned, rows::Stored};

/// Included resources of one page at most.
pub(super) const MAX_INCLUDED: usize = 1000;

/// Rounds of `:iterate` at most.
const MAX_ROUNDS: usize = 16;

type Key = (ResourceType, String);

#[derive(Debug, Default)]
pub(super) struct Included {
    pub(super) resources: Vec<(ResourceType, Stored)>,
    /// Whether there would be more than [`MAX_INCLUDED`].
    pub(super) is_cut: bool,
}

/// Each resource comes once, and none that is a match. `all`: the types that there are, for includes that name none.
pub(super) async fn find(
    tables: &mut Tables<'_>,
    includes: &[Include],
    all: &[ResourceType],
    matches: Vec<Key>,
) -> Result<Included, Error> {
    let mut seen: HashSet<Key> = matches.iter().cloned().collect();
    let mut fresh = matches;
    let mut included = Included::default();
    for round in 0..MAX_ROUNDS {
        let mut found: BTreeSet<Key> = BTreeSet::new();
        for include in includes.iter().filter(|include| round == 0 || include.iterate) {
            let room = MAX_INCLUDED.saturating_sub(included.resources.len()) + seen.len() + 1;
            let more = if include.reverse {
                referring(tables, include, all, &fresh, room).await?
            } else {
                referred(tables, include, &fresh).await?
            };
            found.extend(more);
        }
        found.retain(|key| !seen.contains(key));
        if found.is_empty() {
            return Ok(included);
        }
        let room = MAX_INCLUDED.saturating_sub(included.resources.len());
        // what is asked for may not be there: then it takes no room
        let wanted: Vec<Key> = found.into_iter().collect();
        seen.extend(wanted.iter().cloned());
        let types: BTreeSet<ResourceType> = wanted.iter().map(|(resource, _)| *resource).collect();
        tables.open(types).await?;
        let mut new = texts(tables, &wanted).await?;
        if new.len() > room {
            new.truncate(room);
            included.is_cut = true;
        }
        fresh = new.iter().map(|(resource, stored)| (*resource, stored.id.clone())).collect();
        included.resources.extend(new);
        if included.is_cut || fresh.is_empty() {
            return Ok(included);
        }
    }
    included.is_cut |= includes.iter().any(|include| include.iterate);
    Ok(included)
}

/// What these resources refer to.
async fn referred(tables: &Tables<'_>, include: &Include, from: &[Key]) -> Result<Vec<Key>, Error> {
    let mut found = Vec::new();
    for (resource, ids) in by_type(from) {
        let Some(table) = tables.frame(resource) else { continue };
        let Some(references) = include.references(resource, table.schema().inner()) else { continue };
        let rows = table
            .clone()
            .filter(is_one_of(&ids))
            .and_then(|rows| rows.select(vec![references.alias("reference")]))
            .and_then(|rows| rows.unnest_columns(&["reference"]))
            .and_then(|rows| rows.distinct())
            .map_err(unplanned)?;
        let answer = tables.session.run(rows, None).await?;
        let batches: Vec<_> = answer.batches.try_collect().await?;
        for text in batches.iter().flat_map(|batch| crate::fhir::rows::texts(batch, 0)) {
            let key = relative_reference(&text)
                .and_then(|(name, id)| Some((name.parse::<ResourceType>().ok()?, id.to_owned())));
            found.extend(key.filter(|(target, _)| include.target.is_none_or(|wanted| wanted == *target)));
        }
    }
    Ok(found)
}

/// What refers to these resources, of each type so many at most; `all`: the types that there are.
async fn referring(
    tables: &mut Tables<'_>,
    include: &Include,
    all: &[ResourceType],
    to: &[Key],
    room: usize,
) -> Result<Vec<Key>, Error> {
    let mut found = Vec::new();
    for source in include.source.as_ref().map_or(all, std::slice::from_ref) {
        found.extend(referring_of(tables, include, *source, to, room).await?);
    }
    Ok(found)
}

async fn referring_of(
    tables: &mut Tables<'_>,
    include: &Include,
    source: ResourceType,
    to: &[Key],
    room: usize,
) -> Result<Vec<Key>, Error> {
    tables.open([source]).await?;
    let Some(table) = tables.frame(source) else { return Ok(Vec::new()) };
    let Some(filter) = include.referring(source, to, table.schema().inner()) else { return Ok(Vec::new()) };
    let rows = table
        .clone()
        .filter(filter)
        .and_then(|rows| rows.select(vec![lit(source.name()).alias("type"), ident("id")]))
        .and_then(|rows| rows.sort(vec![ident("id").sort(true, false)]))
        .and_then(|rows| rows.limit(0, Some(room)))
        .map_err(unplanned)?;
    keys(tables.session, rows).await
}

fn by_type(keys: &[Key]) -> BTreeMap<ResourceType, Vec<&str>> {
    let mut by_type: BTreeMap<ResourceType, Vec<&str>> = BTreeMap::new();
    for (resource, id) in keys {
        by_type.entry(*resource).or_default().push(id);
    }
    by_type
}

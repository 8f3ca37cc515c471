//! The matches of one page.

use std::collections::{BTreeMap, HashMap};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
};
use datafusion::{
    dataframe::DataFrame,
    functions_aggregate::expr_fn::count,
    logical_expr::{Expr, SortExpr, lit},
    prelude::ident,
};
use futures::TryStreamExt;
use mavis_fhir::{
    ResourceType,
    search::{Search, Total},
};
use mavis_sql::{Error, Session};

use super::{of_patient, tables::Tables};
use crate::fhir::{
    page::Place,
    read::unplanned,
    rows::{self, Stored},
};

/// The search of one type; several together are one search.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) resource: ResourceType,
    pub(super) search: Search,
}

/// A page of matches.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) matches: Vec<(ResourceType, Stored)>,
    pub(super) total: Option<i64>,
    pub(super) next: Option<Next>,
}

/// Where the next page begins.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) offset: usize,
    pub(super) after_id: Option<String>,
}

pub(super) async fn find(tables: &Tables<'_>, parts: &[Part], place: Option<&Place>) -> Result<Found, Error> {
    let Some(first) = parts.first() else { return Ok(Found { total: Some(0), ..Found::default() }) };
    let wanted = first.search.count;
    if let [part] = parts {
        let after = by_id(parts).and(place).and_then(|place| place.after_id.as_deref());
        if let Some(ids) = of_patient::ids(tables, part, after).await? {
            return of_ids(tables, part, ids, place).await;
        }
    }
    let total = if wanted == 0 || first.search.total == Total::Accurate {
        let mut total = 0;
        for part in parts {
            if let Some(rows) = tables.narrow(part.resource, &part.search.criteria)? {
                let counted = rows.aggregate(vec![], vec![count(lit(1)).alias("total")]).map_err(unplanned)?;
                total += rows::count(tables.session, counted).await?;
            }
        }
        Some(total)
    } else {
        None
    };
    if wanted == 0 {
        return Ok(Found { total, ..Found::default() });
    }

    let offset = place.map_or(0, |place| place.offset);
    let Some(page) = page(tables, parts, place)? else { return Ok(Found { total: Some(0), ..Found::default() }) };
    let mut keys = keys(tables.session, page).await?;
    let more = keys.len() > wanted;
    keys.truncate(wanted);

    let next = more.then(|| Next {
        offset: offset + keys.len(),
        after_id: by_id(parts).and_then(|_| keys.last().map(|(_, id)| id.clone())),
    });
    let total = total.or_else(|| {
        // The last page knows how many there were.
        let seen = i64::try_from(offset + keys.len()).ok()?;
        (!more && (offset == 0 || !keys.is_empty())).then_some(seen)
    });
    let matches = texts(tables, &keys).await?;
    Ok(Found { matches, total, next })
}

/// The page of a search whose matches are all known.
async fn of_ids(tables: &Tables<'_>, part: &Part, ids: Vec<String>, place: Option<&Place>) -> Result<Found, Error> {
    let wanted = part.search.count;
    let (offset, after) = place.map_or((0, None), |place| (place.offset, place.after_id.as_deref()));
    // What comes after an id is without those before it.
    let before = if after.is_some() { 0 } else { offset };
    let all = if after.is_some() { offset + ids.len() } else { ids.len() };
    let keys: Vec<_> = ids.iter().skip(before).take(wanted).map(|id| (part.resource, id.clone())).collect();
    let more = wanted > 0 && before + keys.len() < ids.len();
    let next = more.then(|| Next {
        offset: offset + keys.len(),
        after_id: by_id(std::slice::from_ref(part)).and_then(|_| keys.last().map(|(_, id)| id.clone())),
    });
    let is_told = wanted == 0 || part.search.total == Total::Accurate || (!more && (offset == 0 || !keys.is_empty()));
    let total = is_told.then(|| i64::try_from(all).unwrap_or(i64::MAX));
    Ok(Found { matches: texts(tables, &keys).await?, total, next })
}

/// The one search that is ordered by id alone: its pages begin after the last id of the one before, not after so many rows.
fn by_id(parts: &[Part]) -> Option<&Part> {
    match parts {
        [part] if part.search.sort.len() == 1 && part.search.sort.first().is_some_and(|key| key.asc) => Some(part),
        _ => None,
    }
}

/// The frame of a page's keys, one more than fit on it; `None` where no type has a table.
pub(super) fn page(tables: &Tables<'_>, parts: &[Part], place: Option<&Place>) -> Result<Option<DataFrame>, Error> {
    let Some(first) = parts.first() else { return Ok(None) };
    let offset = place.map_or(0, |place| place.offset);
    let limit = Some(first.search.count + 1);
    if let [part] = parts {
        let Some(mut rows) = tables.narrow(part.resource, &part.search.criteria)? else { return Ok(None) };
        let mut skip = offset;
        if let (Some(_), Some(after)) = (by_id(parts), place.and_then(|place| place.after_id.as_deref())) {
            rows = rows.filter(ident("id").gt(lit(after))).map_err(unplanned)?;
            skip = 0;
        }
        let page = rows
            .sort(part.search.sort.clone())
            .and_then(|rows| rows.limit(skip, limit))
            .and_then(|rows| rows.select(vec![lit(part.resource.name()).alias("type"), ident("id")]))
            .map_err(unplanned)?;
        return Ok(Some(page));
    }
    // several types: their keys side by side, in the order asked for, then by type and id
    let mut all: Option<DataFrame> = None;
    for part in parts {
        let Some(rows) = tables.narrow(part.resource, &part.search.criteria)? else { continue };
        let sorted = part.search.sort.iter().enumerate();
        let sorted = sorted.map(|(index, key)| key.expr.clone().alias(format!("key{index}")));
        let own: Vec<Expr> = [lit(part.resource.name()).alias("type"), ident("id")].into_iter().chain(sorted).collect();
        let rows = rows.select(own).map_err(unplanned)?;
        all = Some(match all {
            Some(all) => all.union(rows).map_err(unplanned)?,
            None => rows,
        });
    }
    let Some(all) = all else { return Ok(None) };
    // the id that every order ends with comes after the type, unless it was asked for
    let by_id = |keys: &str| keys.split(',').any(|key| key.trim_start_matches('-') == "_id");
    let keys = &first.search.sort;
    let asked = match keys.split_last() {
        Some((_, asked)) if !first.search.applied.iter().any(|(name, keys)| name == "_sort" && by_id(keys)) => asked,
        _ => keys.as_slice(),
    };
    let key = |(index, key): (usize, &SortExpr)| ident(format!("key{index}")).sort(key.asc, key.nulls_first);
    let mut order: Vec<SortExpr> = asked.iter().enumerate().map(key).collect();
    order.extend([ident("type").sort(true, false), ident("id").sort(true, false)]);
    let page = all
        .sort(order)
        .and_then(|rows| rows.limit(offset, limit))
        .and_then(|rows| rows.select(vec![ident("type"), ident("id")]))
        .map_err(unplanned)?;
    Ok(Some(page))
}

/// Types and ids of a frame whose two columns these are.
pub(super) async fn keys(session: &Session, frame: DataFrame) -> Result<Vec<(ResourceType, String)>, Error> {
    let answer = session.run(frame, None).await?;
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
    let unknown = || Error::Execution { message: "keys of resources are not text".to_owned() };
    let mut keys = Vec::new();
    for batch in &batches {
        let text = |index: usize| arrow::compute::cast(batch.column(index), &DataType::Utf8).map_err(|_| unknown());
        let (types, ids) = (text(0)?, text(1)?);
        let (types, ids) = (types.as_string::<i32>(), ids.as_string::<i32>());
        for row in (0..batch.num_rows()).filter(|row| ids.is_valid(*row)) {
            keys.push((types.value(row).parse().map_err(|_| unknown())?, ids.value(row).to_owned()));
        }
    }
    Ok(keys)
}

/// The resources of these keys, in their order; those that are not there are passed over.
pub(super) async fn texts(
    tables: &Tables<'_>,
    keys: &[(ResourceType, String)],
) -> Result<Vec<(ResourceType, Stored)>, Error> {
    let mut by_type: BTreeMap<ResourceType, Vec<&str>> = BTreeMap::new();
    for (resource, id) in keys {
        by_type.entry(*resource).or_default().push(id);
    }
    let mut found: HashMap<(ResourceType, String), Stored> = HashMap::with_capacity(keys.len());
    for (resource, ids) in by_type {
        let stored = rows::by_ids(tables.session, &rows::current(resource), &ids).await?;
        found.extend(stored.into_iter().map(|stored| ((resource, stored.id.clone()), stored)));
    }
    Ok(keys.iter().filter_map(|key| found.remove(key).map(|stored| (key.0, stored))).collect())
}

pub(super) fn is_one_of(ids: &[&str]) -> Expr {
    match ids {
        [id] => ident("id").eq(lit(*id)),
        ids => ident("id").in_list(ids.iter().map(|id| lit(*id)).collect(), false),
    }
}

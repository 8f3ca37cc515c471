//! Which versions are on a page, and what they say.

use std::collections::HashMap;

use arrow::{
    array::AsArray,
    compute::cast,
    datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    common::{JoinType, ScalarValue},
    dataframe::DataFrame,
    error::DataFusionError,
    functions_aggregate::expr_fn::count,
    logical_expr::{Expr, lit},
    prelude::ident,
};
use futures::TryStreamExt;
use mavis_fhir::ResourceType;
use mavis_sql::{Error, Session};

use super::super::rows::{self, Stored, columns, fetch, frame, unplanned};
use crate::App;

/// Schema of the history tables.
const HISTORY: &str = "r4_history";

/// What is asked for.
pub(super) struct Asked<'a> {
    /// `None`: every type.
    pub(super) resource: Option<ResourceType>,
    pub(super) id: Option<&'a str>,
    /// Versions made at or after this, in microseconds of the Unix epoch.
    pub(super) since: Option<i64>,
    /// Versions that were current at some moment of `[start, end)`.
    pub(super) at: Option<(i64, i64)>,
    /// Versions that come after this one.
    pub(super) after: Option<Mark>,
}

/// Where a version stands in the order of a history: newest first, then by type and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) micros: i64,
    pub(super) resource: String,
    pub(super) id: String,
    pub(super) version: i64,
}

impl Mark {
    pub(super) fn write(&self) -> String {
        format!("{}|{}|{}|{}", self.micros, self.resource, self.id, self.version)
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let mark = Self {
            micros: parts.next()?.parse().ok()?,
            resource: parts.next()?.to_owned(),
            id: parts.next()?.to_owned(),
            version: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(mark)
    }
}

/// A page of versions.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of all pages.
    pub(super) total: i64,
    pub(super) versions: Vec<(ResourceType, Stored)>,
    /// The last version of this page, where more follow.
    pub(super) next: Option<Mark>,
}

fn moment(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}

pub(super) async fn find(app: &App, session: &Session, asked: &Asked<'_>, count: usize) -> Result<Found, Error> {
    let types = match asked.resource {
        Some(resource) => vec![resource],
        None => types(app, session).await?,
    };
    let mut all: Option<DataFrame> = None;
    let mut tables = HashMap::new();
    for resource in types {
        let Some(table) = frame(session, &rows::history(resource)).await? else { continue };
        tables.insert(resource.name(), (resource, table.clone()));
        let versions = versions(table, resource, asked).map_err(unplanned)?;
        all = Some(match all {
            None => versions,
            Some(all) => all.union(versions).map_err(unplanned)?,
        });
    }
    let Some(all) = all else { return Ok(Found::default()) };
    let counted = all.clone().aggregate(vec![], vec![count_all()]).map_err(unplanned)?;
    let total = rows::count(session, counted).await?;
    if count == 0 || total == 0 {
        return Ok(Found { total, ..Found::default() });
    }
    let page = page(all, asked.after.as_ref(), count + 1).map_err(unplanned)?;
    let mut marks = marks(session, page).await?;
    let more = marks.len() > count;
    marks.truncate(count);
    let next = if more { marks.last().cloned() } else { None };
    let versions = texts(session, &tables, &marks).await?;
    Ok(Found { total, versions, next })
}

fn count_all() -> Expr {
    count(lit(1)).alias("total")
}

/// Whether the id ever had a version.
pub(super) async fn was_ever(session: &Session, resource: ResourceType, id: &str) -> Result<bool, Error> {
    let Some(table) = frame(session, &rows::history(resource)).await? else { return Ok(false) };
    let counted = table
        .filter(ident("id").eq(lit(id)))
        .and_then(|frame| frame.aggregate(vec![], vec![count_all()]))
        .map_err(unplanned)?;
    Ok(rows::count(session, counted).await? > 0)
}

/// Types that have a history which the caller may see.
async fn types(app: &App, session: &Session) -> Result<Vec<ResourceType>, Error> {
    let lines = app.engine.list_tables(session.principal(), Some("fhir"), Some("r4%"), None).await?;
    Ok(lines
        .iter()
        .filter(|line| line.schema == HISTORY)
        .filter_map(|line| ResourceType::from_table(&line.table))
        .collect())
}

/// The versions of a type that are asked for, in the four columns of a [`Mark`].
fn versions(table: DataFrame, resource: ResourceType, asked: &Asked<'_>) -> Result<DataFrame, DataFusionError> {
    let mut frame = table;
    if let Some(id) = asked.id {
        frame = frame.filter(ident("id").eq(lit(id)))?;
    }
    if let Some((start, end)) = asked.at {
        // A version is current until the next one of its id: it is not, where that one was there before `start`.
        let earlier = frame
            .clone()
            .filter(ident("__last_updated").lt_eq(moment(start)))?
            .select(vec![ident("id").alias("__id"), (ident("__version") - lit(1_i64)).alias("__before")])?;
        frame = frame
            .filter(ident("__last_updated").lt(moment(end)))?
            .select(vec![ident("id"), ident("__version"), ident("__last_updated")])?
            .join(earlier, JoinType::LeftAnti, &["id", "__version"], &["__id", "__before"], None)?;
    }
    if let Some(since) = asked.since {
        frame = frame.filter(ident("__last_updated").gt_eq(moment(since)))?;
    }
    frame.select(vec![lit(resource.name()).alias("__type"), ident("id"), ident("__version"), ident("__last_updated")])
}

fn page(all: DataFrame, after: Option<&Mark>, limit: usize) -> Result<DataFrame, DataFusionError> {
    let mut frame = all;
    if let Some(mark) = after {
        let (time, kind) = (ident("__last_updated"), ident("__type"));
        let same_id = ident("id").eq(lit(&*mark.id)).and(ident("__version").lt(lit(mark.version)));
        let same_type = kind.clone().eq(lit(&*mark.resource)).and(ident("id").gt(lit(&*mark.id)).or(same_id));
        let same_time = time.clone().eq(moment(mark.micros)).and(kind.gt(lit(&*mark.resource)).or(same_type));
        // The first part alone lets files be skipped.
        frame = frame
            .filter(time.clone().lt_eq(moment(mark.micros)))?
            .filter(time.lt(moment(mark.micros)).or(same_time))?;
    }
    let order = vec![
        ident("__last_updated").sort(false, false),
        ident("__type").sort(true, false),
        ident("id").sort(true, false),
        ident("__version").sort(false, false),
    ];
    frame.sort(order)?.limit(0, Some(limit))
}

async fn marks(session: &Session, page: DataFrame) -> Result<Vec<Mark>, Error> {
    let broken = || Error::Execution { message: "a page of a history has an unknown shape".to_owned() };
    let batches: Vec<_> = session.run(page, None).await?.batches.try_collect().await?;
    let mut marks = Vec::new();
    for batch in &batches {
        let text = |index: usize| cast(batch.column(index), &DataType::Utf8).map_err(|_| broken());
        let (types, ids) = (text(0)?, text(1)?);
        let times = cast(batch.column(3), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
            .map_err(|_| broken())?;
        let versions = batch.column(2).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)?;
        for row in 0..batch.num_rows() {
            marks.push(Mark {
                micros: times.value(row),
                resource: types.as_string::<i32>().value(row).to_owned(),
                id: ids.as_string::<i32>().value(row).to_owned(),
                version: versions.value(row),
            });
        }
    }
    Ok(marks)
}

/// The texts of the page's versions, in their order.
async fn texts(
    session: &Session,
    tables: &HashMap<&'static str, (ResourceType, DataFrame)>,
    marks: &[Mark],
) -> Result<Vec<(ResourceType, Stored)>, Error> {
    let mut found: HashMap<(ResourceType, String, i64), Stored> = HashMap::new();
    for (name, (resource, table)) in tables {
        let wanted: Vec<&Mark> = marks.iter().filter(|mark| mark.resource == **name).collect();
        let (Some(first), Some(last)) =
            (wanted.iter().map(|mark| mark.version).min(), wanted.iter().map(|mark| mark.version).max())
        else {
            continue;
        };
        let mut ids: Vec<&str> = wanted.iter().map(|mark| mark.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let condition = match ids.as_slice() {
            // One id is looked up.
            [one] => ident("id").eq(lit(*one)),
            many => ident("id").in_list(many.iter().map(|id| lit(*id)).collect(), false),
        };
        let range = ident("__version").gt_eq(lit(first)).and(ident("__version").lt_eq(lit(last)));
        let frame =
            table.clone().filter(condition.and(range)).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
        for stored in fetch(session, frame).await? {
            found.insert((*resource, stored.id.clone(), stored.version), stored);
        }
    }
    let of = |mark: &Mark| {
        let (resource, _) = tables.get(mark.resource.as_str())?;
        Some((*resource, found.remove(&(*resource, mark.id.clone(), mark.version))?))
    };
    Ok(marks.iter().filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_written_and_nothing_else_is_one() {
        let mark = Mark { micros: 17, resource: "Patient".into(), id: "a-1.B".into(), version: 3 };
        assert_eq!(Mark::read(&mark.write()), Some(mark));
        for text in ["", "1|Patient|a", "x|Patient|a|1", "1|Patient|a|1|2"] {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }
}

//! Who has which version, and which resources meet a condition, at the newest state of the lake.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use datafusion::{
    catalog::TableProvider,
    common::TableReference,
    datasource::{MemTable, provider_as_source},
    logical_expr::{LogicalPlan, LogicalPlanBuilder, lit},
    prelude::{DataFrame, SessionContext, ident},
};
use futures::TryStreamExt;
use mavis_catalog::Table;
use mavis_fhir::{
    ResourceType,
    bundle::Condition,
    search::{self, Handling, Plans, Request, Schemas, SearchError},
    smart::{self, Rows},
};
use mavis_types::{Smart, TableName, Zone};

use super::request::{Reason, Refusal};
use crate::{
    context::Running,
    failure::Failure,
    fhir_zone::{
        Target, advance,
        target::{CURRENT, MADE_BY},
    },
    tables::SESSION_BYTES,
};

/// The newest version of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) version: i64,
    pub(crate) last_updated: DateTime<Utc>,
    pub(crate) hash: [u8; 16],
    pub(crate) deleted: bool,
    pub(crate) source: String,
    pub(crate) made_by: String,
    /// The resource's JSON, where it was asked for and the version is no deletion.
    pub(crate) text: Option<String>,
}

/// The newest versions of these ids; the caller holds the history's lease. `texts`: with what they say.
pub(crate) async fn known(
    running: &Running,
    target: &Target,
    ids: &BTreeSet<&str>,
    texts: bool,
) -> Result<HashMap<String, Known>, Failure> {
    let mut found: HashMap<String, Known> = HashMap::new();
    if ids.is_empty() || running.lake().row_count(target.history.id, None).await? == Some(0) {
        return Ok(found);
    }
    let provider = running.lake().providers(target.history.id, None).await?.look_up;
    let session = running.lake().sessions().session(SESSION_BYTES);
    let wanted: Vec<&str> = ids.iter().copied().collect();
    for ids in wanted.chunks(1_000) {
        let condition = match ids {
            [one] => ident("id").eq(lit(*one)),
            many => ident("id").in_list(many.iter().map(|id| lit(*id)).collect(), false),
        };
        let mut columns = vec!["id", "__version", "__last_updated", "__hash", "__deleted", "__source", MADE_BY];
        columns.extend(texts.then_some("resource"));
        let columns: Vec<_> = columns.into_iter().map(ident).collect();
        let frame = session.read_table(Arc::clone(&provider))?.filter(condition)?.select(columns)?;
        let mut stream = frame.execute_stream().await?;
        while let Some(batch) = stream.try_next().await? {
            add(&batch, &mut found)?;
        }
    }
    Ok(found)
}

fn add(batch: &RecordBatch, found: &mut HashMap<String, Known>) -> Result<(), Failure> {
    let text = |index: usize| cast(batch.column(index), &DataType::Utf8);
    let (ids, sources, makers) = (text(0)?, text(5)?, text(6)?);
    let (ids, sources, makers) = (ids.as_string::<i32>(), sources.as_string::<i32>(), makers.as_string::<i32>());
    let versions = batch.column(1).as_primitive::<Int64Type>();
    let times = cast(batch.column(2), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let hashes = cast(batch.column(3), &DataType::Binary)?;
    let hashes = hashes.as_binary::<i32>();
    let deleted = batch.column(4).as_boolean();
    let resources = batch.columns().get(7).map(|column| cast(column, &DataType::Utf8)).transpose()?;
    let resources = resources.as_ref().map(|column| column.as_string::<i32>());
    for row in 0..batch.num_rows() {
        let version = versions.value(row);
        if found.get(ids.value(row)).is_some_and(|known| known.version >= version) {
            continue;
        }
        let mut hash = [0; 16];
        if hashes.is_valid(row) && hashes.value(row).len() == 16 {
            hash.copy_from_slice(hashes.value(row));
        }
        let known = Known {
            version,
            last_updated: DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default(),
            hash,
            deleted: deleted.is_valid(row) && deleted.value(row),
            source: if sources.is_valid(row) { sources.value(row).to_owned() } else { String::new() },
            made_by: if makers.is_valid(row) { makers.value(row).to_owned() } else { String::new() },
            text: resources.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned()),
        };
        found.insert(ids.value(row).to_owned(), known);
    }
    Ok(())
}

/// Brings the current table of a type up to its history, so that conditions see everything.
pub(crate) async fn bring_up(running: &Running, target: &Target) -> Result<(), Failure> {
    Box::pin(advance(running, target)).await.map(|_| ())
}

/// Resources that are being written, as rows of a current table, and those that they take the place of.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) rows: Option<RecordBatch>,
    pub(crate) replaced: HashSet<String>,
}

/// Ids of the current resources that meet a condition: at most three, for two are too many already. `smart`: only resources
/// that these scopes allow to search, in every table that the condition leads to.
pub(crate) async fn matching(
    running: &Running,
    condition: &Condition,
    beside: Option<&Beside>,
    smart: Option<&Smart>,
) -> Result<Result<BTreeSet<String>, Refusal>, Failure> {
    let session = running.lake().sessions().session(SESSION_BYTES);
    let parameters = condition.criteria.as_slice();
    let request =
        Request { parameters, handling: Handling::Strict, now: Utc::now(), base: None, types: &[], codes: None };
    let types = match search::tables(condition.resource, request) {
        Ok(types) => types,
        Err(error) => return Ok(Err(refused(error))),
    };
    let mut plans = Plans::new();
    for resource in types {
        if let Some(provider) = current(running, resource).await? {
            plans.insert(resource, shown(scan(resource, provider)?, resource, smart)?);
        }
    }
    let mut ids = BTreeSet::new();
    let replaced = beside.map(|beside| &beside.replaced).filter(|replaced| !replaced.is_empty());
    match narrowed(&session, condition.resource, request, &plans)? {
        Ok(None) => {}
        Ok(Some(mut frame)) => {
            if let Some(replaced) = replaced {
                let replaced = replaced.iter().map(|id| lit(id.as_str())).collect();
                frame = frame.filter(ident("id").in_list(replaced, true))?;
            }
            ids.extend(ids_of(frame).await?);
        }
        Err(refusal) => return Ok(Err(refusal)),
    }
    if let Some(rows) = beside.and_then(|beside| beside.rows.as_ref()) {
        let rows = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?;
        plans.insert(condition.resource, scan(condition.resource, Arc::new(rows))?);
        match narrowed(&session, condition.resource, request, &plans)? {
            Ok(Some(frame)) => ids.extend(ids_of(frame).await?),
            Ok(None) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(Ok(ids))
}

fn scan(resource: ResourceType, provider: Arc<dyn TableProvider>) -> Result<LogicalPlan, Failure> {
    let name = TableReference::bare(resource.table());
    Ok(LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?.build()?)
}

/// A scan of which only what the scopes allow to search is there.
fn shown(plan: LogicalPlan, resource: ResourceType, smart: Option<&Smart>) -> Result<LogicalPlan, Failure> {
    let Some(smart) = smart else { return Ok(plan) };
    let condition = match smart::rows(smart, resource, "s", plan.schema().inner()) {
        Rows::All => return Ok(plan),
        Rows::Nothing => lit(false),
        Rows::Those(condition) => condition,
    };
    Ok(LogicalPlanBuilder::from(plan).filter(condition)?.build()?)
}

async fn current(running: &Running, resource: ResourceType) -> Result<Option<Arc<dyn TableProvider>>, Failure> {
    let name = TableName::new(Zone::Fhir, CURRENT, resource.table());
    let Some(Table { id, .. }) = running.catalog().find_table(&name).await? else { return Ok(None) };
    match running.lake().providers(id, None).await {
        Ok(providers) => Ok(Some(providers.look_up)),
        Err(mavis_lake::Error::NoSuchTable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn refused(error: SearchError) -> Refusal {
    let reason = match error {
        SearchError::Unsupported { .. } => Reason::Unsupported,
        _ => Reason::Invalid,
    };
    Refusal::new(reason, error.to_string())
}

/// The rows that meet the condition; `None` where there is no table of the type.
fn narrowed(
    session: &SessionContext,
    resource: ResourceType,
    request: Request<'_>,
    plans: &Plans,
) -> Result<Result<Option<DataFrame>, Refusal>, Failure> {
    let schemas: Schemas =
        plans.iter().map(|(resource, plan)| (*resource, Arc::clone(plan.schema().inner()))).collect();
    let criteria = match search::compile(resource, request, &schemas) {
        Ok(search) => search.criteria,
        Err(error) => return Ok(Err(refused(error))),
    };
    if criteria.filter.is_none() && criteria.links.is_empty() {
        return Ok(Err(Refusal::new(Reason::Invalid, "the condition says nothing about which resource matches")));
    }
    let Some(plan) = search::narrow(resource, &criteria, plans)? else { return Ok(Ok(None)) };
    Ok(Ok(Some(DataFrame::new(session.state(), plan))))
}

async fn ids_of(frame: DataFrame) -> Result<Vec<String>, Failure> {
    let frame = frame.select(vec![ident("id")])?.limit(0, Some(3))?;
    let mut ids = Vec::new();
    for batch in frame.collect().await? {
        let column = cast(batch.column(0), &DataType::Utf8)?;
        ids.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

//! Names to tables: zones as SQL catalogs, resolved in the catalog database, opened only when a statement names them.

mod condition;
mod copies;
mod flow;
pub(crate) mod lineage;

use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    catalog::TableProvider,
    common::utils::datafusion_strsim::levenshtein,
    datasource::{empty::EmptyTable, provider_as_source},
    execution::SessionState,
};
use mavis_catalog::{Catalog, Column, LakeSnapshot, Table};
use mavis_fhir::{shape::base_schema, view::Plan};
use mavis_lake::{Lake, Providers};
use mavis_types::{Principal, SnapshotId, TableName, Zone};

use crate::{
    Error, Home,
    engine::Inner,
    guard::{GuardedTable, Policy, Seen},
    names::{Bindings, BoundName, Stamp, TableKey},
    planner::{Sources, plain},
    system,
    time_travel::AsOf,
    views::{self, Only, ViewTable},
    work::{self, PlannedViews},
};

/// Zone and schema of a table that is named alone.
const DEFAULT: (Zone, &str) = (Zone::Fhir, "r4");
/// Where a schema that is named without its zone is looked for.
const SEARCHED: [Zone; 4] = [Zone::Fhir, Zone::Processed, Zone::Raw, Zone::Work];
/// Tables that a hint is looked for among.
const HINT_TABLES: u32 = 2_000;

/// What one statement of one principal sees.
#[derive(Debug)]
pub(crate) struct View<'a> {
    inner: &'a Arc<Inner>,
    pub(crate) lake: &'a Lake,
    pub(crate) principal: &'a Arc<Principal>,
    /// The snapshot that the session was opened at; `None`: the newest when the statement names a FHIR table.
    pub(crate) pinned: Option<SnapshotId>,
    /// Where names without a schema, or without a catalog, are looked for first.
    home: Home,
    /// Whether a view was opened whose definition the principal may not see.
    veiled: AtomicBool,
    snapshot: tokio::sync::OnceCell<Option<Arc<LakeSnapshot>>>,
}

/// Views that a statement is run with, by the names that it gives them, and conditions on their resources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) views: &'a HashMap<String, Arc<Plan>>,
    pub(crate) only: &'a Only,
}

/// The tables of one statement: for the walk through names, and for planning.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) bindings: Bindings,
    pub(crate) sources: Sources,
    /// A view is among what was opened whose definition the principal may not see.
    pub(crate) veiled: bool,
}

impl Opened {
    /// What each name means, where all of it lasts: see [`Stamp`].
    pub(crate) fn stamps(&self) -> Option<Vec<(TableKey, Option<Stamp>)>> {
        let stamp = |(key, bound): (&TableKey, &Result<Arc<BoundName>, Error>)| match bound {
            Ok(bound) => bound.stamp.clone().map(|stamp| (key.clone(), Some(stamp))),
            Err(_) => Some((key.clone(), None)),
        };
        let mut stamps: Vec<_> = self.bindings.iter().map(stamp).collect::<Option<_>>()?;
        stamps.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some(stamps)
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, principal: &'a Arc<Principal>, pinned: Option<SnapshotId>) -> Self {
        let (lake, veiled, snapshot) = (&inner.lake, AtomicBool::new(false), tokio::sync::OnceCell::new());
        let home = Home::default();
        Self { lake, principal, pinned, home, inner, veiled, snapshot }
    }

    /// The same view with names looked for at home first.
    pub(crate) fn at(mut self, home: &Home) -> Self {
        self.home = home.clone();
        self
    }

    /// Notes that a definition must not be shown.
    pub(crate) fn veil(&self) {
        self.veiled.store(true, Ordering::Release);
    }

    pub(crate) fn planning_state(&self) -> Result<Box<SessionState>, Error> {
        self.inner.state()
    }

    /// Opens the tables that a statement names. One that is not there is remembered as such: it may be a CTE.
    pub(crate) async fn open(&self, keys: &BTreeSet<TableKey>, given: Given<'_>) -> Opened {
        self.open_within(keys, given, &PlannedViews::new()).await
    }

    /// As [`View::open`], where views of SQL that are among the keys may have been planned.
    pub(crate) async fn open_within(
        &self,
        keys: &BTreeSet<TableKey>,
        given: Given<'_>,
        planned: &PlannedViews,
    ) -> Opened {
        let mut opened = Opened::default();
        for key in keys {
            let found = match key.parts.as_slice() {
                [name] if given.views.contains_key(name) => self.given(name, given).await,
                _ => self.bind_within(key, planned).await,
            };
            let bound = match found {
                Ok((bound, provider)) => {
                    opened.sources.insert(bound.relation.clone(), provider_as_source(provider));
                    Ok(Arc::new(bound))
                }
                Err(error) => Err(error),
            };
            opened.bindings.insert(key.clone(), bound);
        }
        opened.veiled = self.veiled.load(Ordering::Acquire);
        opened
    }

    /// The table that a key means, guarded.
    pub(crate) async fn bind(&self, key: &TableKey) -> Result<(BoundName, Arc<dyn TableProvider>), Error> {
        self.bind_within(key, &PlannedViews::new()).await
    }

    async fn bind_within(
        &self,
        key: &TableKey,
        planned: &PlannedViews,
    ) -> Result<(BoundName, Arc<dyn TableProvider>), Error> {
        let parts = self.home.whole(&key.parts);
        if let Some((name, provider)) = system::find(&parts, self.lake.catalog(), self.principal) {
            if key.as_of.is_some() {
                return Err(crate::fault::invalid(format!("`{key}` keeps no versions")));
            }
            let columns = provider.schema();
            return Ok((BoundName { relation: name.clone(), name, columns, stamp: None }, provider));
        }
        match self.find(&parts).await? {
            Some((table, _)) if table.view.is_some() => self.sql_view(&table, key, planned).await,
            Some((table, policy)) => {
                let (name, provider) = self.guarded(&table, policy, key.as_of).await?;
                Ok((name, provider as Arc<dyn TableProvider>))
            }
            None if view_name(&parts).is_some() => self.stored_view(&TableKey { parts, as_of: key.as_of }).await,
            None => Err(Error::NoSuchTable { table: key.to_string(), hint: self.hint(&parts).await }),
        }
    }

    /// Those of the names that are views of SQL.
    pub(crate) async fn views_among(&self, keys: &BTreeSet<TableKey>) -> Result<Vec<Table>, Error> {
        let mut views = Vec::new();
        for key in keys {
            if let Some((table, _)) = self.find(&self.home.whole(&key.parts)).await?
                && table.view.is_some()
            {
                views.push(table);
            }
        }
        Ok(views)
    }

    /// A view of the work zone, planned for the principal.
    async fn sql_view(
        &self,
        table: &Table,
        key: &TableKey,
        planned: &PlannedViews,
    ) -> Result<(BoundName, Arc<dyn TableProvider>), Error> {
        if key.as_of.is_some() {
            return Err(crate::fault::invalid(format!("`{key}` is a view and keeps no versions; its tables do")));
        }
        let provider = match planned.get(&table.id) {
            Some(provider) => Arc::clone(provider),
            None => work::plan_view(self, table, None).await?,
        };
        let name = [table.name.zone.as_str().to_owned(), table.name.schema.clone(), table.name.table.clone()];
        Ok((BoundName { relation: name.clone(), name, columns: provider.schema(), stamp: None }, provider))
    }

    /// What the principal sees of a table of the lake; what may not be read is as if it were not there.
    async fn find(&self, parts: &[String]) -> Result<Option<(Table, Policy)>, Error> {
        let mut candidates = candidates(parts, self.home.zone());
        if let [table] = parts {
            // What somebody made without saying where.
            candidates.push(TableName::new(Zone::Work, self.principal.own_schema(), table));
        }
        for mut name in candidates {
            if name.zone == Zone::Work {
                // Names of the lake are lower-case, however a client writes them.
                name = TableName::new(name.zone, name.schema.to_lowercase(), name.table.to_lowercase());
            }
            if let Seen::Through(policy) = self.sees(&name).await?
                && let Some(table) = self.lake.catalog().find_table(&name).await?
            {
                return Ok(Some((table, policy)));
            }
        }
        Ok(None)
    }

    async fn guarded(
        &self,
        table: &Table,
        policy: Policy,
        as_of: Option<AsOf>,
    ) -> Result<(BoundName, Arc<GuardedTable>), Error> {
        let mut stamp = None;
        let providers = match self.state(table, as_of).await? {
            State::At(version) => {
                let providers = self.lake.providers(table.id, version).await?;
                stamp = Some(Stamp { table: table.id, version: providers.version, policy: String::new() });
                providers
            }
            State::Unpublished => {
                let columns = schema_of(&self.lake.catalog().columns(table.id).await?)?;
                let empty: Arc<dyn TableProvider> = Arc::new(EmptyTable::new(columns));
                Providers {
                    version: 0,
                    lake: None,
                    whole: Arc::clone(&empty),
                    look_up: empty,
                    columns: Arc::default(),
                    rows: Some(0),
                }
            }
        };
        let (lens, told) = self.lens(&policy, &providers.whole.schema(), as_of.is_some()).await?;
        stamp = told.and_then(|told| stamp.map(|stamp| Stamp { policy: told, ..stamp }));
        let guarded = GuardedTable::new(providers, table, lens, self.principal.token);
        let name = [table.name.zone.as_str().to_owned(), table.name.schema.clone(), table.name.table.clone()];
        let mut relation = name.clone();
        if let (Some(as_of), [_, _, last]) = (as_of, &mut relation) {
            last.push_str(&as_of.mark());
        }
        Ok((BoundName { relation, name, columns: guarded.schema(), stamp }, Arc::new(guarded)))
    }

    /// What the guard says of a table, whether it is there or not.
    pub(crate) async fn sees(&self, name: &TableName) -> Result<Seen, Error> {
        let mut seen = Policy::of(self.principal, name);
        if let Seen::Through(policy) = &mut seen {
            lineage::hide(policy, self.lake.catalog(), self.principal).await?;
        }
        Ok(seen)
    }

    /// Which version of the table the statement sees.
    pub(crate) async fn state(&self, table: &Table, as_of: Option<AsOf>) -> Result<State, Error> {
        Ok(match as_of {
            Some(AsOf::Version(version)) => State::At(Some(version)),
            Some(AsOf::Time(at)) => State::At(Some(self.lake.version_at(table.id, at).await?)),
            None if table.name.zone == Zone::Fhir => match self.snapshot().await? {
                Some(snapshot) => snapshot.versions.get(&table.id).map_or(State::Unpublished, |v| State::At(Some(*v))),
                None => State::Unpublished,
            },
            None => State::At(None),
        })
    }

    /// A view that the statement was given under this name.
    async fn given(&self, name: &str, given: Given<'_>) -> Result<(BoundName, Arc<dyn TableProvider>), Error> {
        let plan = given.views.get(name).cloned();
        let plan = plan.ok_or_else(|| Error::NoSuchTable { table: name.to_owned(), hint: String::new() })?;
        let provider = self.view(plan, given.only, None).await?;
        // no schema of the lake is called so
        let relation = ["fhir".to_owned(), "given views".to_owned(), name.to_owned()];
        Ok((BoundName { name: relation.clone(), relation, columns: provider.schema(), stamp: None }, provider))
    }

    /// A view of the FHIR zone, over the resources as the principal sees them.
    async fn stored_view(&self, key: &TableKey) -> Result<(BoundName, Arc<dyn TableProvider>), Error> {
        let name = view_name(&key.parts).unwrap_or_default();
        let absent = || Error::NoSuchTable { table: key.to_string(), hint: String::new() };
        let (row, plan) = views::plan(self.lake.catalog(), name).await?.ok_or_else(absent)?;
        if !views::is_seen(self.principal, &row) {
            return Err(absent());
        }
        let provider = self.view(plan, &Only::default(), key.as_of).await?;
        let name = ["fhir".to_owned(), views::SCHEMA.to_owned(), name.to_owned()];
        let mut relation = name.clone();
        if let (Some(as_of), [_, _, last]) = (key.as_of, &mut relation) {
            last.push_str(&as_of.mark());
        }
        Ok((BoundName { relation, name, columns: provider.schema(), stamp: None }, provider))
    }

    /// A planned view over the resources as the principal sees them. A type of which nothing was ever stored has no rows.
    pub(crate) async fn view(
        &self,
        plan: Arc<Plan>,
        only: &Only,
        as_of: Option<AsOf>,
    ) -> Result<Arc<dyn TableProvider>, Error> {
        let table = TableName::new(Zone::Fhir, DEFAULT.1, plan.resource().table());
        let Seen::Through(policy) = self.sees(&table).await? else {
            return Err(Error::NoSuchTable { table: table.to_string(), hint: String::new() });
        };
        let resources = match self.lake.catalog().find_table(&table).await? {
            Some(table) => self.guarded(&table, policy, as_of).await?.1,
            None => {
                let columns = plain(&base_schema(plan.resource()));
                let (lens, _) = self.lens(&policy, &columns, as_of.is_some()).await?;
                Arc::new(GuardedTable::of_nothing(columns, &table, lens, self.principal.token))
            }
        };
        let only = only.conditions(plan.resource(), &resources.schema());
        Ok(Arc::new(ViewTable::new(plan, resources, only)))
    }

    /// The FHIR state that the statement sees, the same for all its tables.
    pub(crate) async fn snapshot(&self) -> Result<Option<&LakeSnapshot>, Error> {
        let found = self.snapshot.get_or_try_init(|| async { pin(self.lake.catalog(), self.pinned).await }).await?;
        Ok(found.as_deref())
    }

    /// The snapshot's id, if the statement asked for one.
    pub(crate) fn seen(&self) -> Option<SnapshotId> {
        self.snapshot.get().and_then(Option::as_ref).map(|snapshot| snapshot.id)
    }

    /// The nearest names among what the principal may see; empty where nothing is near.
    async fn hint(&self, parts: &[String]) -> String {
        let wanted = parts.last().map(String::as_str).unwrap_or_default();
        let mut schemas: Vec<(Zone, String)> =
            candidates(parts, self.home.zone()).into_iter().map(|name| (name.zone, name.schema)).collect();
        schemas.retain(|(zone, schema)| self.principal.may_read_schema(*zone, schema));
        let mut near: Vec<(usize, String)> = Vec::new();
        for (zone, schema) in schemas {
            let Ok(tables) = self.lake.catalog().tables(Some(zone), Some(&schema), None, Some(HINT_TABLES)).await
            else {
                continue;
            };
            let readable = tables.iter().filter(|table| self.principal.may_read(&table.name));
            near.extend(readable.map(|table| (levenshtein(wanted, &table.name.table), table.name.to_string())));
        }
        if near.iter().all(|(distance, _)| *distance > reach(wanted))
            && let Ok(tables) = self.lake.catalog().tables(None, None, None, Some(HINT_TABLES)).await
        {
            let readable = tables.iter().filter(|table| self.principal.may_read(&table.name));
            near.extend(readable.map(|table| (levenshtein(wanted, &table.name.table), table.name.to_string())));
        }
        near.retain(|(distance, _)| *distance <= reach(wanted));
        near.sort();
        near.dedup();
        match near.as_slice() {
            [] => String::new(),
            [(_, one)] => format!("; did you mean `{one}`?"),
            [(_, one), (_, two), ..] => format!("; did you mean `{one}` or `{two}`?"),
        }
    }
}

/// The name of a view, where the parts can be one's: `fhir.views.x`, `views.x`.
fn view_name(parts: &[String]) -> Option<&str> {
    match parts {
        [zone, schema, name] if zone == Zone::Fhir.as_str() && schema == views::SCHEMA => Some(name),
        [schema, name] if schema == views::SCHEMA => Some(name),
        _ => None,
    }
}

/// How many letters a near name may differ by.
fn reach(wanted: &str) -> usize {
    (wanted.len() / 3).clamp(1, 3)
}

/// Which version of a table is seen; `None`: the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    At(Option<i64>),
    /// The table is there, but no snapshot has it yet: it has columns and no rows.
    Unpublished,
}

/// The snapshot of that id, or the newest.
pub(crate) async fn pin(catalog: &Catalog, id: Option<SnapshotId>) -> Result<Option<Arc<LakeSnapshot>>, Error> {
    let newest = catalog.newest_snapshot().await?;
    let Some(id) = id else { return Ok(newest) };
    // Most requests pin the newest as they begin, and ask for it by its id afterwards.
    if newest.as_ref().is_some_and(|newest| newest.id == id) {
        return Ok(newest);
    }
    match catalog.snapshot(id).await {
        Ok(snapshot) => Ok(Some(Arc::new(snapshot))),
        Err(mavis_catalog::Error::NotFound { .. }) => Err(Error::SnapshotGone { id: id.0 }),
        Err(error) => Err(error.into()),
    }
}

/// Where a table may be, in the order in which it is looked for; `first`: the zone where a schema is looked for before all.
fn candidates(parts: &[String], first: Option<Zone>) -> Vec<TableName> {
    match parts {
        [table] => vec![TableName::new(DEFAULT.0, DEFAULT.1, table)],
        [schema, table] => {
            let others = SEARCHED.into_iter().filter(|zone| Some(*zone) != first);
            first.into_iter().chain(others).map(|zone| TableName::new(zone, schema, table)).collect()
        }
        [zone, schema, table] => {
            Zone::from_str(zone).map(|zone| TableName::new(zone, schema, table)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The Arrow schema that the catalog recorded for a table, as a query returns it.
///
/// # Errors
/// [`Error::Catalog`] when a type cannot be read.
pub(crate) fn schema_of(columns: &[Column]) -> Result<SchemaRef, Error> {
    let fields = columns.iter().map(|column| {
        let data_type = DataType::from_str(&column.data_type)
            .map_err(|_| Error::Catalog(mavis_catalog::Error::Corrupt { place: "columns.data_type" }))?;
        Ok(Field::new(&column.name, data_type, column.nullable))
    });
    Ok(plain(&Schema::new(fields.collect::<Result<Vec<_>, Error>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["patient"], "fhir.r4.patient")]
    #[case(&["hms", "patient"], "fhir.hms.patient processed.hms.patient raw.hms.patient work.hms.patient")]
    #[case(&["raw", "hms", "patient"], "raw.hms.patient")]
    #[case(&["silver", "hms", "patient"], "")]
    fn a_name_is_looked_for_in(#[case] parts: &[&str], #[case] places: &str) {
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let found: Vec<String> = candidates(&parts, None).iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), places);
    }

    #[test]
    fn a_schema_is_looked_for_at_home_first() {
        let parts = ["hms".to_owned(), "patient".to_owned()];
        let found: Vec<String> = candidates(&parts, Some(Zone::Raw)).iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), "raw.hms.patient fhir.hms.patient processed.hms.patient work.hms.patient");
    }
}

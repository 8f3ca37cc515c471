//! The current tables that one search reads, all of one snapshot.

use std::collections::BTreeMap;

use datafusion::{dataframe::DataFrame, logical_expr::LogicalPlan};
use mavis_fhir::{
    ResourceType,
    search::{Criteria, Plans, Schemas, narrow},
};
use mavis_sql::{Error, Session};
use mavis_types::Zone;

use crate::fhir::{
    read::unplanned,
    rows::{current, frame},
};

/// Tables by type, opened when they are first asked for.
#[derive(Debug)]
pub(in crate::fhir) struct Tables<'s> {
    pub(super) session: &'s Session,
    /// `None`: there is no such table, or the caller may not see it.
    frames: BTreeMap<ResourceType, Option<DataFrame>>,
}

impl<'s> Tables<'s> {
    pub(in crate::fhir) fn new(session: &'s Session) -> Self {
        Self { session, frames: BTreeMap::new() }
    }

    pub(in crate::fhir) async fn open(&mut self, types: impl IntoIterator<Item = ResourceType>) -> Result<(), Error> {
        for resource in types {
            if !self.frames.contains_key(&resource) {
                let opened = frame(self.session, &current(resource)).await?;
                self.frames.insert(resource, opened);
            }
        }
        Ok(())
    }

    pub(in crate::fhir) fn frame(&self, resource: ResourceType) -> Option<&DataFrame> {
        self.frames.get(&resource)?.as_ref()
    }

    pub(in crate::fhir) fn schemas(&self) -> Schemas {
        self.there().map(|(resource, frame)| (resource, frame.schema().inner().clone())).collect()
    }

    /// The rows that the criteria mean; `None` where there is no such table.
    pub(in crate::fhir) fn narrow(
        &self,
        resource: ResourceType,
        criteria: &Criteria,
    ) -> Result<Option<DataFrame>, Error> {
        let Some(frame) = self.frame(resource) else { return Ok(None) };
        let plans: Plans = self.there().map(|(resource, frame)| (resource, frame.logical_plan().clone())).collect();
        let plan: Option<LogicalPlan> = narrow(resource, criteria, &plans).map_err(unplanned)?;
        let (state, _) = frame.clone().into_parts();
        Ok(plan.map(|plan| DataFrame::new(state, plan)))
    }

    fn there(&self) -> impl Iterator<Item = (ResourceType, &DataFrame)> {
        self.frames.iter().filter_map(|(resource, frame)| Some((*resource, frame.as_ref()?)))
    }
}

/// The types that the caller can see current tables of.
pub(in crate::fhir) async fn all(engine: &mavis_sql::Engine, session: &Session) -> Result<Vec<ResourceType>, Error> {
    let zone = Zone::Fhir.as_str();
    let listed = engine.list_tables(session.principal(), Some(zone), Some("r4"), None).await?;
    Ok(ResourceType::all().filter(|resource| listed.iter().any(|line| line.table == resource.table())).collect())
}

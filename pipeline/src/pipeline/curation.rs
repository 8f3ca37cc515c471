//! What people do to data that is there: mappings and code maps, quarantine, maintenance.

use mavis_catalog::{MappingRow, QuarantineFilter, Quarantined, Run, RunKind};
use mavis_fhir::mapping::{MappingProblem, Suggestion};
use mavis_lake::maintain::{Optimized, Vacuumed};
use mavis_types::{Principal, RunId, SourceName, TableName};

use super::Pipeline;
use crate::{EraseOptions, Erasure, Error, erase, failure::Failure, job::Job, mapping, replay};

impl Pipeline {
    pub async fn mappings(&self) -> Result<Vec<MappingRow>, Error> {
        self.catalog().mappings().await.map_err(Error::Catalog)
    }

    /// The tables that storing a mapping under a name is about: those that it reads, and those of the mapping that has the name
    /// now. Who may not see them as they are must not have them mapped.
    pub async fn tables_of_mapping(&self, name: &str, text: &str) -> Result<Vec<TableName>, Error> {
        mapping::api::tables(self.context(), name, text).await
    }

    /// Checks a mapping against the definitions and, where they are there, against the tables.
    pub async fn check_mapping(&self, text: &str) -> Result<Vec<MappingProblem>, Error> {
        let mappings = match mapping::api::read("mapping", text) {
            Ok(mappings) => mappings,
            Err(problems) => return Ok(problems),
        };
        let mut problems = Vec::new();
        for (_, mapping) in mappings {
            problems.extend(mapping::api::check(self.context(), &mapping).await?);
        }
        Ok(problems)
    }

    /// Stores a mapping that checks out; the next ingest of its source runs it.
    pub async fn apply_mapping(&self, by: &Principal, name: &str, text: &str) -> Result<MappingRow, Error> {
        let row = mapping::api::apply(self.context(), name, text).await?;
        self.context().audit(by, "mapping.apply", name).await;
        Ok(row)
    }

    pub async fn suggest_mappings(&self, source: &SourceName) -> Result<Vec<Suggestion>, Error> {
        let source = self.source(source).await?;
        mapping::api::suggest(self.context(), &source).await
    }

    /// Stores a code map: CSV with a header `source_code,target_code[,target_system,target_display]`, or a ConceptMap.
    pub async fn set_code_map(&self, by: &Principal, name: &str, text: &str) -> Result<u64, Error> {
        let rows = mapping::code_map::parse(text)?;
        self.catalog().set_code_map(name, &rows).await.map_err(Error::Catalog)?;
        self.context().audit(by, "code_map.set", name).await;
        Ok(rows.len() as u64)
    }

    pub async fn quarantined(&self, filter: &QuarantineFilter) -> Result<Vec<Quarantined>, Error> {
        self.catalog().quarantined(filter).await.map_err(Error::Catalog)
    }

    /// Sends quarantined rows again, corrected where a payload is given, through the step that refused them.
    pub async fn replay(&self, by: &Principal, ids: &[i64], corrected: Option<&str>) -> Result<Run, Error> {
        let [first, ..] = ids else {
            return Err(Error::Invalid { reason: "name the quarantined rows to replay".to_owned() });
        };
        if corrected.is_some() && ids.len() > 1 {
            return Err(Error::Invalid {
                reason: "a corrected payload belongs to one row: replay them one by one".to_owned(),
            });
        }
        let row = self.catalog().quarantined_row(*first).await.map_err(|error| match error {
            mavis_catalog::Error::NotFound { .. } => {
                Error::NotFound { what: "quarantined row", name: first.to_string(), hint: String::new() }
            }
            error => Error::Catalog(error),
        })?;
        let source = match self.run(row.run).await?.source {
            Some(id) => self.catalog().source_by_id(id).await.map_err(Error::Catalog)?,
            None => return Err(Error::Invalid { reason: "the row belongs to no source".to_owned() }),
        };
        let id = RunId::new();
        if let Some(text) = corrected {
            let path = replay::corrected_path(self.context(), id);
            let stored = async {
                if let Some(folder) = path.parent() {
                    tokio::fs::create_dir_all(folder).await?;
                }
                tokio::fs::write(&path, text).await
            };
            stored
                .await
                .map_err(|error| Error::Busy { name: "the spool folder".to_owned(), reason: error.to_string() })?;
        }
        self.context()
            .audit(by, "quarantine.replay", &ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            .await;
        let job = Job::Replay { ids: ids.to_vec(), corrected: corrected.is_some() };
        self.enqueue(by, id, RunKind::Replay, &source, &job).await
    }

    /// One table, or every table that has rows.
    async fn tables(&self, table: Option<&TableName>) -> Result<Vec<mavis_catalog::Table>, Error> {
        match table {
            Some(name) => match self.catalog().find_table(name).await.map_err(Error::Catalog)? {
                Some(table) => Ok(vec![table]),
                None => Err(Error::NotFound { what: "table", name: name.to_string(), hint: String::new() }),
            },
            None => {
                let tables = self.catalog().tables(None, None, None, None).await.map_err(Error::Catalog)?;
                Ok(tables.into_iter().filter(|table| table.version.is_some()).collect())
            }
        }
    }

    pub async fn optimize(
        &self,
        by: &Principal,
        table: Option<&TableName>,
    ) -> Result<Vec<(TableName, Optimized)>, Error> {
        let object = table.map_or_else(|| "all".to_owned(), ToString::to_string);
        self.context().audit(by, "lake.optimize", &object).await;
        let mut done = Vec::new();
        for table in self.tables(table).await? {
            done.push((table.name, self.context().lake.optimize(table.id, RunId::new()).await?));
        }
        Ok(done)
    }

    pub async fn vacuum(
        &self,
        by: &Principal,
        table: Option<&TableName>,
        retention: std::time::Duration,
    ) -> Result<Vec<(TableName, Vacuumed)>, Error> {
        let object = table.map_or_else(|| "all".to_owned(), ToString::to_string);
        self.context().audit(by, "lake.vacuum", &object).await;
        let mut done = Vec::new();
        for table in self.tables(table).await? {
            done.push((table.name, self.context().lake.vacuum(table.id, retention, RunId::new()).await?));
        }
        Ok(done)
    }

    /// Erases a person from the lake, the quarantine and the archive of imports; see [`Erasure`] for what is left. It goes on
    /// to its end when nobody waits for it.
    ///
    /// # Errors
    /// [`Error::Busy`] where something is in use for too long, [`Error::Invalid`]: erase again when that is mended; also
    /// for a Patient that is not there, see [`EraseOptions::finish`].
    pub async fn erase(&self, by: &Principal, patient: &str, options: EraseOptions) -> Result<Erasure, Error> {
        self.context().audit(by, "patient.erase", &format!("Patient/{patient}")).await;
        let (context, patient) = (std::sync::Arc::clone(&self.inner.context), patient.to_owned());
        let done = tokio::spawn(async move { Box::pin(erase::erase(&context, &patient, options)).await }).await;
        match done.map_err(Failure::from).flatten() {
            Ok(done) => Ok(done),
            Err(Failure::Transient(reason) | Failure::Interrupted(reason)) => {
                Err(Error::Busy { name: "the lake".to_owned(), reason })
            }
            Err(failure) => Err(Error::Invalid { reason: failure.to_string() }),
        }
    }
}

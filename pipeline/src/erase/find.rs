//! Whose resources go: every version that history holds is looked at.

use std::collections::{BTreeMap, BTreeSet};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    functions::string::expr_fn::contains,
    prelude::{ident, lit},
};
use futures::TryStreamExt;
use mavis_fhir::{
    ResourceType,
    bundle::{for_each_reference, relative_reference},
    json,
    shape::patients_of,
};
use mavis_types::{TableName, Zone};

use crate::{
    context::Running,
    failure::Failure,
    fhir_zone::target::{HISTORY, MADE_BY},
    tables::SESSION_BYTES,
};

/// What history tells of a patient.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What goes.
    pub(super) ids: BTreeMap<ResourceType, BTreeSet<String>>,
    /// Names of the mappings (or `import`) that made versions of it.
    pub(super) makers: BTreeSet<String>,
    pub(super) shared: BTreeSet<String>,
    pub(super) referring: BTreeSet<String>,
}

/// The resources of one type while its versions are read.
#[derive(Debug, Default)]
struct OfType {
    /// In the compartment, with the makers of their versions.
    members: BTreeMap<String, BTreeSet<String>>,
    /// With a version in somebody else's compartment.
    others: BTreeSet<String>,
    /// With a version that refers to the patient.
    referring: BTreeSet<String>,
}

pub(super) async fn all(running: &Running, patient: &str, shared_too: bool) -> Result<Found, Failure> {
    let mut found = Found::default();
    for resource in ResourceType::all() {
        let name = TableName::new(Zone::Fhir, HISTORY, resource.table());
        let Some(table) = running.catalog().find_table(&name).await? else { continue };
        let version = running.lake().version(table.id).await?;
        let session = running.lake().sessions().session(SESSION_BYTES);
        let frame = session.read_table(running.lake().provider(table.id, Some(version)).await?)?;
        // JSON may write `/` in two ways.
        let names = |text: String| contains(ident("resource"), lit(text));
        let mut wanted = names(format!("Patient/{patient}")).or(names(format!("Patient\\/{patient}")));
        if resource.name() == "Patient" {
            wanted = wanted.or(ident("id").eq(lit(patient)));
        }
        let columns = ["id", MADE_BY, "resource"].map(ident);
        let mut stream = frame.filter(wanted)?.select(columns)?.execute_stream().await?;
        let mut of_type = OfType::default();
        while let Some(batch) = stream.try_next().await? {
            of_type.read(resource, patient, &batch)?;
        }
        of_type.add_to(&mut found, resource, shared_too);
    }
    Ok(found)
}

impl OfType {
    fn read(&mut self, resource: ResourceType, patient: &str, batch: &RecordBatch) -> Result<(), Failure> {
        let text = |index: usize| cast(batch.column(index), &DataType::Utf8);
        let (ids, makers, texts) = (text(0)?, text(1)?, text(2)?);
        let (ids, makers, texts) = (ids.as_string::<i32>(), makers.as_string::<i32>(), texts.as_string::<i32>());
        for row in 0..batch.num_rows() {
            let id = ids.value(row);
            let is_own = resource.name() == "Patient" && id == patient;
            let maker = makers.is_valid(row).then(|| makers.value(row).to_owned());
            let Some(value) =
                texts.is_valid(row).then(|| json::parse(texts.value(row).as_bytes())).transpose().ok().flatten()
            else {
                // A deletion, of whoever.
                if is_own {
                    self.members.entry(id.to_owned()).or_default().extend(maker);
                }
                continue;
            };
            // Other Patients are persons of their own, whatever links them.
            let of: BTreeSet<&str> = if resource.name() == "Patient" {
                BTreeSet::from([id])
            } else {
                patients_of(resource, &value, id).collect()
            };
            if of.contains(patient) {
                self.members.entry(id.to_owned()).or_default().extend(maker);
                if of.len() > 1 {
                    self.others.insert(id.to_owned());
                }
            } else {
                let mut refers = false;
                for_each_reference(&value, &mut |text| {
                    refers |= relative_reference(text) == Some(("Patient", patient))
                });
                if refers {
                    self.referring.insert(id.to_owned());
                }
            }
        }
        Ok(())
    }

    fn add_to(self, found: &mut Found, resource: ResourceType, shared_too: bool) {
        let mut ids = BTreeSet::new();
        for (id, makers) in self.members {
            if self.others.contains(&id) && !shared_too {
                found.shared.insert(format!("{resource}/{id}"));
            } else {
                found.makers.extend(makers);
                ids.insert(id);
            }
        }
        let kept = self.referring.into_iter().filter(|id| !ids.contains(id)).map(|id| format!("{resource}/{id}"));
        found.referring.extend(kept);
        if !ids.is_empty() {
            found.ids.insert(resource, ids);
        }
    }
}

//! A person who must be gone from everywhere.
//!
//! Erasing begins at a Patient and goes, in this order:
//!
//! 1. [`find`]: every resource with a version in the patient's compartment, from history. One that is in another patient's
//!    compartment too is kept and reported, unless the caller says that it goes as well. What merely refers to the patient is
//!    reported.
//! 2. [`uploads`]: rows that clients sent and that wait to land. [`origin`]: rows of the raw and processed zones that they were made from, where a mapping's key tells which; payloads in
//!    quarantine; files in the archive of imports.
//! 3. All versions of these resources leave current and history, the Patient's last; what is left is published.
//! 4. Snapshots that readers have pinned are forgotten, and every older version of the tables with them. A page that was
//!    made before answers 410 from now on.
//! 5. The catalog's file is written anew, so that deleted rows are in no free page of it.
//!
//! What cannot be reached is said ([`Erasure::unreached`]). Doing it again with [`EraseOptions::finish`] does
//! what an interruption left undone. The source
//! system is not changed: a person who is still there comes back with the next ingest.

mod copies;
mod find;
mod origin;
mod uploads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use mavis_fhir::{ResourceType, bundle::relative_reference};
use mavis_lake::erase::{Erased, Matches};
use mavis_types::{RunId, TableId, TableName, Zone};

use self::find::Found;
use crate::{
    context::{Context, Running},
    failure::Failure,
    fhir_zone::{Touched, current::Together, target::HISTORY},
    write::settle,
};

/// How long a table that others write is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

/// What was erased, and what was not. Names tables, types and ids, nothing of what they held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erasure {
    /// Resources by type, each with all its versions.
    pub resources: BTreeMap<String, u64>,
    /// Rows that left the newest version of a table, or an upload that waits to land.
    pub rows: BTreeMap<String, u64>,
    /// Quarantined rows.
    pub quarantined: u64,
    /// Files in the archive of imports.
    pub files: u64,
    /// `Type/id` of resources that were kept: they are in another patient's compartment too.
    pub shared: Vec<String>,
    /// `Type/id` of other resources that refer to the patient.
    pub referring: Vec<String>,
    /// What could not be reached, in words.
    pub unreached: Vec<String>,
}

/// How far an erasure goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EraseOptions {
    /// Resources that are in another patient's compartment go too; otherwise they are kept and listed.
    pub shared: bool,
    /// An earlier erasure of the patient was interrupted: older versions of all tables are deleted, also where there is no
    /// version of the Patient any more. Without it such an id is refused, for it may be mistyped.
    pub finish: bool,
}

/// Tables whose past is forgotten; of those that are published, readers are sent to one version.
type Past = BTreeSet<TableId>;

pub(crate) async fn erase(context: &Arc<Context>, patient: &str, options: EraseOptions) -> Result<Erasure, Failure> {
    if relative_reference(&format!("Patient/{patient}")).is_none() {
        return Err(Failure::permanent("that is no id of a Patient"));
    }
    let running = Running::unlisted(Arc::clone(context), RunId::new());
    let mut done = Erasure::default();
    let mut past = Past::new();

    // What was promised is done first: a promise holds the texts.
    settle(context).await?;
    // History tells what goes, so it goes last: whatever ends this before, the next time finds the same.
    let found = find::all(&running, patient, options.shared).await?;
    if found.ids.is_empty() && !options.finish {
        return Err(Failure::permanent(
            "there is no version of a Patient with that id, and nothing was erased; if an earlier erasure of it was \
             interrupted, say that this one is to finish it",
        ));
    }
    // Before the tables: what a run takes from an inbox from here on has nothing of the person any more.
    Box::pin(uploads::uploads(&running, &found, &mut done)).await?;
    Box::pin(origin::rows(&running, &found, &mut done, &mut past)).await?;
    done.quarantined = Box::pin(origin::quarantined(&running, patient, &found)).await?;
    done.files = origin::files(&running, patient, &mut done.unreached).await?;

    let everything: BTreeSet<ResourceType> = ResourceType::all().collect();
    let turns = context.turns.wait(&everything).await;
    // Once more: nobody writes now. What has come in between was made from rows that are still there.
    let before = found.ids;
    let found = find::all(&running, patient, options.shared).await?;
    if found.ids != before {
        Box::pin(origin::rows(&running, &found, &mut done, &mut past)).await?;
        done.quarantined += Box::pin(origin::quarantined(&running, patient, &found)).await?;
        let mut told = BTreeSet::new();
        done.unreached.retain(|what| told.insert(what.clone()));
    }
    done.shared = found.shared.iter().cloned().collect();
    done.referring = found.referring.iter().cloned().collect();
    let touched = resources(&running, &found, &mut done, &mut past).await?;
    // Nobody of this process has written in between; a publication may wait for a write of another one, which needs turns.
    drop(turns);
    touched.publish(&running).await?;
    copies::copies(&running, patient, &found, &mut done.unreached).await?;
    if options.finish {
        // An interruption may have left older versions of what is gone, of any table.
        past.extend(all_tables(&running).await?);
    }
    forget(&running, past).await?;
    // Rows that were looked up before are kept in memory.
    running.lake().forget_rows();
    if !running.catalog().scrub().await? {
        done.unreached
            .push("the catalog's log: somebody reads it; erase again with `finish` when that is over".to_owned());
    }
    tracing::info!(resources = done.resources.values().sum::<u64>(), "a person was erased");
    Ok(done)
}

/// Rows whose column `id` is one of these.
fn with_ids(ids: &BTreeSet<String>) -> Matches {
    let ids = ids.clone();
    Arc::new(move |batch: &RecordBatch| {
        let texts = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
        let texts = texts.map_err(|error| mavis_lake::Error::Query(error.into()))?;
        let texts = texts.as_string::<i32>();
        Ok((0..texts.len())
            .map(|row| Some(texts.is_valid(row) && ids.contains(texts.value(row))))
            .collect::<BooleanArray>())
    })
}

async fn resources(running: &Running, found: &Found, done: &mut Erasure, past: &mut Past) -> Result<Touched, Failure> {
    let mut touched = Touched::default();
    // The Patient last: as long as it is there, the erasure can be done again.
    let (patient, others): (Vec<_>, Vec<_>) = found.ids.iter().partition(|(resource, _)| resource.name() == "Patient");
    for (resource, ids) in others.into_iter().chain(patient) {
        let mut versions = Vec::new();
        // History last: it is what says what goes. Nobody derives current from it meanwhile.
        for schema in ["r4", HISTORY] {
            let name = TableName::new(Zone::Fhir, schema, resource.table());
            let Some(table) = running.catalog().find_table(&name).await? else { continue };
            let erased = patiently(running, table.id, &["id".to_owned()], &with_ids(ids)).await?;
            if erased.rows > 0 {
                *done.rows.entry(name.to_string()).or_default() += erased.rows;
            }
            past.insert(table.id);
            versions.push((table.id, erased.version));
        }
        if let [current, history] = versions.as_slice() {
            touched.add(Together { history: *history, current: *current });
        }
        done.resources.insert(resource.name().to_owned(), ids.len() as u64);
    }
    Ok(touched)
}

/// Takes rows out of a table, waiting for whoever has it.
async fn patiently(
    running: &Running,
    table: TableId,
    columns: &[String],
    matches: &Matches,
) -> Result<Erased, Failure> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match running.lake().erase(table, columns, Arc::clone(matches), running.id).await {
            Err(mavis_lake::Error::Busy { .. }) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

async fn all_tables(running: &Running) -> Result<Past, Failure> {
    let mut tables = Vec::new();
    for zone in [Zone::Raw, Zone::Processed, Zone::Fhir] {
        tables.extend(running.catalog().tables(Some(zone), None, None, None).await?);
    }
    Ok(tables.into_iter().filter(|table| table.version.is_some()).map(|table| table.id).collect())
}

/// Forgets pinned snapshots, then the past of each table, waiting for whoever is between a commit and its publication.
async fn forget(running: &Running, past: Past) -> Result<(), Failure> {
    running.catalog().forget_snapshots(Duration::ZERO).await?;
    let until = tokio::time::Instant::now() + PATIENCE;
    for table in past {
        loop {
            let published = running.catalog().latest_snapshot().await?;
            let published = published.and_then(|snapshot| snapshot.versions.get(&table).copied());
            match running.lake().forget_past(table, published, running.id).await {
                Err(mavis_lake::Error::Busy { .. }) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => break outcome?,
            }
        }
    }
    Ok(())
}

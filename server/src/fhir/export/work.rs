//! The work of an export, type by type.

use std::sync::atomic::Ordering;

use chrono::Utc;
use datafusion::{
    common::ScalarValue,
    dataframe::DataFrame,
    logical_expr::{Expr, lit},
    prelude::ident,
};
use futures::StreamExt;
use mavis_fhir::{
    ResourceType,
    bundle::relative_reference,
    search::{Handling, Request, View, compile, in_compartments, tables as tables_of},
};
use mavis_sql::{Limits, Session};
use mavis_types::{Principal, SnapshotId};
use serde_json::Value;
use uuid::Uuid;

use super::{
    asked::{Asked, Level, Output},
    files::Files,
    job::{Live, Written},
    run::Failure,
};
use crate::{
    App,
    fhir::{
        rows::{columns, unplanned},
        search::tables::{self, Tables},
    },
};

/// How long one type may take.
pub(in crate::fhir) const TIME: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Whose resources are exported, where not everybody's.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    Anybody,
    AnyPatient,
    Patients(Vec<String>),
}

/// Writes the files of an export.
pub(super) async fn export(
    app: &App,
    principal: &Principal,
    snapshot: Option<SnapshotId>,
    asked: &Asked,
    whose: &Whose,
    job: Uuid,
    live: &Live,
) -> Result<Vec<Written>, Failure> {
    let session = app.engine.session(principal, snapshot).await?;
    let there = tables::all(&app.engine, &session).await?;
    let types: Vec<ResourceType> = there.into_iter().filter(|resource| asked.takes(*resource)).collect();
    live.parts.store(types.len() as u64, Ordering::Relaxed);
    let mut outputs = Vec::new();
    for resource in types {
        let frame = rows(&session, resource, asked, whose).await?;
        if let Some(frame) = frame {
            outputs.extend(one_type(app, &session, resource, frame, asked, job, live).await?);
        }
        live.parts_done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(outputs)
}

fn moment(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}

/// The rows of a type that are asked for, whole.
async fn rows(
    session: &Session,
    resource: ResourceType,
    asked: &Asked,
    whose: &Whose,
) -> Result<Option<DataFrame>, mavis_sql::Error> {
    let mut tables = Tables::new(session);
    tables.open([resource]).await?;
    let mut frame = match asked.filters.get(&resource) {
        None => tables.frame(resource).cloned(),
        Some(filters) => {
            let mut found: Option<DataFrame> = None;
            for parameters in filters {
                let part = filtered(&mut tables, resource, parameters).await?;
                found = match (found, part) {
                    (None, part) => part,
                    (found, None) => found,
                    (Some(found), Some(part)) => Some(found.union(part).map_err(unplanned)?),
                };
            }
            let several = filters.len() > 1;
            match found {
                // A resource that two filters find is exported once.
                Some(found) if several => {
                    let ids = found
                        .select(vec![ident("id").alias("__found")])
                        .and_then(DataFrame::distinct)
                        .map_err(unplanned)?;
                    match tables.frame(resource).cloned() {
                        Some(whole) => Some(
                            whole
                                .join(ids, datafusion::common::JoinType::LeftSemi, &["id"], &["__found"], None)
                                .map_err(unplanned)?,
                        ),
                        None => None,
                    }
                }
                found => found,
            }
        }
    };
    let mut conditions = Vec::new();
    conditions.extend(asked.since.map(|since| ident("__last_updated").gt_eq(moment(since))));
    conditions.extend(asked.until.map(|until| ident("__last_updated").lt(moment(until))));
    match whose {
        Whose::Anybody => {}
        Whose::AnyPatient => conditions.push(ident("__patient").is_not_null()),
        Whose::Patients(ids) => {
            let schema = frame.as_ref().map(|frame| frame.schema().inner().clone());
            let inside = schema.and_then(|schema| in_compartments(resource, ids, &schema));
            conditions.push(inside.unwrap_or_else(|| lit(false)));
        }
    }
    for condition in conditions {
        frame = match frame {
            Some(frame) => Some(frame.filter(condition).map_err(unplanned)?),
            None => None,
        };
    }
    Ok(frame)
}

/// The parameters of a filter as a search; they were checked when the export was asked for.
async fn filtered(
    tables: &mut Tables<'_>,
    resource: ResourceType,
    parameters: &[(String, String)],
) -> Result<Option<DataFrame>, mavis_sql::Error> {
    let broken = |_| mavis_sql::Error::Execution { message: "a filter of an export cannot be compiled".to_owned() };
    let request = request(parameters);
    let types = tables_of(resource, request).map_err(broken)?;
    tables.open(types).await?;
    let search = compile(resource, request, &tables.schemas()).map_err(broken)?;
    tables.narrow(resource, &search.criteria)
}

/// A filter as a search.
pub(super) fn request(parameters: &[(String, String)]) -> Request<'_> {
    Request { parameters, handling: Handling::Strict, now: Utc::now(), base: None, types: &[], codes: None }
}

async fn one_type(
    app: &App,
    session: &Session,
    resource: ResourceType,
    frame: DataFrame,
    asked: &Asked,
    job: Uuid,
    live: &Live,
) -> Result<Vec<Written>, Failure> {
    let planned = match asked.output {
        Output::Ndjson => frame.select(columns()),
        Output::Parquet => Ok(frame),
    };
    let frame = planned.map_err(unplanned)?;
    let limits = Limits { time: TIME, ..Limits::default() };
    let answer = session.run(frame, Some(limits)).await?;
    let schema = (asked.output == Output::Parquet).then(|| answer.schema.clone());
    let view = asked.elements_of(resource).map(View::Elements);
    let mut files = Files::new(&app.exports.folder(job), resource, view, schema);
    let mut batches = answer.batches;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        live.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let written = tokio::task::spawn_blocking(move || files.write(&batch).map(|()| files)).await;
        files = written.map_err(|_| Failure::server("a task broke"))?.map_err(Failure::server)?;
    }
    let finished = tokio::task::spawn_blocking(move || files.finish()).await;
    finished.map_err(|_| Failure::server("a task broke"))?.map_err(Failure::server)
}

/// The patients that are members of a Group, now; inactive ones left out.
pub(in crate::fhir) fn members(group: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(group).unwrap_or_default();
    let members = value["member"].as_array().into_iter().flatten();
    let active = members.filter(|member| member["inactive"] != true);
    let references = active.filter_map(|member| member["entity"]["reference"].as_str());
    let mut ids: Vec<String> = references
        .filter_map(relative_reference)
        .filter(|(name, _)| *name == "Patient")
        .map(|(_, id)| id.to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Whose resources a level is about.
pub(super) fn whose(level: &Level, group: Option<&str>) -> Whose {
    match level {
        Level::System => Whose::Anybody,
        Level::Patients => Whose::AnyPatient,
        Level::Group(_) => Whose::Patients(members(group.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_the_active_patients_of_a_group() {
        let group = r#"{"member":[{"entity":{"reference":"Patient/b"}},{"entity":{"reference":"Patient/a"}},
            {"entity":{"reference":"Patient/c"},"inactive":true},{"entity":{"reference":"Device/d"}},{"entity":{}}]}"#;
        assert_eq!(members(group), ["a", "b"]);
    }
}

//! Operations that tell values of tables, or put them where others see them: for whoever is shown these tables as
//! they are. The guard of queries knows nothing of what the pipeline reads.

use mavis_sql::{knows_source, not_whole, not_whole_of};
use mavis_types::{Mask, Principal, SourceName, TableName, Zone};
use tonic::Status;

use super::{status, visible};
use crate::{App, auth::Door};

/// Lets through who sees everything of a source; one that may not be known is as if it were not there.
pub(super) async fn nothing_of_source(
    app: &App,
    by: &Principal,
    source: &SourceName,
    action: &str,
) -> Result<(), Status> {
    visible::source(app, by, source).await?;
    match not_whole_of(&app.catalog, by, source).await.map_err(status)? {
        None => Ok(()),
        Some(hidden) => {
            Err(refused(app, by, action, source.as_str(), &format!("you do not see all of {hidden}")).await)
        }
    }
}

/// Lets through who sees everything of these tables.
pub(super) async fn nothing_of_tables(
    app: &App,
    by: &Principal,
    tables: &[TableName],
    action: &str,
) -> Result<(), Status> {
    match not_whole(&app.catalog, by, tables).await.map_err(status)? {
        None => Ok(()),
        Some(table) => {
            // One that was only found here, in the mapping that is replaced, may not be known to the caller.
            let told =
                if by.may_read(table) { format!("`{table}`") } else { "a table that the mapping reads".to_owned() };
            Err(refused(app, by, action, &table.to_string(), &format!("you do not see all of {told}")).await)
        }
    }
}

/// Lets through from whom nothing is filtered or masked: whoever declares a source says where its rows come from, and could
/// have those that are hidden here read once more under another name.
pub(super) async fn nothing(app: &App, by: &Principal, source: &SourceName, action: &str) -> Result<(), Status> {
    if by.rights.hides_anything() {
        let reason = "rows or values of tables are hidden from you, and sources could show them";
        return Err(refused(app, by, action, source.as_str(), reason).await);
    }
    Ok(())
}

/// Lets through to whom no element of a resource is shown as a hash: equal texts have equal hashes, so that the hash of a guess,
/// brought in as a resource, could be looked for among the others.
pub(super) async fn no_hashes(app: &App, by: &Principal, source: &SourceName, action: &str) -> Result<(), Status> {
    if by.rights.masks.iter().any(|(on, _, mask)| on.zone == Zone::Fhir && *mask == Mask::Hash) {
        let reason = "elements of resources are shown to you as hashes, and so would be what you import";
        return Err(refused(app, by, action, source.as_str(), reason).await);
    }
    Ok(())
}

/// Lets through who may say what a row that was set aside has in it: who is shown what it has.
pub(super) async fn no_payload(
    app: &App,
    by: &Principal,
    shown: bool,
    table: &TableName,
    action: &str,
) -> Result<(), Status> {
    if shown {
        return Ok(());
    }
    let reason = "the row's content is not shown to you, so that you may not give it another";
    Err(refused(app, by, action, &table.to_string(), reason).await)
}

/// Lets through who will see everything that a new source brings: it would be nobody else's to use or to remove, and what may
/// not be read of another could be read by it.
pub(super) async fn nothing_of_new(app: &App, by: &Principal, source: &SourceName, action: &str) -> Result<(), Status> {
    nothing(app, by, source, action).await?;
    if [Zone::Raw, Zone::Processed].into_iter().all(|zone| by.sees_whole_schema(zone, source.as_str())) {
        return Ok(());
    }
    let reason =
        format!("you may not read all of `raw.{source}` and `processed.{source}`, which the source would fill");
    Err(refused(app, by, action, source.as_str(), &reason).await)
}

/// The sources of a request, all of which the caller sees whole. Where it names none: every one that the caller does, none where
/// that is every one that there is.
pub(super) async fn whole_sources(
    app: &App,
    by: &Principal,
    named: Vec<SourceName>,
    action: &str,
) -> Result<Vec<SourceName>, Status> {
    for name in &named {
        nothing_of_source(app, by, name, action).await?;
    }
    if !named.is_empty() || by.sees_everything() {
        return Ok(named);
    }
    let mut whole = Vec::new();
    for source in app.catalog.sources().await.map_err(status)? {
        if knows_source(by, source.name.as_str())
            && not_whole_of(&app.catalog, by, &source.name).await.map_err(status)?.is_none()
        {
            whole.push(source.name);
        }
    }
    if whole.is_empty() {
        return Err(refused(app, by, action, "", "there is no source that you see all of").await);
    }
    Ok(whole)
}

async fn refused(app: &App, by: &Principal, action: &str, object: &str, reason: &str) -> Status {
    app.auth.audit(&by.name, action, object, false, Door::Grpc).await;
    Status::permission_denied(format!("{reason}: ask an administrator (SHOW GRANTS)"))
}

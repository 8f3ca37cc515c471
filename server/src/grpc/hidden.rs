//! Operations that tell values of tables, or put them where others see them: for whoever is shown these tables as
//! they are. The guard of queries knows nothing of what the pipeline reads.

use mavis_sql::{not_whole, not_whole_of};
use mavis_types::{Principal, SourceName, TableName};
use tonic::Status;

use super::status;
use crate::{App, auth::Door};

/// Lets through who sees everything of a source.
pub(super) async fn nothing_of_source(
    app: &App,
    by: &Principal,
    source: &SourceName,
    action: &str,
) -> Result<(), Status> {
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

async fn refused(app: &App, by: &Principal, action: &str, object: &str, reason: &str) -> Status {
    app.auth.audit(&by.name, action, object, false, Door::Grpc).await;
    Status::permission_denied(format!("{reason}: ask an administrator (SHOW GRANTS)"))
}

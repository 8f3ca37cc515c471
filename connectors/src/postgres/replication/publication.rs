//! What a publication tells of, and who is writing its tables.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use super::{
    ReplicationParams,
    slot::{self, refuse},
    table::{Member, members},
};
use crate::{
    Error, Stage, TableRef,
    postgres::{Inner, describe as columns, session},
};

/// How long open transactions that write a table are waited for before it is read the first time.
const WRITERS: Duration = Duration::from_secs(60);

/// One line about slot and publication.
pub(in crate::postgres) async fn describe(
    inner: &Inner,
    connection: &mut PgConnection,
    params: &ReplicationParams,
) -> Result<String, Error> {
    publication(inner, connection, &params.publication).await?;
    let members = members(inner, connection, &params.publication, None).await?;
    let slot = match slot::find(inner, connection, &params.slot).await? {
        Some(slot) => slot.summary(),
        None if params.create => "made by the first ingest".to_owned(),
        None => "missing".to_owned(),
    };
    let ours: Vec<&Member> = members.iter().filter(|member| inner.declares(&member.schema, &member.name)).collect();
    let told = ours.iter().filter(|member| member.unfit().is_none()).count();
    let mut line =
        format!("slot `{}`: {slot}; publication `{}` tells of {told} tables", params.slot, params.publication);
    for (member, reason) in ours.iter().filter_map(|member| Some((member, member.unfit()?))).take(10) {
        line.push_str(&format!("; `{}` is compared whole: {reason}", member.label()));
    }
    Ok(line)
}

/// The columns that the log tells of.
pub(super) fn published(columns: Vec<columns::Described>, member: &Member) -> Vec<columns::Described> {
    columns.into_iter().filter(|described| member.published.contains(&described.column.name)).collect()
}

/// # Errors
/// [`Error::Refused`] where there is no such publication, or where it leaves a kind of change out.
pub(super) async fn publication(inner: &Inner, connection: &mut PgConnection, name: &str) -> Result<(), Error> {
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let whole: Option<bool> = sqlx::query_scalar(
        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = $1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await
    .map_err(broken)?;
    match whole {
        Some(true) => Ok(()),
        Some(false) => Err(refuse(
            inner,
            format!("publication `{name}` leaves out inserts, updates, deletes or truncates; publish all of them"),
        )),
        None => Err(refuse(
            inner,
            format!(
                "there is no publication `{name}`; an owner of the tables makes it with CREATE PUBLICATION {name} FOR TABLE ..."
            ),
        )),
    }
}

/// Waits until every transaction that holds a lock for writing on the table now has ended.
pub(super) async fn wait_for_writers(
    inner: &Inner,
    connection: &mut PgConnection,
    member: &Member,
    table: &TableRef,
) -> Result<(), Error> {
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let mut waiting: Option<Vec<String>> = None;
    let began = Instant::now();
    loop {
        let open: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT l.virtualtransaction::text || ' ' || coalesce(l.pid, 0)
             FROM pg_locks l
             WHERE l.locktype = 'relation' AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
               AND (l.relation = $1::int8::oid
                    OR l.relation IN (SELECT relid FROM pg_partition_tree($1::int8::oid::regclass)))",
        )
        .bind(i64::from(member.oid))
        .fetch_all(&mut *connection)
        .await
        .map_err(broken)?;
        let still: Vec<String> = match waiting {
            None => open,
            Some(before) => before.into_iter().filter(|one| open.contains(one)).collect(),
        };
        if still.is_empty() {
            return Ok(());
        }
        if began.elapsed() >= WRITERS {
            return Err(Error::Interrupted {
                place: table.to_string(),
                reason: format!(
                    "{} transactions that write it have been open for {} s, so that a place to begin at cannot be told; see \
                     pg_stat_activity",
                    still.len(),
                    WRITERS.as_secs()
                ),
            });
        }
        waiting = Some(still);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

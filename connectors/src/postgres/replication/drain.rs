//! The slot, looked through once: what it has of each table goes to the spool.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::{PgConnection, Row};
use tokio::time::Instant;

use super::{
    Open, ReplicationParams,
    cursor::Place,
    message::{Garbled, Lsn, Message, parse},
    slot::{self, lost, refuse},
    spool::Spool,
    table::{Member, members},
};
use crate::{
    Error, Stage,
    postgres::{
        Inner,
        copy::Rows,
        session,
        types::{literal, quote},
    },
};

/// How long the server may take to flush what it has written.
const FLUSHED: Duration = Duration::from_secs(3);

/// What the slot had.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) spool: Spool,
    /// Every transaction whose commit begins before this is in the spool.
    pub(super) end: Lsn,
    /// There is more.
    pub(super) limited: bool,
    /// The tables as they were after the log was read.
    members: Vec<Member>,
}

impl Drained {
    /// The table as it was after the log was read.
    pub(super) fn member(&self, before: &Member) -> Option<&Member> {
        self.members.iter().find(|member| member.schema == before.schema && member.name == before.name)
    }

    /// Where the first transaction commits that the table lacks.
    pub(super) fn first_lacked(&self, table: u32, place: &Place) -> Option<Lsn> {
        let transactions = self.spool.transactions(table);
        let from = transactions.partition_point(|(commit, _)| *commit < place.lsn);
        transactions[from..].iter().find(|(commit, xid)| place.lacks(*commit, *xid)).map(|(commit, _)| *commit)
    }
}

fn statement(params: &ReplicationParams, changes: u32) -> String {
    format!(
        "COPY (SELECT data FROM pg_logical_slot_peek_binary_changes({}, NULL, {changes}, 'proto_version', '1', \
         'publication_names', {})) TO STDOUT (FORMAT BINARY)",
        literal(&params.slot),
        literal(&quote(&params.publication)),
    )
}

/// An error of a statement that reads the slot.
pub(super) fn failed(inner: &Inner, params: &ReplicationParams, error: &sqlx::Error) -> Error {
    let slot = &params.slot;
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        "55006" => Error::Interrupted {
            place: format!("replication slot `{slot}`"),
            reason: "it is in use by another session; a slot can have only one reader".to_owned(),
        },
        "55000" => refuse(inner, lost(slot)),
        "42501" => refuse(inner, format!("user `{}` may not replicate; ALTER ROLE {0} REPLICATION", inner.params.user)),
        "42704" => refuse(
            inner,
            format!(
                "replication slot `{slot}` cannot be read with publication `{}`: one of them is gone, or the publication was made \
                 after the slot; drop the slot and ingest the source in full",
                params.publication
            ),
        ),
        _ => session::refused(inner, Stage::Read, error),
    }
}

/// Whether the slot has any change.
pub(super) async fn anything(inner: &Inner, params: &ReplicationParams, open: &mut Open) -> Result<bool, Error> {
    let mut found = false;
    peek(inner, params, &mut open.connection, 1, |message| {
        found |= matches!(
            message,
            Message::Insert { .. } | Message::Update { .. } | Message::Delete { .. } | Message::Truncate { .. }
        );
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn peek(
    inner: &Inner,
    params: &ReplicationParams,
    connection: &mut PgConnection,
    changes: u32,
    mut each: impl FnMut(Message<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    peek_raw(inner, params, connection, changes, |bytes| match parse(bytes) {
        Ok(message) => each(message),
        Err(Garbled) => Err(garbled(params)),
    })
    .await
}

fn garbled(params: &ReplicationParams) -> Error {
    Error::Malformed {
        place: format!("replication slot `{}`", params.slot),
        reason: "its messages are not those of pgoutput, version 1".to_owned(),
    }
}

async fn peek_raw(
    inner: &Inner,
    params: &ReplicationParams,
    connection: &mut PgConnection,
    changes: u32,
    mut each: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let broken = |error: sqlx::Error| failed(inner, params, &error);
    let mut rows = Rows::default();
    let mut outcome = Ok(());
    let mut stream = connection.copy_out_raw(&statement(params, changes)).await.map_err(broken)?;
    while let Some(message) = stream.try_next().await.map_err(broken)? {
        let fed = rows.feed(&message, |fields| {
            if let (Ok(()), Some(Some(bytes))) = (&outcome, fields.first()) {
                outcome = each(bytes);
            }
        });
        fed.map_err(|_| garbled(params))?;
        if outcome.is_err() {
            break;
        }
    }
    drop(stream);
    outcome?;
    if rows.ended {
        return Ok(());
    }
    Err(Error::Interrupted {
        place: format!("replication slot `{}`", params.slot),
        reason: "the stream of changes ended too early".to_owned(),
    })
}

/// Reads the slot to its end, or as far as one run may.
pub(super) async fn drain(inner: &Inner, params: &ReplicationParams, open: &mut Open) -> Result<Drained, Error> {
    let gone = || refuse(inner, lost(&params.slot));
    let Some(before) = slot::find(inner, &mut open.connection, &params.slot).await? else { return Err(gone()) };
    let until = flushed(inner, &mut open.connection).await?;
    let wanted: std::collections::HashSet<u32> = open
        .members
        .iter()
        .filter(|member| member.unfit().is_none() && inner.declares(&member.schema, &member.name))
        .map(|member| member.oid)
        .collect();

    let mut spool = Spool::default();
    let (mut commit, mut xid, mut last) = (Lsn::default(), 0_u32, None::<Lsn>);
    let (mut messages, mut cut) = (0_u64, false);
    let most = params.max_megabytes_per_run << 20;
    let full = |error: std::io::Error| Error::Interrupted {
        place: format!("replication slot `{}`", params.slot),
        reason: format!("the changes could not be put on the disk: {}", error.kind()),
    };
    let changes = params.max_changes_per_run.clamp(1, i32::MAX as u32);
    peek_raw(inner, params, &mut open.connection, changes, |bytes| {
        messages += 1;
        if cut {
            return Ok(());
        }
        match parse(bytes).map_err(|Garbled| garbled(params))? {
            Message::Begin { commit: at, xid: of } => (commit, xid) = (at, of),
            Message::Commit { end } => {
                last = Some(end);
                cut = spool.bytes() >= most;
            }
            Message::Relation(relation) if wanted.contains(&relation.table) => {
                spool.push(relation.table, commit, xid, bytes).map_err(full)?;
            }
            Message::Insert { table } | Message::Update { table } | Message::Delete { table }
                if wanted.contains(&table) =>
            {
                spool.push(table, commit, xid, bytes).map_err(full)?;
            }
            Message::Truncate { tables } => {
                for table in tables.iter().filter(|table| wanted.contains(table)) {
                    spool.push(*table, commit, xid, bytes).map_err(full)?;
                }
            }
            _ => {}
        }
        Ok(())
    })
    .await?;

    // A slot that was made anew in between begins later than the one that was looked at.
    let after = slot::find(inner, &mut open.connection, &params.slot).await?;
    if after.as_ref().map(|slot| slot.confirmed) != Some(before.confirmed) {
        return Err(Error::Interrupted {
            place: format!("replication slot `{}`", params.slot),
            reason: "it was moved or made anew while it was read".to_owned(),
        });
    }
    let limited = cut || messages >= u64::from(changes);
    let found = last.unwrap_or(before.confirmed).max(before.confirmed);
    let end = if limited { found } else { until.map_or(found, |until| until.max(found)) };
    open.slot = after;
    open.members = members(inner, &mut open.connection, &params.publication, None).await?;
    Ok(Drained { spool, end, limited, members: open.members.clone() })
}

/// A place in the log between two records, before which everything is on the server's disk and so will be read. `None` where
/// the server is slow to write it; then the log is done up to its last transaction only.
async fn flushed(inner: &Inner, connection: &mut PgConnection) -> Result<Option<Lsn>, Error> {
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let began = Instant::now();
    let mut until = None::<Lsn>;
    loop {
        let row = sqlx::query(
            "SELECT pg_current_wal_insert_lsn()::text AS insert, pg_current_wal_flush_lsn()::text AS flush",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(broken)?;
        let lsn = |name: &str| -> Result<Lsn, Error> {
            let text: String = row.try_get(name).map_err(broken)?;
            text.parse().map_err(|Garbled| Error::Malformed {
                place: inner.endpoint(),
                reason: "its place in the log is not one".to_owned(),
            })
        };
        let wanted = match until {
            Some(until) => until,
            None => *until.insert(lsn("insert")?),
        };
        if lsn("flush")? >= wanted {
            return Ok(Some(wanted));
        }
        if began.elapsed() >= FLUSHED {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! The slot: whether it is there and sound, and how much of the log it holds back.

use sqlx::{PgConnection, Row};

use super::message::Lsn;
use crate::{
    Error, LogHealth, Stage,
    postgres::{Inner, session, types::literal},
};

/// Columns that not every version has are asked for through JSON.
const SLOT: &str = "
    SELECT s.slot_type::text AS type, s.plugin::text AS plugin, s.database::text AS database,
           s.database = current_database() AS ours, s.active_pid::int4 AS active_pid,
           s.confirmed_flush_lsn::text AS confirmed, to_jsonb(s) ->> 'wal_status' AS status,
           (to_jsonb(s) ->> 'safe_wal_size')::int8 AS safe,
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::int8 AS behind
    FROM pg_replication_slots s WHERE s.slot_name = $1";

/// The slot as the server shows it.
#[derive(Debug, Clone)]
pub(in crate::postgres) struct Slot {
    /// What is before this has been let go of.
    pub(in crate::postgres) confirmed: Lsn,
    /// `reserved`, `extended`, `unreserved`, `lost`; nothing before PostgreSQL 13.
    status: Option<String>,
    /// Bytes that the log may still grow by before the slot is lost, where the server limits it.
    safe: Option<i64>,
    /// Bytes of log that are kept for the slot.
    behind: i64,
}

impl Slot {
    /// What a person should know about it; `warn_bytes`: from how much kept log on.
    pub(in crate::postgres) fn notes(&self, slot: &str, warn_bytes: u64) -> Vec<String> {
        let mut notes = Vec::new();
        let mb = |bytes: i64| bytes / (1 << 20);
        if u64::try_from(self.behind).unwrap_or(0) > warn_bytes {
            notes.push(format!(
                "replication slot `{slot}` makes the server keep {} MB of its log; ingest more often, or drop the slot if \
                 this source is no longer ingested",
                mb(self.behind)
            ));
        }
        let status = self.status.as_deref().unwrap_or_default();
        if status == "unreserved" || self.safe.is_some_and(|safe| safe < 256 << 20) {
            notes.push(format!(
                "replication slot `{slot}` is about to be lost ({status}, {} MB left); ingest now, or raise \
                 max_slot_wal_keep_size",
                mb(self.safe.unwrap_or(0))
            ));
        }
        notes
    }

    /// One line for a connection test.
    pub(in crate::postgres) fn summary(&self) -> String {
        let status = self.status.as_deref().unwrap_or("in use");
        format!("{status}, {} MB of log kept", self.behind / (1 << 20))
    }
}

/// The slot, or `None` where there is none of that name.
///
/// # Errors
/// [`Error::Refused`] for a slot that is lost, or that is not one of ours.
pub(in crate::postgres) async fn find(
    inner: &Inner,
    connection: &mut PgConnection,
    slot: &str,
) -> Result<Option<Slot>, Error> {
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let row = sqlx::query(SLOT).bind(slot).fetch_optional(connection).await.map_err(broken)?;
    let Some(row) = row else { return Ok(None) };
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map_err(broken);
    let refuse = |reason: String| Error::Refused { endpoint: inner.endpoint(), stage: Stage::Read, reason };
    if text("type")?.as_deref() != Some("logical") || text("plugin")?.as_deref() != Some("pgoutput") {
        return Err(refuse(format!(
            "replication slot `{slot}` is not a logical one of the plugin pgoutput; name another slot"
        )));
    }
    if row.try_get::<Option<bool>, _>("ours").map_err(broken)? != Some(true) {
        let of = text("database")?.unwrap_or_default();
        return Err(refuse(format!("replication slot `{slot}` belongs to database `{of}`; name another slot")));
    }
    let status = text("status")?;
    let confirmed = text("confirmed")?.and_then(|text| text.parse::<Lsn>().ok());
    let (Some(confirmed), false) = (confirmed, status.as_deref() == Some("lost")) else {
        return Err(refuse(lost(slot)));
    };
    Ok(Some(Slot {
        confirmed,
        status,
        safe: row.try_get("safe").map_err(broken)?,
        behind: row.try_get("behind").map_err(broken)?,
    }))
}

/// How a slot stands, whatever is wrong with it.
pub(super) async fn health(inner: &Inner, connection: &mut PgConnection, slot: &str) -> Result<LogHealth, Error> {
    const HEALTH: &str = "
        SELECT s.plugin = 'pgoutput' AND s.database = current_database()
                   AND coalesce(to_jsonb(s) ->> 'wal_status', '') <> 'lost' AS sound,
               greatest(coalesce(pg_wal_lsn_diff(here, s.restart_lsn), 0), 0)::int8 AS kept,
               greatest(coalesce(pg_wal_lsn_diff(here, s.confirmed_flush_lsn), 0), 0)::int8 AS lag,
               greatest((to_jsonb(s) ->> 'safe_wal_size')::int8, 0) AS remaining
        FROM pg_replication_slots s,
             (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS here) w
        WHERE s.slot_name = $1";
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let row = sqlx::query(HEALTH).bind(slot).fetch_optional(connection).await.map_err(broken)?;
    let Some(row) = row else { return Ok(LogHealth { sound: false, kept_bytes: 0, lag_bytes: 0, left_bytes: None }) };
    let bytes = |name: &str| -> Result<Option<u64>, Error> {
        Ok(row.try_get::<Option<i64>, _>(name).map_err(broken)?.and_then(|bytes| u64::try_from(bytes).ok()))
    };
    Ok(LogHealth {
        sound: row.try_get::<Option<bool>, _>("sound").map_err(broken)?.unwrap_or(false),
        kept_bytes: bytes("kept")?.unwrap_or(0),
        lag_bytes: bytes("lag")?.unwrap_or(0),
        left_bytes: bytes("remaining")?,
    })
}

/// What to do about a slot whose log is gone.
pub(super) fn lost(slot: &str) -> String {
    format!(
        "replication slot `{slot}` is lost: the server removed log that it needed (max_slot_wal_keep_size); drop it with \
         SELECT pg_drop_replication_slot('{slot}') and ingest the source in full"
    )
}

/// Makes the slot. From here on the server keeps its log for it.
pub(super) async fn create(inner: &Inner, connection: &mut PgConnection, slot: &str) -> Result<(), Error> {
    // The server waits for every transaction that is open; not for ever.
    let statement = format!(
        "SET statement_timeout = '60s'; SELECT pg_create_logical_replication_slot({}, 'pgoutput'); SET statement_timeout = 0",
        literal(slot)
    );
    let made = sqlx::Executor::execute(&mut *connection, sqlx::AssertSqlSafe(statement)).await;
    let Err(error) = made else {
        tracing::info!(source = %inner.name, slot, "made replication slot `{slot}`");
        return Ok(());
    };
    Err(match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("57014") => Error::Interrupted {
            place: inner.endpoint(),
            reason: format!(
                "replication slot `{slot}` could not be made within 60 s: a transaction has been open for longer; see \
                 pg_stat_activity"
            ),
        },
        Some("42501") => refuse(
            inner,
            format!(
                "user `{}` may not replicate; ALTER ROLE {0} REPLICATION, and run as its owner again",
                inner.params.user
            ),
        ),
        Some("55000") => refuse(
            inner,
            "the server does not write what logical replication needs; set wal_level = logical and start it again"
                .into(),
        ),
        Some("53400") => refuse(inner, "the server has no replication slot left; raise max_replication_slots".into()),
        _ => session::refused(inner, Stage::Read, &error),
    })
}

pub(super) fn refuse(inner: &Inner, reason: String) -> Error {
    Error::Refused { endpoint: inner.endpoint(), stage: Stage::Read, reason }
}

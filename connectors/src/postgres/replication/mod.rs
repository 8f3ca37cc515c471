//! Logical replication: inserts, updates, deletes and truncates of a publication's tables, read from one slot, exactly once.
//!
//! **The log is peeked at, never consumed.** A run reads the slot once (`pg_logical_slot_peek_binary_changes`, plugin
//! `pgoutput`) and [spools](spool) what it finds by table. Each table commits its rows with a cursor of its own, a place in the
//! log; the slot is advanced afterwards, to where every table has come. So a run that dies loses nothing, and a table that
//! fails holds the slot and nobody else.
//!
//! **A place** is a position such that transactions whose commit record begins before it are done. That is the rule by which
//! PostgreSQL itself skips transactions (`confirmed_flush_lsn`), so that the two never disagree. A reading that found
//! everything ends at the position where the log stood before it was read, once that is flushed.
//!
//! **Hand-over.** A table is first read whole. (1) The slot is there, at `s`. (2) Transactions that hold a lock for writing on
//! the table are waited for: one that was committed before `s` and is not visible yet is among them. (3) A snapshot is taken
//! and the table read in it; the cursor is `s` with the snapshot. From then on the log is read from `s`, and transactions that
//! the snapshot saw are skipped, by their numbers, up to the position of the log when it was taken. Nothing is read twice and
//! nothing is left out, whatever was open meanwhile, and no snapshot is held but while a table is copied. Step (2) also makes
//! it safe to add a table to the publication while it is written.
//!
//! **Rows that an update left large values of untouched** come without them; they are read again by their key as they are now.
//! What happened to them meanwhile comes later in the log and says the same.
//!
//! **Idle tables** commit nothing: what the source [keeps](cursor::Kept) as a whole says up to where the slot was advanced and
//! that they had no changes until there.
//!
//! **What is refused**: a slot that is gone, lost, begins after a table's place (it was made anew, or somebody else moved it),
//! and a log that is another one (another cluster, a restored or failed-over one). Then rows may be missing, and only a full
//! ingest finds out which. **What is compared whole again** without asking: a table whose definition changed in a way that
//! changes rows without telling the log (a column with a default, another type, made anew).

mod changes;
mod convert;
mod cursor;
mod drain;
mod message;
mod params;
mod publication;
mod slot;
mod spool;
mod table;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mavis_types::Cursor;
use sqlx::{Connection, PgConnection, Row};
use tokio::{sync::Mutex, time::Instant};

pub use self::params::ReplicationParams;
use self::{
    changes::Changes,
    cursor::{Kept, Log, Place, Seen},
    drain::Drained,
    message::Lsn,
    publication::{publication, published, wait_for_writers},
    slot::{Slot, refuse},
};
pub(super) use self::{
    publication::describe,
    table::{Member, members},
};
use super::{
    Inner, describe as columns,
    read::{self, Reading, Way},
    session,
};
use crate::{Error, LogHealth, ReadItem, ReadRequest, ReadStream, Settled, Stage, TableRef};

/// How long another run of the same slot is waited for.
const TURN: Duration = Duration::from_secs(20);
/// How long a session that may have broken is waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The slot of a source, as one run uses it.
#[derive(Debug)]
pub(super) struct Replication {
    params: ReplicationParams,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    open: Option<Open>,
    drained: Option<Arc<Drained>>,
    /// The log was looked at and had nothing.
    quiet: bool,
}

impl State {
    /// A session that broke is of no use to anybody: the next who comes opens another one and looks at the log anew. Tables that
    /// were committed meanwhile find nothing twice, since each knows its place. One that answers is kept, whatever else failed:
    /// it is what moves the slot at the end of the run.
    async fn unless_broken<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let (Err(Error::Interrupted { .. } | Error::Unreachable { .. }), Some(open)) = (&outcome, &mut self.open) {
            let answered = tokio::time::timeout(ANSWERS_WITHIN, open.connection.ping()).await;
            if !matches!(answered, Ok(Ok(()))) {
                (self.open, self.drained, self.quiet) = (None, None, false);
            }
        }
        outcome
    }
}

/// A session that has the slot's turn.
#[derive(Debug)]
struct Open {
    connection: PgConnection,
    log: Log,
    slot: Option<Slot>,
    members: Vec<Member>,
}

impl Open {
    fn member(&self, inner: &Inner, table: &TableRef) -> Option<&Member> {
        let schema = inner.schema_of(table);
        self.members.iter().find(|member| member.schema == schema && member.name == table.name)
    }
}

impl Replication {
    pub(super) fn new(params: ReplicationParams) -> Self {
        Self { params, state: Mutex::new(State::default()) }
    }

    /// Opens the session, unless there is one; `None` where another run has the slot for longer than `turn`.
    async fn open<'a>(
        &self,
        inner: &Inner,
        state: &'a mut State,
        turn: Duration,
    ) -> Result<Option<&'a mut Open>, Error> {
        if state.open.is_none() {
            let Some(open) = self.connect(inner, state.kept.as_ref(), turn).await? else { return Ok(None) };
            state.open = Some(open);
        }
        Ok(state.open.as_mut())
    }

    async fn connect(&self, inner: &Inner, kept: Option<&Kept>, turn: Duration) -> Result<Option<Open>, Error> {
        let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
        let mut connection = session::plain(inner).await?;
        let row = sqlx::query(
            "SELECT pg_is_in_recovery() AS standby, (SELECT system_identifier::text FROM pg_control_system()) AS system",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(broken)?;
        if row.try_get("standby").map_err(broken)? {
            return Err(refuse(inner, "it is a standby; point `replication` at the primary server".into()));
        }
        let began = Instant::now();
        let name = format!("mavis slot {}", self.params.slot);
        loop {
            let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                .bind(&name)
                .fetch_one(&mut connection)
                .await
                .map_err(broken)?;
            if ours {
                break;
            }
            if began.elapsed() >= turn {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let timeline: String = sqlx::query_scalar("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")
            .fetch_one(&mut connection)
            .await
            .map_err(broken)?;
        let log = Log { slot: self.params.slot.clone(), system: row.try_get("system").map_err(broken)?, timeline };
        publication(inner, &mut connection, &self.params.publication).await?;
        let members = members(inner, &mut connection, &self.params.publication, None).await?;
        let slot = slot::find(inner, &mut connection, &self.params.slot).await?;
        let mut open = Open { connection, log, slot, members };
        if let Some(kept) = kept {
            self.advance(inner, &mut open, kept).await?;
        }
        Ok(Some(open))
    }

    /// Lets go of what is before the place that is kept.
    async fn advance(&self, inner: &Inner, open: &mut Open, kept: &Kept) -> Result<(), Error> {
        let Some(slot) = &mut open.slot else { return Ok(()) };
        if kept.log != open.log || slot.confirmed >= kept.lsn {
            return Ok(());
        }
        sqlx::query("SELECT pg_replication_slot_advance($1, $2::pg_lsn)")
            .bind(&self.params.slot)
            .bind(kept.lsn.to_string())
            .execute(&mut open.connection)
            .await
            .map_err(|error| drain::failed(inner, &self.params, &error))?;
        slot.confirmed = kept.lsn;
        Ok(())
    }

    fn busy(&self) -> Error {
        Error::Interrupted {
            place: format!("replication slot `{}`", self.params.slot),
            reason: "another run is reading it".to_owned(),
        }
    }

    /// Reads a table; `None` where replication does not tell of it.
    pub(super) async fn read(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        request: &ReadRequest,
    ) -> Result<Option<ReadStream>, Error> {
        let mut state = self.state.lock().await;
        let read = self.read_in(inner, request, &mut state).await;
        state.unless_broken(read).await
    }

    async fn read_in(
        &self,
        inner: &Arc<Inner>,
        request: &ReadRequest,
        state: &mut State,
    ) -> Result<Option<ReadStream>, Error> {
        let place = request.from.as_ref().and_then(Place::from_cursor);
        let Some(open) = self.open(inner, state, TURN).await? else { return Err(self.busy()) };
        let member = open.member(inner, &request.table).filter(|member| member.unfit().is_none()).cloned();
        let Some(member) = member else {
            if place.is_some() {
                return Err(refuse(
                    inner,
                    format!(
                        "table `{}` is no longer told of by publication `{}`; put it back and ingest the table in full, or \
                         discover the source again to have it compared whole",
                        request.table, self.params.publication
                    ),
                ));
            }
            return Ok(None);
        };
        let Some(place) = place else {
            // Of a table that was read in another way before, what is gone meanwhile is found by comparing.
            return self.hand_over(inner, request, state, &member, request.from.is_some()).await.map(Some);
        };
        if let Err(reason) = self.stands(state, &member, &place, &request.table) {
            return Err(refuse(inner, reason));
        }
        let drained = self.drained(inner, state).await?;
        // The slot was looked at again.
        if let Err(reason) = self.stands(state, &member, &place, &request.table) {
            return Err(refuse(inner, reason));
        }
        let Some(now) = drained.member(&member) else {
            return Err(Error::NoSuchTable { table: request.table.to_string() });
        };
        if !now.goes_on_from(&place.shape) {
            tracing::info!(source = %inner.name, table = %request.table, "the definition changed; comparing the table whole");
            return self.hand_over(inner, request, state, &member, true).await.map(Some);
        }
        if drained.first_lacked(now.oid, &place).is_none() {
            let end = ReadItem::End { cursor: None, whole: false };
            return Ok(Some(Box::pin(futures::stream::iter([Ok(end)]))));
        }
        let Some(open) = state.open.as_mut() else { return Err(self.busy()) };
        let columns = published(columns::table(inner, &mut open.connection, &request.table).await?, now);
        let changes = Changes {
            inner: Arc::clone(inner),
            publication: self.params.publication.clone(),
            request: request.clone(),
            columns,
            member: now.clone(),
            place,
            drained,
        };
        Ok(Some(read::stream(|sender| async move { changes.run(&sender).await })))
    }

    /// Whether the log still has everything after the place; otherwise what to do.
    fn stands(&self, state: &State, member: &Member, place: &Place, table: &TableRef) -> Result<(), String> {
        let slot = &self.params.slot;
        let again = "ingest the source in full";
        let Some(open) = &state.open else { return Err("the session is gone".to_owned()) };
        if place.log.slot != *slot {
            return Err(format!("table `{table}` was read from slot `{}`, not from `{slot}`; {again}", place.log.slot));
        }
        if place.log != open.log {
            return Err(format!(
                "the server is not the one that table `{table}` was read from, or it was restored or failed over since; \
                 changes may be missing: {again}"
            ));
        }
        let Some(found) = &open.slot else {
            return Err(format!(
                "replication slot `{slot}` is gone, and with it the changes since the last ingest; {again}, which makes it anew"
            ));
        };
        let accounted = state.kept.as_ref().is_some_and(|kept| {
            kept.log == open.log
                && kept.lsn >= found.confirmed
                && kept.tables.get(&member.label()).is_some_and(|lsn| *lsn <= place.lsn)
        });
        if place.lsn >= found.confirmed || accounted {
            return Ok(());
        }
        Err(format!(
            "replication slot `{slot}` begins at {}, but table `{table}` was read only up to {}: the slot was made anew or moved \
             by somebody else, and the changes between are lost; {again}",
            found.confirmed, place.lsn
        ))
    }

    /// What the slot has, read once.
    async fn drained(&self, inner: &Inner, state: &mut State) -> Result<Arc<Drained>, Error> {
        if let Some(drained) = &state.drained {
            return Ok(Arc::clone(drained));
        }
        let Some(open) = state.open.as_mut() else { return Err(self.busy()) };
        let drained = Arc::new(drain::drain(inner, &self.params, open).await?);
        state.drained = Some(Arc::clone(&drained));
        Ok(drained)
    }

    /// Reads a table whole, so that the log goes on from there; see the module.
    async fn hand_over(
        &self,
        inner: &Arc<Inner>,
        request: &ReadRequest,
        state: &mut State,
        member: &Member,
        again: bool,
    ) -> Result<ReadStream, Error> {
        let Some(open) = state.open.as_mut() else { return Err(self.busy()) };
        open.slot = slot::find(inner, &mut open.connection, &self.params.slot).await?;
        if open.slot.is_none() {
            if !self.params.create {
                let (slot, publication) = (&self.params.slot, &self.params.publication);
                return Err(refuse(
                    inner,
                    format!(
                        "there is no replication slot `{slot}`; SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput') \
                         makes it (publication `{publication}`), or set `create` to true"
                    ),
                ));
            }
            slot::create(inner, &mut open.connection, &self.params.slot).await?;
            open.slot = slot::find(inner, &mut open.connection, &self.params.slot).await?;
        }
        let Some(from) = open.slot.as_ref().map(|slot| slot.confirmed) else { return Err(self.busy()) };
        wait_for_writers(inner, &mut open.connection, member, &request.table).await?;

        let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
        let mut connection = session::open(inner, Some(&request.table)).await?;
        let row =
            sqlx::query("SELECT txid_current_snapshot()::text AS snapshot, pg_current_wal_insert_lsn()::text AS until")
                .fetch_one(&mut connection)
                .await
                .map_err(broken)?;
        let until: String = row.try_get("until").map_err(broken)?;
        let until = until.parse::<Lsn>().map_err(|_| self.busy())?;
        let now =
            members(inner, &mut connection, &self.params.publication, Some((&member.schema, &member.name))).await?;
        let Some(now) = now.into_iter().next() else {
            return Err(Error::NoSuchTable { table: request.table.to_string() });
        };
        let columns = published(columns::table(inner, &mut connection, &request.table).await?, &now);
        let snapshot: String = row.try_get("snapshot").map_err(broken)?;
        let seen = Some(Seen { snapshot, until });
        let place = Place { log: open.log.clone(), lsn: from, shape: now.shape(), seen };
        let Some(end) = place.to_cursor() else { return Err(self.busy()) };
        let way = Way::Handover { end, again };
        let reading = Reading { inner: Arc::clone(inner), request: request.clone(), columns, way };
        Ok(read::start(reading, connection))
    }

    /// Whether there is anything for a table. Looks at the log without spooling it; where another run has the slot, nobody
    /// can tell.
    pub(super) async fn changed(&self, inner: &Inner, table: &TableRef, from: &Cursor) -> Result<Option<bool>, Error> {
        let mut state = self.state.lock().await;
        let changed = self.changed_in(inner, table, from, &mut state).await;
        state.unless_broken(changed).await
    }

    async fn changed_in(
        &self,
        inner: &Inner,
        table: &TableRef,
        from: &Cursor,
        state: &mut State,
    ) -> Result<Option<bool>, Error> {
        let Some(place) = Place::from_cursor(from) else { return Ok(None) };
        let Some(open) = self.open(inner, state, Duration::ZERO).await? else { return Ok(None) };
        let Some(member) = open.member(inner, table).cloned() else { return Ok(None) };
        // What is wrong is for a reading to tell.
        if self.stands(state, &member, &place, table).is_err() || !member.goes_on_from(&place.shape) {
            return Ok(Some(true));
        }
        if state.drained.is_none() {
            if !state.quiet {
                let Some(open) = state.open.as_mut() else { return Ok(None) };
                state.quiet = !drain::anything(inner, &self.params, open).await?;
            }
            if state.quiet {
                return Ok(Some(false));
            }
        }
        let drained = self.drained(inner, state).await?;
        Ok(Some(drained.first_lacked(member.oid, &place).is_some()))
    }

    /// How the slot stands; one that is not there is not sound.
    pub(super) async fn health(&self, inner: &Inner) -> Result<Option<LogHealth>, Error> {
        // A connection of its own: a run may have the slot.
        let mut connection = session::plain(inner).await?;
        let health = slot::health(inner, &mut connection, &self.params.slot).await?;
        drop(connection.close().await);
        Ok(Some(health))
    }

    pub(super) async fn kept(&self, inner: &Inner, kept: Option<&Cursor>) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        state.kept = kept.and_then(Kept::from_cursor);
        let State { kept, open, .. } = &mut *state;
        let advanced = match (kept, open) {
            (Some(kept), Some(open)) => self.advance(inner, open, kept).await,
            _ => Ok(()),
        };
        state.unless_broken(advanced).await
    }

    pub(super) async fn settle(&self, inner: &Inner, committed: &[(TableRef, Cursor)]) -> Result<Settled, Error> {
        let mut state = self.state.lock().await;
        let Some(open) = state.open.as_mut() else { return Ok(Settled::default()) };
        let Some(slot) = slot::find(inner, &mut open.connection, &self.params.slot).await? else {
            return Ok(Settled::default());
        };
        let mut settled =
            Settled { keep: None, notes: slot.notes(&self.params.slot, self.params.warn_megabytes << 20) };
        let state = &*state;
        let Some(open) = &state.open else { return Ok(settled) };
        if open.slot.as_ref().map(|before| before.confirmed) != Some(slot.confirmed) {
            // Somebody moved it or made it anew: the next reading says so.
            return Ok(settled);
        }
        if state.drained.as_ref().is_some_and(|drained| drained.limited) {
            settled.notes.push(format!(
                "replication slot `{}` has more changes than one run reads; the next run goes on",
                self.params.slot
            ));
        }
        let mut places = Vec::new();
        for (table, cursor) in committed {
            let Some(place) = Place::from_cursor(cursor).filter(|place| place.log == open.log) else { continue };
            // What the log does not tell of any more holds nothing back: it is to be read in full.
            let Some(member) = open.member(inner, table) else { continue };
            if self.stands(state, member, &place, table).is_err() {
                continue;
            }
            let reached = match &state.drained {
                Some(drained) if place.lsn < drained.end => {
                    drained.first_lacked(member.oid, &place).unwrap_or(drained.end)
                }
                _ => place.lsn,
            };
            places.push((member.label(), place.lsn, reached));
        }
        let Some(lsn) = places.iter().map(|(_, _, reached)| *reached).min() else { return Ok(settled) };
        if lsn <= slot.confirmed {
            return Ok(settled);
        }
        let tables: BTreeMap<String, Lsn> =
            places.into_iter().filter(|(_, at, _)| *at < lsn).map(|(label, at, _)| (label, at)).collect();
        settled.keep = Kept { log: open.log.clone(), lsn, tables }.to_cursor();
        Ok(settled)
    }
}

//! One client: who it is, its settings, its transaction, what it prepared and what it fetches.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use datafusion::scalar::ScalarValue;
use mavis_sql::Postgres;
use mavis_types::Principal;
use pgwire::messages::{
    PgWireBackendMessage,
    response::{CommandComplete, NoticeResponse, TransactionStatus},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::{
    cancel::Place,
    command::Command,
    copy::Copy,
    failure::{Failure, state},
    output::Wire,
    parameters,
    portal::{Portal, Prepared, Running, Watch},
    script::{Piece, pieces},
    settings::Settings,
    transaction::Transaction,
    words::{size, type_of, written},
};
use crate::{App, auth::Door, query_log::QueryLog};

/// Statements that one connection may keep, and bytes of their texts.
const STATEMENTS: usize = 1_000;
const TEXTS: usize = 32 << 20;
/// Portals that one connection may have open.
const PORTALS: usize = 100;

/// What a statement answers with.
#[derive(Debug)]
pub(super) enum Outcome {
    Rows(Running),
    Copy(Running, Box<Copy>),
    /// Rows of a cursor, or how many are passed over.
    Cursor {
        name: String,
        rows: Option<u64>,
        moves: bool,
    },
    /// Nothing but that it is done.
    Tag(String),
}

/// A client that was let in.
pub(super) struct Client {
    pub(super) app: App,
    token: SecretString,
    peer: IpAddr,
    /// The principal's name.
    pub(super) user: String,
    database: String,
    pub(super) settings: Settings,
    pub(super) transaction: Transaction,
    pub(super) statements: HashMap<String, Arc<Prepared>>,
    pub(super) portals: HashMap<String, Portal>,
    pub(super) place: Place,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("user", &self.user).field("database", &self.database).finish_non_exhaustive()
    }
}

/// Who came in, and where to.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) token: SecretString,
    pub(super) peer: IpAddr,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) path: Vec<String>,
    /// Whether the server has a certificate.
    pub(super) has_tls: bool,
}

pub(super) fn complete(wire: &mut Wire, tag: &str) {
    wire.put(&PgWireBackendMessage::CommandComplete(CommandComplete::new(tag.to_owned())));
}

pub(super) fn notice(wire: &mut Wire, severity: &str, code: &str, message: &str) {
    let fields = [(b'S', severity), (b'V', severity), (b'C', code), (b'M', message)];
    let fields = fields.map(|(key, text)| (key, text.to_owned())).to_vec();
    wire.put(&PgWireBackendMessage::NoticeResponse(NoticeResponse::new(fields)));
}

impl Client {
    pub(super) fn new(app: App, entry: Entry, place: Place) -> Self {
        let connections = app.config.postgres.connections;
        Self {
            app,
            token: entry.token,
            peer: entry.peer,
            settings: Settings::new(entry.path, &entry.user, entry.has_tls, connections),
            user: entry.user,
            database: entry.database,
            transaction: Transaction::None,
            statements: HashMap::new(),
            portals: HashMap::new(),
            place,
        }
    }

    pub(super) fn status(&self) -> TransactionStatus {
        match self.transaction {
            Transaction::None => TransactionStatus::Idle,
            Transaction::Open { failed: false, .. } => TransactionStatus::Transaction,
            Transaction::Open { failed: true, .. } => TransactionStatus::Error,
        }
    }

    /// What may stop a statement that begins now.
    pub(super) fn watch(&self) -> Watch {
        let deadline = self.settings.time().map(|time| Instant::now() + time);
        Watch { cancelled: self.place.begin(), deadline }
    }

    /// Notes that a statement failed.
    pub(super) fn fail(&mut self) {
        if let Transaction::Open { failed, .. } = &mut self.transaction {
            *failed = true;
        }
    }

    /// Who asks now: the token is shown again for each statement, and for more rows of one.
    pub(super) async fn principal(&mut self) -> Result<Principal, Failure> {
        let token = self.token.expose_secret();
        Ok(self.app.auth.authenticate(Some(token), Some(self.peer), Door::Postgres).await?)
    }

    /// A session of the engine for one statement.
    async fn session(&mut self, declared: &[u32], values: &[ScalarValue]) -> Result<mavis_sql::Session, Failure> {
        let principal = self.principal().await?;
        let pinned = match &self.transaction {
            Transaction::Open { snapshot, .. } => *snapshot,
            Transaction::None => None,
        };
        let session = self.app.engine.session(&principal, pinned).await?;
        if let Transaction::Open { snapshot, .. } = &mut self.transaction {
            *snapshot = session.snapshot();
        }
        Ok(session.as_postgres(Arc::new(Postgres {
            database: self.database.clone(),
            path: self.settings.path().to_vec(),
            user: self.user.clone(),
            process: self.place.number,
            settings: self.settings.all(),
            parameters: parameters::types(declared, values),
        })))
    }

    /// Reads and plans a statement.
    pub(super) async fn prepare(
        &mut self,
        wire: &mut Wire,
        sql: &str,
        declared: Vec<u32>,
    ) -> Result<Prepared, Failure> {
        let mut pieces = pieces(sql)?;
        let piece = pieces.pop();
        if !pieces.is_empty() {
            return Err(Failure::error(state::SYNTAX, "a prepared statement holds one statement, not several"));
        }
        if let Some(piece) = &piece {
            self.permit(&piece.command)?;
        }
        let (mut parameters, mut columns) = (Vec::new(), None);
        match piece.as_ref().map(|piece| &piece.command) {
            Some(command @ (Command::Query { .. } | Command::Declare { .. })) => {
                let (text, before) = piece.as_ref().map(|piece| (piece.sql.as_str(), piece.before)).unwrap_or_default();
                // The rows of a cursor come when it is asked for them.
                let (text, answers) = match command {
                    Command::Declare { sql, .. } => (sql.as_str(), false),
                    _ => (text, true),
                };
                let watch = self.watch();
                let session = self.session(&declared, &[]).await?;
                let planned = watch.over(wire, session.prepare(text)).await?;
                let planned = planned.map_err(|error| {
                    let failure = Failure::from(error);
                    if answers { failure.located(text, before) } else { failure }
                })?;
                let fields = planned.parameters.fields().iter().enumerate();
                let told = fields.map(|(number, field)| parameters::told(declared.get(number).copied(), field));
                parameters = told.collect();
                columns = Some(planned.schema).filter(|schema| answers && !schema.fields().is_empty());
            }
            Some(Command::Show(name)) => columns = Some(self.show(name.as_deref())?.schema),
            Some(Command::Fetch { cursor, moves: false, .. }) => {
                let running = self.portals.get(cursor).and_then(|portal| portal.running.as_ref());
                columns = running.map(|running| Arc::clone(&running.schema));
            }
            Some(Command::Execute { name, .. }) => {
                columns = self.statements.get(name).and_then(|prepared| prepared.columns.clone());
            }
            _ => {}
        }
        Ok(Prepared { piece, declared, parameters, columns })
    }

    /// Keeps a statement under its name. One without a name replaces the one before.
    pub(super) fn keep(&mut self, name: &str, prepared: Prepared) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(Failure::error(
                state::TAKEN_STATEMENT,
                format!("there is a prepared statement \"{name}\" already"),
            ));
        }
        let texts: usize = self.statements.values().map(|kept| size(kept)).sum();
        if self.statements.len() >= STATEMENTS || texts + size(&prepared) > TEXTS {
            let message = format!("a connection keeps at most {STATEMENTS} statements of {TEXTS} bytes together");
            return Err(Failure::error("53400", message));
        }
        self.statements.insert(name.to_owned(), Arc::new(prepared));
        Ok(())
    }

    pub(super) fn statement(&self, name: &str) -> Result<Arc<Prepared>, Failure> {
        let found = self.statements.get(name).cloned();
        found.ok_or_else(|| Failure::error(state::NO_STATEMENT, format!("there is no prepared statement \"{name}\"")))
    }

    /// Keeps a portal under its name.
    pub(super) fn open(&mut self, name: &str, mut portal: Portal) -> Result<(), Failure> {
        if !name.is_empty() && self.portals.contains_key(name) {
            return Err(Failure::error(state::TAKEN_CURSOR, format!("there is a cursor \"{name}\" already")));
        }
        if self.portals.len() >= PORTALS {
            return Err(Failure::error("53400", format!("a connection keeps at most {PORTALS} cursors")));
        }
        portal.level = self.transaction.level();
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    /// After a failure in a transaction only its end is taken.
    pub(super) fn permit(&self, command: &Command) -> Result<(), Failure> {
        match self.transaction {
            Transaction::Open { failed: true, .. } if !command.ends_failure() => Err(Failure::error(
                state::FAILED_TRANSACTION,
                "the transaction failed before: nothing is done until it ends with ROLLBACK",
            )),
            Transaction::Open { .. } if command.writes() => Err(Failure::error(
                state::UNSUPPORTED,
                "a write in a transaction could not be taken back here: each is committed by itself",
            )
            .with_hint("turn autocommit on, or send the statement outside of BEGIN ... COMMIT")),
            _ => Ok(()),
        }
    }

    /// Starts a statement. What goes beside its answer (notices, changed settings) is written.
    pub(super) async fn start(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        piece: &Piece,
        values: &[ScalarValue],
        declared: &[u32],
    ) -> Result<Outcome, Failure> {
        self.permit(&piece.command)?;
        Ok(match &piece.command {
            Command::Query { verb } => {
                let located = |failure: Failure| failure.located(&piece.sql, piece.before);
                if piece.command.writes() && mavis_sql::writes(&piece.sql) {
                    return self.write(wire, watch, &piece.sql, values, declared).await.map_err(located);
                }
                let running = self.query(wire, watch, &piece.sql, values, declared, verb).await.map_err(located)?;
                Outcome::Rows(running)
            }
            Command::Copy(copy) => {
                let running = self.query(wire, watch, &copy.sql, values, declared, "COPY").await?;
                Outcome::Copy(running, copy.clone())
            }
            Command::Declare { name, hold, binary, sql } => {
                if !hold && matches!(self.transaction, Transaction::None) {
                    return Err(Failure::error(
                        state::NO_TRANSACTION,
                        "a cursor without HOLD lives in a transaction: begin one",
                    ));
                }
                let running = self.query(wire, watch, sql, values, declared, "FETCH").await?;
                let prepared = Prepared {
                    piece: None,
                    declared: Vec::new(),
                    parameters: Vec::new(),
                    columns: Some(Arc::clone(&running.schema)),
                };
                let portal = Portal {
                    prepared: Arc::new(prepared),
                    values: Vec::new(),
                    formats: if *binary { vec![1] } else { Vec::new() },
                    running: Some(running),
                    hold: *hold,
                    is_cursor: true,
                    is_done: false,
                    level: None,
                };
                self.open(name, portal)?;
                Outcome::Tag("DECLARE CURSOR".to_owned())
            }
            Command::Fetch { cursor, rows, moves } => {
                Outcome::Cursor { name: cursor.clone(), rows: *rows, moves: *moves }
            }
            Command::Close(cursor) => {
                self.close_cursor(cursor.as_deref())?;
                Outcome::Tag(if cursor.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }.to_owned())
            }
            Command::Prepare { name, types, sql } => {
                let declared = types.iter().map(|name| type_of(name)).collect();
                let prepared = Box::pin(self.prepare(wire, sql, declared)).await?;
                self.keep(name, prepared)?;
                Outcome::Tag("PREPARE".to_owned())
            }
            Command::Execute { name, values } => {
                let prepared = self.statement(name)?;
                let Some(piece) = prepared.piece.clone() else { return Ok(Outcome::Tag(String::new())) };
                let values = Box::pin(self.literals(wire, watch, values)).await?;
                let outcome = Box::pin(self.start(wire, watch, &piece, &values, &prepared.declared)).await?;
                if let Outcome::Rows(running) = &outcome {
                    prepared.fits(&running.schema)?;
                }
                outcome
            }
            command => self.local(wire, command)?,
        })
    }

    async fn query(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        sql: &str,
        values: &[ScalarValue],
        declared: &[u32],
        verb: &str,
    ) -> Result<Running, Failure> {
        let session = self.session(declared, values).await?;
        let log = QueryLog::begin(&self.app, session.principal(), Door::Postgres, sql);
        match watch.over(wire, session.query(sql, values, None)).await? {
            Ok(stream) => {
                let stream = log.follow(stream);
                let mut running = Running::new(stream.schema, stream.batches, verb.to_owned());
                running.deadline = watch.deadline;
                running.opener = Some(Arc::new(session.principal().clone()));
                Ok(running)
            }
            Err(error) => {
                log.failed(&error);
                Err(error.into())
            }
        }
    }

    /// Runs a statement that changes something.
    async fn write(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        sql: &str,
        values: &[ScalarValue],
        declared: &[u32],
    ) -> Result<Outcome, Failure> {
        let session = self.session(declared, values).await?;
        let log = QueryLog::write(&self.app, session.principal(), Door::Postgres, sql, String::new());
        let done = watch.over(wire, session.execute(sql, values, None)).await?;
        log.wrote(&done);
        Ok(Outcome::Tag(written(&done?)))
    }

    /// The values of expressions that stand in EXECUTE.
    async fn literals(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        texts: &[String],
    ) -> Result<Vec<ScalarValue>, Failure> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {}", texts.join(", "));
        let mut running = self.query(wire, watch, &sql, &[], &[], "EXECUTE").await?;
        let Some((batch, _)) = running.batch(watch, wire).await? else { return Ok(Vec::new()) };
        let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
        values
            .collect::<Result<_, _>>()
            .map_err(|_| Failure::error(state::BAD_VALUE, "a value of EXECUTE cannot be read"))
    }

    /// What concerns the connection alone.
    fn local(&mut self, wire: &mut Wire, command: &Command) -> Result<Outcome, Failure> {
        let tag = match command {
            Command::Begin => self.begin(wire),
            Command::Commit => self.end(wire, true),
            Command::Rollback => self.end(wire, false),
            Command::Savepoint(name) => self.savepoint(name)?,
            Command::Release(name) => self.release(name)?,
            Command::RollbackTo(name) => self.roll_back_to(wire, name)?,
            Command::Set { name, value, local } => self.set(wire, name, value, *local)?,
            Command::Reset(name) => self.reset(wire, name.as_deref())?,
            Command::Show(name) => return Ok(Outcome::Rows(self.show(name.as_deref())?)),
            Command::Discard { all } => {
                if *all {
                    if !matches!(self.transaction, Transaction::None) {
                        return Err(Failure::error("25001", "DISCARD ALL cannot stand in a transaction"));
                    }
                    self.portals.clear();
                    self.statements.clear();
                    self.reset(wire, None)?;
                    "DISCARD ALL"
                } else {
                    "DISCARD"
                }
            }
            Command::Deallocate(name) => {
                match name {
                    None => self.statements.clear(),
                    Some(name) => {
                        self.statement(name)?;
                        self.statements.remove(name);
                    }
                }
                if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" }
            }
            Command::Nothing(tag) => tag,
            _ => return Err(Failure::error(state::UNSUPPORTED, "this statement cannot stand here")),
        };
        Ok(Outcome::Tag(tag.to_owned()))
    }
}

//! The extended protocol: a statement is read, given values, described and executed by separate messages.

use std::sync::Arc;

use pgwire::{
    api::Type,
    messages::{
        PgWireBackendMessage,
        data::{NoData, ParameterDescription},
        extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended},
        response::EmptyQueryResponse,
    },
};

use super::{
    failure::{Failure, state},
    message::{Bind, Target},
    output::Wire,
    parameters,
    portal::{Portal, Sent},
    session::{Client, Outcome, complete},
    transaction::Transaction,
    values::{Format, describe},
};

impl Client {
    pub(super) async fn parse(
        &mut self,
        wire: &mut Wire,
        name: &str,
        sql: &str,
        types: Vec<u32>,
    ) -> Result<(), Failure> {
        let prepared = self.prepare(wire, sql, types).await?;
        self.keep(name, prepared)?;
        wire.put(&PgWireBackendMessage::ParseComplete(ParseComplete::new()));
        Ok(())
    }

    pub(super) fn bind(&mut self, wire: &mut Wire, bind: &Bind) -> Result<(), Failure> {
        let prepared = self.statement(&bind.statement)?;
        if let Some(piece) = &prepared.piece {
            self.permit(&piece.command)?;
        }
        let (given, wanted) = (bind.values.len(), prepared.parameters.len());
        if given != wanted {
            let message = format!("{given} values are bound, and the statement has {wanted} parameters");
            return Err(Failure::error(state::PROTOCOL, message));
        }
        let values = bind.values.iter().zip(&prepared.parameters).enumerate().map(|(number, (value, of))| {
            parameters::read(number + 1, of, Format::of(&bind.formats, number), value.as_ref())
        });
        let portal = Portal {
            values: values.collect::<Result<_, _>>()?,
            prepared: Arc::clone(&prepared),
            formats: bind.results.clone(),
            running: None,
            hold: false,
            is_cursor: false,
            is_done: false,
            level: None,
        };
        self.open(&bind.portal, portal)?;
        wire.put(&PgWireBackendMessage::BindComplete(BindComplete::new()));
        Ok(())
    }

    pub(super) fn describe(&self, wire: &mut Wire, target: &Target) -> Result<(), Failure> {
        let (prepared, formats) = match target {
            Target::Statement(name) => {
                let prepared = self.statement(name)?;
                let types = prepared.parameters.iter().map(Type::oid).collect();
                wire.put(&PgWireBackendMessage::ParameterDescription(ParameterDescription::new(types)));
                (prepared, Vec::new())
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| missing(name))?;
                (Arc::clone(&portal.prepared), portal.formats.clone())
            }
        };
        wire.put(&match &prepared.columns {
            Some(columns) => PgWireBackendMessage::RowDescription(describe(columns, &formats)),
            None => PgWireBackendMessage::NoData(NoData::new()),
        });
        Ok(())
    }

    /// Runs a portal, or goes on with it. `rows`: at most so many; 0 for all.
    pub(super) async fn execute(&mut self, wire: &mut Wire, name: &str, rows: u64) -> Result<(), Failure> {
        let portal = self.portals.remove(name).ok_or_else(|| missing(name))?;
        let (kept, result) = Box::pin(self.go_on(wire, portal, rows)).await;
        if let Some(kept) = kept {
            self.portals.insert(name.to_owned(), kept);
        }
        result
    }

    async fn go_on(&mut self, wire: &mut Wire, mut portal: Portal, rows: u64) -> (Option<Portal>, Result<(), Failure>) {
        let Some(piece) = portal.prepared.piece.clone() else {
            wire.put(&PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
            return (Some(portal), Ok(()));
        };
        let watch = self.watch();
        let most = (rows > 0).then_some(rows);
        // Rows that are left over from an Execute before.
        let opener = portal.running.as_ref().and_then(|running| running.opener.clone());
        if let Err(failure) = self.permit_more(opener).await {
            return (None, Err(failure));
        }
        if portal.running.is_none() {
            if portal.is_done {
                return (Some(portal), Err(Failure::error("55000", "the portal was executed already")));
            }
            let declared = portal.prepared.declared.clone();
            let outcome = match self.start(wire, &watch, &piece, &portal.values, &declared).await {
                Ok(outcome) => outcome,
                Err(failure) => return (None, Err(failure)),
            };
            let done = match outcome {
                Outcome::Rows(running) => {
                    if let Err(failure) = portal.prepared.fits(&running.schema) {
                        return (None, Err(failure));
                    }
                    portal.running = Some(running);
                    None
                }
                Outcome::Copy(running, copy) => {
                    Some(copy.send(running, wire, &watch).await.map(|count| complete(wire, &format!("COPY {count}"))))
                }
                Outcome::Cursor { name, rows, moves: false } => {
                    let rows = most.map_or(rows, |most| Some(rows.map_or(most, |rows| rows.min(most))));
                    Some(self.fetch(wire, &watch, &name, rows, &portal.formats, false).await)
                }
                Outcome::Cursor { name, rows, moves: true } => Some(self.pass(wire, &watch, &name, rows).await),
                Outcome::Tag(tag) => {
                    complete(wire, &tag);
                    Some(Ok(()))
                }
            };
            if let Some(done) = done {
                portal.is_done = true;
                return (Some(portal), done);
            }
        }
        let Some(running) = portal.running.as_mut() else { return (None, Ok(())) };
        let formats = running.formats(&portal.formats);
        match running.send(wire, &watch, &formats, most).await {
            Ok(Sent::All) => {
                let tag = running.tag();
                complete(wire, &tag);
                Ok(())
            }
            Ok(Sent::Some) => {
                wire.put(&PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
                Ok(())
            }
            Err(failure) => Err(failure),
        }
        .map_or_else(|failure| (None, Err(failure)), |()| (Some(portal), Ok(())))
    }

    pub(super) fn close(&mut self, wire: &mut Wire, target: &Target) {
        match target {
            Target::Statement(name) => drop(self.statements.remove(name)),
            Target::Portal(name) => drop(self.portals.remove(name)),
        }
        wire.put(&PgWireBackendMessage::CloseComplete(CloseComplete::new()));
    }

    /// Outside of a transaction what was bound goes with the end of a series of messages.
    pub(super) fn synced(&mut self) {
        if matches!(self.transaction, Transaction::None) {
            self.portals.retain(|_, portal| portal.hold);
        }
    }
}

fn missing(name: &str) -> Failure {
    Failure::error(state::NO_CURSOR, format!("there is no portal \"{name}\""))
}

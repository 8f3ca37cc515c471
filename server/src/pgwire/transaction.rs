//! What stands and falls with a transaction: its settings, its savepoints and the cursors that were opened in it.

use mavis_types::SnapshotId;

use super::{
    failure::{Failure, state},
    output::Wire,
    session::{Client, notice},
    settings::{REPORTED, Settings},
    words::{no_savepoint, report},
};

/// Whether statements stand together.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each connection")]
pub(super) enum Transaction {
    None,
    Open {
        /// The FHIR state that the first statement saw: the others see the same.
        snapshot: Option<SnapshotId>,
        savepoints: Vec<Savepoint>,
        failed: bool,
        /// The settings that a ROLLBACK brings back.
        before: Settings,
        /// Those that a COMMIT leaves: without what was set for the transaction alone.
        lasting: Settings,
    },
}

/// A point of a transaction, with its settings.
#[derive(Debug)]
pub(super) struct Savepoint {
    name: String,
    settings: Settings,
    lasting: Settings,
}

impl Transaction {
    /// How many savepoints are open; `None` outside of a transaction.
    pub(super) fn level(&self) -> Option<usize> {
        match self {
            Transaction::None => None,
            Transaction::Open { savepoints, .. } => Some(savepoints.len()),
        }
    }
}

impl Client {
    pub(super) fn begin(&mut self, wire: &mut Wire) -> &'static str {
        if matches!(self.transaction, Transaction::None) {
            let (before, lasting) = (self.settings.clone(), self.settings.clone());
            self.transaction =
                Transaction::Open { snapshot: None, savepoints: Vec::new(), failed: false, before, lasting };
        } else {
            notice(wire, "WARNING", "25001", "there is a transaction already");
        }
        "BEGIN"
    }

    /// Ends the transaction. One that failed is taken back, whatever is asked for.
    pub(super) fn end(&mut self, wire: &mut Wire, commit: bool) -> &'static str {
        let open = std::mem::replace(&mut self.transaction, Transaction::None);
        let Transaction::Open { failed, before, lasting, .. } = open else {
            notice(wire, "WARNING", state::NO_TRANSACTION, "there is no transaction");
            self.portals.retain(|_, portal| portal.hold);
            return if commit { "COMMIT" } else { "ROLLBACK" };
        };
        let stands = commit && !failed;
        self.portals.retain(|_, portal| portal.hold && (stands || portal.level.is_none()));
        for portal in self.portals.values_mut() {
            portal.level = None;
        }
        self.change(wire, if stands { lasting } else { before });
        if stands { "COMMIT" } else { "ROLLBACK" }
    }

    pub(super) fn savepoint(&mut self, name: &str) -> Result<&'static str, Failure> {
        let settings = self.settings.clone();
        let Transaction::Open { savepoints, lasting, .. } = &mut self.transaction else { return Err(alone()) };
        savepoints.push(Savepoint { name: name.to_owned(), settings, lasting: lasting.clone() });
        Ok("SAVEPOINT")
    }

    pub(super) fn release(&mut self, name: &str) -> Result<&'static str, Failure> {
        let Transaction::Open { savepoints, .. } = &mut self.transaction else { return Err(alone()) };
        let at = place_of(savepoints, name)?;
        savepoints.truncate(at);
        for portal in self.portals.values_mut() {
            portal.level = portal.level.map(|level| level.min(at));
        }
        Ok("RELEASE")
    }

    pub(super) fn roll_back_to(&mut self, wire: &mut Wire, name: &str) -> Result<&'static str, Failure> {
        let Transaction::Open { savepoints, failed, lasting, .. } = &mut self.transaction else {
            return Err(alone());
        };
        let at = place_of(savepoints, name)?;
        savepoints.truncate(at + 1);
        *failed = false;
        let settings = savepoints.last().map(|point| {
            lasting.clone_from(&point.lasting);
            point.settings.clone()
        });
        self.portals.retain(|_, portal| portal.level.is_none_or(|level| level <= at));
        if let Some(settings) = settings {
            self.change(wire, settings);
        }
        Ok("ROLLBACK")
    }

    /// `local`: until the transaction ends.
    pub(super) fn set(
        &mut self,
        wire: &mut Wire,
        name: &str,
        value: &[String],
        local: bool,
    ) -> Result<&'static str, Failure> {
        match &mut self.transaction {
            Transaction::None if local => {
                notice(wire, "WARNING", state::NO_TRANSACTION, "SET LOCAL is for a transaction, and there is none");
                return Ok("SET");
            }
            Transaction::Open { lasting, .. } if !local => {
                lasting.set(name, value)?;
            }
            _ => {}
        }
        let changed = self.settings.set(name, value)?;
        report(wire, changed);
        Ok("SET")
    }

    /// Takes a setting back to what it was at the start; `None`: all of them.
    pub(super) fn reset(&mut self, wire: &mut Wire, name: Option<&str>) -> Result<&'static str, Failure> {
        let mut settings = self.settings.clone();
        settings.reset(name)?;
        if let Transaction::Open { lasting, .. } = &mut self.transaction {
            lasting.reset(name)?;
        }
        self.change(wire, settings);
        Ok("RESET")
    }

    /// Puts other settings in place, and tells the client of those that it is told of.
    fn change(&mut self, wire: &mut Wire, settings: Settings) {
        let before = std::mem::replace(&mut self.settings, settings);
        for name in REPORTED {
            let value = self.settings.show(name).ok();
            if value != before.show(name).ok() {
                report(wire, value.map(|value| (name, value)));
            }
        }
    }
}

fn alone() -> Failure {
    Failure::error(state::NO_TRANSACTION, "savepoints stand in a transaction: begin one")
}

fn place_of(savepoints: &[Savepoint], name: &str) -> Result<usize, Failure> {
    savepoints.iter().rposition(|own| own.name == name).ok_or_else(|| no_savepoint(name))
}

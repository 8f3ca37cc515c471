//! Answers that every request needs, kept while the catalog's [`Stamp`] stays: who a token is, what a name means, the newest
//! snapshot. They are as fresh as if the database were asked, which they are again after each commit.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use chrono::{DateTime, Utc};
use mavis_types::{Principal, TableId, TableName};

use crate::{Catalog, LakeSnapshot, Stamp, Table};

/// Answers of one kind; more begin anew.
const MOST: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Kept(RwLock<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    stamp: Option<Stamp>,
    /// By the secret's hash, with the time at which the token expires.
    principals: HashMap<String, (Principal, Option<DateTime<Utc>>)>,
    tables: HashMap<TableName, Table>,
    by_id: HashMap<TableId, Table>,
    snapshot: Option<Option<Arc<LakeSnapshot>>>,
}

impl State {
    pub(crate) fn principal(&self, hash: &str) -> Option<Principal> {
        let (principal, expires) = self.principals.get(hash)?;
        expires.is_none_or(|at| at > Utc::now()).then(|| principal.clone())
    }

    pub(crate) fn keep_principal(&mut self, hash: String, principal: Principal, expires: Option<DateTime<Utc>>) {
        room(&mut self.principals).insert(hash, (principal, expires));
    }

    pub(crate) fn table(&self, name: &TableName) -> Option<Table> {
        self.tables.get(name).cloned()
    }

    pub(crate) fn table_by_id(&self, id: TableId) -> Option<Table> {
        self.by_id.get(&id).cloned()
    }

    pub(crate) fn keep_table(&mut self, table: &Table) {
        room(&mut self.tables).insert(table.name.clone(), table.clone());
        room(&mut self.by_id).insert(table.id, table.clone());
    }

    pub(crate) fn snapshot(&self) -> Option<Option<Arc<LakeSnapshot>>> {
        self.snapshot.clone()
    }

    pub(crate) fn keep_snapshot(&mut self, snapshot: Option<Arc<LakeSnapshot>>) {
        self.snapshot = Some(snapshot);
    }
}

fn room<K, V>(map: &mut HashMap<K, V>) -> &mut HashMap<K, V> {
    if map.len() >= MOST {
        map.clear();
    }
    map
}

impl Catalog {
    /// What is kept and holds now, with the stamp under which a fresh answer may be kept.
    pub(crate) fn kept<T>(&self, find: impl FnOnce(&State) -> Option<T>) -> (Option<T>, Option<Stamp>) {
        let Some(stamp) = self.stamp() else { return (None, None) };
        let found = self.kept.0.read().ok().filter(|state| state.stamp == Some(stamp)).and_then(|state| find(&state));
        (found, Some(stamp))
    }

    /// Keeps an answer that was read after `stamp` was taken. One that came late, when others were read since, is not kept
    /// in their place for long: its stamp is no longer the catalog's.
    pub(crate) fn keep(&self, stamp: Option<Stamp>, put: impl FnOnce(&mut State)) {
        let Some(stamp) = stamp else { return };
        let Ok(mut state) = self.kept.0.write() else { return };
        if state.stamp != Some(stamp) {
            *state = State { stamp: Some(stamp), ..State::default() };
        }
        put(&mut state);
    }
}

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use mavis_fhir::ResourceType;
use tokio::sync::OwnedMutexGuard;

/// Whose turn it is to write a resource type, in this process: first come, first served. Between processes the leases of
/// the tables decide.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<ResourceType, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of every type; always in the same order, so that two writes do not wait for each other.
    pub(crate) async fn wait(&self, types: &BTreeSet<ResourceType>) -> Vec<OwnedMutexGuard<()>> {
        let mut held = Vec::with_capacity(types.len());
        for resource in types {
            let turn = {
                let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(turns.entry(*resource).or_default())
            };
            held.push(turn.lock_owned().await);
        }
        held
    }
}

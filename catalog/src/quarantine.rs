use chrono::{DateTime, Utc};
use mavis_types::{RunId, TableId};
use serde::{Deserialize, Serialize};

use crate::{Catalog, Error, Step};

/// A row that could not go on, with everything needed to correct and replay it.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    pub id: i64,
    pub run: RunId,
    /// The table that the row was on its way to.
    pub table: TableId,
    pub step: Step,
    /// What is wrong, without the value: `birth_date: not a date`.
    pub reason: String,
    /// Where the row came from: `labs.csv line 812`, `hms_patient key 4711`'s hash, `bundle.json entry 12`.
    pub origin: String,
    /// The row itself as JSON or text. Patient data: never logged, shown only to principals who may read the table.
    pub payload: String,
    pub state: QuarantineState,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineState {
    Waiting,
    Replayed,
    Dropped,
}

/// A row to quarantine. `(app_id, sequence, ordinal)` names it, so that writing it twice leaves it there once.
#[derive(Debug, Clone)]
pub struct NewQuarantined {
    pub app_id: String,
    pub sequence: i64,
    pub ordinal: i64,
    pub run: RunId,
    pub table: TableId,
    pub step: Step,
    pub reason: String,
    pub origin: String,
    pub payload: String,
}

#[derive(Debug, Clone, Default)]
pub struct QuarantineFilter {
    pub table: Option<TableId>,
    pub run: Option<RunId>,
    pub state: Option<QuarantineState>,
    /// Only ids above this one.
    pub after: Option<i64>,
    pub limit: Option<u32>,
}

impl Catalog {
    /// Writes them all or none; rows written before by the same name are left as they are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn quarantine(&self, rows: &[NewQuarantined]) -> Result<(), Error> {
        let _ = rows;
        todo!()
    }

    /// By id.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn quarantined(&self, filter: &QuarantineFilter) -> Result<Vec<Quarantined>, Error> {
        let _ = filter;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn quarantined_row(&self, id: i64) -> Result<Quarantined, Error> {
        let _ = id;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_quarantine_state(&self, id: i64, state: QuarantineState) -> Result<(), Error> {
        let _ = (id, state);
        todo!()
    }

    pub async fn discard_quarantine(&self, app_id: &str, sequence: i64) -> Result<u64, Error> {
        let _ = (app_id, sequence);
        todo!()
    }
}

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mavis_types::{RunId, TableId};
use serde::{Deserialize, Serialize};

use crate::{
    Catalog, Error, Step,
    engine::Durability,
    value::{Row, Value, signed, values, word},
};

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
    /// Where the row came from: `labs.csv line 812`, `hms.patient key 4711`, `bundle.json entry 12`. What follows ` key ` is
    /// as much the row's content as the payload is.
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
    /// Writes them all or none. A row written before by the same name is there once still, with its id: where it waits,
    /// it is replaced (a unit that never committed is staged again under the same sequence); where it was replayed or
    /// dropped, it is left as it is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn quarantine(&self, rows: &[NewQuarantined]) -> Result<(), Error> {
        // The last of a name wins, as if they had been written one after the other.
        let mut by_name = BTreeMap::new();
        for row in rows {
            by_name.insert((row.app_id.as_str(), row.sequence, row.ordinal), row);
        }
        if by_name.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let count = signed(by_name.len() as u64);
        let first = tx.count("quarantine", count).await? - count + 1;
        let now = tx.now().await?;
        let mut list = Vec::with_capacity(by_name.len());
        for (row, id) in by_name.into_values().zip(first..) {
            list.push(values![
                id,
                &row.app_id,
                row.sequence,
                row.ordinal,
                row.run.to_string(),
                row.table.to_string(),
                word(&row.step, "quarantine.step")?,
                &row.reason,
                &row.origin,
                row.payload.clone().into_bytes(),
                word(&QuarantineState::Waiting, "quarantine.state")?,
                now,
            ]);
        }
        tx.insert_many(
            "INSERT INTO quarantine
                (id, app_id, sequence, ordinal, run_id, table_id, step, reason, origin, payload, state, at)",
            "ON CONFLICT (app_id, sequence, ordinal) DO UPDATE SET
                run_id = excluded.run_id, table_id = excluded.table_id, step = excluded.step,
                reason = excluded.reason, origin = excluded.origin, payload = excluded.payload, at = excluded.at
             WHERE quarantine.state = 'waiting'",
            list,
        )
        .await?;
        tx.commit().await
    }

    /// By id.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn quarantined(&self, filter: &QuarantineFilter) -> Result<Vec<Quarantined>, Error> {
        let mut args = Vec::new();
        let mut conditions = Vec::new();
        let mut condition = |column: &str, operator: &str, arg: Value| {
            args.push(arg);
            conditions.push(format!("{column} {operator} ${}", args.len()));
        };
        condition("id", ">", Value::from(filter.after.unwrap_or(i64::MIN)));
        if let Some(table) = filter.table {
            condition("table_id", "=", Value::from(table.to_string()));
        }
        if let Some(run) = filter.run {
            condition("run_id", "=", Value::from(run.to_string()));
        }
        if let Some(state) = filter.state {
            condition("state", "=", Value::from(word(&state, "quarantine.state")?));
        }
        args.push(Value::from(filter.limit.map_or(i64::MAX, i64::from)));
        let sql =
            format!("SELECT * FROM quarantine WHERE {} ORDER BY id LIMIT ${}", conditions.join(" AND "), args.len());
        let rows = self.engine.all(sql, args).await?;
        rows.iter().map(read_quarantined).collect()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn quarantined_row(&self, id: i64) -> Result<Quarantined, Error> {
        match self.engine.one("SELECT * FROM quarantine WHERE id = $1", values![id]).await? {
            Some(row) => read_quarantined(&row),
            None => Err(not_found(id)),
        }
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_quarantine_state(&self, id: i64, state: QuarantineState) -> Result<(), Error> {
        let changed = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE quarantine SET state = $2 WHERE id = $1 RETURNING id",
                values![id, word(&state, "quarantine.state")?],
            )
            .await?;
        if changed.is_empty() { Err(not_found(id)) } else { Ok(()) }
    }

    /// Takes away the waiting rows of a unit that never committed, before its sequence is staged again; answers how many.
    /// The caller holds the table's lease and has checked Delta's transaction version.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn discard_quarantine(&self, app_id: &str, sequence: i64) -> Result<u64, Error> {
        let discarded = self
            .engine
            .write(
                Durability::Disk,
                "DELETE FROM quarantine WHERE app_id = $1 AND sequence = $2 AND state = $3 RETURNING id",
                values![app_id, sequence, word(&QuarantineState::Waiting, "quarantine.state")?],
            )
            .await?;
        Ok(discarded.len() as u64)
    }
}

fn not_found(id: i64) -> Error {
    Error::NotFound { what: "quarantined row", name: id.to_string() }
}

fn read_quarantined(row: &Row) -> Result<Quarantined, Error> {
    Ok(Quarantined {
        id: row.int("quarantine.id")?,
        run: row.parse("quarantine.run_id")?,
        table: row.parse("quarantine.table_id")?,
        step: row.word("quarantine.step")?,
        reason: row.text("quarantine.reason")?,
        origin: row.text("quarantine.origin")?,
        payload: String::from_utf8(row.bytes("quarantine.payload")?)
            .map_err(|_| Error::Corrupt { place: "quarantine.payload" })?,
        state: row.word("quarantine.state")?,
        at: row.time("quarantine.at")?,
    })
}

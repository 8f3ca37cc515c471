use std::time::Duration;

use mavis_types::RunId;

use crate::{
    Catalog, Error, Run,
    engine::Durability,
    lease::{LONGEST_HOLD, micros},
    run::read_run,
    value::values,
};

/// A new run whose server has not said by then that it works on it is taken up by another one.
const UNHELD: Duration = Duration::from_secs(30);

/// A run that a server works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub run: RunId,
    /// Whether somebody asked for its end, at whatever server.
    pub cancelled: bool,
}

/// Who works on which run. Times are the database's own, so that servers whose clocks differ agree.
impl Catalog {
    /// Says that `holder` works on a run for `ttl` from now. `false`: it has ended, or another holder does.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn hold_run(&self, id: RunId, holder: &str, ttl: Duration) -> Result<bool, Error> {
        let held = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE runs SET holder = $2, held_until = NOW_MICROS + $3
                 WHERE id = $1 AND state IN ('pending', 'running')
                   AND (holder IS NULL OR holder = $2 OR held_until <= NOW_MICROS OR held_until > NOW_MICROS + $4)
                 RETURNING id",
                values![id.to_string(), holder, micros(ttl), micros(LONGEST_HOLD.max(ttl))],
            )
            .await?;
        Ok(!held.is_empty())
    }

    /// Says of every unfinished run of `holder` that it still works on it, and answers which those are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keep_runs(&self, holder: &str, ttl: Duration) -> Result<Vec<Held>, Error> {
        let kept = self
            .engine
            .write(
                Durability::System,
                "UPDATE runs SET held_until = NOW_MICROS + $2
                 WHERE holder = $1 AND state IN ('pending', 'running')
                 RETURNING id, cancel_at",
                values![holder, micros(ttl)],
            )
            .await?;
        kept.iter()
            .map(|row| Ok(Held { run: row.parse("runs.id")?, cancelled: row.opt_int("runs.cancel_at")?.is_some() }))
            .collect()
    }

    /// Unfinished runs that nobody works on, the oldest first: their server died, or never began. A run that is held for longer
    /// than anything is was so before the clock was put back.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn stray_runs(&self, limit: u32) -> Result<Vec<Run>, Error> {
        let rows = self
            .engine
            .all(
                "SELECT * FROM runs
                 WHERE state IN ('pending', 'running')
                   AND (held_until <= NOW_MICROS OR held_until > NOW_MICROS + $3
                        OR (held_until IS NULL AND (created_at <= NOW_MICROS - $1 OR created_at > NOW_MICROS + $3)))
                 ORDER BY created_at, id LIMIT $2",
                values![micros(UNHELD), limit, micros(LONGEST_HOLD)],
            )
            .await?;
        rows.iter().map(read_run).collect()
    }

    /// Lets go of every unfinished run of holders that start with `prefix`: at start, those of this server's earlier life, and
    /// at its end, so that another one goes on at once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release_runs(&self, prefix: &str) -> Result<u64, Error> {
        let released = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE runs SET holder = NULL, held_until = 0
                 WHERE state IN ('pending', 'running') AND SUBSTR(holder, 1, LENGTH($1)) = $1
                 RETURNING id",
                values![prefix],
            )
            .await?;
        Ok(released.len() as u64)
    }

    /// Asks for the end of a run, whichever server works on it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn cancel_run(&self, id: RunId) -> Result<(), Error> {
        self.engine
            .write(
                Durability::Disk,
                "UPDATE runs SET cancel_at = NOW_MICROS WHERE id = $1 AND state IN ('pending', 'running')",
                values![id.to_string()],
            )
            .await?;
        Ok(())
    }
}

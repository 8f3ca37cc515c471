//! Sources that have a log of their own: what is kept of the source as a whole is told to it, and at the end of a run it is
//! told where every table has come, so that it can let go of what nobody needs any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use mavis_catalog::{NewCursor, Source};
use mavis_connectors::{ReadMode, Source as Connected, TableRef};
use mavis_lake::AppId;
use mavis_types::Cursor;

use crate::{DiscoveryReport, context::Running, discover, failure::Failure, log_health};

/// Where a run's tables stand by their last commits.
#[derive(Debug)]
pub(crate) struct Settling {
    app_id: String,
    wanted: bool,
    places: Mutex<HashMap<TableRef, Cursor>>,
}

impl Settling {
    /// Tells the source what is kept of it.
    pub(crate) async fn begin(
        running: &Running,
        source: &Source,
        connected: &Arc<dyn Connected>,
    ) -> Result<Self, Failure> {
        let app_id = format!("log:{}", source.id);
        let kept = running.catalog().newest_cursor(&app_id).await?.and_then(|row| row.to);
        let wanted = connected.kept(kept.as_ref()).await?;
        Ok(Self { app_id, wanted, places: Mutex::default() })
    }

    /// Takes note of where a table certainly stands.
    pub(crate) fn stands(&self, table: &TableRef, at: &Cursor) {
        if self.wanted {
            self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone(), at.clone());
        }
    }

    /// Settles the source. What goes wrong here leaves everything as it was, for the next run to settle.
    pub(crate) async fn end(
        self,
        running: &Running,
        source: &Source,
        connected: &Arc<dyn Connected>,
        report: &DiscoveryReport,
    ) {
        if !self.wanted {
            return;
        }
        if let Err(failure) = self.settle(running, source, connected, report).await {
            running.warn(format!("what the source keeps for us could not be let go of: {failure}")).await;
        }
        log_health::after_run(&running.context, source, connected.as_ref()).await;
    }

    async fn settle(
        self,
        running: &Running,
        source: &Source,
        connected: &Arc<dyn Connected>,
        report: &DiscoveryReport,
    ) -> Result<(), Failure> {
        let mut places = self.places.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut committed, mut any) = (Vec::new(), None);
        for table in report.tables.iter().filter(|table| table.mode == ReadMode::Incremental) {
            let entry = running.catalog().ensure_table(discover::raw_table(source, table)).await?;
            any = Some(entry.id);
            let place = match places.remove(&table.table) {
                Some(place) => Some(place),
                // It was not read in this run; it may lack what others have.
                None => running.lake().cursor(entry.id, &AppId::ingest(source.id, entry.id)).await?,
            };
            committed.extend(place.map(|place| (table.table.clone(), place)));
        }
        let Some(table) = any else { return Ok(()) };
        let settled = connected.settle(&committed).await?;
        for note in settled.notes {
            running.warn(note).await;
        }
        let Some(keep) = settled.keep else { return Ok(()) };
        // One row, written anew each time.
        let row =
            NewCursor { app_id: self.app_id, sequence: 1, table, from: None, to: Some(keep.clone()), run: running.id };
        running.catalog().write_cursor(&row).await?;
        connected.kept(Some(&keep)).await?;
        Ok(())
    }
}

//! DECLARE, FETCH, MOVE, CLOSE: rows of a query a few at a time. A cursor is a portal with a name, and goes forward only.

use std::sync::Arc;

use mavis_types::Principal;

use super::{
    failure::{Failure, state},
    output::Wire,
    portal::{Sent, Watch},
    session::{Client, complete},
    values::{Format, describe},
};

impl Client {
    /// Writes the next rows of a cursor. `describes`: with their columns before them.
    pub(super) async fn fetch(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        cursor: &str,
        rows: Option<u64>,
        formats: &[i16],
        describes: bool,
    ) -> Result<(), Failure> {
        self.permit_cursor(cursor).await?;
        let portal = self.portals.get_mut(cursor).filter(|portal| portal.is_cursor);
        let portal = portal.ok_or_else(|| missing(cursor))?;
        let own;
        let formats = if formats.is_empty() {
            own = portal.formats.clone();
            &own
        } else {
            formats
        };
        let Some(running) = portal.running.as_mut() else { return Err(missing(cursor)) };
        if describes {
            wire.put(&pgwire::messages::PgWireBackendMessage::RowDescription(describe(&running.schema, formats)));
        }
        let formats: Vec<Format> = running.formats(formats);
        let sent: Result<Sent, Failure> = running.send(wire, watch, &formats, rows).await;
        let tag = running.tag();
        if let Err(failure) = sent {
            // Nothing comes of it any more, which must not look as if there were no more rows.
            self.portals.remove(cursor);
            return Err(failure);
        }
        complete(wire, &tag);
        Ok(())
    }

    /// Passes over rows of a cursor.
    pub(super) async fn pass(
        &mut self,
        wire: &mut Wire,
        watch: &Watch,
        cursor: &str,
        rows: Option<u64>,
    ) -> Result<(), Failure> {
        self.permit_cursor(cursor).await?;
        let portal = self.portals.get_mut(cursor).filter(|portal| portal.is_cursor);
        let running = portal.and_then(|portal| portal.running.as_mut()).ok_or_else(|| missing(cursor))?;
        let passed = running.pass(wire, watch, rows).await;
        let count = match passed {
            Ok(count) => count,
            Err(failure) => {
                self.portals.remove(cursor);
                return Err(failure);
            }
        };
        complete(wire, &format!("MOVE {count}"));
        Ok(())
    }

    /// Whether more rows of a cursor may be read; it is closed where not.
    async fn permit_cursor(&mut self, cursor: &str) -> Result<(), Failure> {
        let opener = {
            let portal = self.portals.get(cursor).filter(|portal| portal.is_cursor).ok_or_else(|| missing(cursor))?;
            portal.running.as_ref().and_then(|running| running.opener.clone())
        };
        let permitted = self.permit_more(opener).await;
        if permitted.is_err() {
            self.portals.remove(cursor);
        }
        permitted
    }

    /// Whether more rows of an earlier statement may be read: they are those that its `opener` could see.
    ///
    /// # Errors
    /// What a revoked token is told; 42501 where its rights are others now.
    pub(super) async fn permit_more(&mut self, opener: Option<Arc<Principal>>) -> Result<(), Failure> {
        let Some(opener) = opener else { return Ok(()) };
        if self.principal().await? == *opener {
            return Ok(());
        }
        Err(Failure::error(
            state::FORBIDDEN,
            "the rights of this token were changed since the cursor was opened: open it again",
        ))
    }

    /// Closes a cursor; `None`: all of them.
    pub(super) fn close_cursor(&mut self, cursor: Option<&str>) -> Result<(), Failure> {
        match cursor {
            None => self.portals.retain(|_, portal| !portal.is_cursor),
            Some(name) => {
                self.portals.remove(name).filter(|portal| portal.is_cursor).ok_or_else(|| missing(name))?;
            }
        }
        Ok(())
    }
}

fn missing(cursor: &str) -> Failure {
    Failure::error(state::NO_CURSOR, format!("there is no cursor \"{cursor}\""))
}

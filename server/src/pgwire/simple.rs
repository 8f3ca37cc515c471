//! The simple protocol: a text of any number of statements, answered as text.

use pgwire::messages::{PgWireBackendMessage, response::EmptyQueryResponse};

use super::{
    failure::Failure,
    output::Wire,
    portal::Watch,
    script::{Piece, pieces},
    session::{Client, Outcome, complete},
    values::describe,
};

impl Client {
    /// Runs the statements of a text until one fails.
    pub(super) async fn simple(&mut self, wire: &mut Wire, text: &str) -> Result<(), Failure> {
        let pieces = pieces(text)?;
        if pieces.is_empty() {
            wire.put(&PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
        }
        for piece in &pieces {
            let watch = self.watch();
            self.run(wire, &watch, piece).await.map_err(|failure| failure.located(&piece.sql, piece.before))?;
        }
        Ok(())
    }

    async fn run(&mut self, wire: &mut Wire, watch: &Watch, piece: &Piece) -> Result<(), Failure> {
        match self.start(wire, watch, piece, &[], &[]).await? {
            Outcome::Rows(mut running) => {
                wire.put(&PgWireBackendMessage::RowDescription(describe(&running.schema, &[])));
                let formats = running.formats(&[]);
                running.send(wire, watch, &formats, None).await?;
                let tag = running.tag();
                complete(wire, &tag);
            }
            Outcome::Copy(running, copy) => {
                let count = copy.send(running, wire, watch).await?;
                complete(wire, &format!("COPY {count}"));
            }
            Outcome::Cursor { name, rows, moves: false } => self.fetch(wire, watch, &name, rows, &[], true).await?,
            Outcome::Cursor { name, rows, moves: true } => self.pass(wire, watch, &name, rows).await?,
            Outcome::Tag(tag) => complete(wire, &tag),
        }
        Ok(())
    }
}

//! Messages of one client, in order, until it leaves.

use std::io;

use pgwire::messages::{PgWireBackendMessage, response::ReadyForQuery};

use super::{
    failure::{Failure, state},
    message::{Message, take},
    output::Wire,
    session::Client,
};

/// Answers a client that was let in, until it leaves or the server stops.
pub(super) async fn serve(mut wire: Wire, mut client: Client) {
    let stopping = client.app.readiness.stopping();
    tokio::pin!(stopping);
    // After an error the rest of a series of messages is passed over.
    let mut skipping = false;
    ready(&mut wire, &client);
    if wire.flush().await.is_err() {
        return;
    }
    loop {
        let message = match take(&mut wire.read, usize::MAX) {
            Ok(Some(message)) => message,
            Ok(None) => {
                tokio::select! {
                    biased;
                    more = wire.more() => {
                        if !more.unwrap_or(false) {
                            return;
                        }
                        continue;
                    }
                    () = &mut stopping => {
                        Failure::fatal(state::STOPPING, "the server stops").write(&mut wire.out);
                        return wire.close().await;
                    }
                }
            }
            Err(failure) => {
                failure.write(&mut wire.out);
                return wire.close().await;
            }
        };
        let is_heard = matches!(
            message,
            Message::Sync | Message::Terminate | Message::Query(_) | Message::Unreadable { alone: true, .. }
        );
        if skipping && !is_heard {
            continue;
        }
        match Box::pin(answer(&mut wire, &mut client, message)).await {
            Ok(Next::Message) => {}
            Ok(Next::Ready) => {
                skipping = false;
                ready(&mut wire, &client);
            }
            Ok(Next::End) => return wire.close().await,
            Err((failure, from_series)) => {
                client.place.end();
                client.fail();
                let ends = failure.is_fatal();
                failure.write(&mut wire.out);
                if ends {
                    return wire.close().await;
                }
                if from_series {
                    skipping = true;
                } else {
                    skipping = false;
                    ready(&mut wire, &client);
                }
            }
        }
        if send(&mut wire, skipping).await.is_err() {
            return;
        }
    }
}

/// What follows a message that was answered.
enum Next {
    Message,
    /// The client is told that it may go on.
    Ready,
    End,
}

/// Answers one message. An error says whether it came in a series that ends with Sync.
async fn answer(wire: &mut Wire, client: &mut Client, message: Message) -> Result<Next, (Failure, bool)> {
    let series = |failure| (failure, true);
    match message {
        Message::Query(text) => {
            client.portals.retain(|name, _| !name.is_empty());
            client.simple(wire, &text).await.map_err(|failure| (failure, false))?;
            client.place.end();
            client.synced();
            return Ok(Next::Ready);
        }
        Message::Parse { name, sql, types } => client.parse(wire, &name, &sql, types).await.map_err(series)?,
        Message::Bind(bind) => {
            client.portals.remove("");
            client.bind(wire, &bind).map_err(series)?;
        }
        Message::Describe(target) => client.describe(wire, &target).map_err(series)?,
        Message::Execute { portal, rows } => client.execute(wire, &portal, rows).await.map_err(series)?,
        Message::Close(target) => client.close(wire, &target),
        Message::Flush => {
            // Nobody can be told of a socket that is broken; the next read finds out.
            if wire.flush().await.is_err() {
                return Ok(Next::End);
            }
        }
        Message::Sync => {
            client.synced();
            return Ok(Next::Ready);
        }
        Message::Terminate => return Ok(Next::End),
        Message::Password(_) => {
            return Err((Failure::fatal(state::PROTOCOL, "a password was not asked for"), false));
        }
        Message::Copy => {}
        Message::Unreadable { failure, alone } => return Err((failure, !alone)),
    }
    client.place.end();
    Ok(Next::Message)
}

fn ready(wire: &mut Wire, client: &Client) {
    wire.put(&PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(client.status())));
}

/// Sends what there is, unless more messages of the client wait already.
async fn send(wire: &mut Wire, skipping: bool) -> io::Result<()> {
    if wire.read.is_empty() || skipping { wire.flush().await } else { wire.relieve().await }
}

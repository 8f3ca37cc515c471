use std::future::Future;

use tokio::{net::TcpListener, task::JoinSet};
use tracing::warn;

use super::{
    cancel::Connections,
    startup::{Shared, accept},
};
use crate::{App, tls::Tls};

/// Serves clients until `until`, then those that are connected to the end of what they run.
pub(crate) async fn serve(app: App, listener: TcpListener, tls: Option<Tls>, until: impl Future<Output = ()> + Send) {
    let shared = Shared { app, connections: Connections::default(), tls };
    let mut clients = JoinSet::new();
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            () = &mut until => break,
            _ = clients.join_next(), if !clients.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    clients.spawn(Box::pin(accept(shared.clone(), socket, peer.ip())));
                }
                Err(error) => {
                    // Out of files: the next try would fail at once as well.
                    warn!(error = &error as &dyn std::error::Error, "cannot accept a connection of the Postgres door");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

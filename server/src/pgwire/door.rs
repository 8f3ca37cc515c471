use std::{future::Future, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::rustls::ServerConfig;
use tracing::warn;

use super::{
    cancel::Connections,
    startup::{Shared, accept},
};
use crate::App;

/// Protocol of TLS that clients from version 17 on ask for.
const ALPN: &[u8] = b"postgresql";

/// Serves clients until `until`, then those that are connected to the end of what they run.
pub(crate) async fn serve(
    app: App,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    until: impl Future<Output = ()> + Send,
) {
    let tls = tls.map(|tls| {
        let mut own = ServerConfig::clone(&tls);
        own.alpn_protocols = vec![ALPN.to_vec()];
        Arc::new(own)
    });
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

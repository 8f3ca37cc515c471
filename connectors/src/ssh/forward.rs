//! The ends of tunnels on this machine, for drivers that open their connections themselves.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::{pump::pump, session::Opened};
use crate::{Error, Stage};

/// How long an open connection waits for its driver.
const DRIVER: Duration = Duration::from_secs(30);
/// The longest path of a socket that every system takes.
const PATH: usize = 100;

/// A folder that only this user may enter, made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    root: Mutex<Option<TempDir>>,
    next: AtomicU64,
}

impl Folders {
    /// A new folder in it. The root is made anew where somebody tidied it away.
    fn make(&self) -> io::Result<PathBuf> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        if let Some(root) = &*root {
            match below(root, &number) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => return made,
            }
        }
        let mut made = private(&std::env::temp_dir())?;
        if made.path().as_os_str().len() > PATH - 40 {
            made = private(Path::new("/tmp"))?;
        }
        below(root.insert(made), &number)
    }
}

fn below(root: &TempDir, name: &str) -> io::Result<PathBuf> {
    let folder = root.path().join(name);
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

fn private(within: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("mavis-").permissions(fs::Permissions::from_mode(0o700)).tempdir_in(within)
}

/// One connection, open on the far side, that waits in a private Unix socket for a driver to take it.
#[derive(Debug)]
pub struct Endpoint {
    folder: PathBuf,
    path: PathBuf,
    /// Dropped with the endpoint.
    _given_up: oneshot::Sender<()>,
}

impl Endpoint {
    /// The folder of the socket, which is called `.s.PGSQL.<port>` there, as PostgreSQL's clients want it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn of(opened: Opened, port: u16, folders: &Folders) -> Result<Self, Error> {
        Self::serve(port, folders, Stage::Ssh, |stream| pump(opened, stream))
    }

    /// `serve` has the connection of the first who comes, and nobody else's.
    pub(crate) fn serve<F>(
        port: u16,
        folders: &Folders,
        stage: Stage,
        serve: impl FnOnce(UnixStream) -> F + Send + 'static,
    ) -> Result<Self, Error>
    where
        F: Future<Output = ()> + Send,
    {
        let unusable = |error: &io::Error| Error::Unreachable {
            endpoint: format!("port {port}"),
            stage,
            reason: format!("no socket can be made in the folder for temporary files ({})", error.kind()),
        };
        let folder = folders.make().map_err(|error| unusable(&error))?;
        let path = folder.join(format!(".s.PGSQL.{port}"));
        let listener = UnixListener::bind(&path).map_err(|error| unusable(&error))?;
        let (given_up, mut end) = oneshot::channel::<()>();
        let place = folder.clone();
        tokio::spawn(async move {
            let accepted = tokio::select! {
                biased;
                accepted = timeout(DRIVER, listener.accept()) => accepted.ok(),
                // A driver that connected a moment ago may not have been seen yet.
                _ = &mut end => timeout(Duration::from_millis(200), listener.accept()).await.ok(),
            };
            drop(listener);
            if fs::remove_dir_all(&place).is_err() {
                tracing::debug!("the folder of a socket was gone before the socket");
            }
            if let Some(Ok((stream, _))) = accepted {
                serve(stream).await;
            }
        });
        Ok(Self { folder, path, _given_up: given_up })
    }
}

/// A port of this machine's loopback that leads to a host behind a tunnel, for as long as it is held. Every user of this
/// machine can connect to it: what stands behind must ask for a login.
#[derive(Debug)]
pub struct LocalPort {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    trouble: Arc<Mutex<Option<Error>>>,
}

impl Drop for LocalPort {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl LocalPort {
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Why the last connection could not be opened on the far side, where it could not: to its driver it was only closed.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// `first`: the first connection, open already; `more` opens another one to the same place.
    pub(super) async fn of(
        more: impl Fn() -> BoxFuture<'static, Result<Opened, Error>> + Send + 'static,
        endpoint: &str,
        first: Opened,
    ) -> Result<Self, Error> {
        let unusable = |error: io::Error| Error::Unreachable {
            endpoint: endpoint.to_owned(),
            stage: crate::Stage::Ssh,
            reason: format!("no port of this machine's loopback is to be had ({})", error.kind()),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let trouble = Arc::new(Mutex::new(None));
        let told = Arc::clone(&trouble);
        let accepting = tokio::spawn(async move {
            let mut ready = Some(first);
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                if stream.set_nodelay(true).is_err() {
                    tracing::debug!("a local connection keeps small packets back");
                }
                let told = Arc::clone(&told);
                let opening = match ready.take() {
                    Some(opened) => std::future::ready(Ok(opened)).boxed(),
                    None => more(),
                };
                tokio::spawn(async move {
                    match opening.await {
                        Ok(opened) => pump(opened, stream).await,
                        Err(error) => *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
                    }
                });
            }
        });
        Ok(Self { address, accepting, trouble })
    }
}

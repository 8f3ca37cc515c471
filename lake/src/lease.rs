//! The lease on a table while a unit or a maintenance job lives.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mavis_catalog::{Catalog, Lease};
use mavis_types::{TableId, TableName};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::{Error, table::Tuning};

const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Shared {
    catalog: Catalog,
    ttl: Duration,
    /// The newest form of the lease and until when it is certainly ours, by our own clock.
    lease: Mutex<(Lease, Instant)>,
    lost: AtomicBool,
}

/// A lease that renews itself, and is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    shared: Arc<Shared>,
    renewer: JoinHandle<()>,
    released: bool,
}

impl Hold {
    /// Takes the table's lease, waiting for whoever has it.
    pub(crate) async fn take(
        catalog: &Catalog,
        table: (TableId, &TableName),
        holder: &str,
        tuning: Tuning,
    ) -> Result<Self, Error> {
        let until = Instant::now() + tuning.lease_wait;
        let mut wait = FIRST_WAIT;
        loop {
            match Self::asked(catalog, table, holder, tuning.lease_ttl).await? {
                Ok(hold) => return Ok(hold),
                Err(mavis_catalog::Error::Leased { holder, .. }) if Instant::now() + wait >= until => {
                    return Err(Error::Busy {
                        table: table.1.clone(),
                        reason: format!("{holder} is writing it; try again when that is done"),
                    });
                }
                Err(mavis_catalog::Error::Leased { .. }) => tokio::time::sleep(wait).await,
                Err(error) => return Err(error.into()),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Asks for the lease by a task of its own: who waits may go away while the catalog writes it, and then it is given back
    /// all the same.
    async fn asked(
        catalog: &Catalog,
        (id, name): (TableId, &TableName),
        holder: &str,
        ttl: Duration,
    ) -> Result<Result<Self, mavis_catalog::Error>, Error> {
        let (catalog, holder) = (catalog.clone(), holder.to_owned());
        let taken = tokio::spawn(async move {
            let asked = Instant::now();
            let lease = catalog.lease(id, &holder, ttl).await?;
            Ok(Self::start(&catalog, lease, asked, ttl))
        });
        taken.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Error::Busy { table: name.clone(), reason: "the server stops".to_owned() },
        })
    }

    fn start(catalog: &Catalog, lease: Lease, asked: Instant, ttl: Duration) -> Self {
        let shared = Arc::new(Shared {
            catalog: catalog.clone(),
            ttl,
            lease: Mutex::new((lease, asked + ttl)),
            lost: AtomicBool::new(false),
        });
        let renewed = Arc::clone(&shared);
        let renewer = tokio::spawn(async move {
            loop {
                tokio::time::sleep(renewed.ttl / 3).await;
                match renewed.renew().await {
                    Ok(()) => {}
                    Err(mavis_catalog::Error::LeaseLost { .. }) => return,
                    Err(error) => debug!("a lease could not be renewed and will be tried again: {error}"),
                }
            }
        });
        Self { shared, renewer, released: false }
    }

    /// Renews the lease now, which proves that it is ours.
    ///
    /// # Errors
    /// [`mavis_catalog::Error::LeaseLost`].
    pub(crate) async fn prove(&self) -> Result<(), Error> {
        self.shared.renew().await.map_err(Error::from)
    }

    /// Gives the lease back and waits until that is done.
    pub(crate) async fn release(mut self) {
        self.released = true;
        self.renewer.abort();
        self.shared.release().await;
    }
}

impl Shared {
    fn current(&self) -> (Lease, Instant) {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn renew(&self) -> Result<(), mavis_catalog::Error> {
        let (lease, until) = self.current();
        if self.lost.load(Ordering::SeqCst) {
            return Err(mavis_catalog::Error::LeaseLost { target: lease.table.to_string() });
        }
        let asked = Instant::now();
        match self.catalog.renew(&lease, self.ttl).await {
            Ok(lease) => {
                *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = (lease, asked + self.ttl);
                Ok(())
            }
            Err(error) => {
                if matches!(error, mavis_catalog::Error::LeaseLost { .. }) || Instant::now() > until {
                    self.lost.store(true, Ordering::SeqCst);
                    return Err(mavis_catalog::Error::LeaseLost { target: lease.table.to_string() });
                }
                Err(error)
            }
        }
    }

    async fn release(&self) {
        let (lease, _) = self.current();
        if let Err(error) = self.catalog.release(&lease).await {
            warn!(table = %lease.table, "a lease could not be given back and will run out by itself: {error}");
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.renewer.abort();
        if !self.released
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let shared = Arc::clone(&self.shared);
            drop(runtime.spawn(async move { shared.release().await }));
        }
    }
}

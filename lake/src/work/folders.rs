//! Tables renamed and dropped, and the folders that they leave.

use std::time::Duration;

use futures::TryStreamExt;
use mavis_types::{RunId, TableId, TableName};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tracing::{info, warn};

use crate::{Error, Lake};

impl Lake {
    /// Takes a table out of the catalog. Its files stay for queries that read it now, until [`Lake::sweep`].
    ///
    /// # Errors
    /// [`Error::Busy`] where somebody writes it; [`Error::NoSuchTable`].
    pub async fn drop_table(&self, table: TableId, run: RunId) -> Result<(), Error> {
        Box::pin(self.in_turn(table, run, self.catalog().remove_table(table))).await
    }

    /// Gives a table another name.
    ///
    /// # Errors
    /// As [`Lake::drop_table`], and [`mavis_catalog::Error::Exists`].
    pub async fn rename_table(&self, table: TableId, name: &TableName, run: RunId) -> Result<(), Error> {
        Box::pin(self.in_turn(table, run, self.catalog().rename_table(table, name))).await
    }

    async fn in_turn(
        &self,
        table: TableId,
        run: RunId,
        work: impl Future<Output = Result<(), mavis_catalog::Error>> + Send,
    ) -> Result<(), Error> {
        let open = self.opened(table).await?;
        let hold = self.hold(table, &open.name, run).await?;
        let outcome = work.await;
        hold.release().await;
        self.close(table);
        match outcome {
            Err(mavis_catalog::Error::NotFound { .. }) => Err(Error::NoSuchTable { table: open.name.to_string() }),
            other => Ok(other?),
        }
    }

    /// Deletes folders that have been nobody's for at least `age`: of tables that were dropped, and of statements that
    /// died. Nothing may take longer than `age` to be read or made. Answers how many there were.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn sweep(&self, age: Duration) -> Result<u64, Error> {
        let mut swept = 0;
        for location in self.catalog().loose_folders(age).await? {
            swept += u64::from(empty(self, &location).await);
        }
        if swept > 0 {
            info!(swept, "deleted {swept} folders of tables that are no more");
        }
        Ok(swept)
    }
}

/// Deletes what is in a loose folder and forgets it; what fails is left for the next sweep.
pub(super) async fn empty(lake: &Lake, location: &str) -> bool {
    let emptied = async {
        let failed = |error: object_store::Error| Error::store("deleting the folder of a table", &error);
        let store = lake.store().table(location)?;
        let files: Vec<Path> = store.list(None).map_ok(|meta| meta.location).try_collect().await.map_err(failed)?;
        for file in files {
            match store.delete(&file).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        lake.catalog().forget_folder(location).await?;
        Ok::<(), Error>(())
    };
    match emptied.await {
        Ok(()) => true,
        Err(error) => {
            warn!("a folder that is no table's stays for the next time: {error}");
            false
        }
    }
}

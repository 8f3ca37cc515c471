//! Where the tables live: any `object_store` URL; on the local disk every commit is fsynced before it is answered.

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc};

use chrono::DateTime;
use deltalake_core::{
    DeltaTable,
    logstore::{LogStoreRef, StorageConfig, default_logstore},
};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    path::Path,
    prefix::PrefixStore,
};
use url::Url;
use uuid::Uuid;

use crate::{
    Error,
    in_place::{Routes, TableStore},
    local::DurableLocal,
};

/// Where the lake is and what it may use.
#[derive(Clone)]
pub struct LakeOptions {
    /// Root of the lake: `file:///...`, `s3://bucket/prefix`, `abfss://`, `gs://`.
    pub url: Url,
    /// Options for the store, as `object_store` names them (`aws_endpoint`, `aws_access_key_id`, ...).
    pub storage: HashMap<String, String>,
    /// Memory that queries and merges together may use, in bytes.
    pub memory_bytes: usize,
    /// Memory for column chunks that queries read again and again, decompressed, in bytes; beside `memory_bytes`. 0: none.
    pub pages_bytes: usize,
    /// Where operators spill; a local folder.
    pub spill_dir: PathBuf,
    /// Partitions of a plan; the number of cores.
    pub partitions: usize,
    /// Prefix of the holder names of this server's leases.
    pub server: String,
}

impl fmt::Debug for LakeOptions {
    /// Names the storage options without their values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeOptions")
            .field("url", &self.url.as_str())
            .field("storage", &self.storage.keys().collect::<Vec<_>>())
            .field("memory_bytes", &self.memory_bytes)
            .field("pages_bytes", &self.pages_bytes)
            .field("spill_dir", &self.spill_dir)
            .field("partitions", &self.partitions)
            .field("server", &self.server)
            .finish()
    }
}

/// The store under the lake, rooted where its scheme roots it (`/` of the disk, the bucket), and the lake's place in it.
#[derive(Clone)]
pub(crate) struct Store {
    root: Arc<dyn ObjectStore>,
    url: Url,
    /// Ways to files of tables taken over in place.
    routes: Arc<Routes>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Store {
    /// Builds the store for the URL. Commits rely on an atomic put-if-absent: S3 gets it by `If-None-Match`.
    pub(crate) fn connect(url: &Url, options: &HashMap<String, String>) -> Result<Self, Error> {
        let failed = |error: object_store::Error| Error::store("opening the lake", &error);
        let (scheme, _) = ObjectStoreScheme::parse(url).map_err(|error| failed(error.into()))?;
        let root: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => Arc::new(DurableLocal::default()),
            ObjectStoreScheme::AmazonS3 => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_url(url.as_str())
                    .with_conditional_put(S3ConditionalPut::ETagMatch);
                for (key, value) in options {
                    let key: AmazonS3ConfigKey = key.to_ascii_lowercase().parse().map_err(failed)?;
                    builder = builder.with_config(key, value);
                }
                Arc::new(builder.build().map_err(failed)?)
            }
            _ => {
                let options = options.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone()));
                Arc::from(object_store::parse_url_opts(url, options).map_err(failed)?.0)
            }
        };
        Ok(Self::with_root(root, url))
    }

    /// A lake in a store that the caller made; it must be rooted as [`Store`] says.
    pub(crate) fn with_root(root: Arc<dyn ObjectStore>, url: &Url) -> Self {
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Self { root, url, routes: Arc::default() }
    }

    pub(crate) fn root(&self) -> &Arc<dyn ObjectStore> {
        &self.root
    }

    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// The URL without its path: what a DataFusion runtime knows the store by.
    pub(crate) fn authority(&self) -> Url {
        let mut url = self.url.clone();
        url.set_path("");
        url
    }

    fn prefix(&self) -> Result<Path, Error> {
        ObjectStoreScheme::parse(&self.url)
            .map(|(_, path)| path)
            .map_err(|error| Error::store("reading the lake's URL", &object_store::Error::from(error)))
    }

    /// The store rooted at a table's folder; foreign files are read by it, too.
    pub(crate) fn table(&self, location: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        let folder = Path::from_iter(self.prefix()?.parts().chain(Path::from(location).parts()));
        let own = Arc::new(PrefixStore::new(Arc::clone(&self.root), folder));
        Ok(Arc::new(TableStore::new(own, Arc::clone(&self.routes))))
    }

    /// A data file of a table's folder as scans name it: by its place in the root store.
    pub(crate) fn data_file(&self, location: &str, file: &Path, bytes: u64) -> Result<ObjectMeta, Error> {
        let parts = self.prefix()?;
        let location = Path::from_iter(parts.parts().chain(Path::from(location).parts()).chain(file.parts()));
        // Data files never change: scans give them no time either.
        Ok(ObjectMeta { location, last_modified: DateTime::UNIX_EPOCH, size: bytes, e_tag: None, version: None })
    }

    /// The table of a folder, not loaded yet.
    pub(crate) fn delta(&self, location: &str) -> Result<DeltaTable, Error> {
        let url = self
            .url
            .join(&format!("{location}/"))
            .map_err(|error| Error::Store { doing: "naming a table's folder".to_owned(), reason: error.to_string() })?;
        let log: LogStoreRef =
            default_logstore(self.table(location)?, Arc::clone(&self.root), &url, &StorageConfig::default());
        Ok(DeltaTable::new(log))
    }

    /// Writes, reads and deletes a file below the root, to fail at start rather than in the first run.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        let failed = |error: object_store::Error| Error::store("checking that the lake can be written", &error);
        let name = format!(".probe-{}", Uuid::now_v7());
        let path = Path::from_iter(self.prefix()?.parts().chain(Path::from(name).parts()));
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.root.put_opts(&path, "mavis".into(), create.clone()).await.map_err(failed)?;
        let again = self.root.put_opts(&path, "mavis".into(), create).await;
        self.root.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        self.root.delete(&path).await.map_err(failed)?;
        match again {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
            Ok(_) => Err(Error::Store {
                doing: "checking that the lake can be written".to_owned(),
                reason: "the store overwrites a file that it was asked to create only if absent; commits need \
                         conditional put"
                    .to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_print_without_their_secrets() {
        let options = LakeOptions {
            url: Url::parse("s3://bucket/lake").unwrap(),
            storage: HashMap::from([("aws_secret_access_key".to_owned(), "hunter2".to_owned())]),
            memory_bytes: 1,
            pages_bytes: 0,
            spill_dir: PathBuf::new(),
            partitions: 1,
            server: "a".to_owned(),
        };
        let text = format!("{options:?}");
        assert!(text.contains("aws_secret_access_key") && !text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn a_folder_that_can_be_written_passes_the_probe() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        Store::connect(&url, &HashMap::new()).unwrap().probe().await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_fails_the_probe() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let url = Url::from_directory_path(folder.path().join("file/lake")).unwrap();
        let error = Store::connect(&url, &HashMap::new()).unwrap().probe().await.unwrap_err();
        assert!(error.to_string().contains("checking that the lake can be written"), "{error}");
    }
}

//! The way to foreign files: by their owner's store, for reading, and only as they were when they were taken over.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use datafusion::execution::runtime_env::RuntimeEnv;
use deltalake_core::DeltaTable;
use futures::{StreamExt, stream, stream::BoxStream};
use mavis_types::{SourceId, TableName};
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, coalesce_ranges, path::Path,
};
use url::Url;

use super::{
    Elsewhere, ForeignStore, path,
    trouble::{label, told},
};
use crate::Error;

/// A foreign file as it was when it was taken over.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) store: ForeignStore,
    /// Milliseconds since the epoch, as the log has it.
    pub(crate) modified: i64,
    pub(crate) bytes: u64,
}

/// The stores of foreign files, by the authority of their URLs.
#[derive(Default)]
pub(crate) struct Routes {
    finder: OnceLock<Arc<dyn Elsewhere>>,
    routes: RwLock<HashMap<String, Arc<Routed>>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routes")
    }
}

impl Routes {
    pub(crate) fn set_finder(&self, finder: Arc<dyn Elsewhere>) {
        // Who was first stays.
        let _known = self.finder.set(finder);
    }

    fn get(&self, authority: &str) -> Option<Arc<Routed>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(authority).cloned()
    }

    /// The way to an authority, which plans know from now on. `own`: the lake's own store where it has that authority.
    pub(crate) fn way(
        &self,
        authority: &str,
        runtime: &RuntimeEnv,
        own: Option<&Arc<dyn ObjectStore>>,
    ) -> Result<Arc<Routed>, Error> {
        if let Some(known) = self.get(authority) {
            return Ok(known);
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.get(authority) {
            return Ok(Arc::clone(known));
        }
        let url = Url::parse(&format!("{authority}/")).map_err(|error| Error::store("finding a store", &error))?;
        let routed = Arc::new(Routed { own: own.cloned(), files: RwLock::default() });
        runtime.register_object_store(&url, Arc::clone(&routed) as Arc<dyn ObjectStore>);
        routes.insert(authority.to_owned(), Arc::clone(&routed));
        Ok(routed)
    }

    /// The ways to all other authorities.
    fn others(&self, authority: &str) -> Vec<Arc<Routed>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.iter().filter(|(other, _)| *other != authority).map(|(_, routed)| Arc::clone(routed)).collect()
    }

    pub(crate) async fn store(&self, source: SourceId, authority: &str) -> std::result::Result<ForeignStore, String> {
        match self.finder.get() {
            Some(finder) => finder.store(source, authority).await,
            None => Err("this server knows no source".to_owned()),
        }
    }
}

/// What an open table that was taken over in place reads its files by.
#[derive(Clone)]
pub(crate) struct Foreign {
    pub(crate) authority: String,
    pub(crate) store: ForeignStore,
    pub(crate) routed: Arc<Routed>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) runtime: Arc<RuntimeEnv>,
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Foreign").field(&self.authority).finish()
    }
}

impl Foreign {
    /// Lets the files of a version be read. `newest`: what it says of a file counts; otherwise a file that is known
    /// otherwise was changed by its owner since. Whether a file is another one than before.
    pub(crate) fn note(&self, delta: &DeltaTable, name: &TableName, newest: bool) -> std::result::Result<bool, Error> {
        let others = self.routes.others(&self.authority);
        let footers = self.runtime.cache_manager.get_file_metadata_cache();
        let mut is_other = false;
        let mut files = self.routed.files.write().unwrap_or_else(PoisonError::into_inner);
        for view in delta.snapshot()?.log_data().iter() {
            let Some((authority, path)) = path::elsewhere(&view.path()) else { continue };
            if authority != self.authority {
                continue;
            }
            let bytes = u64::try_from(view.size()).unwrap_or_default();
            let known = Known { store: Arc::clone(&self.store), modified: view.modification_time(), bytes };
            match files.get(&path) {
                Some(other) if !newest && (other.modified, other.bytes) != (known.modified, known.bytes) => {
                    return Err(Error::InPlace {
                        table: name.clone(),
                        reason: format!(
                            "file `{}`, which this older version names, was changed by its owner since; ask for a newer one",
                            label(&path, known.bytes, known.modified)
                        ),
                    });
                }
                Some(other) if (other.modified, other.bytes) == (known.modified, known.bytes) => {}
                before => {
                    is_other |= before.is_some();
                    // Plans keep footers by path and size alone, whatever the bucket.
                    if others.iter().any(|other| other.known(&path).is_some_and(|other| other.bytes == known.bytes)) {
                        return Err(Error::InPlace {
                            table: name.clone(),
                            reason: format!(
                                "another store has a file of the path and the size of `{}`, taken over too, and the two cannot be \
                                 told apart; copy one of them",
                                label(&path, known.bytes, known.modified)
                            ),
                        });
                    }
                    footers.remove(&path);
                    files.insert(path, known);
                }
            }
        }
        Ok(is_other)
    }
}

/// The store of one authority as plans see it: foreign files as they were taken over, and the lake's own files where the
/// lake is there too.
pub(crate) struct Routed {
    own: Option<Arc<dyn ObjectStore>>,
    files: RwLock<HashMap<Path, Known>>,
}

impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routed")
    }
}

impl fmt::Display for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routed")
    }
}

/// A file's name may tell of rows.
const A_FILE: &str = "a file of a table taken over in place";

fn not_there(_: &Path) -> StoreError {
    StoreError::NotFound { path: A_FILE.to_owned(), source: "it was not taken over".into() }
}

fn never_written(_: &Path) -> StoreError {
    let source = format!("{A_FILE} belongs to somebody else and is never written").into();
    StoreError::NotSupported { source }
}

impl Routed {
    fn known(&self, location: &Path) -> Option<Known> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(location).cloned()
    }

    fn own(&self, location: &Path) -> Result<&Arc<dyn ObjectStore>> {
        self.own.as_ref().ok_or_else(|| not_there(location))
    }

    fn writable(&self, location: &Path) -> Result<&Arc<dyn ObjectStore>> {
        if self.known(location).is_some() {
            return Err(never_written(location));
        }
        self.own.as_ref().ok_or_else(|| never_written(location))
    }
}

#[async_trait]
impl ObjectStore for Routed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.writable(location)?.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.writable(location)?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        let Some(known) = self.known(location) else {
            return self.own(location)?.get_opts(location, options).await;
        };
        options.if_unmodified_since = DateTime::from_timestamp_millis(known.modified);
        let failed = |error: StoreError| told(label(location, known.bytes, known.modified), &error);
        let got = known.store.get_opts(location, options).await.map_err(failed)?;
        if got.meta.size == known.bytes {
            return Ok(got);
        }
        let source = "its size is another".into();
        Err(failed(StoreError::Precondition { path: String::new(), source }))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.known(location).is_none() {
            return self.own(location)?.get_ranges(location, ranges).await;
        }
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let Some(own) = &self.own else {
            return locations.map(|location| location.and_then(|location| Err(never_written(&location)))).boxed();
        };
        let files: Vec<Path> = self.files.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let files: std::collections::HashSet<Path> = files.into_iter().collect();
        let ours = locations.map(move |location| {
            location.and_then(
                |location| if files.contains(&location) { Err(never_written(&location)) } else { Ok(location) },
            )
        });
        own.delete_stream(ours.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match &self.own {
            Some(own) => own.list(prefix),
            None => stream::empty().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match &self.own {
            Some(own) => own.list_with_delimiter(prefix).await,
            None => Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new() }),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.writable(to)?.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.writable(from)?;
        self.writable(to)?.rename_opts(from, to, options).await
    }
}

/// The folder of a table, and foreign files by the paths of [`super::file_path`], which can only be read.
#[derive(Debug)]
pub(crate) struct TableStore {
    own: Arc<dyn ObjectStore>,
    routes: Arc<Routes>,
}

impl TableStore {
    pub(crate) fn new(own: Arc<dyn ObjectStore>, routes: Arc<Routes>) -> Self {
        Self { own, routes }
    }

    /// The way to a foreign file; `None` for one of ours.
    fn foreign(&self, location: &Path) -> Result<Option<(Arc<Routed>, Path)>> {
        match path::unmarked(location) {
            None => Ok(None),
            Some((authority, path)) => {
                self.routes.get(&authority).map(|routed| Some((routed, path))).ok_or_else(|| not_there(location))
            }
        }
    }
}

fn ours(location: &Path) -> Result<()> {
    if path::unmarked(location).is_some() { Err(never_written(location)) } else { Ok(()) }
}

impl fmt::Display for TableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for TableStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        ours(location)?;
        self.own.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        ours(location)?;
        self.own.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.foreign(location)? {
            None => self.own.get_opts(location, options).await,
            Some((routed, path)) => routed.get_opts(&path, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.foreign(location)? {
            None => self.own.get_ranges(location, ranges).await,
            Some((routed, path)) => routed.get_ranges(&path, ranges).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let checked = locations.map(|location| location.and_then(|location| ours(&location).map(|()| location)));
        self.own.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.own.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.own.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.own.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        ours(from)?;
        ours(to)?;
        self.own.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        ours(from)?;
        ours(to)?;
        self.own.rename_opts(from, to, options).await
    }
}

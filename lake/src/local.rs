//! The local disk as an object store that is durable: what it answers for survives a power cut.
//!
//! `object_store`'s own local store leaves new files in the page cache. This one writes the content, syncs it, puts the
//! name in place, and syncs every folder that got a new entry, in this order: a name never points to content that is not
//! on the disk yet.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path as FsPath, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result, UploadPart, local::LocalFileSystem, path::Path,
};
use uuid::Uuid;

/// `object_store`'s local store with fsync. Paths are absolute (the store is rooted at `/`).
#[derive(Debug, Clone, Default)]
pub(crate) struct DurableLocal {
    inner: std::sync::Arc<LocalFileSystem>,
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableLocal")
    }
}

fn generic(source: io::Error) -> Error {
    Error::Generic { store: "local disk", source: Box::new(source) }
}

/// What a file is, asked at once: every query asks so whether a table has a newer version, and to hand a look at a local file to
/// another thread takes ten times as long as the look.
fn head(location: &Path, path: PathBuf) -> Result<GetResult> {
    let missing = |source: io::Error| Error::NotFound { path: path.display().to_string(), source: Box::new(source) };
    let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (found, file) = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(error),
        _ => generic(error),
    })?;
    if found.is_dir() {
        return Err(missing(io::Error::new(io::ErrorKind::NotFound, "it is a folder")));
    }
    let modified = found.modified().map_err(generic)?;
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: modified.into(),
        size: found.len(),
        e_tag: Some(tag(&found, modified)),
        version: None,
    };
    let range = 0..meta.size;
    Ok(GetResult { payload: GetResultPayload::File(file, path), meta, range, attributes: Attributes::default() })
}

fn is_plain_head(options: &GetOptions) -> bool {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, head, .. } =
        options;
    let conditions = if_match.is_some() || if_none_match.is_some() || version.is_some() || range.is_some();
    *head && !conditions && if_modified_since.is_none() && if_unmodified_since.is_none()
}

/// As the inner store makes it.
fn tag(file: &fs::Metadata, modified: SystemTime) -> String {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(file);
    #[cfg(not(unix))]
    let inode = 0_u64;
    let micros = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    format!("{inode:x}-{micros:x}-{:x}", file.len())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

fn sync_folder(folder: &FsPath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the folder and those above it, and syncs each folder that got a new entry.
fn make_folder(folder: &FsPath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or_else(|| FsPath::new("/"));
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn parent(path: &FsPath) -> PathBuf {
    path.parent().unwrap_or_else(|| FsPath::new("/")).to_path_buf()
}

/// Syncs the content of a file whose name is in place already, then its name.
fn sync_file(path: &FsPath) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_folder(&parent(path))
}

fn put(target: &FsPath, payload: &PutPayload, create: bool) -> Result<PutResult> {
    let folder = parent(target);
    make_folder(&folder).map_err(generic)?;
    // The same form of name that `object_store` uses for unfinished uploads, so that listings leave it out.
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or("object");
    let digits = Uuid::now_v7().as_u128();
    let staged = folder.join(format!("{name}#{digits}"));
    let written = (|| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        for chunk in payload.iter() {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        if create {
            fs::hard_link(&staged, target)?;
            // A leftover name of an unfinished upload is invisible to listings and harmless.
            drop(fs::remove_file(&staged));
        } else {
            fs::rename(&staged, target)?;
        }
        sync_folder(&folder)
    })();
    match written {
        Ok(()) => Ok(PutResult { e_tag: None, version: None }),
        Err(source) => {
            drop(fs::remove_file(&staged));
            if create && source.kind() == io::ErrorKind::AlreadyExists {
                return Err(Error::AlreadyExists { path: target.display().to_string(), source: Box::new(source) });
            }
            Err(generic(source))
        }
    }
}

/// The bytes of ranges of a file; `None` where one goes beyond its end.
///
/// They are read into memory that nothing was written to before: `object_store` fills its buffers with zeros first, which for
/// scans is one of the larger costs.
fn read_ranges(path: &FsPath, ranges: &[Range<u64>]) -> io::Result<Option<Vec<Bytes>>> {
    let mut file = File::open(path)?;
    let mut all = Vec::with_capacity(ranges.len());
    for range in ranges {
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        file.seek(SeekFrom::Start(range.start))?;
        (&mut file).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Ok(None);
        }
        all.push(Bytes::from(bytes));
    }
    Ok(Some(all))
}

impl DurableLocal {
    fn path(&self, location: &Path) -> Result<PathBuf> {
        self.inner.path_to_filesystem(location)
    }

    async fn synced(&self, location: &Path) -> Result<()> {
        let path = self.path(location)?;
        blocking(move || sync_file(&path).map_err(generic)).await
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let target = self.path(location)?;
        blocking(move || put(&target, &payload, create)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.path(location)?;
        let folder = parent(&target);
        blocking(move || make_folder(&folder).map_err(generic)).await?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { inner, target }))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (path, wanted) = (self.path(location)?, ranges.to_vec());
        let read = blocking(move || Ok(read_ranges(&path, &wanted))).await?;
        match read {
            Ok(Some(all)) => Ok(all),
            // What is wrong is theirs to say.
            Ok(None) | Err(_) => self.inner.get_ranges(location, ranges).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if is_plain_head(&options) {
            return head(location, self.path(location)?);
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        // A hard link shares the content: sync that before the name exists.
        let source = self.path(from)?;
        blocking(move || File::open(&source).and_then(|file| file.sync_all()).map_err(generic)).await?;
        let folder = parent(&self.path(to)?);
        blocking(move || make_folder(&folder).map_err(generic)).await?;
        self.inner.copy_opts(from, to, options).await?;
        self.synced(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        self.copy_opts(from, to, CopyOptions { mode, extensions: options.extensions }).await?;
        let source = self.path(from)?;
        blocking(move || {
            fs::remove_file(&source).map_err(generic)?;
            sync_folder(&parent(&source)).map_err(generic)
        })
        .await
    }
}

#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let target = self.target.clone();
        blocking(move || sync_file(&target).map_err(generic)).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    fn at(folder: &tempfile::TempDir, name: &str) -> Path {
        Path::from_absolute_path(folder.path().join(name)).unwrap()
    }

    #[tokio::test]
    async fn of_two_creations_of_one_name_the_second_fails_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::default();
        let path = at(&folder, "a/b/c.json");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "one".into(), create()).await.unwrap();
        let error = store.put_opts(&path, "two".into(), create()).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        let names: Vec<_> = store.list(None::<&Path>.or(Some(&at(&folder, "a")))).collect::<Vec<_>>().await;
        assert_eq!(names.len(), 1, "no unfinished file is left");
    }

    #[tokio::test]
    async fn an_upload_in_parts_is_there_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::default();
        let path = at(&folder, "deep/part.parquet");
        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("ab".into()).await.unwrap();
        assert!(store.head(&path).await.is_err());
        upload.put_part("cd".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "abcd");
    }

    #[tokio::test]
    async fn a_look_at_a_file_tells_what_the_inner_store_tells() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::default();
        store.put(&at(&folder, "in/file"), "0123456789".into()).await.unwrap();
        let file = store.head(&at(&folder, "in/file")).await.unwrap();
        assert_eq!(file, store.inner.head(&at(&folder, "in/file")).await.unwrap());
        for missing in ["missing", "in"] {
            let (ours, theirs) =
                (store.head(&at(&folder, missing)).await, store.inner.head(&at(&folder, missing)).await);
            assert!(matches!(ours, Err(Error::NotFound { .. })), "{missing}: {ours:?}");
            assert!(matches!(theirs, Err(Error::NotFound { .. })), "{missing}: {theirs:?}");
        }
        let other = GetOptions { head: true, if_match: Some("another".to_owned()), ..GetOptions::default() };
        let changed = store.get_opts(&at(&folder, "in/file"), other).await;
        assert!(matches!(changed, Err(Error::Precondition { .. })), "{changed:?}");
    }

    #[tokio::test]
    async fn ranges_are_read_exactly_and_one_beyond_the_end_is_an_error_or_cut_as_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::default();
        let path = at(&folder, "digits");
        store.put(&path, "0123456789".into()).await.unwrap();
        let read = store.get_ranges(&path, &[2..5, 0..1, 9..10, 4..4]).await.unwrap();
        assert_eq!(read, ["234", "0", "9", ""].map(Bytes::from));
        let (ours, theirs) =
            (store.get_ranges(&path, &[8..12, 0..4]).await, store.inner.get_ranges(&path, &[8..12, 0..4]).await);
        assert_eq!(ours.map_err(|error| error.to_string()), theirs.map_err(|error| error.to_string()));
        let missing = store.get_ranges(&at(&folder, "missing"), &[0..1, 1..2]).await.unwrap_err();
        assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    }

    #[tokio::test]
    async fn a_rename_moves_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::default();
        let (from, to) = (at(&folder, "from"), at(&folder, "new/to"));
        store.put(&from, "x".into()).await.unwrap();
        store.rename(&from, &to).await.unwrap();
        assert!(store.head(&from).await.is_err());
        assert_eq!(store.get(&to).await.unwrap().bytes().await.unwrap(), "x");
    }
}

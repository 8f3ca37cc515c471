use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use globset::{GlobBuilder, GlobMatcher};
use mavis_types::{file_label, system_cause};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    keys::{self, Keys, Opened, asked},
    webhdfs::WebHdfs,
};
use crate::{
    Ambient, Closed, Error, Secrets, Stage, StageOutcome, StageReport,
    closed::{REASON, without_dots},
    reading,
};

/// Where files are: one file, a folder, or a pattern, in one store.
#[derive(Clone)]
pub(crate) struct Location {
    store: Arc<dyn ObjectStore>,
    /// The part of the path before the first wildcard, up to a `/`; the file itself where there is none.
    prefix: Path,
    matcher: Option<GlobMatcher>,
    /// Of an object store.
    keys: Option<Arc<Keys>>,
    /// Of files on local disk: what of it is not read.
    closed: Option<Closed>,
    /// As it was declared.
    shown: String,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&self.shown).finish()
    }
}

/// One file as a listing found it.
#[derive(Debug, Clone)]
pub(crate) struct FileEntry {
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) modified: DateTime<Utc>,
    /// Changes when the content does: the store's own tag, or size and time of change.
    pub(crate) stamp: String,
    /// The path below the declared folder: what cursors and rejects have. It is data, as rows are: see [`FileEntry::shown`].
    pub(crate) name: String,
    /// Whether the name is known anyway: the declaration has it, or a table is called so.
    pub(crate) is_known: bool,
}

impl FileEntry {
    fn new(meta: ObjectMeta, name: String) -> Self {
        let stamp = match &meta.e_tag {
            Some(tag) => format!("{}-{}", meta.size, tag.trim_matches('"')),
            None => format!("{}-{}", meta.size, meta.last_modified.timestamp_micros()),
        };
        Self { path: meta.location, size: meta.size, modified: meta.last_modified, stamp, name, is_known: false }
    }

    /// The file in errors and logs: what a listing found may say who is in it.
    pub(crate) fn shown(&self) -> String {
        if self.is_known { self.name.clone() } else { file_label(&self.name, self.size, self.modified.timestamp()) }
    }

    /// The last part of the name without the endings that tell format and compression, in their order.
    pub(crate) fn stem_and_endings(&self) -> (String, Vec<String>) {
        let file = self.name.rsplit('/').next().unwrap_or(&self.name);
        let mut stem = file;
        let mut endings = Vec::new();
        while let Some((rest, ending)) = stem.rsplit_once('.') {
            let lower = ending.to_ascii_lowercase();
            let known = [
                "csv", "tsv", "txt", "tab", "ndjson", "jsonl", "json", "parquet", "pq", "xlsx", "xlsm", "xlsb", "xls",
                "ods", "gz", "gzip", "bz2", "zst", "zstd",
            ];
            if rest.is_empty() || !known.contains(&lower.as_str()) {
                break;
            }
            endings.insert(0, lower);
            stem = rest;
        }
        (stem.to_owned(), endings)
    }
}

impl Location {
    /// Opens no connection.
    pub(crate) fn new(
        source: &str,
        kind: &str,
        path: &str,
        storage: &BTreeMap<String, String>,
        ambient: &Ambient,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Params { source_name: source.to_owned(), reason };
        if path.trim().is_empty() {
            return Err(refuse("`path` is empty".to_owned()));
        }
        let is_url = path.contains("://");
        let (literal, pattern) = split_pattern(path);
        let closed = (!is_url || path.starts_with("file://")).then(|| ambient.closed.clone());
        let (store, prefix, keys): Opened = if let Some(closed) = &closed {
            if let Some(option) = storage.keys().next() {
                return Err(refuse(format!("`storage.{option}` has no meaning for files on local disk")));
            }
            let literal = literal.strip_prefix("file://").unwrap_or(literal);
            let literal = if literal.is_empty() { "." } else { literal };
            let absolute = without_dots(literal.as_ref()).map_err(|error| refuse(format!("`path`: {error}")))?;
            if closed.holds(&absolute) {
                return Err(refuse(format!("`{path}`: {REASON}")));
            }
            let prefix = Path::from_absolute_path(&absolute).map_err(|error| refuse(format!("`path`: {error}")))?;
            (Arc::new(LocalFileSystem::new()), prefix, None)
        } else {
            remote(literal, storage, &ambient.secrets, kind, source).map_err(refuse)?
        };
        let matcher = match pattern {
            Some(pattern) => Some(
                GlobBuilder::new(pattern)
                    .literal_separator(true)
                    .build()
                    .map_err(|error| refuse(format!("`path` is not a pattern: {error}")))?
                    .compile_matcher(),
            ),
            None => None,
        };
        Ok(Self { store, prefix, matcher, keys, closed, shown: path.to_owned() })
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the path has no wildcard; a listing of one entry then is that file, or a folder with one file.
    pub(crate) fn names_one_file(&self) -> bool {
        self.matcher.is_none()
    }

    /// Every file there is, sorted by name; hidden files (`.name`, `_name`) only where they are named themselves.
    pub(crate) async fn list(&self) -> Result<Vec<FileEntry>, Error> {
        let listed = match (self.list_once().await, &self.keys) {
            // A key that was rotated meanwhile.
            (Err(Error::Refused { stage: Stage::Login, .. }), Some(keys)) if keys.renew().await? => {
                self.list_once().await
            }
            (listed, _) => listed,
        };
        self.open_ones(listed?).await
    }

    /// The files, where none of them is in a closed place by another name: a link may lead to one.
    async fn open_ones(&self, entries: Vec<FileEntry>) -> Result<Vec<FileEntry>, Error> {
        let Some(closed) = self.closed.clone() else { return Ok(entries) };
        let endpoint = self.shown.clone();
        reading::aside(&self.shown, move || {
            let disk = LocalFileSystem::new();
            let is_closed =
                |entry: &FileEntry| disk.path_to_filesystem(&entry.path).map_or(true, |file| closed.holds_file(&file));
            if entries.iter().any(is_closed) {
                return Err(Error::Refused { endpoint, stage: Stage::Read, reason: REASON.to_owned() });
            }
            Ok(entries)
        })
        .await
    }

    async fn list_once(&self) -> Result<Vec<FileEntry>, Error> {
        if self.matcher.is_none() {
            match self.store.head(&self.prefix).await {
                Ok(meta) => {
                    let name = self.prefix.filename().unwrap_or(&self.shown).to_owned();
                    return Ok(vec![FileEntry { is_known: true, ..FileEntry::new(meta, name) }]);
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.error(&error)),
            }
        }
        let listed = self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>().await;
        let metas = match listed {
            Ok(metas) => metas,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(self.error(&error)),
        };
        let mut entries = Vec::new();
        for meta in metas {
            let Some(parts) = meta.location.prefix_match(&self.prefix) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let name = parts.join("/");
            let taken = match &self.matcher {
                Some(matcher) => matcher.is_match(&name),
                None => !parts.iter().any(|part| part.starts_with('.') || part.starts_with('_')),
            };
            if taken && !name.is_empty() && !self.is_closed(&meta.location) {
                entries.push(FileEntry::new(meta, name));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if entries.is_empty() {
            return Err(Error::Refused {
                endpoint: self.shown.clone(),
                stage: Stage::Read,
                reason: "no file is there; check the path, or the pattern if it has one".to_owned(),
            });
        }
        Ok(entries)
    }

    /// Whether a path is in a closed place as it stands: a listing from above passes it by.
    fn is_closed(&self, path: &Path) -> bool {
        let Some(closed) = &self.closed else { return false };
        LocalFileSystem::new().path_to_filesystem(path).map_or(true, |file| closed.holds(&file))
    }

    /// A store's answer to a listing as the error that its reader can act on.
    fn error(&self, error: &object_store::Error) -> Error {
        if let Some(error) = asked(error) {
            return error;
        }
        let endpoint = self.shown.clone();
        // It speaks of what was declared, or of something that was found below it.
        let text = error.to_string();
        let prefix = self.prefix.as_ref();
        // A store may write other characters in another way.
        let is_plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        let is_declared = !prefix.is_empty() && is_plain && !text.contains(&format!("{prefix}/"));
        let reason = if is_declared { text } else { reason(error) };
        match error {
            object_store::Error::NotFound { .. } => {
                Error::Refused { endpoint, stage: Stage::Read, reason: "there is nothing; check the path".to_owned() }
            }
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Error::Refused { endpoint, stage: Stage::Login, reason }
            }
            _ => Error::Unreachable { endpoint, stage: Stage::Route, reason },
        }
    }

    /// A store's answer to a reading of a file that was found.
    pub(crate) fn error_of(&self, entry: &FileEntry, error: &object_store::Error) -> Error {
        if let Some(error) = asked(error) {
            return error;
        }
        let endpoint = self.shown.clone();
        match error {
            object_store::Error::NotFound { .. } => Error::Refused {
                endpoint,
                stage: Stage::Read,
                reason: format!("there is no file `{}` any more", entry.shown()),
            },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Error::Refused {
                    endpoint,
                    stage: Stage::Login,
                    reason: format!("file `{}`: {}", entry.shown(), reason(error)),
                }
            }
            _ => Error::Unreachable {
                endpoint,
                stage: Stage::Route,
                reason: format!("file `{}`: {}", entry.shown(), reason(error)),
            },
        }
    }

    /// The stages of a connection test: the path is one, the store answers, the first file can be opened.
    pub(crate) async fn check(&self) -> Vec<StageReport> {
        let started = Instant::now();
        let report = |stage, outcome, message: String| StageReport {
            stage,
            outcome,
            message,
            millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let mut stages =
            vec![report(Stage::Name, StageOutcome::Passed, format!("`{}` is a place for files", self.shown))];
        let entries = match self.list().await {
            Ok(entries) => entries,
            Err(error) => {
                let stage = match &error {
                    Error::Refused { stage, .. } | Error::Unreachable { stage, .. } => *stage,
                    _ => Stage::Route,
                };
                if stage > Stage::Route {
                    stages.push(report(Stage::Route, StageOutcome::Passed, "the store answers".to_owned()));
                }
                stages.push(report(stage, StageOutcome::Failed, error.to_string()));
                return stages;
            }
        };
        stages.push(report(Stage::Route, StageOutcome::Passed, format!("the store lists {} files", entries.len())));
        let Some(first) = entries.first() else { return stages };
        stages.push(match self.store.get_range(&first.path, 0..first.size.min(1)).await {
            Ok(_) => report(Stage::Read, StageOutcome::Passed, format!("`{}` can be read", first.shown())),
            Err(error) => report(Stage::Read, StageOutcome::Failed, self.error_of(first, &error).to_string()),
        });
        stages
    }
}

/// Why a store did not give a file, without the file's name, which its own words repeat.
pub(crate) fn reason(error: &object_store::Error) -> String {
    if let Some(cause) = system_cause(error) {
        return cause;
    }
    match error {
        object_store::Error::NotFound { .. } => "it is not there any more",
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            "the store refuses it; check the keys and the rights there"
        }
        object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. } => {
            "it was changed while it was read"
        }
        _ => "the store failed, or its answer broke off",
    }
    .to_owned()
}

/// The path before its first wildcard, cut at a `/`, and the pattern after it.
fn split_pattern(path: &str) -> (&str, Option<&str>) {
    match path.find(['*', '?', '[', '{']) {
        None => (path, None),
        Some(wildcard) => match path[..wildcard].rfind('/') {
            Some(slash) => (&path[..=slash], Some(&path[slash + 1..])),
            None => ("", Some(path)),
        },
    }
}

fn remote(
    literal: &str,
    storage: &BTreeMap<String, String>,
    secrets: &Secrets,
    kind: &str,
    source: &str,
) -> Result<Opened, String> {
    let url: Url = literal.parse().map_err(|error| format!("`path` is not a URL: {error}"))?;
    if url.password().is_some() {
        return Err("`path` holds a secret: take it out of the URL".to_owned());
    }
    if matches!(url.scheme(), "webhdfs" | "swebhdfs") {
        let (store, path) = WebHdfs::new(&url, storage, source, secrets)?;
        return Ok((Arc::new(store), path, None));
    }
    let prefixes: &[&str] = match url.scheme() {
        "s3" | "s3a" => &["aws_"],
        "gs" => &["google_"],
        "az" | "adl" | "azure" | "abfs" | "abfss" => &["azure_"],
        "http" | "https" => &["aws_", "azure_"],
        "hdfs" => {
            return Err(
                "`path`: HDFS is read over its HTTP interface: write `webhdfs://<name node>:9870/...`".to_owned()
            );
        }
        other => {
            return Err(format!("`path`: there is no store `{other}://`: use s3, gs, abfss, http or a local path"));
        }
    };
    let mut options: BTreeMap<String, String> = secrets
        .store_options()
        .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, secret)| (name, secret.expose_secret().to_owned()))
        .collect();
    let variable = Secrets::variable(kind, source);
    for (option, value) in storage {
        let lower = option.to_ascii_lowercase();
        if ["secret", "token", "sas", "account_key", "access_key", "service_account_key"]
            .iter()
            .any(|word| lower.contains(word) && lower != "aws_access_key_id" && lower != "access_key_id")
        {
            return Err(format!(
                "`storage.{option}` holds a secret: take it out and set the environment variable {variable} instead"
            ));
        }
        options.insert(lower, value.clone());
    }
    if matches!(url.scheme(), "http" | "https")
        && let Some(secret) = secrets.at_hand(kind, source).map_err(|error| error.to_string())?
    {
        options.insert("azure_storage_account_key".to_owned(), secret.expose_secret().to_owned());
    }
    if url.scheme() == "http" {
        options.entry("allow_http".to_owned()).or_insert_with(|| "true".to_owned());
    }
    keys::open(&url, options, (secrets, kind, source))
}

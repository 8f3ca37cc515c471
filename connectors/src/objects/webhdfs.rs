//! HDFS over its HTTP interface (WebHDFS, HttpFS), for reading: folders are listed, files are read by ranges.
//!
//! The name node sends a reader on to a data node; nothing of ours goes along but the address that it gave. The user is a
//! name (`hdfs_user`), as HDFS has it without Kerberos; with Kerberos there is no way in from here.

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use serde::Deserialize;
use url::Url;

use crate::{
    Secrets,
    web::{Answer, Auth, Client, Credentials, Request, Settings},
};

const STORE: &str = "WebHDFS";

/// A read-only store over WebHDFS.
#[derive(Debug, Clone)]
pub(super) struct WebHdfs {
    client: Arc<Client>,
    user: Option<String>,
}

impl fmt::Display for WebHdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "FileStatuses")]
    statuses: Statuses,
}

#[derive(Deserialize)]
struct Statuses {
    #[serde(rename = "FileStatus")]
    statuses: Vec<Status>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "FileStatus")]
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    path_suffix: String,
    r#type: String,
    length: u64,
    modification_time: i64,
}

impl Status {
    fn meta(&self, location: Path) -> ObjectMeta {
        ObjectMeta {
            location,
            last_modified: DateTime::from_timestamp_millis(self.modification_time).unwrap_or_default(),
            size: self.length,
            e_tag: None,
            version: None,
        }
    }

    fn is_folder(&self) -> bool {
        self.r#type == "DIRECTORY"
    }
}

impl WebHdfs {
    /// The store of `webhdfs://host:9870/...` (or `swebhdfs`, over TLS), and the path in it.
    pub(super) fn new(
        url: &Url,
        storage: &BTreeMap<String, String>,
        source: &str,
        secrets: &Secrets,
    ) -> std::result::Result<(Self, Path), String> {
        if let Some(option) = storage.keys().find(|option| option.as_str() != "hdfs_user") {
            return Err(format!("`storage.{option}` has no meaning for WebHDFS: only `hdfs_user` has"));
        }
        let scheme = if url.scheme() == "swebhdfs" { "https" } else { "http" };
        let host = url.host_str().ok_or("`path` names no host")?;
        let port = url.port().unwrap_or(if scheme == "https" { 9871 } else { 9870 });
        let base =
            format!("{scheme}://{host}:{port}/webhdfs/v1/").parse().map_err(|_| "`path` is not a URL".to_owned())?;
        let settings = Settings {
            source: source.to_owned(),
            base,
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            max_retries: 2,
            ca_file: None,
            trusted_origins: Vec::new(),
            headers: BTreeMap::new(),
        };
        let client = Credentials::new(Auth::None, "webhdfs", source, secrets)
            .and_then(|credentials| Client::new(settings, credentials))
            .map_err(|error| error.to_string())?;
        let path = Path::from_url_path(url.path()).map_err(|error| format!("`path`: {error}"))?;
        Ok((Self { client: Arc::new(client), user: storage.get("hdfs_user").cloned() }, path))
    }

    /// Asks about a path; `None` where there is nothing.
    async fn ask(&self, path: &Path, parameters: &[(&str, String)]) -> Result<Option<Answer>> {
        let mut url = self.client.base().clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.parts().map(|part| part.as_ref().to_owned()));
        }
        url.query_pairs_mut().extend_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(user) = &self.user {
            url.query_pairs_mut().append_pair("user.name", user);
        }
        let mut request = Request::get(url);
        request.accepted.push(404);
        let answer = self.client.fetch(&request).await.map_err(|error| match error {
            crate::Error::Refused { stage: crate::Stage::Login, .. } => {
                Error::PermissionDenied { path: path.to_string(), source: Box::new(error) }
            }
            error => Error::Generic { store: STORE, source: Box::new(error) },
        })?;
        Ok((answer.status.as_u16() != 404).then_some(answer))
    }

    async fn status(&self, path: &Path) -> Result<Status> {
        let absent = || Error::NotFound { path: path.to_string(), source: "WebHDFS answered 404".into() };
        let answer = self.ask(path, &[("op", "GETFILESTATUS".to_owned())]).await?.ok_or_else(absent)?;
        parse::<Found>(&answer).map(|found| found.status)
    }

    async fn children(&self, path: &Path) -> Result<Vec<Status>> {
        match self.ask(path, &[("op", "LISTSTATUS".to_owned())]).await? {
            Some(answer) => parse::<Listed>(&answer).map(|listed| listed.statuses.statuses),
            None => Ok(Vec::new()),
        }
    }

    /// Every file below a path.
    async fn walk(&self, root: Path) -> Result<Vec<ObjectMeta>> {
        let (mut folders, mut found) = (vec![root], Vec::new());
        while let Some(folder) = folders.pop() {
            for status in self.children(&folder).await? {
                // A file lists itself, without a name.
                let path =
                    if status.path_suffix.is_empty() { folder.clone() } else { below(&folder, &status.path_suffix)? };
                if status.is_folder() {
                    folders.push(path);
                } else {
                    found.push(status.meta(path));
                }
            }
        }
        Ok(found)
    }
}

/// The path of a child, whose name stands for itself (`site=Saint%20Denis` is a folder of that name).
fn below(folder: &Path, name: &str) -> Result<Path> {
    let text = if folder.as_ref().is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    Path::parse(text).map_err(|source| Error::InvalidPath { source })
}

fn parse<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T> {
    let body = answer.body.open().map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?;
    serde_json::from_reader(body).map_err(|_| Error::Generic {
        store: STORE,
        source: "it answered what WebHDFS does not; is the port that of its HTTP?".into(),
    })
}

fn read_only<T>(operation: &str) -> Result<T> {
    Err(Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() })
}

#[async_trait]
impl ObjectStore for WebHdfs {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        read_only("put_opts")
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        read_only("put_multipart_opts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let status = self.status(location).await?;
        if status.is_folder() {
            return Err(Error::NotFound { path: location.to_string(), source: "it is a folder".into() });
        }
        let meta = status.meta(location.clone());
        options.check_preconditions(&meta)?;
        let range: Range<u64> = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| Error::Generic { store: STORE, source: error.to_string().into() })?,
            None => 0..meta.size,
        };
        let bytes = if options.head || range.is_empty() {
            Vec::new()
        } else {
            let length = range.end - range.start;
            let parameters =
                [("op", "OPEN".to_owned()), ("offset", range.start.to_string()), ("length", length.to_string())];
            let absent = || Error::NotFound { path: location.to_string(), source: "WebHDFS answered 404".into() };
            let answer = self.ask(location, &parameters).await?.ok_or_else(absent)?;
            let bytes =
                answer.body.raw_bytes().map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?;
            if bytes.len() as u64 != length {
                let source = format!("it gave {} bytes of {length}", bytes.len()).into();
                return Err(Error::Generic { store: STORE, source });
            }
            bytes
        };
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes.into()) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { read_only("delete_stream") }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, root) = (self.clone(), prefix.cloned().unwrap_or_default());
        stream::once(async move { store.walk(root).await })
            .map_ok(|found| stream::iter(found.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = prefix.cloned().unwrap_or_default();
        let mut listed = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for status in self.children(&root).await? {
            let path = below(&root, &status.path_suffix)?;
            if status.is_folder() {
                listed.common_prefixes.push(path);
            } else {
                listed.objects.push(status.meta(path));
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        read_only("copy_opts")
    }
}

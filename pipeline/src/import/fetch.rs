//! Files of an import that stand on a web server.

use futures::StreamExt;
use object_store::{ClientOptions, ObjectStore, http::HttpBuilder, path::Path};
use url::Url;

use super::spool::Spool;
use crate::{Error, FetchedFile, context::Running, failure::Failure, retry};

/// Whether a file can be fetched: by its URL alone, without asking anybody.
pub(crate) fn check(file: &FetchedFile) -> Result<(), Error> {
    let invalid = |reason: String| Error::Invalid { reason };
    let url = Url::parse(&file.url).map_err(|_| invalid(format!("`{}` is no URL", file.name)))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid(format!("`{}`: files are fetched from http:// and https:// only", file.name)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(format!("`{}`: a URL must not carry a password", file.name)));
    }
    if url.query().is_some() {
        return Err(invalid(format!("`{}`: a URL with a query is not supported", file.name)));
    }
    Ok(())
}

/// Fetches files into the spool and makes them the run's set. A run that is taken up again fetches again: the same bytes
/// under the same name are the same file.
pub(crate) async fn fetch(running: &Running, spool: &Spool, files: &[FetchedFile]) -> Result<(), Failure> {
    for file in files {
        retry::unit(running, &file.name, || async {
            running.check()?;
            let taken = one(spool, file).await?;
            running.info(format!("fetched `{}`: {taken} bytes", file.name)).await;
            Ok(())
        })
        .await?;
    }
    let mut set = spool.files().await.map_err(|error| Failure::Permanent(error.to_string()))?;
    set.retain(|known| files.iter().any(|file| file.name == known.name));
    spool.keep_set(running.id, &set).await.map_err(|error| Failure::Permanent(error.to_string()))
}

async fn one(spool: &Spool, file: &FetchedFile) -> Result<u64, Failure> {
    let broken = |_| Failure::Permanent(format!("`{}` is no URL", file.name));
    let url = Url::parse(&file.url).map_err(broken)?;
    let failed = |error: object_store::Error| match error {
        object_store::Error::NotFound { .. } => Failure::Permanent(format!("`{}` is not there", file.name)),
        // Its text may quote what the other server said.
        _ => Failure::Transient(format!("`{}` could not be fetched", file.name)),
    };
    let mut root = url.clone();
    root.set_path("/");
    let store = HttpBuilder::new()
        .with_url(root.as_str())
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
        .map_err(failed)?;
    let path = Path::from_url_path(url.path()).map_err(|_| Failure::Permanent(format!("`{}` is no URL", file.name)))?;
    let content = ObjectStore::get_opts(&store, &path, object_store::GetOptions::default()).await.map_err(failed)?;
    let content = content.into_stream().map(|chunk| chunk.map_err(std::io::Error::other)).boxed();
    spool.take(&file.name, content).await.map_err(|error| Failure::Transient(error.to_string()))
}

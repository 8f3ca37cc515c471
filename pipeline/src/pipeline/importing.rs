//! Files that are brought: uploaded, or fetched from where somebody put them.

use bytes::Bytes;
use futures::stream::BoxStream;
use mavis_catalog::{NewSource, Run, RunKind, Source};
use mavis_types::{Principal, RunId};

use super::Pipeline;
use crate::{
    Error, FetchedFile, ImportOptions, ImportedFile,
    import::{self, IMPORT_KIND, Spool},
    job::Job,
};

impl Pipeline {
    /// Takes one uploaded file of an import; the same bytes under the same name are taken once.
    pub async fn import_file(
        &self,
        by: &Principal,
        options: &ImportOptions,
        name: &str,
        content: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<u64, Error> {
        tracing::debug!(by = %by.name, source = %options.source, "taking a file of an import in");
        self.spool(options).take(name, content).await
    }

    fn spool(&self, options: &ImportOptions) -> Spool {
        Spool::of(&self.context().options.spool, &options.source)
    }

    /// The files of an import that are complete here already: what need not be sent again.
    pub async fn imported_files(&self, options: &ImportOptions) -> Result<Vec<ImportedFile>, Error> {
        let finished = import::finished(self.context(), &options.source).await.map_err(super::refused)?;
        let files = self.spool(options).files().await?;
        let told = files.into_iter().map(|file| ImportedFile {
            landed: finished.get(&file.name) == Some(&file.digest),
            name: file.name,
            bytes: file.bytes,
            sha256: file.digest,
        });
        Ok(told.collect())
    }

    /// The source that an import becomes, made where it is not there.
    async fn import_source(&self, by: &Principal, options: &ImportOptions) -> Result<Source, Error> {
        let new = NewSource {
            name: options.source.clone(),
            kind: IMPORT_KIND.to_owned(),
            params: serde_json::json!({}),
            authoritative: options.authoritative,
        };
        match self.catalog().source(&options.source).await {
            Ok(source) if source.kind != IMPORT_KIND => Err(Error::Invalid {
                reason: format!(
                    "source `{}` is of kind `{}`: give the import a name of its own",
                    source.name, source.kind
                ),
            }),
            Ok(source) if source.authoritative != options.authoritative => Err(Error::Invalid {
                reason: format!(
                    "source `{}` was imported with authoritative = {}: its ids cannot change; give the import another name",
                    source.name, source.authoritative
                ),
            }),
            Ok(source) => Ok(source),
            Err(mavis_catalog::Error::NotFound { .. }) => {
                let source = self.catalog().add_source(new).await.map_err(Error::Catalog)?;
                self.context().audit(by, "source.add", source.name.as_str()).await;
                Ok(source)
            }
            Err(error) => Err(Error::Catalog(error)),
        }
    }

    /// Queues a run that fetches files from web servers and lands them in the FHIR zone, as an import does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that is not fetched.
    pub async fn start_fetch(
        &self,
        by: &Principal,
        id: RunId,
        options: ImportOptions,
        files: Vec<FetchedFile>,
    ) -> Result<Run, Error> {
        if files.is_empty() {
            return Err(Error::Invalid { reason: "name the files to import".to_owned() });
        }
        files.iter().try_for_each(import::check_fetched)?;
        let source = self.import_source(by, &options).await?;
        self.enqueue(by, id, RunKind::ImportFiles, &source, &Job::Fetch { options, files }).await
    }

    /// Queues the run that lands the uploaded files in the FHIR zone.
    pub async fn start_import(&self, by: &Principal, id: RunId, options: ImportOptions) -> Result<Run, Error> {
        if let Ok(run) = self.catalog().run(id).await {
            return Ok(run);
        }
        let spool = self.spool(&options);
        let files = spool.files().await?;
        if files.is_empty() {
            return Err(Error::Invalid { reason: format!("no file of `{}` was uploaded yet", options.source) });
        }
        let source = self.import_source(by, &options).await?;
        spool.keep_set(id, &files).await?;
        self.enqueue(by, id, RunKind::ImportFiles, &source, &Job::Import(options)).await
    }
}

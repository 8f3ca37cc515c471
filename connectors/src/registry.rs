use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Error, Secrets, SourceSpec, source::BoxedSource};

/// A kind of source: its name, its declared parameters, and how to connect.
#[async_trait]
pub trait SourceKind: Send + Sync + 'static {
    /// As written in `kind`, lower case.
    const NAME: &'static str;
    /// One line for `mavis source add --help` and the error that lists the kinds.
    const SUMMARY: &'static str;
    /// Declared parameters; unknown ones are refused.
    type Params: DeserializeOwned + JsonSchema + Send;

    /// Checks the parameters and makes the source. Opens no connection.
    ///
    /// # Errors
    /// [`Error::Params`], [`Error::MissingSecret`].
    fn connect(name: &str, params: Self::Params, secrets: &Secrets) -> Result<BoxedSource, Error>;
}

trait ErasedKind: Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self) -> serde_json::Value;
    fn connect(&self, spec: &SourceSpec, secrets: &Secrets) -> Result<BoxedSource, Error>;
}

/// The kinds that this server can read.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Arc<dyn ErasedKind>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.kinds.keys()).finish()
    }
}

impl Registry {
    /// Every kind that is built in.
    #[must_use]
    pub fn built_in() -> Self {
        todo!()
    }

    #[must_use]
    pub fn with<K: SourceKind>(self) -> Self {
        todo!()
    }

    /// # Errors
    /// [`Error::UnknownKind`] with the kinds there are; [`Error::Params`] with the field that is wrong.
    pub fn connect(&self, spec: &SourceSpec, secrets: &Secrets) -> Result<BoxedSource, Error> {
        let _ = (spec, secrets);
        todo!()
    }

    /// Name, summary and JSON Schema of the parameters of each kind.
    #[must_use]
    pub fn describe(&self) -> Vec<(&'static str, &'static str, serde_json::Value)> {
        todo!()
    }
}

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    Ambient, Closed, Error, FhirFiles, Files, Firebird, Mariadb, Mysql, Secrets, SourceSpec, Sqlite,
    fhir_server::FhirServer,
    hive::Hive,
    http::Http,
    mongodb::MongoDb,
    postgres::Postgres,
    push::Push,
    source::BoxedSource,
    ssh::{HostKeys, Tunnels},
};

/// A kind of source: its name, its declared parameters, and how to connect.
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
    fn connect(name: &str, params: Self::Params, ambient: &Ambient) -> Result<BoxedSource, Error>;
}

trait ErasedKind: Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self) -> serde_json::Value;
    fn connect(&self, spec: &SourceSpec, ambient: &Ambient) -> Result<BoxedSource, Error>;
}

/// The kinds that this server can read.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Arc<dyn ErasedKind>>,
    /// SSH sessions are shared by all sources.
    tunnels: Tunnels,
    closed: Closed,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.kinds.keys()).finish()
    }
}

/// A [`SourceKind`] behind an object-safe face.
struct Erased<K>(PhantomData<fn() -> K>);

impl<K: SourceKind> ErasedKind for Erased<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn summary(&self) -> &'static str {
        K::SUMMARY
    }

    fn schema(&self) -> serde_json::Value {
        schemars::schema_for!(K::Params).to_value()
    }

    fn connect(&self, spec: &SourceSpec, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let refuse = |reason: String| Error::Params { source_name: spec.name.to_string(), reason };
        if let Some(field) = crate::params::find_password(&spec.params) {
            let variable = Secrets::variable(K::NAME, spec.name.as_str());
            return Err(refuse(format!(
                "`{field}` holds a secret: take it out and set the environment variable {variable} instead"
            )));
        }
        let params = serde_json::from_value(spec.params.clone()).map_err(|error| refuse(error.to_string()))?;
        K::connect(spec.name.as_str(), params, ambient)
    }
}

impl Registry {
    /// Every kind that is built in.
    #[must_use]
    pub fn built_in() -> Self {
        Self::default()
            .with::<FhirFiles>()
            .with::<FhirServer>()
            .with::<Files>()
            .with::<Firebird>()
            .with::<Hive>()
            .with::<Http>()
            .with::<Mariadb>()
            .with::<Mysql>()
            .with::<MongoDb>()
            .with::<Postgres>()
            .with::<Push>()
            .with::<Sqlite>()
    }

    /// The registry with one more kind; a kind of the same name is replaced.
    #[must_use]
    pub fn with<K: SourceKind>(mut self) -> Self {
        self.kinds.insert(K::NAME, Arc::new(Erased::<K>(PhantomData)));
        self
    }

    /// The registry with another place for the host keys of SSH servers that are trusted on first use; without one they
    /// are forgotten with the process.
    #[must_use]
    pub fn with_host_keys(mut self, keys: Arc<dyn HostKeys>) -> Self {
        self.tunnels = Tunnels::new(keys);
        self
    }

    /// The registry whose sources read nothing of these places of this machine.
    #[must_use]
    pub fn with_closed(mut self, closed: Closed) -> Self {
        self.closed = closed;
        self
    }

    /// Checks the parameters of a source and makes it; opens no connection.
    ///
    /// # Errors
    /// [`Error::UnknownKind`] with the kinds there are; [`Error::Params`] with the field that is wrong.
    pub fn connect(&self, spec: &SourceSpec, secrets: &Secrets) -> Result<BoxedSource, Error> {
        match self.kinds.get(spec.kind.as_str()) {
            Some(kind) => {
                let (tunnels, closed) = (self.tunnels.clone(), self.closed.clone());
                kind.connect(spec, &Ambient { secrets: secrets.clone(), tunnels, closed })
            }
            None => Err(Error::UnknownKind {
                kind: spec.kind.clone(),
                known: self.kinds.keys().map(|name| (*name).to_owned()).collect(),
            }),
        }
    }

    /// Name, summary and JSON Schema of the parameters of each kind.
    #[must_use]
    pub fn describe(&self) -> Vec<(&'static str, &'static str, serde_json::Value)> {
        self.kinds.values().map(|kind| (kind.name(), kind.summary(), kind.schema())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Discovery, ReadRequest, ReadStream, Selection, Source, StageReport};
    use async_trait::async_trait;
    use mavis_types::SourceName;
    use serde_json::json;

    #[derive(Debug)]
    struct Nothing;

    #[async_trait]
    impl Source for Nothing {
        async fn check(&self) -> Vec<StageReport> {
            Vec::new()
        }
        async fn discover(&self, _: &Selection) -> Result<Discovery, Error> {
            Ok(Discovery::default())
        }
        async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
            Err(Error::NoSuchTable { table: request.table.to_string() })
        }
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Params {
        #[allow(dead_code, reason = "only its presence is checked")]
        host: String,
    }

    struct Fake;

    impl SourceKind for Fake {
        const NAME: &'static str = "fake";
        const SUMMARY: &'static str = "a source without tables";
        type Params = Params;

        fn connect(_: &str, _: Params, _: &Ambient) -> Result<BoxedSource, Error> {
            Ok(Arc::new(Nothing))
        }
    }

    fn connect(kind: &str, params: serde_json::Value) -> String {
        let spec =
            SourceSpec { name: SourceName::new("one").unwrap(), kind: kind.to_owned(), params, authoritative: false };
        match Registry::default().with::<Fake>().connect(&spec, &Secrets::from_pairs([])) {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_kinds_there_are() {
        assert_eq!(connect("oracle", json!({})), "there is no connector kind `oracle`: use one of fake");
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let message = connect("fake", json!({"host": "h", "prot": 1}));
        assert!(message.starts_with("parameters of source `one`: unknown field `prot`"), "{message}");
    }

    #[test]
    fn a_password_among_the_parameters_is_refused_with_its_variable_and_without_its_value() {
        let message = connect("fake", json!({"host": "h", "ssh": {"password": "tiger"}}));
        assert!(message.contains("`ssh.password`") && message.contains("FAKE_PASSWORD_ONE"), "{message}");
        assert!(!message.contains("tiger"), "{message}");
    }

    #[test]
    fn kinds_describe_their_parameters() {
        let described = Registry::default().with::<Fake>().describe();
        assert_eq!(described[0].0, "fake");
        assert!(described[0].2["properties"]["host"].is_object());
    }
}

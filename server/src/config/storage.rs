use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Secret;

/// The catalog database.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConfig {
    /// `sqlite:///path/to/file` or `postgres://user:password@host:port/database`. It may hold a password, so it is never
    /// printed. Default: `catalog.sqlite` in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
}

/// Where the lake's tables are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// Root of the lake: `file:///...`, `s3://bucket/prefix`, `abfss://...`, `gs://...`. Default: `lake` in the data
    /// folder, or `data` itself where that is a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<url::Url>,
    /// Options of the store, as the `object_store` library names them: `aws_endpoint`, `aws_region`,
    /// `aws_access_key_id`, `aws_secret_access_key`, `aws_allow_http`, ... Never printed. Default: none; the usual
    /// variables of the environment (`AWS_*`, `AZURE_*`, `GOOGLE_*`) are not read.
    pub storage: BTreeMap<String, Secret>,
}

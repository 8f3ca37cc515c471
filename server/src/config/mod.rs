//! What the server is told: a TOML file, then the environment, then the command line. Read once and passed down.

mod alerts;
mod doors;
mod limits;
mod load;
mod log;
mod oidc;
mod secret;
mod secrets;
mod storage;
mod work;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use alerts::AlertsConfig;
pub use doors::{ClientCertificates, GrpcConfig, HttpConfig, PostgresConfig, TlsConfig};
pub use limits::{LimitsConfig, RoleLimitsConfig};
pub use load::{ConfigError, load, unknown};
pub use log::{LogConfig, LogFormat};
pub use oidc::OidcConfig;
pub use secret::Secret;
pub use secrets::{SecretsConfig, VaultConfig};
pub use storage::{CatalogConfig, LakeConfig};
pub use work::{PipelineConfig, QueryConfig, SchedulesConfig, UpkeepConfig};

/// Everything that can be configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of everything that the server keeps (catalog, lake, spool, spill files, admin token), or the URL of a lake
    /// on an object store. Default: `mavis` in the user's data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Local folder for what cannot be on an object store, where `data` is a URL. Default: `mavis` in the user's data
    /// folder. Where `data` is a folder, it is that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Serve other machines without TLS. Tokens and patient data then cross the network in clear text.
    /// Default: false.
    pub insecure: bool,
    pub http: HttpConfig,
    pub grpc: GrpcConfig,
    pub postgres: PostgresConfig,
    pub tls: TlsConfig,
    /// Issuers whose signed tokens are taken. Default: none.
    pub oidc: Vec<OidcConfig>,
    pub catalog: CatalogConfig,
    pub lake: LakeConfig,
    pub query: QueryConfig,
    pub limits: LimitsConfig,
    pub pipeline: PipelineConfig,
    pub schedules: SchedulesConfig,
    pub alerts: AlertsConfig,
    pub secrets: SecretsConfig,
    pub upkeep: UpkeepConfig,
    pub log: LogConfig,
}

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;

/// Who is told of schedules that are disabled and of tables that are late.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// URL that alerts are posted to. It may hold a secret, and is never printed. Default: none, nobody is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Secret>,
    /// Header that the token goes into; `authorization` makes it a bearer token. The token is a secret like those of sources:
    /// `WEBHOOK_TOKEN_ALERTS`. Without one there is no such header. Default: `authorization`.
    pub header: String,
    /// PEM file of the authorities that vouch for the receiver. Default: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// How long an answer is waited for, in seconds. Default: 10.
    pub timeout_seconds: u64,
    /// The pause after a try that failed, in seconds; each further one is twice as long, up to a quarter of an hour. An alert
    /// is tried for a day. Default: 5.
    pub pause_seconds: u64,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { webhook: None, header: "authorization".to_owned(), ca_cert: None, timeout_seconds: 10, pause_seconds: 5 }
    }
}

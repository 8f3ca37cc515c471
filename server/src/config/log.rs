use serde::{Deserialize, Serialize};

/// What goes to standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Levels by target, as in `info,mavis_lake=debug`. Default: `info`, and warnings only of the libraries.
    pub filter: String,
    /// `text` or `json`. Default: `text`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "warn,mavis=info,mavis_server=info,mavis_pipeline=info,mavis_lake=info,mavis_sql=info,\
                     mavis_catalog=info,mavis_connectors=info"
                .to_owned(),
            format: LogFormat::Text,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

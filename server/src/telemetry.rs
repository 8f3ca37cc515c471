//! Tracing to standard error and the metrics recorder. Neither ever sees a patient's value: messages and labels name
//! runs, tables, sources and counts.

use std::{io::IsTerminal, sync::OnceLock};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts writing events to standard error. `RUST_LOG` wins over the configured filter.
///
/// # Errors
/// When the filter cannot be read.
pub fn start_tracing(config: &LogConfig) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => config.filter.clone(),
    };
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("log.filter `{filter}` cannot be read"))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// The process's metrics recorder, installed at the first call. A process has one, however many servers a test starts.
///
/// # Errors
/// When another library installed a recorder first.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0])
        .context("metrics buckets")?
        .build_recorder();
    let handle = recorder.handle();
    // Two servers of one process may come here at once; the second keeps the first one's recorder.
    match metrics::set_global_recorder(recorder) {
        Ok(()) => {
            metrics::describe_counter!("mavis_requests_total", "requests that asked to be let in, by door");
            metrics::describe_counter!("mavis_logins_failed_total", "requests with a wrong token, by door");
            Ok(HANDLE.get_or_init(|| handle).clone())
        }
        Err(error) => HANDLE.get().cloned().with_context(|| format!("cannot install the metrics recorder: {error}")),
    }
}

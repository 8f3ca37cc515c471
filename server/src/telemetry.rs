//! Tracing to standard error and the metrics recorder. Neither ever sees a patient's value: messages and labels name
//! runs, tables, sources and counts.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal, Write},
    sync::OnceLock,
};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// From now on a panic tells standard error where it was, and not what it says: that may hold a value or a secret.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let mut text = format!("a part of Mavis broke at {place} (thread {name}); please report this place\n");
        // Where it is asked for (RUST_BACKTRACE); it names functions only.
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{trace}\n"));
        }
        // Not through the log: it may be what broke. Nobody is left to tell that this failed, too.
        drop(std::io::stderr().write_all(text.as_bytes()));
    }));
}

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
            metrics::describe_gauge!(
                "mavis_replication_sound",
                "1: the slot is there and has everything; 0: it is gone, lost, or cannot be asked"
            );
            metrics::describe_gauge!("mavis_replication_kept_bytes", "log that the server keeps for a source's slot");
            metrics::describe_gauge!(
                "mavis_replication_lag_bytes",
                "log written since the place up to which a source was read"
            );
            metrics::describe_gauge!(
                "mavis_replication_left_bytes",
                "log that may still be written before the slot is lost"
            );
            Ok(HANDLE.get_or_init(|| handle).clone())
        }
        Err(error) => HANDLE.get().cloned().with_context(|| format!("cannot install the metrics recorder: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Set in the process that panics.
    const PANICS: &str = "MAVIS_TEST_PANICS";

    #[test]
    fn a_panic_tells_its_place_and_not_what_it_says() {
        if std::env::var_os(PANICS).is_some() {
            // What the binary does first; the arguments of this process are no command of it.
            super::quiet_panics();
            let thread = std::thread::spawn(|| panic!("canary {}", "of-a-panic-4821"));
            assert!(thread.join().is_err());
            panic!("canary of-a-panic-4822");
        }
        let own = std::env::current_exe().unwrap();
        let name = "telemetry::tests::a_panic_tells_its_place_and_not_what_it_says";
        for trace in ["0", "full"] {
            let output = Command::new(&own)
                .args(["--exact", name, "--nocapture"])
                .envs([(PANICS, "1"), ("RUST_BACKTRACE", trace)])
                .output()
                .unwrap();
            assert!(!output.status.success());
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(told.matches("broke at").count(), 2, "{told}");
            assert!(told.contains("telemetry.rs:"), "{told}");
            let said = format!("{told}{}", String::from_utf8_lossy(&output.stdout));
            assert!(!said.contains("4821") && !said.contains("4822"), "{said}");
            assert_eq!(told.contains("panic_with_hook"), trace == "full", "{told}");
        }
    }
}

//! The connection test: how far a connection gets.

use std::time::{Duration, Instant};

use sqlx::Connection;
use tokio::net::{TcpStream, lookup_host};

use super::{Inner, discover, session};
use crate::{Error, Stage, StageOutcome, StageReport};

/// Name, route, SSH, database, login, read, in this order, up to the first that fails.
pub(super) async fn check(inner: &Inner) -> Vec<StageReport> {
    let mut reports = Vec::new();
    let mut timer = Instant::now();
    let mut report = |stage, outcome, message: String| {
        let millis = u64::try_from(timer.elapsed().as_millis()).unwrap_or(u64::MAX);
        reports.push(StageReport { stage, outcome, message, millis });
        timer = Instant::now();
    };
    let params = &inner.params;
    let limit = Duration::from_secs(params.connect_timeout_seconds);

    let address = match tokio::time::timeout(limit, lookup_host((params.host.as_str(), params.port))).await {
        Ok(Ok(mut addresses)) => addresses.next(),
        _ => None,
    };
    let Some(address) = address else {
        report(Stage::Name, StageOutcome::Failed, format!("the name `{}` does not resolve; check `host`", params.host));
        return reports;
    };
    report(Stage::Name, StageOutcome::Passed, format!("`{}` is {}", params.host, address.ip()));

    match tokio::time::timeout(limit, TcpStream::connect((params.host.as_str(), params.port))).await {
        Ok(Ok(_)) => report(Stage::Route, StageOutcome::Passed, format!("port {} is open", params.port)),
        Ok(Err(error)) => {
            let message = format!("port {} does not answer ({}); is the server up?", params.port, error.kind());
            report(Stage::Route, StageOutcome::Failed, message);
            return reports;
        }
        Err(_) => {
            let message = format!("no answer within {} s; is a VPN or a firewall in the way?", limit.as_secs());
            report(Stage::Route, StageOutcome::Failed, message);
            return reports;
        }
    }
    report(Stage::Ssh, StageOutcome::Skipped, "no tunnel is declared".to_owned());

    match session::connect(inner).await {
        Ok(connection) => {
            report(Stage::Database, StageOutcome::Passed, format!("database `{}` is there", params.database));
            report(Stage::Login, StageOutcome::Passed, format!("user `{}` is let in", params.user));
            if connection.close().await.is_err() {
                report(Stage::Read, StageOutcome::Failed, "the connection broke".to_owned());
                return reports;
            }
        }
        Err(error) => {
            if let Error::Refused { stage: Stage::Login, .. } = &error {
                report(Stage::Database, StageOutcome::Passed, "a PostgreSQL server answers".to_owned());
            }
            let (stage, message) = match error {
                Error::Refused { stage, reason, .. } | Error::Unreachable { stage, reason, .. } => (stage, reason),
                other => (Stage::Database, other.to_string()),
            };
            report(stage, StageOutcome::Failed, message);
            return reports;
        }
    }

    match discover::count_readable(inner).await {
        Ok(0) => report(
            Stage::Read,
            StageOutcome::Failed,
            format!("user `{}` can read no table of what is declared; GRANT SELECT", params.user),
        ),
        Ok(tables) => report(Stage::Read, StageOutcome::Passed, format!("{tables} tables can be read")),
        Err(error) => report(Stage::Read, StageOutcome::Failed, error.to_string()),
    }
    reports
}

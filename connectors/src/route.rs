//! The stages of a connection test that all sources behind a host and a port share.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{Stage, StageOutcome, StageReport, ssh::Tunnel};

/// Reports of a connection test, each with the time since the one before.
#[derive(Debug)]
pub(crate) struct Stages {
    reports: Vec<StageReport>,
    since: Instant,
}

impl Stages {
    pub(crate) fn begin() -> Self {
        Self { reports: Vec::new(), since: Instant::now() }
    }

    pub(crate) fn passed(&mut self, stage: Stage, message: impl Into<String>) {
        self.report(stage, StageOutcome::Passed, message.into());
    }

    pub(crate) fn failed(&mut self, stage: Stage, message: impl Into<String>) {
        self.report(stage, StageOutcome::Failed, message.into());
    }

    pub(crate) fn skipped(&mut self, stage: Stage, message: impl Into<String>) {
        self.report(stage, StageOutcome::Skipped, message.into());
    }

    fn report(&mut self, stage: Stage, outcome: StageOutcome, message: String) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.reports.push(StageReport { stage, outcome, message, millis });
        self.since = Instant::now();
    }

    pub(crate) fn end(self) -> Vec<StageReport> {
        self.reports
    }

    /// Name, route and SSH on the way to `host:port`, through the tunnel where there is one. Whether all passed.
    pub(crate) async fn arrive(&mut self, tunnel: Option<&Tunnel>, host: &str, port: u16, limit: Duration) -> bool {
        if let Some(tunnel) = tunnel {
            return tunnel.check(self, host, port).await;
        }
        let reached = self.reach(host, port, limit, "host").await;
        if reached {
            self.skipped(Stage::Ssh, "no tunnel is declared");
        }
        reached
    }

    /// Name and route of a host and port that this machine reaches itself. Whether both passed. `field`: where the host
    /// is declared.
    pub(crate) async fn reach(&mut self, host: &str, port: u16, limit: Duration, field: &str) -> bool {
        let addresses: Vec<_> = match timeout(limit, lookup_host((host, port))).await {
            Ok(Ok(addresses)) => addresses.collect(),
            _ => Vec::new(),
        };
        let Some(address) = addresses.first() else {
            self.failed(Stage::Name, format!("the name `{host}` does not resolve; check `{field}`"));
            return false;
        };
        self.passed(Stage::Name, format!("`{host}` is {}", address.ip()));
        match timeout(limit, TcpStream::connect(&*addresses)).await {
            Ok(Ok(_)) => {
                self.passed(Stage::Route, format!("port {port} is open"));
                true
            }
            Ok(Err(error)) => {
                self.failed(Stage::Route, closed(port, &error));
                false
            }
            Err(_) => {
                self.failed(Stage::Route, silent(limit.as_secs()));
                false
            }
        }
    }
}

/// What a connection that was not made means.
pub(crate) fn closed(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("port {port} is closed; is the server up, is the port right?"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            format!("there is no route ({}); is the VPN up?", error.kind())
        }
        kind => format!("port {port} does not answer ({kind}); is the server up?"),
    }
}

/// What no answer at all means.
pub(crate) fn silent(seconds: u64) -> String {
    format!("no answer within {seconds} s; is a VPN down, or a firewall in the way?")
}

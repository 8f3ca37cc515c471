//! The stages of a connection test that every HTTP source shares.

use std::time::Duration;

use url::Url;

use super::client::{Client, Request};
use crate::{Error, Stage, StageReport, route::Stages};

/// Name and route: whether somebody listens there.
///
/// # Errors
/// The reports so far, the last of them a failure.
pub(crate) async fn reach(url: &Url, limit: Duration, field: &str) -> Result<Stages, Vec<StageReport>> {
    let mut stages = Stages::begin();
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    if stages.reach(host, port, limit, field).await { Ok(stages) } else { Err(stages.end()) }
}

/// Puts an error at its stage; what comes before it passed. `last`: the stage that was reported last.
pub(crate) fn fail(mut stages: Stages, last: Stage, error: &Error) -> Vec<StageReport> {
    let (stage, reason) = match error {
        Error::Refused { stage, reason, .. } | Error::Unreachable { stage, reason, .. } => (*stage, reason.clone()),
        Error::MissingSecret { .. } => (Stage::Login, error.to_string()),
        other => (Stage::Read, other.to_string()),
    };
    let stage = match stage {
        Stage::Secret => Stage::Login,
        stage if stage > last => stage,
        _ => Stage::Read,
    };
    if stage == Stage::Read && last < Stage::Login && matches!(error, Error::Refused { .. } | Error::Malformed { .. }) {
        stages.passed(Stage::Login, "the server lets us in");
    }
    stages.failed(stage, reason);
    stages.end()
}

/// Login and read: whether a request is answered; answers with its first bytes.
///
/// # Errors
/// Why not.
pub(crate) async fn probe(client: &Client, request: &Request) -> Result<Vec<u8>, Error> {
    client.glance(request).await.map(|(_, start)| start)
}

//! The connection test: how far a connection gets.

use std::{sync::Arc, time::Duration};

use super::{Inner, discover, session};
use crate::{Error, Stage, StageReport, reading::aside, route::Stages};

/// Name, route, SSH, database, login, read, in this order, up to the first that fails.
pub(super) async fn check(inner: &Arc<Inner>) -> Vec<StageReport> {
    let mut stages = Stages::begin();
    stage_by_stage(inner, &mut stages).await;
    stages.end()
}

async fn stage_by_stage(inner: &Arc<Inner>, stages: &mut Stages) {
    let params = &inner.params;
    let limit = Duration::from_secs(params.connect_timeout_seconds);
    if !stages.arrive(inner.line.tunnel(), &params.host, params.port, limit).await {
        return;
    }
    let (attachment, relay) = match session::open(inner).await {
        Ok(opened) => opened,
        Err(error) => {
            if let Error::Refused { stage: Stage::Login, .. } = &error {
                stages.passed(Stage::Database, "a Firebird server answers");
            }
            let (stage, message) = match error {
                Error::Refused { stage, reason, .. } | Error::Unreachable { stage, reason, .. } => (stage, reason),
                other => (Stage::Database, other.to_string()),
            };
            stages.failed(stage, message);
            return;
        }
    };
    stages.passed(Stage::Database, format!("database `{}` is there", params.database));
    stages.passed(Stage::Login, format!("user `{}` is let in", params.user));

    let declared = Arc::clone(inner);
    let counted = aside(&inner.endpoint(), move || {
        let mut attachment = attachment;
        let counted = discover::count(&declared, &mut attachment);
        session::close(attachment);
        counted
    })
    .await;
    drop(relay);
    match counted {
        Ok(0) => stages.failed(Stage::Read, "there is no table of what is declared"),
        Ok(tables) => stages.passed(Stage::Read, format!("{tables} tables, and the first can be read")),
        Err(error) => stages.failed(Stage::Read, error.to_string()),
    }
}

//! The connection test: how far a connection gets.

use std::time::Duration;

use sqlx::Connection;

use super::{Inner, discover, session};
use crate::{Error, Stage, StageReport, route::Stages};

/// Name, route, SSH, database, login, read, in this order, up to the first that fails.
pub(super) async fn check(inner: &Inner) -> Vec<StageReport> {
    let mut stages = Stages::begin();
    stage_by_stage(inner, &mut stages).await;
    stages.end()
}

async fn stage_by_stage(inner: &Inner, stages: &mut Stages) {
    let params = &inner.params;
    let limit = Duration::from_secs(params.connect_timeout_seconds);
    if !stages.arrive(inner.line.tunnel(), &params.host, params.port, limit).await {
        return;
    }
    match session::connect(inner).await {
        Ok(connection) => {
            stages.passed(Stage::Database, format!("database `{}` is there", params.database));
            stages.passed(Stage::Login, format!("user `{}` is let in", params.user));
            if connection.close().await.is_err() {
                stages.failed(Stage::Read, "the connection broke".to_owned());
                return;
            }
        }
        Err(error) => {
            if let Error::Refused { stage: Stage::Login, .. } = &error {
                stages.passed(Stage::Database, "a PostgreSQL server answers".to_owned());
            }
            let (stage, message) = match error {
                Error::Refused { stage, reason, .. } | Error::Unreachable { stage, reason, .. } => (stage, reason),
                other => (Stage::Database, other.to_string()),
            };
            stages.failed(stage, message);
            return;
        }
    }

    match discover::count_readable(inner).await {
        Ok(0) => stages
            .failed(Stage::Read, format!("user `{}` can read no table of what is declared; GRANT SELECT", params.user)),
        Ok(tables) => match discover::replication(inner).await {
            Ok(None) => stages.passed(Stage::Read, format!("{tables} tables can be read")),
            Ok(Some(found)) => stages.passed(Stage::Read, format!("{tables} tables can be read; {found}")),
            Err(error) => stages.failed(Stage::Read, error.to_string()),
        },
        Err(error) => stages.failed(Stage::Read, error.to_string()),
    }
}

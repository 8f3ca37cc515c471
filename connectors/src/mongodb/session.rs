//! Connections, and what the server says when one fails.

use std::time::Duration;

use mongodb::{
    Client, Database,
    bson::doc,
    error::{Error as MongoError, ErrorKind},
    options::{ClientOptions, ServerAddress},
};
use secrecy::ExposeSecret;

use super::Inner;
use crate::{Error, Stage, StageReport, route::Stages};

async fn options(inner: &Inner) -> Result<ClientOptions, Error> {
    let wrong = |_| Error::Params {
        source_name: inner.name.clone(),
        reason: "`uri` is not one as MongoDB writes them: mongodb://user@host:27017/?replicaSet=rs0".to_owned(),
    };
    let mut options = ClientOptions::parse(inner.params.uri.as_str()).await.map_err(wrong)?;
    let limit = Duration::from_secs(inner.params.connect_timeout_seconds.max(1));
    options.connect_timeout = Some(limit);
    options.server_selection_timeout = Some(limit);
    options.app_name = Some("mavis".to_owned());
    if let Some(credential) = &mut options.credential {
        credential.password = Some(inner.password.require().await?.expose_secret().to_owned());
    }
    Ok(options)
}

/// A connected database.
pub(super) async fn open(inner: &Inner) -> Result<Database, Error> {
    let options = options(inner).await?;
    let client = Client::with_options(options).map_err(|error| failed(inner, &error))?;
    let database = client.database(&inner.params.database);
    database.run_command(doc! { "ping": 1 }).await.map_err(|error| failed(inner, &error))?;
    Ok(database)
}

/// The collections that hold documents of people's.
pub(super) async fn collections(inner: &Inner, database: &Database) -> Result<Vec<String>, Error> {
    let mut names = database.list_collection_names().await.map_err(|error| failed(inner, &error))?;
    names.retain(|name| !name.starts_with("system."));
    names.sort();
    Ok(names)
}

/// About how many documents there are.
pub(super) async fn count(database: &Database, collection: &str) -> Option<u64> {
    database.collection::<mongodb::bson::Document>(collection).estimated_document_count().await.ok()
}

/// The connection test.
pub(super) async fn check(inner: &Inner) -> Vec<StageReport> {
    let mut stages = Stages::begin();
    let limit = Duration::from_secs(inner.params.connect_timeout_seconds.max(1));
    let options = match options(inner).await {
        Ok(options) => options,
        Err(error) => {
            let stage = if matches!(error, Error::Params { .. }) { Stage::Name } else { Stage::Secret };
            stages.failed(stage, error.to_string());
            return stages.end();
        }
    };
    if let Some(ServerAddress::Tcp { host, port }) = options.hosts.first()
        && !stages.arrive(None, host, port.unwrap_or(27_017), limit).await
    {
        return stages.end();
    }
    let database = match open(inner).await {
        Ok(database) => database,
        Err(error) => {
            let stage = match &error {
                Error::Refused { stage: Stage::Login, .. } => {
                    stages.passed(Stage::Database, "a MongoDB server answers");
                    Stage::Login
                }
                _ => Stage::Database,
            };
            stages.failed(stage, error.to_string());
            return stages.end();
        }
    };
    stages.passed(Stage::Database, "a MongoDB server answers");
    match collections(inner, &database).await {
        Ok(names) => {
            stages.passed(Stage::Login, "the server lets us in");
            stages.passed(Stage::Read, format!("{} collections can be read", names.len()));
        }
        Err(error) => stages.failed(Stage::Login, error.to_string()),
    }
    stages.end()
}

/// A failure as its reader can act on it; never the server's own words, which may hold a value.
pub(super) fn failed(inner: &Inner, error: &MongoError) -> Error {
    // Whatever stands before the user is left away.
    let uri = inner.params.uri.strip_prefix("mongodb://").unwrap_or_default();
    let hosts = uri.split(['/', '?']).next().unwrap_or_default();
    let hosts = hosts.rsplit('@').next().unwrap_or_default();
    let endpoint = format!("{hosts}/{}", inner.params.database);
    let advice = || format!("set {}", inner.password.place());
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => {
            Error::Refused { endpoint, stage: Stage::Login, reason: format!("the login failed; {}", advice()) }
        }
        ErrorKind::ServerSelection { .. } => {
            let seconds = inner.params.connect_timeout_seconds;
            let reason = format!(
                "no server of those in `uri` can be used within {seconds} s; are they up, and is `replicaSet` right?"
            );
            Error::Unreachable { endpoint, stage: Stage::Route, reason }
        }
        ErrorKind::Io(error) => Error::Unreachable { endpoint, stage: Stage::Route, reason: error.kind().to_string() },
        ErrorKind::ConnectionPoolCleared { .. } => {
            Error::Unreachable { endpoint, stage: Stage::Route, reason: "the connection broke".to_owned() }
        }
        ErrorKind::Command(command) => match command.code {
            13 | 18 => Error::Refused {
                endpoint,
                stage: Stage::Login,
                reason: format!("the user may not do this ({}); grant it the role `read`", command.code_name),
            },
            // Elections and the like.
            89 | 91 | 189 | 262 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 => Error::Unreachable {
                endpoint,
                stage: Stage::Database,
                reason: format!("the server cannot answer now ({})", command.code_name),
            },
            code => Error::Refused {
                endpoint,
                stage: Stage::Read,
                reason: format!("the server answered with error {code} ({})", command.code_name),
            },
        },
        _ => Error::Refused {
            endpoint,
            stage: Stage::Read,
            reason: "the server answered what cannot be read".to_owned(),
        },
    }
}

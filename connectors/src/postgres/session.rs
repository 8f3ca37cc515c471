//! Connecting, and what a server's refusals mean.

use std::time::Duration;

use super::{Inner, SslMode, types::quote};
use crate::{Error, Stage, TableRef};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions, Executor, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Settings of every session: results that two readings write alike, and no time limit of the server's own on a table that
/// takes long.
const SETTINGS: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'UTC'; \
                        SET extra_float_digits = 3; SET bytea_output = 'hex'; SET synchronize_seqscans = off; \
                        SET search_path = pg_catalog; SET lc_monetary = 'C'";

/// A connection with our settings.
pub(super) async fn plain(inner: &Inner) -> Result<PgConnection, Error> {
    let mut connection = connect(inner).await?;
    // The server, too, asks for signs of life, so that it does not keep what a session of ours held that it no longer reaches
    // (the slot's turn, a snapshot) for two hours.
    let settings = format!(
        "{SETTINGS}; SET statement_timeout = '{}s'; SET lock_timeout = '{}s'; SET tcp_keepalives_idle = {alive}; \
         SET tcp_keepalives_interval = {alive}; SET tcp_keepalives_count = 3",
        inner.params.statement_timeout_seconds,
        inner.params.lock_timeout_seconds,
        alive = inner.params.keep_alive_seconds,
    );
    let set = connection.execute(sqlx::AssertSqlSafe(settings)).await;
    set.map_err(|error| refused(inner, Stage::Read, &error))?;
    Ok(connection)
}

/// A connection in a read-only transaction that sees one state of the database. `table`: what is to be read; its definition
/// stays as it is until the transaction ends.
pub(super) async fn open(inner: &Inner, table: Option<&TableRef>) -> Result<PgConnection, Error> {
    let mut connection = plain(inner).await?;
    let broken = |error: sqlx::Error| refused(inner, Stage::Read, &error);
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    if let Some(table) = table {
        let schema = inner.schema_of(table);
        let lockable: Option<bool> = sqlx::query_scalar(
            "SELECT c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT') FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
        )
        .bind(schema)
        .bind(&table.name)
        .fetch_optional(&mut connection)
        .await
        .map_err(broken)?;
        connection.execute(begin).await.map_err(broken)?;
        if lockable == Some(true) {
            // Before the snapshot is taken: what is locked later may have been written anew without its rows showing it.
            let lock = format!("LOCK TABLE ONLY {}.{} IN ACCESS SHARE MODE", quote(schema), quote(&table.name));
            connection.execute(sqlx::AssertSqlSafe(lock)).await.map_err(|error| gone(inner, table, &error))?;
        }
        return Ok(connection);
    }
    connection.execute(begin).await.map_err(broken)?;
    Ok(connection)
}

/// An error about one table.
fn gone(inner: &Inner, table: &TableRef, error: &sqlx::Error) -> Error {
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("42P01" | "3F000") => Error::NoSuchTable { table: table.to_string() },
        Some("55P03") => Error::Interrupted {
            place: table.to_string(),
            reason: format!(
                "somebody else has locked it for longer than {} s (`lock_timeout_seconds`)",
                inner.params.lock_timeout_seconds
            ),
        },
        _ => refused(inner, Stage::Read, error),
    }
}

/// A connection with the password as it is now. One that is refused is asked for anew once: it may have been changed a moment
/// ago.
pub(super) async fn connect(inner: &Inner) -> Result<PgConnection, Error> {
    let password = inner.password.get().await?;
    let error = match connect_with(inner, password.as_ref()).await {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    if !matches!(error, Error::Refused { stage: Stage::Login, .. }) {
        return Err(error);
    }
    match inner.password.renewed(password.as_ref()).await? {
        Some(renewed) => connect_with(inner, Some(&renewed)).await,
        None => Err(error),
    }
}

async fn connect_with(inner: &Inner, password: Option<&SecretString>) -> Result<PgConnection, Error> {
    let params = &inner.params;
    let limit = Duration::from_secs(params.connect_timeout_seconds);
    // Open on the far side already. A host that is a folder is that of the server's own socket.
    let endpoint = match params.host.starts_with('/') {
        true => None,
        false => Some(inner.line.open(&params.host, params.port, limit).await?),
    };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&params.host)
        .port(params.port)
        .username(&params.user)
        .database(&params.database)
        .application_name("mavis")
        .ssl_mode(match params.sslmode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        });
    if let Some(endpoint) = &endpoint {
        // The host stays what certificates are checked against.
        options = options.socket(endpoint.folder());
    }
    if let Some(password) = password {
        options = options.password(password.expose_secret());
    }
    match tokio::time::timeout(limit, options.disable_statement_logging().connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(connect_error(inner, password.is_some(), &error)),
        Err(_) => Err(Error::Unreachable {
            endpoint: inner.endpoint(),
            stage: Stage::Route,
            reason: crate::route::silent(limit.as_secs()),
        }),
    }
}

/// Which stage an error while connecting belongs to, by SQLSTATE class
/// (PostgreSQL documentation, appendix A "PostgreSQL Error Codes").
fn connect_error(inner: &Inner, has_password: bool, error: &sqlx::Error) -> Error {
    let endpoint = inner.endpoint();
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        "28P01" | "28000" => {
            Error::Refused { endpoint, stage: Stage::Login, reason: login_advice(inner, has_password) }
        }
        "3D000" => Error::Refused {
            endpoint,
            stage: Stage::Database,
            reason: format!("there is no database `{}`; check `database`", inner.params.database),
        },
        "53300" => Error::Unreachable { endpoint, stage: Stage::Database, reason: "too many connections".to_owned() },
        "57P03" => {
            Error::Unreachable { endpoint, stage: Stage::Database, reason: "the server is starting up".to_owned() }
        }
        "" => match error {
            // A server that asks for a password when there is none to give ends in a protocol error of the driver.
            sqlx::Error::Tls(_) => untrusted(endpoint),
            // A certificate that is not trusted ends as data that is none.
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => untrusted(endpoint),
            sqlx::Error::Io(error) if inner.line.tunnel().is_none() => {
                let reason = format!("it ended the connection while it was opened ({})", error.kind());
                Error::Unreachable { endpoint, stage: Stage::Database, reason }
            }
            sqlx::Error::Io(error) => Error::Unreachable {
                endpoint,
                stage: Stage::Database,
                reason: format!("it ended the connection through the SSH tunnel ({})", error.kind()),
            },
            _ if !has_password => {
                Error::Refused { endpoint, stage: Stage::Login, reason: login_advice(inner, has_password) }
            }
            _ => Error::Refused {
                endpoint,
                stage: Stage::Database,
                reason: "what answers there does not speak PostgreSQL's protocol; check host and port".to_owned(),
            },
        },
        code => Error::Refused { endpoint, stage: Stage::Database, reason: format!("the server said {code}") },
    }
}

fn untrusted(endpoint: String) -> Error {
    Error::Refused {
        endpoint,
        stage: Stage::Database,
        reason: "TLS could not be agreed on; check `sslmode` and the server's certificate".to_owned(),
    }
}

fn login_advice(inner: &Inner, has_password: bool) -> String {
    let user = &inner.params.user;
    let place = inner.password.place();
    if has_password {
        format!("user `{user}` was not let in; check the password ({place}) and the server's pg_hba.conf")
    } else {
        format!("user `{user}` was not let in without a password; set {place}")
    }
}

/// An error of a statement: its SQLSTATE and what that means here. Messages of the server are not passed on, since they
/// may quote values.
pub(super) fn refused(inner: &Inner, stage: Stage, error: &sqlx::Error) -> Error {
    let endpoint = inner.endpoint();
    let Some(code) = error.as_database_error().and_then(|error| error.code()) else {
        return Error::Interrupted { place: endpoint, reason: inner.line.reason() };
    };
    match code.as_ref() {
        "57014" => Error::Interrupted {
            place: endpoint,
            reason: "the server cancelled the statement: a time-out (`statement_timeout_seconds`), or a person"
                .to_owned(),
        },
        "40001" => Error::Interrupted {
            place: endpoint,
            reason: "the standby cancelled the reading, since the primary removed rows that it saw; raise \
                     max_standby_streaming_delay, or set hot_standby_feedback"
                .to_owned(),
        },
        "57P01" | "57P02" | "57P03" | "55P03" | "53300" | "53200" => {
            Error::Interrupted { place: endpoint, reason: format!("the server ended the statement ({code})") }
        }
        "42501" => Error::Refused {
            endpoint,
            stage,
            reason: format!("user `{}` has no right to read it (42501); GRANT SELECT", inner.params.user),
        },
        "42P01" => Error::Refused { endpoint, stage, reason: "the table is no longer there (42P01)".to_owned() },
        code => Error::Refused { endpoint, stage, reason: format!("the server said {code}") },
    }
}

//! Connecting, and what a server's refusals mean.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Decode, Executor, MySql, MySqlConnection, Row,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow, MySqlSslMode},
};

use super::{Inner, SslMode};
use crate::{Error, Stage};

/// Settings of every session: results that two readings write alike. `sql_mode` has no NO_ZERO_DATE, so that a zero date
/// may be compared with, and no PAD_CHAR_TO_FULL_LENGTH.
const SETTINGS: &str = "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', \
                        sql_select_limit = DEFAULT, net_write_timeout = 86400, net_read_timeout = 600, \
                        wait_timeout = 86400";

/// Settings that only one of the two servers, or only later versions, know: no time limit of the server's own on a table
/// that takes long.
const IF_KNOWN: [&str; 2] = ["SET SESSION max_statement_time = 0", "SET SESSION max_execution_time = 0"];

/// A connection in a read-only transaction that sees one state of the database.
pub(super) async fn open(inner: &Inner) -> Result<MySqlConnection, Error> {
    let mut connection = connect(inner).await?;
    let lock = format!("SET SESSION lock_wait_timeout = {}", inner.params.lock_timeout_seconds.max(1));
    for statement in [SETTINGS, &lock] {
        execute(&mut connection, statement).await.map_err(|error| refused(inner, &error))?;
    }
    for statement in IF_KNOWN {
        match execute(&mut connection, statement).await {
            Ok(()) => {}
            // ER_UNKNOWN_SYSTEM_VARIABLE
            Err(error) if number(&error) == Some(1193) => {}
            Err(error) => return Err(refused(inner, &error)),
        }
    }
    let begin =
        ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"];
    for statement in begin {
        execute(&mut connection, statement).await.map_err(|error| refused(inner, &error))?;
    }
    Ok(connection)
}

async fn execute(connection: &mut MySqlConnection, statement: &str) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(statement.to_owned())).await.map(|_| ())
}

/// A connection with the password as it is now. One that is refused is asked for anew once: it may have been changed a moment
/// ago.
pub(super) async fn connect(inner: &Inner) -> Result<MySqlConnection, Error> {
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

async fn connect_with(inner: &Inner, password: Option<&SecretString>) -> Result<MySqlConnection, Error> {
    let params = &inner.params;
    let limit = Duration::from_secs(params.connect_timeout_seconds);
    // Open on the far side already.
    let endpoint = inner.line.open(&params.host, params.port, limit).await?;
    let mut options = MySqlConnectOptions::new()
        .host(&params.host)
        .port(params.port)
        .username(&params.user)
        .database(&params.database)
        .charset("utf8mb4")
        // The host stays what certificates are checked against.
        .socket(endpoint.path())
        .statement_cache_capacity(0)
        .ssl_mode(match params.ssl_mode {
            SslMode::Disabled => MySqlSslMode::Disabled,
            SslMode::Preferred => MySqlSslMode::Preferred,
            SslMode::Required => MySqlSslMode::Required,
            SslMode::VerifyCa => MySqlSslMode::VerifyCa,
            SslMode::VerifyIdentity => MySqlSslMode::VerifyIdentity,
        });
    if let Some(authorities) = &params.ssl_ca {
        options = options.ssl_ca(authorities);
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

/// Says goodbye, so that the server does not log a lost connection.
pub(super) async fn close(connection: MySqlConnection) {
    if !matches!(tokio::time::timeout(Duration::from_secs(2), connection.close()).await, Ok(Ok(()))) {
        tracing::debug!("a connection broke while it was closed");
    }
}

/// The server's error number (MySQL 8.0 Error Reference; MariaDB Error Codes).
fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Which stage an error while connecting belongs to.
fn connect_error(inner: &Inner, has_password: bool, error: &sqlx::Error) -> Error {
    let endpoint = inner.endpoint();
    let user = &inner.params.user;
    let refused = |stage, reason: String| Error::Refused { endpoint: endpoint.clone(), stage, reason };
    match number(error) {
        Some(1045 | 1698 | 1251 | 2059) => refused(Stage::Login, login_advice(inner, has_password)),
        Some(1049) => {
            refused(Stage::Database, format!("there is no database `{}`; check `database`", inner.params.database))
        }
        Some(1044) => refused(
            Stage::Login,
            format!("user `{user}` has no right to database `{}`; GRANT SELECT", inner.params.database),
        ),
        Some(1130) => {
            refused(Stage::Login, "the server lets nobody in from this machine; check the user's host".to_owned())
        }
        Some(1129) => refused(
            Stage::Login,
            "the server has blocked this machine after many failed attempts; FLUSH HOSTS there".to_owned(),
        ),
        Some(4151 | 3118 | 1862 | 1820) => {
            refused(Stage::Login, format!("the account of user `{user}` is locked or its password has expired"))
        }
        Some(1040 | 1203 | 1226) => {
            Error::Unreachable { endpoint, stage: Stage::Database, reason: "too many connections".to_owned() }
        }
        Some(1053) => {
            Error::Unreachable { endpoint, stage: Stage::Database, reason: "the server is shutting down".to_owned() }
        }
        Some(number) => refused(Stage::Database, format!("the server said {number}")),
        None => match error {
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Error::Unreachable {
                endpoint,
                stage: Stage::Database,
                reason: "what answers there hung up; is it a MySQL server that has started?".to_owned(),
            },
            sqlx::Error::Io(error) if inner.line.tunnel().is_none() => {
                let reason = format!("it ended the connection while it was opened ({})", error.kind());
                Error::Unreachable { endpoint, stage: Stage::Database, reason }
            }
            sqlx::Error::Io(error) => Error::Unreachable {
                endpoint,
                stage: Stage::Database,
                reason: format!("it ended the connection through the SSH tunnel ({})", error.kind()),
            },
            sqlx::Error::Tls(_) => refused(
                Stage::Database,
                "TLS could not be agreed on; check `ssl_mode`, `ssl_ca` and the server's certificate".to_owned(),
            ),
            sqlx::Error::Configuration(_) => {
                refused(Stage::Database, "the connection cannot be set up; check `ssl_ca`".to_owned())
            }
            // A server that asks for a password when there is none to give ends in a protocol error of the driver.
            _ if !has_password => refused(Stage::Login, login_advice(inner, has_password)),
            _ => refused(
                Stage::Database,
                "what answers there does not speak MySQL's protocol; check host and port".to_owned(),
            ),
        },
    }
}

fn login_advice(inner: &Inner, has_password: bool) -> String {
    let user = &inner.params.user;
    let place = inner.password.place();
    if has_password {
        format!("user `{user}` was not let in; check the password ({place}) and from where the user may come")
    } else {
        format!("user `{user}` was not let in without a password; set {place}")
    }
}

/// An error of a statement: its number and what that means here. Messages of the server are not passed on, since they may
/// quote values.
pub(super) fn refused(inner: &Inner, error: &sqlx::Error) -> Error {
    let endpoint = inner.endpoint();
    let interrupted = |reason: String| Error::Interrupted { place: inner.endpoint(), reason };
    let Some(number) = number(error) else {
        return interrupted(inner.line.reason());
    };
    let refused = |reason: String| Error::Refused { endpoint, stage: Stage::Read, reason };
    let user = &inner.params.user;
    match number {
        1205 => interrupted(format!(
            "somebody holds a lock on the table for longer than `lock_timeout_seconds` ({} s)",
            inner.params.lock_timeout_seconds
        )),
        1412 => interrupted(
            "the table was altered or truncated while it was read; it is read again as it is then".to_owned(),
        ),
        1213 | 1317 | 1927 | 1969 | 3024 | 1053 | 1158..=1161 | 1040 | 1041 | 1037 | 4031 => {
            interrupted(format!("the server ended the statement ({number})"))
        }
        1142 | 1143 | 1044 | 1227 => refused(format!("user `{user}` has no right to read it ({number}); GRANT SELECT")),
        1146 | 1051 | 1054 => {
            interrupted(format!("the table or a column of it is no longer there ({number}); discover the source again"))
        }
        1356 | 1449 => refused(format!(
            "the view refers to something that is not there or that its definer may not read ({number}); repair the view"
        )),
        1153 => {
            refused("a row is larger than the server's `max_allowed_packet` (1153); raise it on the server".to_owned())
        }
        number => refused(format!("the server said {number}")),
    }
}

/// A field's bytes as they came, whatever the type: `None` is null.
pub(super) fn raw(row: &MySqlRow, index: usize) -> Option<&[u8]> {
    let value = row.try_get_raw(index).ok()?;
    <&[u8] as Decode<MySql>>::decode(value).ok()
}

/// A field of `information_schema` as text, which some servers call binary.
pub(super) fn text(row: &MySqlRow, index: usize) -> Option<String> {
    raw(row, index).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// The rows of a statement, in the text protocol.
pub(super) async fn fetch(
    inner: &Inner,
    connection: &mut MySqlConnection,
    statement: String,
) -> Result<Vec<MySqlRow>, Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(connection).await.map_err(|error| refused(inner, &error))
}

//! Connecting, and what a server's refusals mean.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rsfbclient::{
    Connection, Dialect, FbError, RawValue, RustFbClient, builder_pure_rust, charset,
    prelude::{TrDataAccessMode, TrIsolationLevel, TrLockResolution, TransactionConfiguration},
};
use secrecy::{ExposeSecret, SecretString};

use super::{Inner, charset::latin1};
use crate::{Error, Stage, relay::Relay, route};

pub(super) type Attachment = Connection<RustFbClient>;

/// Sees one state of the database, and changes nothing.
const SNAPSHOT: TransactionConfiguration = TransactionConfiguration {
    data_access: TrDataAccessMode::ReadOnly,
    isolation: TrIsolationLevel::Concurrency,
    lock_resolution: TrLockResolution::NoWait,
};

/// An attachment in a snapshot transaction, and what it reaches the server through: without that it ends.
pub(super) async fn open(inner: &Arc<Inner>) -> Result<(Attachment, Relay), Error> {
    let (mut attachment, relay) = connect(inner).await?;
    let place = inner.endpoint();
    let name = Arc::clone(inner);
    let attachment = crate::reading::aside(&place, move || {
        attachment.begin_transaction_config(SNAPSHOT).map_err(|error| refused(&name, &error))?;
        Ok(attachment)
    })
    .await?;
    Ok((attachment, relay))
}

/// An attachment with the password as it is now. One that is refused is asked for anew once: it may have been changed a
/// moment ago.
pub(super) async fn connect(inner: &Arc<Inner>) -> Result<(Attachment, Relay), Error> {
    let password = inner.password.get().await?;
    let error = match connect_with(inner, password.as_ref()).await {
        Ok(connected) => return Ok(connected),
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

async fn connect_with(inner: &Arc<Inner>, password: Option<&SecretString>) -> Result<(Attachment, Relay), Error> {
    let limit = Duration::from_secs(inner.params.connect_timeout_seconds);
    let (host, port) = (&inner.params.host, inner.params.port);
    let relay = inner.line.relay(host, port, limit).await?;
    let (address, declared, has_password) = (relay.address(), Arc::clone(inner), password.is_some());
    let password = password.cloned();
    let place = inner.endpoint();
    let attach = crate::reading::aside(&place, move || {
        attach(&declared, address, password.as_ref()).map_err(|error| connect_error(&declared, has_password, &error))
    });
    match tokio::time::timeout(limit, attach).await {
        Ok(Ok(attachment)) => Ok((attachment, relay)),
        Ok(Err(error)) => Err(error),
        // Dropping the relay lets the thread go that waits.
        Err(_) => Err(Error::Unreachable {
            endpoint: inner.endpoint(),
            stage: Stage::Route,
            reason: route::silent(limit.as_secs()),
        }),
    }
}

fn attach(inner: &Inner, address: SocketAddr, password: Option<&SecretString>) -> Result<Attachment, FbError> {
    let params = &inner.params;
    // Bytes come as they are stored; where the driver insists on text, each byte is one character.
    let bytes = charset::ISO_8859_1.on_rust;
    let mut builder = builder_pure_rust();
    builder
        .host(address.ip().to_string())
        .port(address.port())
        .db_name(&params.database)
        .user(&params.user)
        .pass(password.map_or("", |password| password.expose_secret()))
        .dialect(Dialect::D3)
        .charset(rsfbclient::Charset { on_firebird: "NONE", on_rust: bytes })
        .stmt_cache_size(1)
        .transaction(SNAPSHOT);
    if let Some(role) = &params.role {
        builder.role(role);
    }
    builder.connect()
}

/// Ends an attachment whose work is done.
pub(super) fn close(mut attachment: Attachment) {
    if attachment.rollback().is_err() || attachment.close().is_err() {
        tracing::debug!("an attachment broke while it was closed");
    }
}

/// A statement as the driver wants it: it writes each character as one byte, and the server takes the bytes as UTF-8.
pub(super) fn statement(sql: &str) -> String {
    latin1(sql.as_bytes())
}

/// The rows of a statement without BLOBs.
pub(super) fn rows<T>(
    inner: &Inner,
    attachment: &mut Attachment,
    sql: &str,
    mut of: impl FnMut(&[RawValue]) -> T,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    let streamed = attachment.stream_raw(&statement(sql), |row| {
        found.push(of(row));
        Ok(())
    });
    streamed.map_err(|error| refused(inner, &error))?;
    Ok(found)
}

/// A field of the system tables: names are UTF-8, filled up with spaces.
pub(super) fn name(value: Option<&RawValue>) -> Option<String> {
    match value {
        Some(RawValue::Text(bytes)) => Some(String::from_utf8_lossy(bytes).trim_end().to_owned()),
        _ => None,
    }
}

pub(super) fn number(value: Option<&RawValue>) -> Option<i64> {
    match value {
        Some(RawValue::Integer(number)) => Some(*number),
        _ => None,
    }
}

/// Whether the server's words have some of these in them. The driver passes on no error numbers but these words, which are
/// the same in every language version (`gds_codes`).
fn says(error: &FbError, words: &[&str]) -> bool {
    match error {
        FbError::Sql { msg, .. } => words.iter().any(|word| msg.contains(word)),
        FbError::Other(text) => words.iter().any(|word| text.contains(word)),
        FbError::Io(_) => false,
    }
}

fn connect_error(inner: &Inner, has_password: bool, error: &FbError) -> Error {
    let endpoint = inner.endpoint();
    let refused = |stage, reason: String| Error::Refused { endpoint: endpoint.clone(), stage, reason };
    let user = &inner.params.user;
    let place = inner.password.place();
    if says(error, &["user name and password are not defined", "Srp error", "no permission for"]) {
        return refused(
            Stage::Login,
            if has_password {
                format!("user `{user}` was not let in; check the password ({place}) and the user's rights")
            } else {
                format!("user `{user}` was not let in without a password; set {place}")
            },
        );
    }
    if says(error, &["database @1 shutdown", "shutdown", "is being used", "lock conflict", "connection lost"]) {
        let reason = "the database is shut down or in use by somebody alone".to_owned();
        return Error::Unreachable { endpoint, stage: Stage::Database, reason };
    }
    if says(error, &["I/O error", "is not a valid database", "unavailable database", "No such file", "cannot find"]) {
        let database = &inner.params.database;
        return refused(
            Stage::Database,
            format!(
                "there is no database `{database}` that the server can open; check `database` (a path there, or an alias)"
            ),
        );
    }
    if says(error, &["unsupported on-disk structure"]) {
        return refused(Stage::Database, "the database was made by another version than the server's".to_owned());
    }
    match error {
        FbError::Io(error) => Error::Unreachable { endpoint, stage: Stage::Route, reason: error.kind().to_string() },
        FbError::Other(text) if text.contains("Connection closed") => Error::Unreachable {
            endpoint,
            stage: Stage::Database,
            reason: "what answers there hung up; is it a Firebird server that has started?".to_owned(),
        },
        FbError::Other(_) => refused(
            Stage::Database,
            "what answers there does not speak Firebird's protocol, or lets users in by a method other than Srp, Srp256 and \
             that of 2.5; check host and port, and AuthServer in the server's firebird.conf"
                .to_owned(),
        ),
        FbError::Sql { code, .. } => refused(Stage::Database, format!("the server said {code}")),
    }
}

/// An error of a statement, and what that means here. Messages of the server are not passed on, since they may quote
/// values.
pub(super) fn refused(inner: &Inner, error: &FbError) -> Error {
    let endpoint = inner.endpoint();
    let refused = |reason: String| Error::Refused { endpoint: endpoint.clone(), stage: Stage::Read, reason };
    let interrupted = |reason: &str| Error::Interrupted { place: inner.endpoint(), reason: reason.to_owned() };
    let user = &inner.params.user;
    if says(error, &["no permission for"]) {
        return refused(format!("user `{user}` has no right to read it; GRANT SELECT"));
    }
    if says(error, &["Table unknown", "Column unknown", "is not defined"]) {
        return interrupted("the table or a column of it is no longer there; discover the source again");
    }
    if matches!(error, FbError::Io(_)) || says(error, &["Connection closed"]) {
        return interrupted(&inner.line.reason());
    }
    if says(error, &["shutdown", "connection lost", "lock conflict", "deadlock", "cancelled"]) {
        return interrupted("the server ended the connection or the statement");
    }
    if says(error, &["block size exceeds", "Implementation limit"]) {
        return refused(
            "a row is larger than the protocol can carry (64 KB besides BLOBs); read a view of fewer columns"
                .to_owned(),
        );
    }
    if says(error, &["arithmetic exception", "conversion error", "string truncation"]) {
        return refused(
            "a computed column cannot be computed for some row; exclude the table or read a view".to_owned(),
        );
    }
    match error {
        FbError::Sql { code, .. } => refused(format!("the server said {code}")),
        FbError::Io(_) | FbError::Other(_) => interrupted("what came from the server was garbled"),
    }
}

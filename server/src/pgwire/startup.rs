//! From a fresh socket to a client that was let in (manual, section "Message Flow", "Start-up").

use std::{collections::BTreeMap, io, net::IpAddr, time::Duration};

use bytes::{Buf, Bytes};
use mavis_types::{Principal, Zone};
use pgwire::messages::{
    PgWireBackendMessage,
    startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{
    cancel::Connections,
    connection,
    failure::{Failure, state},
    message::{LONGEST_BEFORE, Message, take},
    output::{Io, Wire},
    session::{Client, Entry},
    settings::{REPORTED, SERVER_VERSION},
};
use crate::{
    App,
    auth::Door,
    tls::{Inside, Tls},
};

/// How long somebody who is not let in yet may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest start-up message, in bytes (`MAX_STARTUP_PACKET_LENGTH`).
const LONGEST: usize = 10_000;
/// Schemas of a zone that the search path names by itself.
const PATH: usize = 16;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// What every connection of the door shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) app: App,
    pub(super) connections: Connections,
    pub(super) tls: Option<Tls>,
}

/// What a client says first.
struct Hello {
    minor: u16,
    parameters: BTreeMap<String, String>,
}

/// Lets a client in and serves it to its end.
pub(super) async fn accept(shared: Shared, socket: TcpStream, peer: IpAddr) {
    let greeted = tokio::time::timeout(PATIENCE, Box::pin(greet(&shared, socket, peer))).await;
    match greeted {
        Ok(Ok(Some((wire, client)))) => connection::serve(wire, client).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => debug!(%peer, %error, "a connection ended before it began"),
        Err(_) => debug!(%peer, "a connection took too long to begin"),
    }
}

async fn greet(shared: &Shared, mut socket: TcpStream, peer: IpAddr) -> io::Result<Option<(Wire, Client)>> {
    socket.set_nodelay(true)?;
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first == [0x16] {
        // TLS without asking.
        let Some(tls) = &shared.tls else { return Ok(None) };
        let stream = TlsAcceptor::from(tls.current(Inside::Postgres)).accept(socket).await?;
        return enter(shared, Box::new(stream), peer, true).await;
    }
    loop {
        // Exactly these bytes: what a stranger in between sends in the clear must not count as said inside of TLS.
        let mut head = [0; 8];
        socket.read_exact(&mut head).await?;
        let (length, code) = split(head);
        match code {
            SSL if length == 8 => match &shared.tls {
                Some(tls) => {
                    socket.write_all(b"S").await?;
                    let stream = TlsAcceptor::from(tls.current(Inside::Postgres)).accept(socket).await?;
                    return enter(shared, Box::new(stream), peer, true).await;
                }
                None => socket.write_all(b"N").await?,
            },
            GSS if length == 8 => socket.write_all(b"N").await?,
            _ => return begun(shared, Box::new(socket), peer, false, head).await,
        }
    }
}

fn split(head: [u8; 8]) -> (usize, u32) {
    let mut head = &head[..];
    (usize::try_from(head.get_u32()).unwrap_or(usize::MAX), head.get_u32())
}

async fn enter(
    shared: &Shared,
    mut socket: Box<dyn Io>,
    peer: IpAddr,
    safe: bool,
) -> io::Result<Option<(Wire, Client)>> {
    let mut head = [0; 8];
    socket.read_exact(&mut head).await?;
    begun(shared, socket, peer, safe, head).await
}

/// Reads what follows the first eight bytes. `safe`: the connection is encrypted.
async fn begun(
    shared: &Shared,
    mut socket: Box<dyn Io>,
    peer: IpAddr,
    safe: bool,
    head: [u8; 8],
) -> io::Result<Option<(Wire, Client)>> {
    let (length, code) = split(head);
    if !(8..=LONGEST).contains(&length) {
        return Ok(None);
    }
    let mut rest = vec![0; length - 8];
    socket.read_exact(&mut rest).await?;
    let mut rest = Bytes::from(rest);
    let mut wire = Wire::new(socket);
    if code == CANCEL {
        if rest.len() == 8 {
            shared.connections.cancel(rest.get_i32(), rest.get_i32());
        }
        wire.close().await;
        return Ok(None);
    }
    let (major, minor) = (code >> 16, code & 0xffff);
    if major != 3 {
        return refused(
            wire,
            Failure::fatal(state::PROTOCOL, format!("protocol {major}.{minor} is not spoken here, only 3.0")),
        )
        .await;
    }
    let hello = Hello { minor: u16::try_from(minor).unwrap_or_default(), parameters: parameters(rest) };
    // Where clients must show a certificate, there is no way round it, from this machine either.
    let certified = shared.tls.as_ref().is_some_and(Tls::requires_certificates);
    let exposed =
        shared.tls.is_some() && !safe && !peer.is_loopback() && !shared.app.config.insecure || certified && !safe;
    if exposed {
        return refused(
            wire,
            Failure::fatal(state::NO_ENCRYPTION, "this server wants TLS: connect with sslmode=require"),
        )
        .await;
    }
    match let_in(shared, &mut wire, peer, hello).await? {
        Ok(client) => Ok(Some((wire, client))),
        Err(failure) => refused(wire, failure).await,
    }
}

async fn refused(mut wire: Wire, failure: Failure) -> io::Result<Option<(Wire, Client)>> {
    failure.write(&mut wire.out);
    wire.close().await;
    Ok(None)
}

/// Pairs of texts, each ended by a zero byte.
fn parameters(body: Bytes) -> BTreeMap<String, String> {
    let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    let mut parameters = BTreeMap::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        if !name.is_empty() {
            parameters.insert(name, value);
        }
    }
    parameters
}

async fn let_in(shared: &Shared, wire: &mut Wire, peer: IpAddr, hello: Hello) -> io::Result<Result<Client, Failure>> {
    let options: Vec<String> = hello.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
    if hello.minor > 0 || !options.is_empty() {
        wire.put(&PgWireBackendMessage::NegotiateProtocolVersion(NegotiateProtocolVersion::new(0, options)));
    }
    wire.put(&PgWireBackendMessage::Authentication(Authentication::CleartextPassword));
    wire.flush().await?;
    let password = loop {
        match take(&mut wire.read, LONGEST_BEFORE) {
            Ok(Some(Message::Password(password))) => break secrecy::SecretString::from(password),
            Ok(Some(_)) => return Ok(Err(Failure::fatal(state::PROTOCOL, "a password was asked for"))),
            Ok(None) => {
                if !wire.more().await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(failure) => return Ok(Err(failure)),
        }
    };
    let token = secrecy::ExposeSecret::expose_secret(&password);
    let token = (!token.is_empty()).then_some(token);
    let principal = match shared.app.auth.authenticate(token, Some(peer), Door::Postgres).await {
        Ok(principal) => principal,
        Err(denied) => return Ok(Err(denied.into())),
    };
    // Without a name of its own a database is called as the user is; that is no zone, so it means the first one.
    let user = hello.parameters.get("user").cloned().unwrap_or_default();
    let database = hello.parameters.get("database").filter(|name| !name.is_empty() && **name != user);
    let database = database.cloned().unwrap_or_else(|| "fhir".to_owned());
    let path = match path(shared, &principal, &database).await {
        Ok(path) => path,
        Err(failure) => return Ok(Err(failure)),
    };
    let Some(place) = shared.connections.enter(shared.app.config.postgres.connections) else {
        return Ok(Err(Failure::fatal(state::TOO_MANY, "too many connections: try again later")));
    };
    let entry =
        Entry { token: password, peer, user: principal.name.clone(), database, path, has_tls: shared.tls.is_some() };
    let mut client = Client::new(shared.app.clone(), entry, place);
    if let Err(failure) = begin_with(&mut client, &hello.parameters) {
        return Ok(Err(failure));
    }
    wire.put(&PgWireBackendMessage::Authentication(Authentication::Ok));
    for name in REPORTED {
        let value = client.settings.show(name).unwrap_or_default();
        wire.put(&PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)));
    }
    for (name, value) in [("server_version", SERVER_VERSION.to_owned()), ("session_authorization", client.user.clone())]
    {
        wire.put(&PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)));
    }
    let key = BackendKeyData::new(client.place.number, SecretKey::I32(client.place.secret));
    wire.put(&PgWireBackendMessage::BackendKeyData(key));
    Ok(Ok(client))
}

/// The schemas in which a database's tables are looked for by their names alone.
async fn path(shared: &Shared, principal: &Principal, database: &str) -> Result<Vec<String>, Failure> {
    let engine = &shared.app.engine;
    let own = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
    match database.parse::<Zone>() {
        Ok(Zone::Fhir) => own(&["r4", "views"]),
        Ok(_) => {
            let schemas = engine.list_schemas(principal, Some(database), None).await?;
            let schemas = schemas.into_iter().map(|(_, schema)| schema);
            // In `work` a name alone means the caller's own table, as at every door, also before there is one.
            let own = (database == Zone::Work.as_str()).then(|| principal.own_schema());
            let others = schemas.filter(|schema| schema != "information_schema" && Some(schema) != own.as_ref());
            Ok(own.iter().cloned().chain(others).take(PATH).collect())
        }
        Err(_) if database == "system" => own(&["catalog", "ops"]),
        Err(_) => Err(Failure::fatal(
            state::NO_DATABASE,
            format!(
                "there is no database \"{database}\": zones are databases here (fhir, processed, raw, work), and system"
            ),
        )),
    }
}

/// Settings that stand in the start-up message, in `options` as `-c name=value` too.
fn begin_with(client: &mut Client, parameters: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => wanted.extend(options(value)),
            name if name.starts_with("_pq_.") => {}
            name => wanted.push((name.to_owned(), value.clone())),
        }
    }
    for (name, value) in wanted {
        // A client's own taste about what is not known, or done in one way here only, is no reason to turn it away.
        if let Err(failure) = client.settings.set(&name, &[value])
            && name.eq_ignore_ascii_case("client_encoding")
        {
            return Err(failure);
        }
    }
    Ok(())
}

fn options(text: &str) -> Vec<(String, String)> {
    let mut words = text.split_whitespace();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c").filter(|rest| !rest.is_empty())) {
            Some(pair) => Some(pair),
            None if word == "-c" => words.next(),
            None => None,
        };
        if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
            found.push((name.replace('-', "_"), value.replace('\\', "")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_options_are_read() {
        let expected = [("geqo", "off"), ("statement_timeout", "5min"), ("search_path", "a,b")];
        let read = options("-c geqo=off -cstatement_timeout=5min --search-path=a,b -x");
        assert_eq!(read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn parameters_are_pairs_of_texts() {
        let read = parameters(Bytes::from_static(b"user\0ann\0database\0raw\0\0"));
        assert_eq!(read.get("database").map(String::as_str), Some("raw"));
        assert_eq!(read.len(), 2);
    }
}

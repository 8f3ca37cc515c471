use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_flight::sql::Any;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use mavis_sql::Home;
use prost::Message;
use sha2::Sha256;
use tonic::Status;
use uuid::Uuid;

/// Bytes of a signature.
const SIGNATURE: usize = 32;

/// What a ticket or a prepared statement stands for. The client carries it; the server keeps nothing.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Handle {
    /// The id under which the query can be cancelled once it runs; empty in a prepared statement.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) query: Bytes,
    #[prost(string, tag = "2")]
    pub(super) sql: String,
    /// Values of the parameters, a row per execution, as an Arrow IPC stream; empty when none were bound.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) parameters: Bytes,
    /// The session's own catalog and schema when the statement was sent.
    #[prost(string, optional, tag = "4")]
    pub(super) catalog: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub(super) schema: Option<String>,
    /// Of an answer that several endpoints hand out: which one.
    #[prost(message, optional, tag = "6")]
    pub(super) share: Option<Share>,
    /// Of an answer that waits in files (PollFlightInfo): its job, and which file.
    #[prost(message, optional, tag = "7")]
    pub(super) stored: Option<Stored>,
    /// Tells prepared statements apart, for clients that bind values and go on with the handle of before.
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) statement: Bytes,
    /// Of a statement that writes, sent as a query: what was done. It ran before there was this ticket.
    #[prost(message, optional, tag = "9")]
    pub(super) done: Option<Done>,
}

/// What became of a statement that writes.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Done {
    /// Rows concerned.
    #[prost(int64, optional, tag = "1")]
    pub(super) count: Option<i64>,
    /// What was done, in words; of a statement about rights.
    #[prost(string, optional, tag = "2")]
    pub(super) status: Option<String>,
}

/// One of several endpoints over the same execution.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Share {
    #[prost(uint32, tag = "1")]
    pub(super) number: u32,
    /// The process that knows of the execution.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) process: Bytes,
    /// Seconds since 1970 after which the execution is not begun any more.
    #[prost(uint64, tag = "3")]
    pub(super) until: u64,
}

/// A place in an answer that was computed before.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Stored {
    #[prost(bytes = "bytes", tag = "1")]
    job: Bytes,
    /// `None`: the job as a whole.
    #[prost(uint32, optional, tag = "2")]
    pub(super) part: Option<u32>,
}

impl Stored {
    pub(super) fn new(job: Uuid, part: Option<u32>) -> Self {
        Self { job: Bytes::copy_from_slice(job.as_bytes()), part }
    }

    pub(super) fn job(&self) -> Option<Uuid> {
        Uuid::from_slice(&self.job).ok()
    }
}

impl Handle {
    /// A statement that is not about to run.
    fn statement(sql: String, parameters: Bytes, home: &Home) -> Self {
        let (catalog, schema) = (home.catalog.clone(), home.schema.clone());
        Self { sql, parameters, catalog, schema, ..Self::default() }
    }

    /// A prepared statement that no other is mistaken for.
    pub(super) fn prepared(sql: String, home: &Home) -> Self {
        let statement = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
        Self { statement, ..Self::statement(sql, Bytes::new(), home) }
    }

    /// A query that is about to run.
    pub(super) fn query(sql: String, parameters: Bytes, home: &Home) -> Self {
        let query = Bytes::copy_from_slice(Uuid::now_v7().as_bytes());
        Self { query, ..Self::statement(sql, parameters, home) }
    }

    /// An answer that waits in files.
    pub(super) fn stored(stored: Stored) -> Self {
        Self { stored: Some(stored), ..Self::default() }
    }

    /// The answer of a statement that ran.
    pub(super) fn done(done: Done) -> Self {
        Self { done: Some(done), ..Self::default() }
    }

    /// The id of the query; a prepared statement that is fetched directly gets one of its own.
    pub(super) fn id(&self) -> Uuid {
        Uuid::from_slice(&self.query).unwrap_or_else(|_| Uuid::now_v7())
    }

    pub(super) fn home(&self) -> Home {
        Home { catalog: self.catalog.clone(), schema: self.schema.clone() }
    }
}

/// So many seconds from now, as handles write times.
pub(super) fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_secs().saturating_add(seconds)
}

/// Signs handles and reads them back.
#[derive(Clone)]
pub(super) struct Handles {
    key: [u8; 32],
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Handles {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    pub(super) fn write(&self, handle: &Handle) -> Result<Bytes, Status> {
        self.sign(b"flight-handle:", &handle.encode_to_vec())
    }

    /// # Errors
    /// INVALID_ARGUMENT for bytes that no server with this key made.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Handle, Status> {
        let foreign =
            || Status::invalid_argument("the ticket or statement handle was not made by this server: ask again");
        let content = self.verify(b"flight-handle:", bytes).ok_or_else(foreign)?;
        Handle::decode(content).map_err(|_| foreign())
    }

    /// The handle that a ticket carries.
    pub(super) fn of_ticket(&self, ticket: &[u8]) -> Result<Handle, Status> {
        use arrow_flight::sql::{Command, CommandPreparedStatementQuery, TicketStatementQuery};
        let none = |_| Status::invalid_argument("the FlightInfo is not one of a query");
        let any = Any::decode(ticket).map_err(|_| Status::invalid_argument("the ticket cannot be read"))?;
        match Command::try_from(any).map_err(none)? {
            Command::TicketStatementQuery(TicketStatementQuery { statement_handle }) => self.read(&statement_handle),
            Command::CommandPreparedStatementQuery(CommandPreparedStatementQuery { prepared_statement_handle }) => {
                self.read(&prepared_statement_handle)
            }
            _ => Err(Status::invalid_argument("the FlightInfo is not one of a query")),
        }
    }

    /// Content with a signature before it. `of`: keeps what is signed for one purpose from being taken for another.
    pub(super) fn sign(&self, of: &[u8], content: &[u8]) -> Result<Bytes, Status> {
        let mut bytes = self.signature(of, content)?.finalize().into_bytes().to_vec();
        bytes.extend_from_slice(content);
        Ok(bytes.into())
    }

    /// The content, where it was signed with this key for this purpose.
    pub(super) fn verify<'a>(&self, of: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (signature, content) = bytes.split_at_checked(SIGNATURE)?;
        self.signature(of, content).ok()?.verify_slice(signature).ok()?;
        Some(content)
    }

    fn signature(&self, of: &[u8], content: &[u8]) -> Result<Hmac<Sha256>, Status> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|_| Status::internal("no signing key"))?;
        // Apart from everything else that the key signs.
        mac.update(of);
        mac.update(content);
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_and_a_changed_one_is_refused() {
        let handles = Handles::new([7; 32]);
        let home = Home { catalog: Some("raw".to_owned()), schema: None };
        let handle = Handle::query("SELECT 1".to_owned(), Bytes::from_static(b"x"), &home);
        let bytes = handles.write(&handle).unwrap();
        let read = handles.read(&bytes).unwrap();
        assert_eq!((read.id(), &read.sql, read.home()), (handle.id(), &handle.sql, home));
        assert!(Handles::new([8; 32]).read(&bytes).is_err());
        assert!(handles.verify(b"another purpose:", &bytes).is_none());
        for place in [0, SIGNATURE, bytes.len() - 1] {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1;
            assert!(handles.read(&changed).is_err(), "byte {place}");
        }
        assert!(handles.read(b"short").is_err());
    }
}

use arrow_flight::sql::Any;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
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
    query: Bytes,
    #[prost(string, tag = "2")]
    pub(super) sql: String,
    /// Values of the parameters, a row per execution, as an Arrow IPC stream; empty when none were bound.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) parameters: Bytes,
}

impl Handle {
    /// A prepared statement.
    pub(super) fn statement(sql: String, parameters: Bytes) -> Self {
        Self { query: Bytes::new(), sql, parameters }
    }

    /// A query that is about to run.
    pub(super) fn query(sql: String, parameters: Bytes) -> Self {
        Self { query: Bytes::copy_from_slice(Uuid::now_v7().as_bytes()), sql, parameters }
    }

    /// The id of the query; a prepared statement that is fetched directly gets one of its own.
    pub(super) fn id(&self) -> Uuid {
        Uuid::from_slice(&self.query).unwrap_or_else(|_| Uuid::now_v7())
    }
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
        let content = handle.encode_to_vec();
        let mut bytes = self.signature(&content)?.finalize().into_bytes().to_vec();
        bytes.extend_from_slice(&content);
        Ok(bytes.into())
    }

    /// # Errors
    /// INVALID_ARGUMENT for bytes that no server with this key made.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Handle, Status> {
        let foreign =
            || Status::invalid_argument("the ticket or statement handle was not made by this server: ask again");
        let (signature, content) = bytes.split_at_checked(SIGNATURE).ok_or_else(foreign)?;
        self.signature(content)?.verify_slice(signature).map_err(|_| foreign())?;
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

    fn signature(&self, content: &[u8]) -> Result<Hmac<Sha256>, Status> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|_| Status::internal("no signing key"))?;
        // Apart from everything else that the key signs.
        mac.update(b"flight-handle:");
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
        let handle = Handle::query("SELECT 1".to_owned(), Bytes::from_static(b"x"));
        let bytes = handles.write(&handle).unwrap();
        let read = handles.read(&bytes).unwrap();
        assert_eq!((read.id(), &read.sql), (handle.id(), &handle.sql));
        assert!(Handles::new([8; 32]).read(&bytes).is_err());
        for place in [0, SIGNATURE, bytes.len() - 1] {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1;
            assert!(handles.read(&changed).is_err(), "byte {place}");
        }
        assert!(handles.read(b"short").is_err());
    }
}

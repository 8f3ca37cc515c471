//! Batches as messages of Flight (`FlightData` in Flight.proto), in pieces that share the memory of their columns.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::Schema,
    error::ArrowError,
    ipc::{
        MessageHeader, root_as_message,
        writer::{IpcWriteOptions, StreamEncoder},
    },
};
use arrow_flight::{FlightData, SchemaAsIpc};
use bytes::{Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

/// Bytes of a message that batches are cut to, about; what arrow-flight cuts to as well.
const ABOUT: usize = 2 << 20;
/// Field of `FlightData` with the columns.
const BODY: u32 = 1000;
/// What comes before the metadata of an encapsulated message of Arrow IPC: a mark, and the length of the metadata.
const PREFIX: usize = 8;
const MARK: [u8; 4] = [0xff; 4];

/// One message as protobuf writes it: its fields but for the columns, then the columns.
#[derive(Debug)]
pub(in crate::flight) struct Message {
    pub(super) head: Bytes,
    pub(super) columns: Vec<Bytes>,
    /// Bytes of all of it.
    pub(super) length: usize,
}

impl From<FlightData> for Message {
    fn from(mut data: FlightData) -> Self {
        let columns = vec![std::mem::take(&mut data.data_body)];
        Self::new(&data, columns)
    }
}

impl Message {
    /// `data`: without its columns.
    fn new(data: &FlightData, mut columns: Vec<Bytes>) -> Self {
        columns.retain(|piece| !piece.is_empty());
        let body: usize = columns.iter().map(Bytes::len).sum();
        let mut head = BytesMut::with_capacity(data.encoded_len() + 16);
        data.encode_raw(&mut head);
        if body > 0 {
            encode_key(BODY, WireType::LengthDelimited, &mut head);
            encode_varint(body as u64, &mut head);
        }
        Self { length: head.len() + body, head: head.freeze(), columns }
    }

    /// The message that tells the columns of what follows.
    pub(super) fn of_schema(schema: &Schema, options: &IpcWriteOptions) -> Self {
        FlightData::from(SchemaAsIpc::new(schema, options)).into()
    }
}

/// Writes batches of one schema.
pub(super) struct Writer {
    schema: Arc<Schema>,
    encoder: StreamEncoder,
}

impl Writer {
    pub(super) fn new(schema: &Arc<Schema>, options: IpcWriteOptions) -> Result<Self, ArrowError> {
        let encoder = StreamEncoder::try_new_with_options(schema, options)?;
        Ok(Self { schema: Arc::clone(schema), encoder })
    }

    /// The messages of a batch; none for one without rows.
    ///
    /// # Errors
    /// For columns of other types than the client was told, which would read other values out of them.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Message>, ArrowError> {
        let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        if !Arc::ptr_eq(&self.schema, batch.schema_ref()) && types(&self.schema) != types(batch.schema_ref()) {
            return Err(ArrowError::SchemaError("a batch has other columns than its answer".to_owned()));
        }
        let rows = batch.num_rows();
        let columns = batch.columns().iter();
        let size: usize =
            columns.map(|column| column.to_data().get_slice_memory_size()).sum::<Result<usize, ArrowError>>()?;
        let most = rows.div_ceil(size.div_ceil(ABOUT).max(1)).max(1);
        let mut messages = Vec::with_capacity(rows.div_ceil(most));
        for from in (0..rows).step_by(most) {
            let part = batch.slice(from, most.min(rows - from));
            messages.extend(read(self.encoder.encode(&part)?)?);
        }
        Ok(messages)
    }
}

/// Memory of a column that an answer holds on to.
struct Held(Buffer);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Messages of the streaming format of Arrow IPC as those of Flight; that of the schema, which Flight has at the beginning, is
/// left out.
fn read(buffers: Vec<Buffer>) -> Result<Vec<Message>, ArrowError> {
    // A column may end in memory of no length, which no length tells of.
    let mut buffers = buffers.into_iter().filter(|piece| !piece.is_empty());
    let mut messages = Vec::new();
    while let Some(prefix) = buffers.next() {
        let length = match prefix.as_slice().split_at_checked(PREFIX / 2) {
            Some((mark, length)) if mark == MARK => i32::from_le_bytes(length.try_into().map_err(|_| torn())?),
            _ => return Err(torn()),
        };
        let metadata: Vec<u8> =
            taken(&mut buffers, length.into())?.iter().flat_map(|piece| piece.iter().copied()).collect();
        let message = root_as_message(&metadata).map_err(|_| torn())?;
        let (kind, body) = (message.header_type(), message.bodyLength());
        let columns = taken(&mut buffers, body)?.into_iter().map(|piece| Bytes::from_owner(Held(piece))).collect();
        if kind != MessageHeader::Schema {
            let data = FlightData { data_header: metadata.into(), ..FlightData::default() };
            messages.push(Message::new(&data, columns));
        }
    }
    Ok(messages)
}

/// The next buffers that make so many bytes.
fn taken(buffers: &mut impl Iterator<Item = Buffer>, bytes: i64) -> Result<Vec<Buffer>, ArrowError> {
    let mut left = usize::try_from(bytes).map_err(|_| torn())?;
    let mut pieces = Vec::new();
    while left > 0 {
        let piece = buffers.next().ok_or_else(torn)?;
        left = left.checked_sub(piece.len()).ok_or_else(torn)?;
        pieces.push(piece);
    }
    Ok(pieces)
}

fn torn() -> ArrowError {
    ArrowError::IpcError("a message is not in the pieces that its lengths tell".to_owned())
}

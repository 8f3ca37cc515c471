use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::Schema, ipc::writer::IpcWriteOptions};
use arrow_flight::{FlightData, encode::FlightDataEncoderBuilder, error::FlightError};
use futures::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};
use tonic::Status;

use super::{
    super::unwritten,
    message::{Message, Writer},
};
use crate::auth::Lasting;

/// Rows of plain types (see `mavis_sql`), not written yet.
pub(in crate::flight) struct Answer {
    schema: Arc<Schema>,
    batches: BoxStream<'static, Result<RecordBatch, Status>>,
    options: IpcWriteOptions,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Answer {
    pub(in crate::flight) fn new(
        schema: &Arc<Schema>,
        batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
        options: IpcWriteOptions,
    ) -> Self {
        Self { schema: Arc::clone(schema), batches: batches.boxed(), options }
    }

    /// The rows for as long as the token stays what it is.
    pub(in crate::flight) fn watched(self, lasting: Lasting) -> Self {
        Self { batches: lasting.watch(self.batches, Status::from).boxed(), ..self }
    }

    /// The messages of Flight, the schema first, also where no row follows.
    pub(in crate::flight) fn encoded(self) -> BoxStream<'static, Result<FlightData, Status>> {
        let batches = self.batches.map_err(FlightError::from);
        let encoder = FlightDataEncoderBuilder::new().with_schema(self.schema).with_options(self.options);
        encoder.build(batches).map(|data| data.map_err(unwritten::status)).boxed()
    }

    /// As [`Answer::encoded`], but in pieces that are not copied.
    pub(in crate::flight) fn messages(self) -> BoxStream<'static, Result<Message, Status>> {
        let Self { schema, batches, options } = self;
        let first = Message::of_schema(&schema, &options);
        let mut writer = match Writer::new(&schema, options) {
            Ok(writer) => writer,
            Err(error) => return stream::iter([Err(unwritten::unwritable(&error))]).boxed(),
        };
        let written = batches.map(move |batch| writer.write(&batch?).map_err(|error| unwritten::unwritable(&error)));
        let rest = written.map_ok(|messages| stream::iter(messages.into_iter().map(Ok))).try_flatten();
        stream::iter([Ok(first)]).chain(rest).boxed()
    }
}

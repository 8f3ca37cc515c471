//! Rows as an Arrow IPC stream.

use ::arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError, ipc::writer::StreamWriter};

use super::answer::Encode;

pub(super) struct Arrow {
    writer: StreamWriter<Vec<u8>>,
}

impl Arrow {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), schema)? })
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }
}

impl Encode for Arrow {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.take(out);
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.writer.write(batch)?;
        self.take(out);
        Ok(())
    }

    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.writer.finish()?;
        self.take(out);
        Ok(())
    }
}

//! Batches of the current table that wait for history's commit: in memory, beyond a budget in a file.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Seek, SeekFrom},
};

use arrow::{
    array::RecordBatch,
    ipc::{reader::StreamReader, writer::StreamWriter},
};

use crate::failure::Failure;

/// Bytes kept in memory.
const BUDGET: usize = 96 << 20;

/// Batches in the order in which they were put.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    memory: Vec<RecordBatch>,
    bytes: usize,
    /// Each batch is a stream of its own: schemas grow on the way.
    file: Option<BufWriter<File>>,
    in_file: usize,
}

impl Staging {
    pub(crate) fn put(&mut self, batch: RecordBatch) -> Result<(), Failure> {
        self.bytes += batch.get_array_memory_size();
        self.memory.push(batch);
        if self.bytes <= BUDGET {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => BufWriter::new(tempfile::tempfile()?),
        };
        for batch in self.memory.drain(..) {
            let mut writer = StreamWriter::try_new(&mut file, &batch.schema())?;
            writer.write(&batch)?;
            writer.finish()?;
            self.in_file += 1;
        }
        self.bytes = 0;
        self.file = Some(file);
        Ok(())
    }

    /// The batches, one after the other.
    pub(crate) fn drain(self) -> Result<impl Iterator<Item = Result<RecordBatch, Failure>>, Failure> {
        let mut file = match self.file {
            None => None,
            Some(file) => {
                let mut file = file.into_inner().map_err(|error| Failure::from(error.into_error()))?;
                file.seek(SeekFrom::Start(0))?;
                Some(BufReader::new(file))
            }
        };
        let mut left = self.in_file;
        let from_file = std::iter::from_fn(move || {
            let file = file.as_mut().filter(|_| left > 0)?;
            left -= 1;
            let mut read = || -> Result<RecordBatch, Failure> {
                let mut reader = StreamReader::try_new(&mut *file, None)?;
                let batch = reader.next().ok_or_else(|| Failure::permanent("a staged batch is cut off"))??;
                // The end of the stream is read too, so that the next one begins behind it.
                while reader.next().is_some() {}
                Ok(batch)
            };
            Some(read())
        });
        Ok(from_file.chain(self.memory.into_iter().map(Ok)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn batches_come_back_in_order_from_memory_and_file() {
        let mut staging = Staging::default();
        let wide = "x".repeat(40 << 20);
        for number in 0..7_i64 {
            let value: ArrayRef = Arc::new(Int64Array::from(vec![number]));
            let text: ArrayRef = Arc::new(StringArray::from(vec![wide.as_str()]));
            let columns = if number % 2 == 0 { vec![("a", value)] } else { vec![("a", value), ("b", text)] };
            staging.put(RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        }
        assert!(staging.in_file > 0, "the budget was never reached");
        let back: Vec<(i64, usize)> = staging
            .drain()
            .unwrap()
            .map(|batch| {
                let batch = batch.unwrap();
                use arrow::array::AsArray;
                (batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), batch.num_columns())
            })
            .collect();
        let wanted: Vec<(i64, usize)> = (0..7).map(|n| (n, if n % 2 == 0 { 1 } else { 2 })).collect();
        assert_eq!(back, wanted);
    }
}

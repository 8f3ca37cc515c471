use arrow::array::RecordBatch;

use super::{Declared, partition};
use crate::{
    Error, ReadRequest,
    objects::{FileEntry, Place, Places},
    reading::{Halt, Output},
};

/// Where a format puts its batches and rejects; keeps the places that the cursors name.
pub(super) struct Sink<'a> {
    output: &'a Output,
    pub(super) request: &'a ReadRequest,
    pub(super) places: Places,
    /// Whether a reading may go on from the middle.
    is_append: bool,
    declared: Option<&'a Declared>,
    rows_since_cursor: usize,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        output: &'a Output,
        request: &'a ReadRequest,
        places: Places,
        is_append: bool,
        declared: Option<&'a Declared>,
    ) -> Self {
        Self { output, request, places, is_append, declared, rows_since_cursor: 0 }
    }

    /// A batch, cut to the size asked for, and the place after it where there is one.
    pub(super) fn batch(&mut self, entry: &FileEntry, batch: RecordBatch, place: Option<Place>) -> Result<(), Halt> {
        let limit = self.request.batch_rows.max(1);
        let batch = partition::with_values(entry, batch).map_err(|error| Error::Malformed {
            place: format!("file `{}`", entry.shown()),
            reason: error.to_string(),
        })?;
        let batch = match self.declared {
            Some(declared) => declared.conform(&batch, &entry.shown())?,
            None => batch,
        };
        self.rows_since_cursor += batch.num_rows();
        for start in (0..batch.num_rows()).step_by(limit) {
            self.output.batch(batch.slice(start, limit.min(batch.num_rows() - start)))?;
        }
        if let Some(place) = place
            && self.is_append
        {
            self.places.files.insert(entry.name.clone(), place);
            self.cursor()?;
        }
        Ok(())
    }

    pub(super) fn reject(&self, origin: String, reason: impl Into<String>, payload: String) -> Result<(), Halt> {
        self.output.reject(origin, reason, payload)
    }

    /// A file's end. A cursor stands there if enough was read since the last one: cursors over many files are long.
    pub(super) fn file_done(&mut self, entry: &FileEntry, mut end: Place) -> Result<(), Halt> {
        if end.tail.0 == 0
            && let Some(before) = self.places.files.get(&entry.name)
            && before.offset == end.offset
        {
            end.tail = before.tail;
        }
        self.places.files.insert(entry.name.clone(), end);
        if self.is_append && self.rows_since_cursor >= self.request.batch_rows {
            self.cursor()?;
        }
        Ok(())
    }

    pub(super) fn end(self, whole: bool) -> Result<(), Halt> {
        self.output.end(Some(self.places.to_cursor()?), whole)
    }

    fn cursor(&mut self) -> Result<(), Halt> {
        self.rows_since_cursor = 0;
        self.output.cursor(self.places.to_cursor()?)
    }
}

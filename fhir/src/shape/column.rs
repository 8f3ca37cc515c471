//! Columns of primitives that grow by slots: a slot that is passed over becomes null when a later one is set, so that an
//! absent element costs nothing.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Float64Array, Int32Array, Int64Array,
        NullBufferBuilder, StringArray, TimestampMicrosecondArray,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    error::ArrowError,
};

/// Which slots are set.
#[derive(Debug)]
pub(super) struct Validity(NullBufferBuilder);

impl Validity {
    pub(super) fn new() -> Self {
        Self(NullBufferBuilder::new(1024))
    }

    /// Nulls up to `slot`. `false` where the slot is taken already.
    #[inline]
    pub(super) fn reach(&mut self, slot: usize) -> bool {
        let len = self.0.len();
        if len < slot {
            self.0.append_n_nulls(slot - len);
        }
        len <= slot
    }

    #[inline]
    pub(super) fn set(&mut self) {
        self.0.append_non_null();
    }

    pub(super) fn finish(mut self, len: usize) -> Option<NullBuffer> {
        self.reach(len);
        self.0.finish()
    }
}

/// A column of numbers of one width.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    values: Vec<T>,
    validity: Validity,
}

impl<T: Copy + Default> Numbers<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), validity: Validity::new() }
    }

    /// Sets a slot; `false` where it is taken.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, value: T) -> bool {
        if !self.validity.reach(slot) {
            return false;
        }
        if self.values.len() < slot {
            self.values.resize(slot, T::default());
        }
        self.values.push(value);
        self.validity.set();
        true
    }

    fn finish(mut self, len: usize) -> (Vec<T>, Option<NullBuffer>) {
        self.values.resize(len, T::default());
        (self.values, self.validity.finish(len))
    }
}

impl Numbers<i32> {
    pub(super) fn int32(self, len: usize) -> ArrayRef {
        let (values, nulls) = self.finish(len);
        Arc::new(Int32Array::new(ScalarBuffer::from(values), nulls))
    }
}

impl Numbers<f64> {
    pub(super) fn float64(self, len: usize) -> ArrayRef {
        let (values, nulls) = self.finish(len);
        Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls))
    }
}

impl Numbers<i64> {
    pub(super) fn int64(self, len: usize) -> ArrayRef {
        let (values, nulls) = self.finish(len);
        Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls))
    }

    /// Microseconds UTC.
    pub(super) fn timestamps(self, len: usize) -> ArrayRef {
        let (values, nulls) = self.finish(len);
        Arc::new(TimestampMicrosecondArray::new(ScalarBuffer::from(values), nulls).with_timezone("UTC"))
    }
}

/// A column of truths.
#[derive(Debug)]
pub(super) struct Bools {
    values: BooleanBufferBuilder,
    validity: Validity,
}

impl Bools {
    pub(super) fn new() -> Self {
        Self { values: BooleanBufferBuilder::new(1024), validity: Validity::new() }
    }

    pub(super) fn set(&mut self, slot: usize, value: bool) -> bool {
        if !self.validity.reach(slot) {
            return false;
        }
        self.values.append_n(slot - self.values.len(), false);
        self.values.append(value);
        self.validity.set();
        true
    }

    pub(super) fn array(mut self, len: usize) -> ArrayRef {
        self.values.append_n(len - self.values.len(), false);
        let values: BooleanBuffer = self.values.finish();
        Arc::new(BooleanArray::new(values, self.validity.finish(len)))
    }
}

/// A column of texts or bytes.
#[derive(Debug)]
pub(super) struct Texts {
    /// Where each slot ends.
    ends: Vec<i32>,
    bytes: Vec<u8>,
    validity: Validity,
    /// Whether an array of 32-bit offsets can no longer hold the bytes.
    too_long: bool,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self { ends: vec![0], bytes: Vec::new(), validity: Validity::new(), too_long: false }
    }

    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(super) fn set(&mut self, slot: usize, text: &str) -> bool {
        self.set_bytes(slot, text.as_bytes())
    }

    #[inline]
    pub(super) fn set_bytes(&mut self, slot: usize, bytes: &[u8]) -> bool {
        if !self.validity.reach(slot) {
            return false;
        }
        self.reach(slot);
        match i32::try_from(self.bytes.len() + bytes.len()) {
            Ok(end) => {
                self.bytes.extend_from_slice(bytes);
                self.ends.push(end);
            }
            Err(_) => {
                self.too_long = true;
                let last = self.last();
                self.ends.push(last);
            }
        }
        self.validity.set();
        true
    }

    fn last(&self) -> i32 {
        self.ends.last().copied().unwrap_or(0)
    }

    #[inline]
    fn reach(&mut self, slot: usize) {
        if self.ends.len() <= slot {
            let last = self.last();
            self.ends.resize(slot + 1, last);
        }
    }

    fn finish(mut self, len: usize) -> Result<(OffsetBuffer<i32>, Buffer, Option<NullBuffer>), ArrowError> {
        if self.too_long {
            return Err(ArrowError::OffsetOverflowError(i32::MAX as usize + 1));
        }
        self.reach(len);
        Ok((OffsetBuffer::new(ScalarBuffer::from(self.ends)), Buffer::from_vec(self.bytes), self.validity.finish(len)))
    }

    pub(super) fn strings(self, len: usize) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes, nulls) = self.finish(len)?;
        Ok(Arc::new(StringArray::try_new(offsets, bytes, nulls)?))
    }

    pub(super) fn binary(self, len: usize) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes, nulls) = self.finish(len)?;
        Ok(Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?))
    }
}

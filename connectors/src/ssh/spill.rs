use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;

/// Bytes put aside in a file without a name, first in, first out. The file is gone with the process.
#[derive(Debug, Default)]
pub(super) struct Spill {
    file: Option<Arc<File>>,
    written: u64,
    read: u64,
}

impl Spill {
    pub(super) fn is_empty(&self) -> bool {
        self.read == self.written
    }

    /// Bytes that wait in the file.
    pub(super) fn len(&self) -> u64 {
        self.written - self.read
    }

    pub(super) async fn put(&mut self, bytes: Bytes) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = Arc::new(aside(tempfile::tempfile).await?);
                Arc::clone(self.file.insert(file))
            }
        };
        let (at, length) = (self.written, bytes.len() as u64);
        aside(move || file.write_all_at(&bytes, at)).await?;
        self.written += length;
        Ok(())
    }

    /// The next bytes, at most `most` of them; none where there are none.
    pub(super) async fn take(&mut self, most: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.len()).unwrap_or(usize::MAX).min(most);
        let (Some(file), true) = (self.file.clone(), length > 0) else { return Ok(Bytes::new()) };
        let at = self.read;
        let bytes = aside(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        })
        .await?;
        self.read += length as u64;
        if self.is_empty() {
            // The file's space goes back.
            (self.file, self.written, self.read) = (None, 0, 0);
        }
        Ok(bytes.into())
    }
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_in_comes_out_in_order_and_the_file_goes_with_the_last_byte() {
        let mut spill = Spill::default();
        assert!(spill.take(10).await.unwrap().is_empty());
        for round in 0..3 {
            spill.put(Bytes::from_static(b"hello ")).await.unwrap();
            spill.put(Bytes::from_static(b"world")).await.unwrap();
            assert_eq!(spill.len(), 11, "round {round}");
            assert_eq!(&spill.take(8).await.unwrap()[..], b"hello wo");
            spill.put(Bytes::from_static(b"!")).await.unwrap();
            assert_eq!(&spill.take(100).await.unwrap()[..], b"rld!");
            assert!(spill.is_empty() && spill.file.is_none());
        }
    }
}

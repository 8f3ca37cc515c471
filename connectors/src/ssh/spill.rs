use std::{fmt, fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

/// Bytes that are sealed together.
const BLOCK: usize = 64 << 10;

/// Bytes put aside in a file without a name, first in, first out. They are rows of patients: what stands in the file is
/// sealed with a key that only this process's memory has, and the file is gone with the process.
#[derive(Default)]
pub(super) struct Spill {
    sealed: Option<Sealed>,
    /// What was opened and not taken yet: it is older than all that stands in the file.
    head: Bytes,
    /// What is no block yet: it is newer.
    tail: BytesMut,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

/// Sealed blocks in a file.
#[derive(Debug)]
struct Sealed {
    file: Arc<File>,
    key: Arc<Key>,
    written: u64,
    read: u64,
}

/// A key that is used for one file, and never again.
struct Key(LessSafeKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

fn broken(_: ring::error::Unspecified) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was put aside is not what was written there")
}

impl Key {
    fn new() -> io::Result<Self> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness for a key"))?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(broken);
        bytes.fill(0);
        Ok(Self(LessSafeKey::new(key?)))
    }

    /// Each block of a file has a number of its own.
    fn nonce(block: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&block.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, block: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.0.seal_in_place_append_tag(Self::nonce(block), Aad::empty(), bytes).map_err(broken)
    }

    fn open(&self, block: u64, mut bytes: Vec<u8>) -> io::Result<Bytes> {
        let length = self.0.open_in_place(Self::nonce(block), Aad::empty(), &mut bytes).map_err(broken)?.len();
        bytes.truncate(length);
        Ok(bytes.into())
    }
}

/// Bytes of a sealed block.
fn sealed_length() -> usize {
    BLOCK + AES_256_GCM.tag_len()
}

impl Spill {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> u64 {
        let blocks = self.sealed.as_ref().map_or(0, |sealed| sealed.written - sealed.read);
        blocks * BLOCK as u64 + (self.head.len() + self.tail.len()) as u64
    }

    pub(super) async fn put(&mut self, bytes: Bytes) -> io::Result<()> {
        self.tail.extend_from_slice(&bytes);
        while self.tail.len() >= BLOCK {
            let sealed = match &mut self.sealed {
                Some(sealed) => sealed,
                none => {
                    let file = Arc::new(aside(tempfile::tempfile).await?);
                    none.insert(Sealed { file, key: Arc::new(Key::new()?), written: 0, read: 0 })
                }
            };
            let (file, key, block) = (Arc::clone(&sealed.file), Arc::clone(&sealed.key), sealed.written);
            let mut bytes = self.tail.split_to(BLOCK).to_vec();
            aside(move || {
                key.seal(block, &mut bytes)?;
                file.write_all_at(&bytes, block * sealed_length() as u64)
            })
            .await?;
            sealed.written += 1;
        }
        Ok(())
    }

    /// The next bytes, at most `most` of them; none where there are none.
    pub(super) async fn take(&mut self, most: usize) -> io::Result<Bytes> {
        if self.head.is_empty() {
            self.head = match &mut self.sealed {
                Some(sealed) => sealed.next().await?,
                None => self.tail.split().freeze(),
            };
            if self.sealed.as_ref().is_some_and(|sealed| sealed.read == sealed.written) {
                // The file's space goes back, and its key with it.
                self.sealed = None;
            }
        }
        let length = self.head.len().min(most);
        let bytes = self.head.slice(..length);
        self.head.advance(length);
        Ok(bytes)
    }
}

impl Sealed {
    async fn next(&mut self) -> io::Result<Bytes> {
        let (file, key, block) = (Arc::clone(&self.file), Arc::clone(&self.key), self.read);
        let bytes = aside(move || {
            let mut bytes = vec![0; sealed_length()];
            file.read_exact_at(&mut bytes, block * sealed_length() as u64)?;
            key.open(block, bytes)
        })
        .await?;
        self.read += 1;
        Ok(bytes)
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
            assert_eq!(&spill.take(100).await.unwrap()[..], b"rld");
            assert_eq!(&spill.take(100).await.unwrap()[..], b"!");
            assert!(spill.is_empty() && spill.sealed.is_none());
        }
    }

    #[tokio::test]
    async fn bytes_keep_their_order_across_memory_and_file() {
        let (mut spill, mut put, mut seen) = (Spill::default(), 0_u32, Vec::new());
        for round in 0..400_usize {
            for _ in 0..(if round < 200 { 3 } else { 0 }) {
                let mut part = vec![0; 10_000 + round];
                part[..4].copy_from_slice(&put.to_be_bytes());
                spill.put(part.into()).await.unwrap();
                put += 1;
            }
            seen.extend_from_slice(&spill.take(7_000 * (round % 5)).await.unwrap());
        }
        assert!(spill.sealed.is_some());
        while !spill.is_empty() {
            seen.extend_from_slice(&spill.take(1 << 20).await.unwrap());
        }
        let (mut at, mut numbers) = (0, Vec::new());
        for number in 0..put {
            numbers.push(u32::from_be_bytes(seen[at..at + 4].try_into().unwrap()));
            at += 10_000 + usize::try_from(number).unwrap() / 3;
        }
        assert_eq!((numbers, at), ((0..put).collect(), seen.len()));
    }

    #[tokio::test]
    async fn what_stands_in_the_file_says_nothing_and_cannot_be_changed() {
        const CANARY: &[u8] = b"kanarienvogel ";
        let mut spill = Spill::default();
        spill.put(CANARY.repeat(20_000).into()).await.unwrap();
        let sealed = spill.sealed.as_ref().unwrap();
        let file = Arc::clone(&sealed.file);
        let mut there = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut there, 0).unwrap();
        assert!(there.len() > 3 * BLOCK);
        assert!(!there.windows(6).any(|part| part == &CANARY[..6]), "rows stand in the file as they are");
        assert!(!format!("{spill:?}").contains("kanarien"), "and so they do in what is printed");
        assert_eq!(&spill.take(CANARY.len()).await.unwrap()[..], CANARY);
        let second = sealed_length() as u64;
        file.write_all_at(&[there[sealed_length()] ^ 1], second).unwrap();
        spill.take(BLOCK).await.unwrap();
        let error = spill.take(1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

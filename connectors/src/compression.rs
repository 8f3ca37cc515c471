//! Compressed bytes, told by how they begin, not by what their file is called.

use std::io::{self, Read};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Bzip2,
    Zstd,
}

impl Compression {
    pub(crate) fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Bytes that begin so, decompressed, and whether they were compressed.
pub(crate) fn decompressed(magic: &[u8], raw: Box<dyn Read + Send>) -> io::Result<(Box<dyn Read + Send>, bool)> {
    Ok(match Compression::of(magic) {
        Compression::None => (raw, false),
        Compression::Gzip => (Box::new(MultiGzDecoder::new(raw)), true),
        Compression::Bzip2 => (Box::new(MultiBzDecoder::new(raw)), true),
        Compression::Zstd => (Box::new(zstd::Decoder::new(raw)?), true),
    })
}

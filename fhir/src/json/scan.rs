//! Finding the bytes that matter, eight at a time.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks (by its high bit) each byte that is `"`, `\` or below 0x20. Bytes after a marked one may be marked wrongly, so only
/// the first mark counts.
#[inline]
fn special(word: u64) -> u64 {
    let equals = |byte: u64| {
        let x = word ^ (LOW * byte);
        x.wrapping_sub(LOW) & !x
    };
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (equals(0x22) | equals(0x5c) | control) & HIGH
}

/// The first `"`, `\` or control character at or after `from`; the length of the text where there is none.
#[inline]
pub(super) fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = special(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && !matches!(bytes[at], b'"' | b'\\' | 0..0x20) {
        at += 1;
    }
    at
}

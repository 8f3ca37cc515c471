//! Where a walk over a range is: a text that only this server can make.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Bytes of the signature.
const TAG: usize = 16;

/// The next page's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The state that the first page saw: of the FHIR zone a snapshot, of other tables a version.
    #[serde(rename = "v")]
    pub(super) state: i64,
    /// The key of the last row.
    #[serde(rename = "k")]
    pub(super) after: Vec<String>,
}

impl Cursor {
    /// `of`: the table and the range that it belongs to.
    pub(super) fn sign(&self, key: &[u8; 32], of: &str) -> String {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let Some(mac) = mac(key, of, &body) else { return String::new() };
        let tag = mac.finalize().into_bytes();
        let bytes: Vec<u8> = tag.iter().take(TAG).copied().chain(body).collect();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for a text that was not made here for this range.
    pub(super) fn verify(text: &str, key: &[u8; 32], of: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, body) = bytes.split_at_checked(TAG)?;
        mac(key, of, body)?.verify_truncated_left(tag).ok()?;
        serde_json::from_slice(body).ok()
    }
}

fn mac(key: &[u8; 32], of: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    // Keeps cursors of rows from being taken for places of searches, and the two parts from running together.
    mac.update(b"rows");
    mac.update(&of.len().to_be_bytes());
    mac.update(of.as_bytes());
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_taken_back_only_untouched_and_for_its_own_range() {
        let cursor = Cursor { state: 7, after: vec!["a".to_owned(), "1".to_owned()] };
        let text = cursor.sign(&[1; 32], "raw.a.b?prefix=a");
        assert_eq!(Cursor::verify(&text, &[1; 32], "raw.a.b?prefix=a"), Some(cursor));
        assert_eq!(Cursor::verify(&text, &[1; 32], "raw.a.c?prefix=a"), None);
        assert_eq!(Cursor::verify(&text, &[2; 32], "raw.a.b?prefix=a"), None);
        assert_eq!(Cursor::verify(&text[1..], &[1; 32], "raw.a.b?prefix=a"), None);
        assert_eq!(Cursor::verify("", &[1; 32], "raw.a.b?prefix=a"), None);
    }
}

//! Where a walk over the pages of a search is: a text that only this server can make.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use mavis_types::SnapshotId;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The next page's place. It belongs to one search of one type by one signature: another query does not take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The state of the lake that the first page saw.
    #[serde(rename = "s")]
    pub(super) snapshot: SnapshotId,
    /// Matches on the pages before.
    #[serde(rename = "o")]
    pub(super) offset: usize,
    /// The id of the last match, where the search is ordered by id alone: the next page begins after it.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none", default)]
    pub(super) after_id: Option<String>,
}

impl Place {
    /// The text for the `_page` parameter; `search`: the type and the query that it belongs to.
    pub(super) fn sign(&self, key: &[u8; 32], search: &str) -> String {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let tag = tag(key, search, &body);
        let mut bytes = Vec::with_capacity(16 + body.len());
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for a text that was not made here for this search.
    pub(super) fn verify(text: &str, key: &[u8; 32], search: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (given, body) = bytes.split_at_checked(16)?;
        let mut mac = mac(key, search, body)?;
        mac.update(&[]);
        mac.verify_truncated_left(given).ok()?;
        serde_json::from_slice(body).ok()
    }
}

fn mac(key: &[u8; 32], search: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    // The length keeps the two parts from running together.
    mac.update(&search.len().to_be_bytes());
    mac.update(search.as_bytes());
    mac.update(body);
    Some(mac)
}

fn tag(key: &[u8; 32], search: &str, body: &[u8]) -> [u8; 16] {
    let mut tag = [0; 16];
    if let Some(mac) = mac(key, search, body) {
        tag.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_back_only_untouched_and_by_its_own_search() {
        let place = Place { snapshot: SnapshotId(7), offset: 50, after_id: Some("a".into()) };
        let text = place.sign(&[1; 32], "Patient?gender=male");
        assert_eq!(Place::verify(&text, &[1; 32], "Patient?gender=male"), Some(place));
        assert_eq!(Place::verify(&text, &[1; 32], "Patient?gender=female"), None);
        assert_eq!(Place::verify(&text, &[2; 32], "Patient?gender=male"), None);
        let mut touched = text.into_bytes();
        let last = touched.len() - 1;
        touched[last] = if touched[last] == b'A' { b'B' } else { b'A' };
        let touched = String::from_utf8(touched).unwrap();
        assert_eq!(Place::verify(&touched, &[1; 32], "Patient?gender=male"), None);
        assert_eq!(Place::verify("", &[1; 32], "Patient?gender=male"), None);
    }
}

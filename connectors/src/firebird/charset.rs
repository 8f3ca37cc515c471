//! Character sets, by Firebird's names. The connection's is NONE, so that each column's bytes come as they are stored.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// How the bytes of a text column become text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Charset {
    /// UTF8, UNICODE_FSS, ASCII; and NONE where nothing else is declared for it.
    Utf8,
    /// ISO 8859-1: each byte is the character of its number.
    Latin1,
    Table(&'static Encoding),
    /// No text at all.
    Octets,
}

/// The character set of a name; `None` for one that only the server can translate.
pub(super) fn named(name: &str) -> Option<Charset> {
    let upper = name.trim().to_ascii_uppercase();
    let label = match upper.as_str() {
        "UTF8" | "UTF-8" | "UNICODE_FSS" | "ASCII" | "NONE" => return Some(Charset::Utf8),
        "OCTETS" | "BINARY" => return Some(Charset::Octets),
        "ISO8859_1" | "LATIN1" => return Some(Charset::Latin1),
        "WIN1250" => "windows-1250",
        "WIN1251" => "windows-1251",
        "WIN1252" => "windows-1252",
        "WIN1253" => "windows-1253",
        "WIN1254" => "windows-1254",
        "WIN1255" => "windows-1255",
        "WIN1256" => "windows-1256",
        "WIN1257" => "windows-1257",
        "WIN1258" => "windows-1258",
        "ISO8859_2" => "iso-8859-2",
        "ISO8859_3" => "iso-8859-3",
        "ISO8859_4" => "iso-8859-4",
        "ISO8859_5" => "iso-8859-5",
        "ISO8859_6" => "iso-8859-6",
        "ISO8859_7" => "iso-8859-7",
        "ISO8859_8" => "iso-8859-8",
        "ISO8859_13" => "iso-8859-13",
        "KOI8R" => "koi8-r",
        "KOI8U" => "koi8-u",
        "DOS866" => "ibm866",
        _ => return None,
    };
    Encoding::for_label(label.as_bytes()).map(Charset::Table)
}

impl Charset {
    /// # Errors
    /// What is wrong, never the bytes.
    pub(super) fn decode<'a>(&self, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, str>, &'static str> {
        match self {
            Charset::Utf8 => match bytes {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| NOT_UTF8),
                Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| NOT_UTF8),
            },
            Charset::Latin1 => Ok(Cow::Owned(latin1(&bytes))),
            Charset::Table(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(&bytes)
                .map(|text| Cow::Owned(text.into_owned()))
                .ok_or("text that its character set has no meaning for"),
            Charset::Octets => Err("bytes where text should be"),
        }
    }
}

const NOT_UTF8: &str = "text that is not UTF-8; for columns of the character set NONE declare `none_charset`";

/// Bytes as characters of their numbers.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The reverse of [`latin1`]; `None` for a character beyond 255.
pub(super) fn bytes_of_latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("WIN1251", &[0xcf, 0xf0, 0xe8], "При")]
    #[case("win1252", &[0x80, 0xe9], "€é")]
    #[case("ISO8859_1", &[0x80, 0xe9], "\u{80}é")]
    #[case("DOS866", &[0x8f, 0xe0], "Пр")]
    #[case("KOI8R", &[0xf0], "П")]
    #[case("UTF8", "Привет".as_bytes(), "Привет")]
    fn bytes_become_the_characters_of_their_set(#[case] name: &str, #[case] bytes: &[u8], #[case] text: &str) {
        assert_eq!(named(name).unwrap().decode(Cow::Borrowed(bytes)).unwrap(), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(named("NONE").unwrap().decode(Cow::Borrowed(&[0xcf, 0xf0])).is_err());
        assert!(named("WIN1253").unwrap().decode(Cow::Borrowed(&[0xff])).is_err());
        assert_eq!(named("GBK"), None, "only the server knows it");
    }

    proptest! {
        #[test]
        fn every_byte_survives_the_way_as_latin1(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(bytes_of_latin1(&latin1(&bytes)), Some(bytes));
        }
    }
}

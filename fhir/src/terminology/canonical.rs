/// A canonical reference: `url` or `url|version`; a fragment does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical<'a> {
    pub url: &'a str,
    pub version: Option<&'a str>,
}

impl<'a> Canonical<'a> {
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        match text.split_once('|') {
            Some((url, version)) => Self { url, version: Some(version).filter(|version| !version.is_empty()) },
            None => Self { url: text, version: None },
        }
    }
}

use crate::ResourceType;

/// A conditional reference or `ifNoneExist`: `Practitioner?identifier=system|value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    pub resource: ResourceType,
    /// Decoded `name=value` pairs in the order written.
    pub criteria: Vec<(String, String)>,
}

impl Condition {
    /// Reads `Type?query`; `None` where the text is no conditional reference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (resource, query) = text.split_once('?')?;
        Self::with_type(resource.parse().ok()?, query)
    }

    /// Reads the query alone, as `ifNoneExist` of an entry has it (a leading `Type?` is allowed too).
    #[must_use]
    pub fn with_type(resource: ResourceType, query: &str) -> Option<Self> {
        let query = query.split_once('?').map_or(query, |(_, query)| query);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let criteria: Vec<_> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        let is_whole = !criteria.is_empty() && criteria.iter().all(|(name, _)| !name.is_empty());
        is_whole.then_some(Self { resource, criteria })
    }

    /// `Some((system, value))` where the only criterion is one `identifier` token. The system is `None` where none is
    /// written (any will do) and empty in `|value` (there must be none). A list of tokens and a token with escapes
    /// are left to a search.
    #[must_use]
    pub fn identifier(&self) -> Option<(Option<&str>, &str)> {
        match self.criteria.as_slice() {
            [(name, token)] if name == "identifier" && !token.contains([',', '\\']) => {
                let (system, value) = match token.split_once('|') {
                    Some((system, value)) => (Some(system), value),
                    None => (None, token.as_str()),
                };
                (!value.is_empty() && !value.contains('|')).then_some((system, value))
            }
            _ => None,
        }
    }
}

/// Percent-decoding of a query's part: `+` is a space, what is no escape stays, bytes that are no UTF-8 are replaced.
fn decode(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

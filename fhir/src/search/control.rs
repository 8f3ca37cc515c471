//! Parameters about the answer rather than about which resources match.

use super::{DEFAULT_COUNT, Include, MAX_COUNT, SearchError, Total};

/// Parameters of the answer, as far as they have been read.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) count: usize,
    pub(super) total: Total,
    /// Only narratives are wanted.
    texts: bool,
    /// Parameters of [`ONCE`] that were read.
    seen: Vec<&'static str>,
}

/// Parameters that mean one thing: a second one would contradict the first.
const ONCE: [&str; 8] = ["_count", "_total", "_summary", "_elements", "_sort", "_contained", "_format", "_pretty"];

/// What became of a parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Applied, as it stands in the `self` link.
    Applied(String),
    /// `_sort`: the caller knows the search parameters.
    Sort,
    /// `_include` or `_revinclude`.
    Include,
    /// It is about which resources match.
    No,
}

impl Control {
    pub(super) fn new() -> Self {
        Self { count: DEFAULT_COUNT, total: Total::None, texts: false, seen: Vec::new() }
    }

    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<Taken, SearchError> {
        let invalid = |reason: &str| SearchError::Invalid { name: name.to_owned(), reason: reason.to_owned() };
        let as_is = || Ok(Taken::Applied(value.to_owned()));
        let unsupported = |reason: &str| SearchError::Unsupported { name: name.to_owned(), reason: reason.to_owned() };
        if let Some(once) = ONCE.into_iter().find(|once| *once == name) {
            if self.seen.contains(&once) {
                return Err(invalid("is given twice"));
            }
            self.seen.push(once);
        }
        match name {
            "_count" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                if !digits {
                    return Err(invalid("is not a whole number from 0"));
                }
                // a number too large to read is beyond the cap all the more
                self.count = value.parse::<usize>().unwrap_or(MAX_COUNT).min(MAX_COUNT);
                if self.count == 0 {
                    self.total = Total::Accurate;
                }
                Ok(Taken::Applied(self.count.to_string()))
            }
            "_total" => {
                match value {
                    "none" => self.total = Total::None,
                    // an exact count is an estimate too
                    "estimate" | "accurate" => self.total = Total::Accurate,
                    _ => return Err(invalid("is not one of none, estimate, accurate")),
                }
                as_is()
            }
            "_summary" => match value {
                "count" => {
                    (self.count, self.total) = (0, Total::Accurate);
                    as_is()
                }
                "text" => {
                    self.texts = true;
                    as_is()
                }
                "true" | "data" | "false" => as_is(),
                _ => Err(invalid("is not one of true, text, data, count, false")),
            },
            "_contained" if value == "false" => as_is(),
            "_format" | "_pretty" | "_elements" if value.is_empty() => Err(invalid("has no value")),
            "_format" | "_pretty" | "_elements" => as_is(),
            "_sort" => Ok(Taken::Sort),
            "_contained" | "_containedType" => {
                Err(unsupported("contained resources are not searched, only read with what contains them"))
            }
            "_type" => Err(unsupported("it is for searches of all types: `GET /fhir?_type=...`")),
            "_has" => Err(invalid("is written `_has:Type:reference:parameter`")),
            _ if matches!(name.split(':').next(), Some("_include" | "_revinclude")) => Ok(Taken::Include),
            _ => Ok(Taken::No),
        }
    }

    /// What only the whole search can tell.
    pub(super) fn check(&self, includes: &[Include]) -> Result<(), SearchError> {
        if self.texts && !includes.is_empty() {
            let reason = "`text` does not go with included resources (R4 3.1.1.5.5)".to_owned();
            return Err(SearchError::Invalid { name: "_summary".to_owned(), reason });
        }
        Ok(())
    }
}

//! Parameters about the answer rather than about which resources match.

use datafusion::logical_expr::SortExpr;

use super::{DEFAULT_COUNT, MAX_COUNT, SearchError, Total};

/// Parameters of the answer, as far as they have been read.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) count: usize,
    pub(super) total: Total,
    pub(super) sort: Vec<SortExpr>,
}

/// What became of a parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Applied, as it stands in the `self` link.
    Applied(String),
    /// `_sort`: the caller knows the search parameters.
    Sort,
    /// It is about which resources match.
    No,
}

impl Control {
    pub(super) fn new() -> Self {
        Self { count: DEFAULT_COUNT, total: Total::None, sort: Vec::new() }
    }

    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<Taken, SearchError> {
        let invalid = |reason: &str| SearchError::Invalid { name: name.to_owned(), reason: reason.to_owned() };
        let as_is = || Ok(Taken::Applied(value.to_owned()));
        let unsupported = |reason: &str| SearchError::Unsupported { name: name.to_owned(), reason: reason.to_owned() };
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
                "true" | "text" | "data" | "false" => as_is(),
                _ => Err(invalid("is not one of true, text, data, count, false")),
            },
            "_format" | "_pretty" | "_elements" if value.is_empty() => Err(invalid("has no value")),
            "_format" | "_pretty" | "_elements" => as_is(),
            "_sort" => Ok(Taken::Sort),
            "_text" | "_content" | "_query" | "_filter" | "_list" | "_contained" | "_containedType" | "_type"
            | "_has" => Err(unsupported("this server does not answer it")),
            _ if name.starts_with("_include") || name.starts_with("_revinclude") => {
                Err(unsupported("included resources are not there yet: ask for them by their own search"))
            }
            _ if name.starts_with("_has:") => Err(unsupported("reverse chains are not there yet")),
            _ if name.contains('.') => {
                Err(unsupported("chains are not there yet: search the target first, then by its id"))
            }
            _ => Ok(Taken::No),
        }
    }
}

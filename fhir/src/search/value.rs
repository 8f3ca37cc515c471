//! Parameter values taken apart: escapes, prefixes.

/// Splits at a separator that has no `\` in front. Escapes stay for [`unescape`].
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `\,` `\|` `\$` `\\` are the sign itself; any other `\` stays.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some(next @ (',' | '|' | '$' | '\\'))) => {
                out.push(*next);
                rest.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// How a value compares (section 3.1.1.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    /// Starts after.
    Sa,
    /// Ends before.
    Eb,
    Ap,
}

impl Prefix {
    /// The prefix of a number, date or quantity, and the rest; `eq` where there is none.
    pub(super) fn take(text: &str) -> (Self, &str) {
        let known = match text.get(..2) {
            Some("eq") => Self::Eq,
            Some("ne") => Self::Ne,
            Some("gt") => Self::Gt,
            Some("lt") => Self::Lt,
            Some("ge") => Self::Ge,
            Some("le") => Self::Le,
            Some("sa") => Self::Sa,
            Some("eb") => Self::Eb,
            Some("ap") => Self::Ap,
            _ => return (Self::Eq, text),
        };
        (known, &text[2..])
    }
}

/// A half-open range of what is searched for against one of what is there; both ends of the latter may be open.
pub(super) fn compare<T: Ord>(prefix: Prefix, low: &T, high: &T, start: Option<&T>, end: Option<&T>) -> bool {
    let contains = start.is_some_and(|start| low <= start) && end.is_some_and(|end| end <= high);
    match prefix {
        Prefix::Eq => contains,
        Prefix::Ne => !contains,
        Prefix::Gt => end.is_none_or(|end| end > high),
        Prefix::Lt => start.is_none_or(|start| start < low),
        Prefix::Ge => end.is_none_or(|end| end > high) || contains,
        Prefix::Le => start.is_none_or(|start| start < low) || contains,
        Prefix::Sa => start.is_some_and(|start| start >= high),
        Prefix::Eb => end.is_some_and(|end| end <= low),
        Prefix::Ap => start.is_none_or(|start| start < high) && end.is_none_or(|end| end > low),
    }
}

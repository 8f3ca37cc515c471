//! Changing a few members of a JSON text and no byte beside them.

use std::ops::Range;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::json::write_string;

/// The JSON that a door answers with: the stored text with `id`, `meta.versionId` and `meta.lastUpdated` set, everything
/// else byte for byte as it was. `text` is a JSON object; anything else comes back unchanged.
#[must_use]
pub fn with_meta(text: &str, id: &str, version: i64, last_updated: DateTime<Utc>) -> String {
    let Some(root) = object(text, 0) else { return text.to_owned() };
    let version = format!("\"{version}\"");
    let updated = format!("\"{}\"", last_updated.to_rfc3339_opts(SecondsFormat::Millis, true));
    let mut edits = Vec::with_capacity(3);

    // A new `id` follows `resourceType`, a new `meta` follows `id`.
    let at_front = Place::Front(root.open + 1);
    let after_type = root.find(text, "resourceType").map_or(at_front, |member| Place::After(member.value.end));
    let id_text = quoted(id);
    let after_id = match root.find(text, "id") {
        Some(member) => {
            edits.push((member.value.clone(), id_text));
            Place::After(member.value.end)
        }
        None => {
            edits.push(after_type.insert("id", &id_text, root.is_empty()));
            after_type
        }
    };
    match root.find(text, "meta") {
        Some(member) => match object(text, member.value.start).filter(|meta| !meta.is_empty()) {
            Some(meta) => {
                for (name, value) in [("versionId", version), ("lastUpdated", updated)] {
                    edits.push(match meta.find(text, name) {
                        Some(member) => (member.value.clone(), value),
                        None => Place::Front(meta.open + 1).insert(name, &value, false),
                    });
                }
            }
            None => edits.push((member.value.clone(), meta_text(&version, &updated))),
        },
        // An `id` that was put into an empty object stands before it.
        None => edits.push(match (after_id, root.is_empty()) {
            (Place::Front(at), true) => (at..at, format!(",\"meta\":{}", meta_text(&version, &updated))),
            (place, _) => place.insert("meta", &meta_text(&version, &updated), false),
        }),
    }
    apply(text, edits)
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn meta_text(version: &str, updated: &str) -> String {
    format!("{{\"versionId\":{version},\"lastUpdated\":{updated}}}")
}

/// Where a new member goes.
#[derive(Clone, Copy)]
enum Place {
    /// Before the first member.
    Front(usize),
    /// Behind a member's value.
    After(usize),
}

impl Place {
    fn insert(self, name: &str, value: &str, is_alone: bool) -> (Range<usize>, String) {
        match self {
            Self::Front(at) if is_alone => (at..at, format!("\"{name}\":{value}")),
            Self::Front(at) => (at..at, format!("\"{name}\":{value},")),
            Self::After(at) => (at..at, format!(",\"{name}\":{value}")),
        }
    }
}

/// Applies edits; those at one place in the order given.
fn apply(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len() + 128);
    let mut at = 0;
    for (range, new) in edits {
        out.push_str(&text[at..range.start]);
        out.push_str(&new);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

struct Object {
    /// Where its `{` is.
    open: usize,
    members: Vec<Member>,
}

struct Member {
    /// The name between its quotes, as written.
    name: Range<usize>,
    value: Range<usize>,
}

impl Object {
    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn find(&self, text: &str, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| {
            let written = &text[member.name.clone()];
            written == name || (written.contains('\\') && unescaped(text, &member.name).as_deref() == Some(name))
        })
    }
}

fn unescaped(text: &str, name: &Range<usize>) -> Option<String> {
    let quoted = text.get(name.start - 1..name.end + 1)?;
    crate::json::parse(quoted.as_bytes()).ok()?.as_str().map(str::to_owned)
}

/// The members of the object that begins at or after `from`; the text is JSON already checked.
fn object(text: &str, from: usize) -> Option<Object> {
    let bytes = text.as_bytes();
    let open = skip_space(bytes, from);
    if bytes.get(open) != Some(&b'{') {
        return None;
    }
    let mut members = Vec::new();
    let mut at = skip_space(bytes, open + 1);
    while bytes.get(at) == Some(&b'"') {
        let name_end = string_end(bytes, at)?;
        let colon = skip_space(bytes, name_end);
        let start = skip_space(bytes, colon + 1);
        let end = value_end(bytes, start)?;
        members.push(Member { name: at + 1..name_end - 1, value: start..end });
        at = skip_space(bytes, end);
        match bytes.get(at)? {
            b',' => at = skip_space(bytes, at + 1),
            _ => break,
        }
    }
    (bytes.get(at) == Some(&b'}')).then_some(Object { open, members })
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Behind the closing quote of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Behind the value that begins at `at`.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0_usize);
            loop {
                match bytes.get(at)? {
                    b'"' => at = string_end(bytes, at)?,
                    b'{' | b'[' => {
                        depth += 1;
                        at += 1;
                    }
                    b'}' | b']' => {
                        depth -= 1;
                        at += 1;
                        if depth == 0 {
                            return Some(at);
                        }
                    }
                    _ => at += 1,
                }
            }
        }
        _ => {
            let length = bytes[at..]
                .iter()
                .take_while(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
            Some(at + length.count())
        }
    }
}

//! A searchset Bundle, written as text so that every resource stays as it came.

use mavis_fhir::ResourceType;
use serde_json::{Value, json};

use super::rows::Stored;

/// Why a resource is in a searchset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Match,
    Include,
}

/// A resource of a searchset.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) resource: ResourceType,
    pub(super) stored: Stored,
    pub(super) mode: Mode,
}

/// A searchset in the making.
#[derive(Debug)]
pub(super) struct Searchset<'a> {
    /// URL of the door, without a slash at its end.
    pub(super) base: &'a str,
    /// Exact, where it is known.
    pub(super) total: Option<i64>,
    /// Relation and URL.
    pub(super) links: Vec<(&'static str, String)>,
    pub(super) entries: &'a [Entry],
    /// What the caller must know of: an OperationOutcome.
    pub(super) outcome: Option<Value>,
}

impl Searchset<'_> {
    pub(super) fn to_json(&self) -> String {
        let size: usize =
            self.entries.iter().filter_map(|entry| entry.stored.json.as_ref()).map(|json| json.len() + 160).sum();
        let mut out = String::with_capacity(size + 1024);
        out.push_str(r#"{"resourceType":"Bundle","type":"searchset""#);
        if let Some(total) = self.total {
            out.push_str(&format!(",\"total\":{total}"));
        }
        let links: Vec<Value> =
            self.links.iter().map(|(relation, url)| json!({ "relation": relation, "url": url })).collect();
        out.push_str(&format!(",\"link\":{}", Value::Array(links)));
        let mut separator = ",\"entry\":[";
        for Entry { resource, stored, mode } in self.entries {
            let Some(json) = &stored.json else { continue };
            let url = json!(format!("{}/{resource}/{}", self.base, stored.id));
            let mode = match mode {
                Mode::Match => "match",
                Mode::Include => "include",
            };
            out.push_str(separator);
            out.push_str(&format!("{{\"fullUrl\":{url},\"resource\":{json},\"search\":{{\"mode\":\"{mode}\"}}}}"));
            separator = ",";
        }
        if let Some(outcome) = &self.outcome {
            out.push_str(separator);
            out.push_str(&format!("{{\"resource\":{outcome},\"search\":{{\"mode\":\"outcome\"}}}}"));
            separator = ",";
        }
        // An empty array is no FHIR: the element is left out.
        out.push_str(if separator == "," { "]}" } else { "}" });
        out
    }
}

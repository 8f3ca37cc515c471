use chrono::SecondsFormat;
use mavis_fhir::ResourceType;
use serde_json::{Value, json};

use super::super::rows::Stored;

/// A history in the making; resources stay the text that they are.
pub(super) struct History<'a> {
    pub(super) base: &'a str,
    pub(super) total: i64,
    pub(super) links: Vec<(&'static str, String)>,
    pub(super) versions: &'a [(ResourceType, Stored)],
}

impl History<'_> {
    pub(super) fn to_json(&self) -> String {
        let size: usize = self.versions.iter().filter_map(|(_, stored)| stored.json.as_ref()).map(String::len).sum();
        let mut out = String::with_capacity(size + 400 * self.versions.len() + 1_024);
        out.push_str(&format!("{{\"resourceType\":\"Bundle\",\"type\":\"history\",\"total\":{}", self.total));
        let links: Vec<Value> =
            self.links.iter().map(|(relation, url)| json!({ "relation": relation, "url": url })).collect();
        out.push_str(&format!(",\"link\":{}", Value::Array(links)));
        let mut separator = ",\"entry\":[";
        for (resource, stored) in self.versions {
            out.push_str(separator);
            separator = ",";
            let Stored { id, version, last_updated, json: text } = stored;
            out.push_str(&format!("{{\"fullUrl\":{}", json!(format!("{}/{resource}/{id}", self.base))));
            if let Some(text) = text {
                out.push_str(",\"resource\":");
                out.push_str(text);
            }
            let (method, url, status) = match (text, version) {
                (None, _) => ("DELETE", format!("{resource}/{id}"), "204 No Content"),
                (Some(_), 1) => ("POST", resource.to_string(), "201 Created"),
                (Some(_), _) => ("PUT", format!("{resource}/{id}"), "200 OK"),
            };
            let said = json!({
                "request": { "method": method, "url": url },
                "response": {
                    "status": status,
                    "etag": format!("W/\"{version}\""),
                    "lastModified": last_updated.to_rfc3339_opts(SecondsFormat::Millis, true),
                },
            });
            // The two members without their braces.
            let said = said.to_string();
            out.push(',');
            out.push_str(&said[1..]);
        }
        out.push_str(if separator == "," { "]}" } else { "}" });
        out
    }
}

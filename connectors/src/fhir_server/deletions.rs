//! What a type's history says is gone.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{Inner, bundle::Bundle, rows};
use crate::{
    Error, Stage,
    reading::{Halt, Output},
    web::{Net, shown},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    full_url: Option<String>,
    resource: Option<Id>,
    request: Option<Asked>,
}

#[derive(Deserialize)]
struct Id {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    method: Option<String>,
    url: Option<String>,
}

impl Entry {
    fn is_deletion(&self) -> bool {
        self.request.as_ref().and_then(|request| request.method.as_deref()) == Some("DELETE")
    }

    /// The id of the resource that the entry is about.
    fn id(&self, kind: &str) -> Option<String> {
        if let Some(id) = self.resource.as_ref().and_then(|resource| resource.id.clone()) {
            return Some(id);
        }
        let named = self.request.as_ref().and_then(|request| request.url.as_deref());
        [named, self.full_url.as_deref()].into_iter().flatten().find_map(|url| id_in(url, kind))
    }
}

/// The id in `Patient/1`, `https://h/fhir/Patient/1` or `Patient/1/_history/2`.
pub(super) fn id_in(url: &str, kind: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let place = parts.iter().rposition(|part| *part == kind)?;
    parts.get(place + 1).filter(|id| !id.is_empty() && !id.starts_with('_')).map(|id| (*id).to_owned())
}

/// Yields what was deleted since, and is not there again.
pub(super) fn run(inner: &Inner, net: &Net<'_>, kind: &str, since: &str, output: &Output) -> Result<(), Halt> {
    let count = inner.params.page_size.max(1).to_string();
    let mut next = Some(inner.get(&format!("{kind}/_history"), &[("_since", since), ("_count", &count)])?);
    let (mut newest, mut addresses) = (HashMap::new(), HashSet::new());
    while let Some(page) = next {
        let (bundle, answer) = Bundle::fetch(net, &page, kind)?;
        for raw in &bundle.entry {
            let Ok(entry) = serde_json::from_str::<Entry>(raw.get()) else { continue };
            // The newest comes first.
            if let Some(id) = entry.id(kind) {
                newest.entry(id).or_insert(entry.is_deletion());
            }
        }
        next = bundle.next(inner, &answer.url)?;
        if let Some(next) = &next
            && !addresses.insert(next.url.to_string())
        {
            let reason = format!("the history of `{kind}` goes round");
            return Err(Error::Refused { endpoint: shown(&answer.url), stage: Stage::Read, reason }.into());
        }
    }
    let mut gone: Vec<String> = newest.into_iter().filter(|(_, deleted)| *deleted).map(|(id, _)| id).collect();
    gone.sort();
    rows::gone(&gone, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Patient/1", Some("1"))]
    #[case("https://h/Patient/fhir/Patient/a-1/_history/2", Some("a-1"))]
    #[case("Patient?identifier=1", None)]
    #[case("Patient/", None)]
    #[case("Observation/1", None)]
    fn an_id_is_found_in_an_address(#[case] url: &str, #[case] id: Option<&str>) {
        assert_eq!(id_in(url, "Patient").as_deref(), id);
    }
}

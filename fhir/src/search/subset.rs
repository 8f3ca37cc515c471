//! What of each resource is answered: `_summary` and `_elements` (sections 3.1.1.5.8 and 3.1.1.5.9).

use super::SearchError;
use crate::{
    ResourceType,
    definitions::{self, TypeId},
    json::{self, Value},
};

/// The tag of a resource that is not whole.
const SUBSETTED: [(&str, &str); 2] =
    [("system", "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"), ("code", "SUBSETTED")];

/// Which elements of a resource are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    Whole,
    /// Those that the definitions mark as summary, and mandatory ones.
    Summary,
    /// The narrative and mandatory ones.
    Text,
    /// All but the narrative.
    Data,
    /// Those named, and mandatory ones.
    Elements(Vec<String>),
}

impl View {
    /// From `_summary` and `_elements`, as they stand among the parameters of a search or a read of these types.
    ///
    /// # Errors
    /// For a word that is none, an element that none of the types has, and both parameters at once.
    pub fn read(parameters: &[(String, String)], types: &[ResourceType]) -> Result<Self, SearchError> {
        let find = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let invalid = |name: &str, reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let summary = match find("_summary") {
            None | Some("false" | "count") => None,
            Some("true") => Some(Self::Summary),
            Some("text") => Some(Self::Text),
            Some("data") => Some(Self::Data),
            Some(_) => return Err(invalid("_summary", "is not one of true, text, data, count, false".to_owned())),
        };
        let Some(elements) = find("_elements") else { return Ok(summary.unwrap_or(Self::Whole)) };
        if summary.is_some() {
            return Err(invalid("_elements", "does not go with `_summary`".to_owned()));
        }
        let mut names = Vec::new();
        for name in elements.split(',').map(|name| name.trim().trim_end_matches("[x]")) {
            let has = |resource: &ResourceType| {
                let elements = definitions::elements(definitions::root(*resource));
                elements.iter().any(|element| element.name == name || element.choice == Some(name))
            };
            if !types.is_empty() && !types.iter().any(has) {
                let name: String = name.chars().take(64).collect();
                return Err(invalid(
                    "_elements",
                    format!("there is no element `{name}`: name elements of the resource, without paths"),
                ));
            }
            names.push(name.to_owned());
        }
        Ok(Self::Elements(names))
    }

    /// The JSON of a resource with only what is to be answered, tagged as not whole; `None` where it is to be whole.
    #[must_use]
    pub fn cut(&self, resource: ResourceType, text: &str) -> Option<String> {
        if *self == Self::Whole {
            return None;
        }
        let mut value = json::parse(text.as_bytes()).ok()?;
        match self {
            Self::Whole => {}
            Self::Data => drop(value.remove("text")),
            Self::Summary => summarise(&mut value, definitions::root(resource), true),
            Self::Text => keep(&mut value, resource, &|name, _| name == "text"),
            Self::Elements(names) => keep(&mut value, resource, &|name, choice| {
                names.iter().any(|wanted| wanted == name || choice == Some(wanted.as_str()))
            }),
        }
        tag(&mut value);
        Some(value.to_json())
    }
}

/// What every resource keeps: what it is, and what changes its meaning.
fn is_kept_always(name: &str) -> bool {
    matches!(name, "resourceType" | "id" | "meta" | "implicitRules" | "modifierExtension")
}

/// The element that a member of JSON is about: `_birthDate` carries what `birthDate` has beside its value.
fn element_name(member: &str) -> &str {
    member.strip_prefix('_').unwrap_or(member)
}

fn keep(value: &mut Value<'_>, resource: ResourceType, wanted: &dyn Fn(&str, Option<&str>) -> bool) {
    let root = definitions::root(resource);
    if let Value::Object(members) = value {
        members.retain(|(member, _)| {
            let name = element_name(member);
            let element = definitions::element(root, name);
            is_kept_always(name)
                || element.is_some_and(|element| element.min > 0)
                || wanted(name, element.and_then(|element| element.choice))
        });
    }
}

/// Keeps what is marked as summary, at every depth that belongs to the resource's own definition.
fn summarise(value: &mut Value<'_>, at: TypeId, is_root: bool) {
    let names = definitions::summary(at.name());
    let Value::Object(members) = value else { return };
    members.retain(|(member, _)| {
        let name = element_name(member);
        let element = definitions::element(at, name);
        (is_root && is_kept_always(name))
            || name == "id"
            || names.contains(&name)
            || element
                .is_some_and(|element| element.min > 0 || element.choice.is_some_and(|group| names.contains(&group)))
    });
    for (member, value) in members {
        let Some(element) = definitions::element(at, member) else { continue };
        if !matches!(element.type_id.kind(), definitions::TypeKind::Backbone) {
            continue;
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| summarise(item, element.type_id, false)),
            one => summarise(one, element.type_id, false),
        }
    }
}

fn tag(value: &mut Value<'_>) {
    let subsetted = || SUBSETTED.into_iter().map(|(name, text)| (name, Value::from(text))).collect::<Value<'_>>();
    if value.get("meta").is_none() {
        value.set("meta", Value::Object(Vec::new()));
    }
    let Some(meta) = value.get_mut("meta") else { return };
    match meta.get_mut("tag") {
        Some(Value::Array(tags)) => {
            if !tags.iter().any(|tag| tag.get_str("code") == Some("SUBSETTED")) {
                tags.push(subsetted());
            }
        }
        _ => meta.set("tag", vec![subsetted()]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rstest::rstest;

    use super::*;

    const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"3","tag":[{"code":"x"}]},"text":{"status":"generated","div":"<div/>"},"name":[{"family":"A"}],"_birthDate":{"id":"b"},"birthDate":"1990","deceasedBoolean":false,"contact":[{"name":{"text":"B"}}],"link":[{"other":{"reference":"Patient/q"},"type":"seealso","extension":[{"url":"u"}]}],"multipleBirthInteger":2}"#;
    const TAG: &str =
        r#"{"code":"x"},{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

    fn pairs(query: &str) -> Vec<(String, String)> {
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    #[rstest]
    #[case("_elements=name", r#","name":[{"family":"A"}]"#)]
    #[case("_elements=birthDate,deceased", r#","_birthDate":{"id":"b"},"birthDate":"1990","deceasedBoolean":false"#)]
    #[case("_elements=multipleBirth[x]", r#","multipleBirthInteger":2"#)]
    #[case("_summary=text", r#","text":{"status":"generated","div":"<div/>"}"#)]
    #[case("_summary=true", r#","name":[{"family":"A"}],"_birthDate":{"id":"b"},"birthDate":"1990","deceasedBoolean":false,"link":[{"other":{"reference":"Patient/q"},"type":"seealso"}]"#)]
    #[case("_summary=data", r#","name":[{"family":"A"}],"_birthDate":{"id":"b"},"birthDate":"1990","deceasedBoolean":false,"contact":[{"name":{"text":"B"}}],"link":[{"other":{"reference":"Patient/q"},"type":"seealso","extension":[{"url":"u"}]}],"multipleBirthInteger":2"#)]
    fn what_is_not_asked_for_is_cut_and_told(#[case] query: &str, #[case] rest: &str) {
        let patient: ResourceType = "Patient".parse().unwrap();
        let cut = View::read(&pairs(query), &[patient]).unwrap().cut(patient, PATIENT).unwrap();
        let meta = format!(r#""meta":{{"versionId":"3","tag":[{TAG}]}}"#);
        assert_eq!(cut, format!(r#"{{"resourceType":"Patient","id":"p",{meta}{rest}}}"#));
    }

    #[test]
    fn mandatory_elements_stay() {
        let observation: ResourceType = "Observation".parse().unwrap();
        let text = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueInteger":1,"component":[{"code":{"text":"c"},"valueQuantity":{"value":1.50},"interpretation":[{"text":"i"}]}]}"#;
        let cut = |query: &str| View::read(&pairs(query), &[observation]).unwrap().cut(observation, text).unwrap();
        assert!(cut("_elements=subject").contains(r#""status":"final","code":{"text":"x"},"meta""#));
        assert!(!cut("_elements=subject").contains("valueInteger"));
        let summary = cut("_summary=true");
        assert!(summary.contains(r#""component":[{"code":{"text":"c"},"valueQuantity":{"value":1.50}}]"#), "{summary}");
    }

    #[rstest]
    #[case("")]
    #[case("_summary=false")]
    #[case("_summary=count")]
    fn else_a_resource_is_whole(#[case] query: &str) {
        let patient: ResourceType = "Patient".parse().unwrap();
        assert_eq!(View::read(&pairs(query), &[patient]).unwrap().cut(patient, PATIENT), None);
    }

    #[rstest]
    #[case("_summary=some")]
    #[case("_elements=nam")]
    #[case("_elements=name.family")]
    #[case("_elements=name&_summary=true")]
    fn what_means_nothing_is_refused(#[case] query: &str) {
        let patient: ResourceType = "Patient".parse().unwrap();
        assert!(View::read(&pairs(query), &[patient]).is_err());
    }
}

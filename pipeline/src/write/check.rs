//! What can be told about an interaction without looking at the lake.

use mavis_fhir::{
    ResourceType,
    bundle::{self, Condition},
    json,
    validate::{self, Severity},
};

use super::request::{Operation, Reason, Refusal, Which, Write};
use crate::fhir_zone::encode::is_id;

/// Parameters that say how an answer looks and not which resources match.
const ABOUT_ANSWERS: [&str; 12] = [
    "_count",
    "_sort",
    "_total",
    "_summary",
    "_elements",
    "_include",
    "_revinclude",
    "_contained",
    "_containedType",
    "_format",
    "_pretty",
    "_page",
];

/// An interaction that makes sense.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) resource: ResourceType,
    pub(crate) full_url: Option<String>,
    pub(crate) action: Action,
    /// The resource's JSON; empty for a deletion.
    pub(crate) body: String,
    /// Conditional references of the resource.
    pub(crate) conditions: Vec<String>,
    pub(crate) warnings: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Create { unless: Option<Condition> },
    Update { target: Target, if_match: Option<i64> },
    Delete { target: Target, if_match: Option<i64> },
}

#[derive(Debug, Clone)]
pub(crate) enum Target {
    Id(String),
    /// And the id that the body of a conditional update has.
    Where(Condition, Option<String>),
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Invalid, message)
}

/// Checks one interaction; its JSON, its ids, its shape.
pub(crate) fn check(write: Write) -> Result<Checked, Refusal> {
    let Write { resource, operation, full_url } = write;
    match operation {
        Operation::Create { body, if_none_exist } => {
            let unless = if_none_exist.map(|query| condition(resource, &query, "If-None-Exist")).transpose()?;
            let (_, conditions, warnings) = look_at(resource, &body)?;
            Ok(Checked { resource, full_url, action: Action::Create { unless }, body, conditions, warnings })
        }
        Operation::Update { which, body, if_match } => {
            if let Which::Id(id) = &which {
                valid_id(resource, id.clone())?;
            }
            let (own, conditions, warnings) = look_at(resource, &body)?;
            let target = match which {
                Which::Id(id) => match own {
                    Some(own) if own == id => Target::Id(id),
                    Some(_) => return Err(invalid(format!("{resource}.id differs from the id in the URL"))),
                    None => return Err(invalid(format!("{resource}.id is missing: it must be the id in the URL"))),
                },
                Which::Query(query) => {
                    let own = own.map(|own| valid_id(resource, own)).transpose()?;
                    Target::Where(condition(resource, &query, "the URL")?, own)
                }
            };
            let action = Action::Update { target, if_match };
            Ok(Checked { resource, full_url, action, body, conditions, warnings })
        }
        Operation::Delete { which, if_match } => {
            let target = match which {
                Which::Id(id) => Target::Id(valid_id(resource, id)?),
                Which::Query(query) => Target::Where(condition(resource, &query, "the URL")?, None),
            };
            let action = Action::Delete { target, if_match };
            Ok(Checked { resource, full_url, action, body: String::new(), conditions: vec![], warnings: vec![] })
        }
    }
}

fn valid_id(resource: ResourceType, id: String) -> Result<String, Refusal> {
    if is_id(&id) {
        return Ok(id);
    }
    Err(invalid(format!("the id of the {resource} is no FHIR id: 1 to 64 letters, digits, `-` and `.`")))
}

/// Reads the query of a conditional interaction.
pub(crate) fn condition(resource: ResourceType, query: &str, place: &str) -> Result<Condition, Refusal> {
    let condition = Condition::with_type(resource, query)
        .ok_or_else(|| invalid(format!("the condition in {place} has no search parameter")))?;
    match condition.criteria.iter().find(|(name, _)| ABOUT_ANSWERS.contains(&name.as_str())) {
        Some((name, _)) => Err(invalid(format!("`{name}` says nothing about which {resource} matches"))),
        None => Ok(condition),
    }
}

type Looked = (Option<String>, Vec<String>, Vec<(String, String)>);

/// The resource's own id, its conditional references, and what is unusual about it.
fn look_at(resource: ResourceType, body: &str) -> Result<Looked, Refusal> {
    let value = json::parse(body.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    match validate::resource_type(&value) {
        Ok(found) if found == resource => {}
        Ok(found) => return Err(invalid(format!("a {found} where a {resource} is expected"))),
        Err(issue) => return Err(invalid(format!("{}: {}", issue.path, issue.message))),
    }
    let (mut wrong, mut warnings) = (Vec::new(), Vec::new());
    for issue in validate::validate(resource, &value) {
        match issue.severity {
            Severity::Error => wrong.push((Some(issue.path), issue.message)),
            Severity::Warning => warnings.push((issue.path, issue.message)),
        }
    }
    if !wrong.is_empty() {
        return Err(Refusal { reason: Reason::Unprocessable, issues: wrong });
    }
    let mut conditions = Vec::new();
    bundle::for_each_reference(&value, &mut |reference| {
        if reference.contains('?') && Condition::parse(reference).is_some() {
            conditions.push(reference.to_owned());
        }
    });
    Ok((value.get_str("id").map(str::to_owned), conditions, warnings))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn patient(operation: Operation) -> Result<Checked, Refusal> {
        check(Write { resource: "Patient".parse().unwrap(), operation, full_url: None })
    }

    fn update(id: &str, body: &str) -> Operation {
        Operation::Update { which: Which::Id(id.to_owned()), body: body.to_owned(), if_match: None }
    }

    #[rstest]
    #[case(update("a", r#"{"resourceType":"Patient","id":"a"}"#), None)]
    #[case(update("a", r#"{"resourceType":"Patient","id":"b"}"#), Some(Reason::Invalid))]
    #[case(update("a", r#"{"resourceType":"Patient"}"#), Some(Reason::Invalid))]
    #[case(update("../a", r#"{"resourceType":"Patient","id":"../a"}"#), Some(Reason::Invalid))]
    #[case(update("a", r#"{"resourceType":"Person","id":"a"}"#), Some(Reason::Invalid))]
    #[case(update("a", r#"{"resourceType":"Patient","id":"a""#), Some(Reason::Invalid))]
    #[case(update("a", r#"{"resourceType":"Patient","id":"a","birthDate":"2024-13-45"}"#), Some(Reason::Unprocessable))]
    #[case(update("a", r#"{"resourceType":"Patient","id":"a","active":"yes"}"#), Some(Reason::Unprocessable))]
    #[case(Operation::Delete { which: Which::Id("a/b".into()), if_match: None }, Some(Reason::Invalid))]
    #[case(Operation::Delete { which: Which::Query(String::new()), if_match: None }, Some(Reason::Invalid))]
    #[case(Operation::Delete { which: Which::Query("_count=1".into()), if_match: None }, Some(Reason::Invalid))]
    #[case(Operation::Delete { which: Which::Query("identifier=1".into()), if_match: None }, None)]
    fn what_does_not_hold_together_is_refused(#[case] operation: Operation, #[case] reason: Option<Reason>) {
        assert_eq!(patient(operation).err().map(|refusal| refusal.reason), reason);
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let deep = format!(r#"{{"resourceType":"Patient","x":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        let refused = patient(Operation::Create { body: deep, if_none_exist: None }).unwrap_err();
        assert_eq!(refused.reason, Reason::Invalid);
    }
}

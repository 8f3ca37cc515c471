//! SMART App Launch 2 scopes: `patient/Observation.rs`, `system/*.cruds?category=laboratory`
//! (<https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{TableName, Zone};

/// Everything that a scope can allow, in the order that it is written in: create, read, update, delete, search.
const LETTERS: &str = "cruds";

/// The scopes of one token, and the patient that it was made for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smart {
    pub scopes: Vec<SmartScope>,
    /// Id of the Patient that `patient/` scopes are about.
    pub patient: Option<String>,
}

/// Whose data a scope is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmartContext {
    Patient,
    User,
    System,
}

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmartScope {
    pub context: SmartContext,
    /// The resource type; `None` for `*`.
    pub resource: Option<String>,
    /// Some of `cruds`, in this order.
    pub allows: String,
    /// Search parameters after `?`, that each resource must match.
    pub query: Option<String>,
}

/// Why a text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmartError {
    #[error(
        "`{scope}` is not a SMART scope: write `patient/Observation.rs`, with `patient`, `user` or `system`, a resource \
         type or `*`, and some of `cruds` in this order (or `read`, `write`, `*` as SMART 1 has them)"
    )]
    Scope { scope: String },
    #[error("scopes of `patient/` need the id of the Patient that they are about")]
    NoPatient,
    #[error("`{id}` is not the id of a Patient")]
    Patient { id: String },
}

impl SmartContext {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SmartContext::Patient => "patient",
            SmartContext::User => "user",
            SmartContext::System => "system",
        }
    }
}

impl FromStr for SmartScope {
    type Err = SmartError;

    /// Reads a scope of SMART 2 ("Scopes for requesting FHIR Resources"), or of SMART 1: `read` is `rs`, `write` is `cud`,
    /// `*` is `cruds`.
    fn from_str(text: &str) -> Result<Self, SmartError> {
        Self::read(text).ok_or_else(|| SmartError::Scope { scope: text.chars().take(100).collect() })
    }
}

impl fmt::Display for SmartScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.resource.as_deref().unwrap_or("*");
        write!(f, "{}/{resource}.{}", self.context.as_str(), self.allows)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

impl SmartScope {
    fn read(text: &str) -> Option<Self> {
        let (text, query) = match text.split_once('?') {
            Some((_, "")) => return None,
            Some((text, query)) => (text, Some(query.to_owned())),
            None => (text, None),
        };
        let (context, rest) = text.split_once('/')?;
        let all = [SmartContext::Patient, SmartContext::User, SmartContext::System];
        let context = all.into_iter().find(|one| one.as_str() == context)?;
        let (resource, allows) = rest.split_once('.')?;
        let is_type = resource.len() <= 64
            && resource.starts_with(|c: char| c.is_ascii_uppercase())
            && resource.chars().all(|c| c.is_ascii_alphanumeric());
        let resource = match resource {
            "*" => None,
            name if is_type => Some(name.to_owned()),
            _ => return None,
        };
        let allows = match allows {
            "read" => "rs",
            "write" => "cud",
            "*" => LETTERS,
            // Each letter once at most, and in this order: everything else is no scope.
            some if !some.is_empty() && LETTERS.chars().filter(|letter| some.contains(*letter)).eq(some.chars()) => {
                some
            }
            _ => return None,
        };
        Some(Self { context, resource, allows: allows.to_owned(), query })
    }

    /// Whether the scope is about a type, named as in FHIR or as its table is.
    #[must_use]
    pub fn is_about(&self, resource: &str) -> bool {
        self.resource.as_ref().is_none_or(|known| known.eq_ignore_ascii_case(resource))
    }

    #[must_use]
    pub fn allows(&self, letter: char) -> bool {
        self.allows.contains(letter)
    }
}

impl Smart {
    /// Reads scopes with blanks between them, of which every one must be good. `patient`: an id, or nothing.
    ///
    /// # Errors
    /// [`SmartError`] for the first text that is no scope, and for scopes of a patient without one.
    pub fn parse(scopes: &str, patient: &str) -> Result<Self, SmartError> {
        let scopes: Vec<SmartScope> = scopes.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let patient = (!patient.is_empty()).then_some(patient);
        if let Some(id) = patient.filter(|id| !is_id(id)) {
            return Err(SmartError::Patient { id: id.chars().take(64).collect() });
        }
        if patient.is_none() && scopes.iter().any(|scope| scope.context == SmartContext::Patient) {
            return Err(SmartError::NoPatient);
        }
        Ok(Self { scopes, patient: patient.map(str::to_owned) })
    }

    /// The scopes among the words of a signed token, which has others too (`openid`); `None` where none of them is about
    /// resources. What looks like a scope about resources and is none allows nothing, and neither does a scope of a
    /// patient without one.
    #[must_use]
    pub fn of_scopes(words: &[&str], patient: Option<&str>) -> Option<Self> {
        let is_about = |word: &&&str| {
            ["patient/", "user/", "system/", "launch/"].iter().any(|start| word.starts_with(start))
                || **word == "launch"
        };
        words.iter().find(is_about)?;
        let patient = patient.map(|id| id.strip_prefix("Patient/").unwrap_or(id)).filter(|id| is_id(id));
        let scopes = words.iter().filter_map(|word| word.parse::<SmartScope>().ok());
        let scopes = scopes.filter(|scope| scope.context != SmartContext::Patient || patient.is_some());
        Some(Self { scopes: scopes.collect(), patient: patient.map(str::to_owned) })
    }

    /// The same scopes, as far as they allow one of some interactions (letters of `cruds`).
    #[must_use]
    pub fn only(&self, letters: &str) -> Self {
        let allows = |scope: &&SmartScope| letters.chars().any(|letter| scope.allows(letter));
        Self { scopes: self.scopes.iter().filter(allows).cloned().collect(), patient: self.patient.clone() }
    }

    /// The scopes as they are written, with blanks between them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let scopes: Vec<String> = self.scopes.iter().map(SmartScope::to_string).collect();
        scopes.join(" ")
    }

    /// Scopes that are about a type and allow one of some interactions (letters of `cruds`).
    pub fn about<'a>(&'a self, resource: &'a str, letters: &'a str) -> impl Iterator<Item = &'a SmartScope> {
        let allows = |scope: &&SmartScope| letters.chars().any(|letter| scope.allows(letter));
        self.scopes.iter().filter(move |scope| scope.is_about(resource)).filter(allows)
    }

    /// Whether the table holds resources that a scope allows to read or to search.
    #[must_use]
    pub fn reads(&self, table: &TableName) -> bool {
        table.zone == Zone::Fhir && self.about(&table.table, "rs").next().is_some()
    }

    #[must_use]
    pub fn reads_schema(&self, zone: Zone, _schema: &str) -> bool {
        zone == Zone::Fhir && self.scopes.iter().any(|scope| scope.allows('r') || scope.allows('s'))
    }
}

/// Whether a text can be an id (R4, "datatypes.html#id").
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("patient/Observation.rs", "patient/Observation.rs")]
    #[case("system/*.cruds", "system/*.cruds")]
    #[case("user/Patient.r", "user/Patient.r")]
    #[case("patient/*.read", "patient/*.rs")]
    #[case("user/Observation.write", "user/Observation.cud")]
    #[case("system/Observation.*", "system/Observation.cruds")]
    #[case(
        "patient/Observation.rs?category=http://x|laboratory&status=final",
        "patient/Observation.rs?category=http://x|laboratory&status=final"
    )]
    fn a_scope_is_read_in_both_forms(#[case] text: &str, #[case] means: &str) {
        assert_eq!(text.parse::<SmartScope>().unwrap().to_string(), means);
    }

    #[rstest]
    #[case("patient/Observation")]
    #[case("patient/Observation.")]
    #[case("patient/Observation.sr")]
    #[case("patient/Observation.rr")]
    #[case("patient/Observation.x")]
    #[case("patient/Observation.rsx")]
    #[case("patient/observation.rs")]
    #[case("patient/.rs")]
    #[case("Patient/Observation.rs")]
    #[case("doctor/Observation.rs")]
    #[case("patient/Observation.rs?")]
    #[case("patient/**.rs")]
    #[case("openid")]
    #[case("")]
    fn what_is_no_scope_is_refused(#[case] text: &str) {
        assert!(text.parse::<SmartScope>().is_err());
        let smart = Smart::of_scopes(&["launch/patient", text], Some("p")).unwrap();
        assert!(smart.scopes.is_empty(), "{smart:?}");
    }

    #[test]
    fn words_of_a_token_limit_it_as_soon_as_one_is_about_resources() {
        assert_eq!(Smart::of_scopes(&["openid", "profile"], Some("p")), None);
        assert_eq!(Smart::of_scopes(&["openid", "launch/patient"], Some("p")).unwrap().scopes, []);
        let smart = Smart::of_scopes(&["openid", "patient/*.rs", "user/*.r"], None).unwrap();
        assert_eq!(smart.to_text(), "user/*.r", "a scope of no patient allows nothing");
        let smart = Smart::of_scopes(&["patient/*.rs"], Some("Patient/7")).unwrap();
        assert_eq!(smart.patient.as_deref(), Some("7"));
        assert_eq!(Smart::of_scopes(&["patient/*.rs"], Some("7' or 1=1")).unwrap().patient, None);
    }

    #[test]
    fn scopes_of_a_patient_need_one() {
        assert_eq!(Smart::parse("patient/*.rs", ""), Err(SmartError::NoPatient));
        assert!(matches!(Smart::parse("patient/*.rs", "a b"), Err(SmartError::Patient { .. })));
        assert!(matches!(Smart::parse("patient/*.rs openid", "p"), Err(SmartError::Scope { .. })));
        let smart = Smart::parse("patient/Observation.rs  user/Patient.cu", "p").unwrap();
        assert_eq!(smart.only("c").to_text(), "user/Patient.cu");
        assert_eq!(smart.about("observation", "s").count(), 1);
        assert_eq!(smart.about("Condition", "rs").count(), 0);
    }
}

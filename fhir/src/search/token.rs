use super::value::{split, unescape};

/// The system of `true` and `false` (R4 3.1.1.4.10), and its name since the code systems moved.
const TRUTHS: [&str; 2] =
    ["http://hl7.org/fhir/special-values", "http://terminology.hl7.org/CodeSystem/special-values"];

/// One value of a token parameter (section 3.1.1.4.10).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub(super) system: System,
    /// `None`: any code of the system.
    pub(super) code: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum System {
    Any,
    /// `|code`: there is no system.
    Absent,
    Is(String),
}

impl Token {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let token = match split(text, '|').as_slice() {
            [code] => Self { system: System::Any, code: Some(unescape(code)) },
            ["", code] => Self { system: System::Absent, code: Some(unescape(code)) },
            [system, ""] => Self { system: System::Is(unescape(system)), code: None },
            [system, code] => Self { system: System::Is(unescape(system)), code: Some(unescape(code)) },
            _ => return Err("a token has one `|` at most: write `\\|` for the sign itself".to_owned()),
        };
        if token.code.as_deref() == Some("") { Err("a token needs a code or a system".to_owned()) } else { Ok(token) }
    }

    /// Against a coded value. Codes match without regard to case: leaving out what may be meant is the graver error
    /// (R4 3.1.1.4.10).
    pub(super) fn matches(&self, system: Option<&str>, code: Option<&str>) -> bool {
        let system_fits = match &self.system {
            System::Any => true,
            System::Absent => system.is_none(),
            System::Is(wanted) => system == Some(wanted),
        };
        system_fits && self.code_fits(code)
    }

    /// Whether it names this system, and the code fits.
    pub(super) fn is_of(&self, system: Option<&str>, code: Option<&str>) -> bool {
        matches!(self.system, System::Is(_)) && self.matches(system, code)
    }

    fn code_fits(&self, code: Option<&str>) -> bool {
        match &self.code {
            None => true,
            Some(wanted) => code.is_some_and(|code| {
                code.eq_ignore_ascii_case(wanted) || (!code.is_ascii() && code.to_lowercase() == wanted.to_lowercase())
            }),
        }
    }

    /// The truth that is asked for; `None` where it is no truth, or one of another system than that which R4 gives to truths.
    pub(super) fn truth(&self) -> Option<bool> {
        let of_truths = match &self.system {
            System::Any => true,
            System::Absent => false,
            System::Is(system) => TRUTHS.contains(&system.as_str()),
        };
        match self.code.as_deref() {
            Some("true") if of_truths => Some(true),
            Some("false") if of_truths => Some(false),
            _ => None,
        }
    }

    /// Against an element that is a code alone: its system is implied by the definitions. Where those carry none (languages,
    /// media types, currencies) it is one that they would name.
    pub(super) fn matches_code(&self, code: &str, systems: &[&str]) -> bool {
        let system_fits = match &self.system {
            System::Any => true,
            System::Absent => false,
            System::Is(wanted) if systems.is_empty() => {
                wanted.starts_with("http://hl7.org/fhir/") || wanted.starts_with("urn:")
            }
            System::Is(wanted) => systems.contains(&wanted.as_str()),
        };
        system_fits && self.code_fits(Some(code))
    }
}

/// `system|code|value` of `:of-type`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OfType {
    pub(super) of: Token,
    pub(super) value: String,
}

impl OfType {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match split(text, '|').as_slice() {
            [system, code, value] if !code.is_empty() && !value.is_empty() => {
                let system = if system.is_empty() { System::Any } else { System::Is(unescape(system)) };
                Ok(Self { of: Token { system, code: Some(unescape(code)) }, value: unescape(value) })
            }
            _ => Err("`:of-type` is written `system|code|value`".to_owned()),
        }
    }
}

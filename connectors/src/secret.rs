use std::{collections::HashMap, fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

/// Where connectors get their secrets: the environment, read once when the server starts, or a map in tests.
///
/// The variable is `<KIND>_PASSWORD_<NAME>`: kind and name upper-cased, every other character `_`
/// (`POSTGRES_PASSWORD_NEW_DB`, `SSH_PASSWORD_NEW_DB`).
#[derive(Clone)]
pub struct Secrets {
    variables: Arc<HashMap<String, SecretString>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// The variables of the environment whose names have `_PASSWORD_` in them, and those that object stores know
    /// (`AWS_...`, `AZURE_...`, `GOOGLE_...`).
    #[must_use]
    pub fn from_environment() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.contains("_PASSWORD_") || is_store_variable(name))
            .map(|(name, value)| (name, SecretString::from(value)))
            .collect();
        Self { variables: Arc::new(variables) }
    }

    /// Secrets given by hand, for tests.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), SecretString::from(value.to_owned()))).collect();
        Self { variables: Arc::new(variables) }
    }

    /// The name of the variable that holds the password of `kind` for the source `name`.
    #[must_use]
    pub fn variable(kind: &str, name: &str) -> String {
        let upper = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
        };
        // A source name that starts with a digit is kept with a `_` before it, which nobody writes.
        format!("{}_PASSWORD_{}", upper(kind), upper(name.strip_prefix('_').unwrap_or(name)))
    }

    /// The password of `kind` for the source `name`; an empty variable counts as absent.
    #[must_use]
    pub fn password(&self, kind: &str, name: &str) -> Option<SecretString> {
        self.variables.get(&Self::variable(kind, name)).filter(|secret| !secret.expose_secret().is_empty()).cloned()
    }

    /// Settings and keys of object stores, as their variables are called in lower case (`aws_access_key_id`, ...).
    pub(crate) fn store_options(&self) -> impl Iterator<Item = (String, &SecretString)> {
        self.variables
            .iter()
            .filter(|(name, _)| is_store_variable(name))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
    }
}

fn is_store_variable(name: &str) -> bool {
    !name.contains("_PASSWORD_") && ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres", "NEW_DB", "POSTGRES_PASSWORD_NEW_DB")]
    #[case("ssh", "new_db", "SSH_PASSWORD_NEW_DB")]
    #[case("postgres", "clinic-2.north", "POSTGRES_PASSWORD_CLINIC_2_NORTH")]
    #[case("mysql", "_2nd", "MYSQL_PASSWORD_2ND")]
    fn the_variable_is_the_kind_and_the_name_in_upper_case(
        #[case] kind: &str,
        #[case] name: &str,
        #[case] variable: &str,
    ) {
        assert_eq!(Secrets::variable(kind, name), variable);
    }

    #[test]
    fn a_password_is_found_by_kind_and_name_and_never_printed() {
        let secrets = Secrets::from_pairs([("POSTGRES_PASSWORD_NEW_DB", "tiger"), ("SSH_PASSWORD_NEW_DB", "")]);
        assert_eq!(secrets.password("postgres", "new_db").unwrap().expose_secret(), "tiger");
        assert!(secrets.password("ssh", "new_db").is_none());
        assert!(!format!("{secrets:?} {:?}", secrets.password("postgres", "new_db")).contains("tiger"));
    }
}

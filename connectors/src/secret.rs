use std::{collections::HashMap, fmt, sync::Arc};

use secrecy::SecretString;

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
    /// The variables of the environment whose names have `_PASSWORD_` in them.
    #[must_use]
    pub fn from_environment() -> Self {
        todo!()
    }

    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let _ = pairs;
        todo!()
    }

    /// The name of the variable that holds the password of `kind` for the source `name`.
    #[must_use]
    pub fn variable(kind: &str, name: &str) -> String {
        let _ = (kind, name);
        todo!()
    }

    #[must_use]
    pub fn password(&self, kind: &str, name: &str) -> Option<SecretString> {
        let _ = (kind, name);
        todo!()
    }
}

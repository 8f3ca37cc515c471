use std::collections::HashSet;

use mavis_types::SourceName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Error, Secrets};

/// A source as it is declared, in a request or in `data_sources.json`; never with a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    pub name: SourceName,
    pub kind: String,
    /// The kind's own parameters; checked by the kind against its declared type.
    pub params: Value,
    #[serde(default)]
    pub authoritative: bool,
}

impl SourceSpec {
    /// Reads `data_sources.json` as the replaced system wrote it: a list of
    /// `{"name", "type", "ssh": {...}, "db": {"host", "port", "user", "database"}, "tables_to_include": [...]}`.
    ///
    /// A `postgres` (or `postgresql`) entry becomes parameters of the kind `postgres`:
    /// `{host, port, user, database, schemas?, tables_to_include?, tables_to_exclude?, cursor_columns?, ssh?}`. Any other
    /// type becomes the kind of that name; its `db` block, when it has one, is laid flat in the same way and every other
    /// field is kept, so that the kind itself says what is wrong.
    ///
    /// # Errors
    /// [`Error::Malformed`] saying which entry is wrong, and why, for each wrong one.
    pub fn from_data_sources(json: &str) -> Result<Vec<SourceSpec>, Error> {
        let malformed = |reason: String| Error::Malformed { place: "data_sources.json".to_owned(), reason };
        // Editors on Windows put a mark before the text.
        let json = json.trim_start_matches('\u{feff}');
        let entries: Vec<Value> = serde_json::from_str(json).map_err(|error| {
            malformed(format!("not a JSON list of sources at line {}, column {}", error.line(), error.column()))
        })?;
        let (mut specs, mut wrong, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        for (position, entry) in entries.into_iter().enumerate() {
            let label = match entry.get("name").and_then(Value::as_str) {
                Some(name) => format!("entry {} (`{name}`)", position + 1),
                None => format!("entry {}", position + 1),
            };
            match read_entry(entry) {
                Ok(spec) if !names.insert(spec.name.clone()) => {
                    wrong.push(format!("{label}: another entry has the name `{}` already", spec.name));
                }
                Ok(spec) => specs.push(spec),
                Err(reasons) => wrong.push(format!("{label}: {}", reasons.join(", "))),
            }
        }
        if wrong.is_empty() { Ok(specs) } else { Err(malformed(wrong.join("; "))) }
    }
}

/// One entry, or everything that is wrong with it.
fn read_entry(entry: Value) -> Result<SourceSpec, Vec<String>> {
    let Value::Object(mut fields) = entry else { return Err(vec!["is not an object".to_owned()]) };
    let mut wrong = Vec::new();
    let name = match fields.remove("name") {
        Some(Value::String(text)) => SourceName::new(&text).map_err(|error| wrong.push(error.to_string())).ok(),
        Some(_) => {
            wrong.push("`name` is not text".to_owned());
            None
        }
        None => {
            wrong.push("`name` is missing".to_owned());
            None
        }
    };
    let kind = match fields.remove("type") {
        Some(Value::String(text)) if !text.trim().is_empty() => Some(kind_of(&text)),
        Some(_) => {
            wrong.push("`type` is not text".to_owned());
            None
        }
        None => {
            wrong.push("`type` is missing".to_owned());
            None
        }
    };
    let params = Value::Object(fields);
    if let Some(field) = find_password(&params) {
        let holder = if field.starts_with("ssh") { "ssh" } else { kind.as_deref().unwrap_or("<kind>") };
        let variable = Secrets::variable(holder, name.as_ref().map_or("<name>", SourceName::as_str));
        wrong.push(format!("`{field}` holds a secret: take it out and set the environment variable {variable}"));
    }
    let Value::Object(fields) = params else { return Err(wrong) };
    let authoritative = match fields.get("authoritative") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            wrong.push("`authoritative` is neither true nor false".to_owned());
            false
        }
    };
    let params = flatten(fields, kind.as_deref() == Some("postgres"), &mut wrong);
    match (name, kind) {
        (Some(name), Some(kind)) if wrong.is_empty() => {
            Ok(SourceSpec { name, kind, params: Value::Object(params), authoritative })
        }
        _ => Err(wrong),
    }
}

fn kind_of(text: &str) -> String {
    match text.trim().to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" | "pg" => "postgres".to_owned(),
        "excel" | "csv" | "file" => "files".to_owned(),
        "qms" | "https" => "http".to_owned(),
        "mongo" => "mongodb".to_owned(),
        other => other.to_owned(),
    }
}

/// The fields of an entry with those of its `db` block beside them.
fn flatten(mut fields: Map<String, Value>, is_postgres: bool, wrong: &mut Vec<String>) -> Map<String, Value> {
    fields.remove("authoritative");
    let mut params = Map::new();
    let has_database = fields.contains_key("db");
    match fields.remove("db") {
        Some(Value::Object(database)) => params.extend(database),
        Some(_) => wrong.push("`db` is not an object".to_owned()),
        None if is_postgres => wrong.push("`db` is missing".to_owned()),
        None => {}
    }
    if is_postgres {
        for field in ["host", "user", "database"] {
            match params.get(field) {
                None if has_database => wrong.push(format!("`db.{field}` is missing")),
                Some(value) if value.as_str().is_none_or(|text| text.trim().is_empty()) => {
                    wrong.push(format!("`db.{field}` is not text"));
                }
                _ => {}
            }
        }
        match params.get("port") {
            None => {}
            Some(value) => match port(value) {
                Some(number) => {
                    params.insert("port".to_owned(), json!(number));
                }
                None => wrong.push("`db.port` is not a port (1 to 65535)".to_owned()),
            },
        }
        for field in fields.keys() {
            let known = [
                "ssh",
                "secret",
                "schemas",
                "tables_to_include",
                "tables_to_exclude",
                "cursor_columns",
                "xmin",
                "replication",
                "parallel",
                "statement_timeout_seconds",
                "lock_timeout_seconds",
                "max_rows_per_second",
                "max_megabytes_per_second",
            ]
            .contains(&field.as_str());
            if !known {
                wrong.push(format!("`{field}` is not a field of a postgres entry"));
            }
        }
    }
    for field in ["schemas", "tables_to_include", "tables_to_exclude"] {
        let is_list = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
        if fields.get(field).is_some_and(|value| !value.is_null() && !is_list(value)) {
            wrong.push(format!("`{field}` is not a list of names"));
        }
    }
    if fields.get("ssh").is_some_and(|value| !value.is_null() && !value.is_object()) {
        wrong.push("`ssh` is not an object".to_owned());
    }
    if let Some(Value::Object(ssh)) = fields.get_mut("ssh")
        && let Some(value) = ssh.get("port")
    {
        match port(value) {
            Some(number) => {
                ssh.insert("port".to_owned(), json!(number));
            }
            None => wrong.push("`ssh.port` is not a port (1 to 65535)".to_owned()),
        }
    }
    params.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    params
}

/// A port written as a number or, as some files have it, as text.
fn port(value: &Value) -> Option<u16> {
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| *number > 0)
}

/// The dotted path of the first field that holds a password, wherever it stands.
pub(crate) fn find_password(params: &Value) -> Option<String> {
    let Value::Object(fields) = params else { return None };
    for (field, value) in fields {
        let lower = field.to_ascii_lowercase();
        let names_a_secret = ["password", "passwd", "pwd", "passphrase", "private_key"].contains(&lower.as_str())
            || lower.ends_with("_password");
        if names_a_secret && value.as_str().is_some_and(|text| !text.is_empty()) {
            return Some(field.clone());
        }
        if let Some(inner) = find_password(value) {
            return Some(format!("{field}.{inner}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: &str = r#"[
      {"name": "NEW_DB", "type": "postgres", "ssh": {"host": "gate", "port": 22, "user": "tunnel"},
       "db": {"host": "10.0.0.5", "port": 5432, "user": "reader", "database": "hms"},
       "tables_to_include": ["table1", "table2"]},
      {"name": "Clinique", "type": "excel", "path": "clinique.xlsx"},
      {"name": "other", "type": "PostgreSQL", "db": {"host": "h", "port": "5433", "user": "u", "database": "d"}}
    ]"#;

    #[test]
    fn the_replaced_systems_list_is_read_as_it_is() {
        let specs = SourceSpec::from_data_sources(LEGACY).unwrap();
        assert_eq!(specs[0].name.as_str(), "new_db");
        assert_eq!(specs[0].kind, "postgres");
        assert_eq!(
            specs[0].params,
            json!({"host": "10.0.0.5", "port": 5432, "user": "reader", "database": "hms",
                   "ssh": {"host": "gate", "port": 22, "user": "tunnel"}, "tables_to_include": ["table1", "table2"]})
        );
        assert_eq!((specs[1].kind.as_str(), &specs[1].params), ("files", &json!({"path": "clinique.xlsx"})));
        assert_eq!((specs[2].kind.as_str(), &specs[2].params["port"]), ("postgres", &json!(5433)));
    }

    #[test]
    fn every_wrong_entry_is_named_with_every_reason() {
        let text = r#"[
          {"name": "a", "type": "postgres", "db": {"host": "h", "port": 70000, "database": "d"}, "colour": 1},
          {"type": "postgres"},
          7,
          {"name": "ok", "type": "postgres", "db": {"host": "h", "user": "u", "database": "d"}},
          {"name": "OK", "type": "postgres", "db": {"host": "h", "user": "u", "database": "d"}}
        ]"#;
        let message = SourceSpec::from_data_sources(text).unwrap_err().to_string();
        for part in [
            "data_sources.json: entry 1 (`a`): `db.user` is missing, `db.port` is not a port (1 to 65535), `colour`",
            "entry 2: `name` is missing, `db` is missing",
            "entry 3: is not an object",
            "entry 5 (`OK`): another entry has the name `ok` already",
        ] {
            assert!(message.contains(part), "`{part}` is not in `{message}`");
        }
        assert!(!message.contains("entry 4"), "{message}");
    }

    #[test]
    fn an_entry_with_a_password_is_refused_with_the_variable_to_set() {
        let text = r#"[{"name": "NEW_DB", "type": "postgres", "ssh": {"host": "g", "password": "tiger"},
          "db": {"host": "h", "user": "u", "database": "d"}},
          {"name": "B", "type": "postgres", "db": {"host": "h", "user": "u", "database": "d", "password": "lion"}}]"#;
        let message = SourceSpec::from_data_sources(text).unwrap_err().to_string();
        assert!(message.contains("`ssh.password`") && message.contains("SSH_PASSWORD_NEW_DB"), "{message}");
        assert!(message.contains("`db.password`") && message.contains("POSTGRES_PASSWORD_B"), "{message}");
        assert!(!message.contains("tiger") && !message.contains("lion"), "{message}");
    }
}

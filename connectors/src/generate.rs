//! Entries of `data_sources.json` for the databases of a server.

use std::collections::HashSet;

use mavis_types::{SourceName, normalize_name};
use serde_json::{Map, Value, json};

use crate::{Error, Selection, TableRef, params::find_password};

/// One entry for each database that the selection takes: `<server>_<database>`, with the parameters of the server (its `ssh`
/// block too) and the database's name. All of them find their secrets under the server's name.
///
/// # Errors
/// [`Error::Params`] where the parameters hold a secret, or the server's name makes no name of a source.
pub fn entries(
    server: &str,
    kind: &str,
    params: &Map<String, Value>,
    databases: &[String],
    selection: &Selection,
) -> Result<Vec<Value>, Error> {
    let refuse = |reason: String| Error::Params { source_name: server.to_owned(), reason };
    if let Some(field) = find_password(&Value::Object(params.clone())) {
        return Err(refuse(format!("`{field}` holds a secret: take it out, entries never hold one")));
    }
    let mut names = HashSet::new();
    let mut made = Vec::new();
    for database in databases {
        if !selection.takes(&TableRef { schema: None, name: database.clone() }) {
            continue;
        }
        let base = normalize_name(&format!("{server}_{database}"));
        let mut name = base.clone();
        let mut number = 2;
        while !names.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        let name = SourceName::new(&name).map_err(|error| refuse(error.to_string()))?;
        made.push(entry(name.as_str(), server, kind, params, database));
    }
    Ok(made)
}

fn entry(name: &str, server: &str, kind: &str, params: &Map<String, Value>, database: &str) -> Value {
    let mut fields = Map::from_iter([("name".to_owned(), json!(name)), ("type".to_owned(), json!(kind))]);
    let mut inner = Map::new();
    for (field, value) in params {
        let outside = ["ssh", "secret", "schemas", "tables_to_include", "tables_to_exclude", "cursor_columns"];
        let place = if outside.contains(&field.as_str()) { &mut fields } else { &mut inner };
        place.insert(field.clone(), value.clone());
    }
    inner.insert("database".to_owned(), json!(database));
    fields.insert("db".to_owned(), Value::Object(inner));
    fields.entry("secret").or_insert_with(|| json!(server));
    if let Some(Value::Object(ssh)) = fields.get_mut("ssh") {
        ssh.entry("secret").or_insert_with(|| json!(server));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Registry, Secrets, SourceSpec};

    fn params() -> Map<String, Value> {
        let params = json!({ "host": "10.0.0.5", "port": 5432, "user": "reader", "sslmode": "require",
                             "ssh": { "host": "gate", "user": "tunnel" }, "tables_to_exclude": ["tmp_*"] });
        params.as_object().unwrap().clone()
    }

    #[test]
    fn each_database_taken_becomes_an_entry_that_is_read_back_and_connects() {
        let databases = ["clinic_a", "Clinic-A", "clinic_b_test", "archive"].map(str::to_owned);
        let selection = Selection { include: vec!["clinic*".to_owned()], exclude: vec!["*_test".to_owned()] };
        let made = entries("HIS", "postgres", &params(), &databases, &selection).unwrap();
        let specs = SourceSpec::from_data_sources(&json!(made).to_string()).unwrap();
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["his_clinic_a", "his_clinic_a_2"]);
        let expected = json!({ "host": "10.0.0.5", "port": 5432, "user": "reader", "database": "Clinic-A",
            "sslmode": "require", "secret": "HIS", "ssh": { "host": "gate", "user": "tunnel", "secret": "HIS" },
            "tables_to_exclude": ["tmp_*"] });
        assert_eq!(specs[1].params, expected);
        for spec in &specs {
            Registry::built_in().connect(spec, &Secrets::from_pairs([])).unwrap();
        }
    }

    #[test]
    fn a_secret_among_the_parameters_is_refused() {
        let mut params = params();
        params.insert("password".to_owned(), json!("tiger"));
        let message = entries("HIS", "postgres", &params, &[], &Selection::default()).unwrap_err().to_string();
        assert!(message.contains("`password`") && !message.contains("tiger"), "{message}");
    }
}

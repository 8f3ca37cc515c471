use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;

/// Prefix of the environment variables that configure; `__` stands between a section and a key:
/// `MAVIS_QUERY__CONCURRENT=4`, `MAVIS_LAKE__STORAGE__AWS_REGION=eu-west-3`.
const PREFIX: &str = "MAVIS_";

/// Settings that stand in no section: `MAVIS_DATA`, `MAVIS_STATE_DIR`, `MAVIS_INSECURE`.
const ALONE: [&str; 3] = ["data", "state_dir", "insecure"];

/// Variables of the command line, which are no settings of the file.
const COMMANDS: [&str; 8] =
    ["token", "token_file", "server", "ca_cert", "client_cert", "client_key", "config", "catalog"];

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("configuration file {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("environment variable {variable}: {reason}")]
    Variable { variable: String, reason: String },
}

/// Reads the file, where there is one, and puts the environment's variables over it.
///
/// Settings are the variables with a `__` after the prefix and those of no section; `MAVIS_TOKEN` and its like belong to
/// the command line.
///
/// # Errors
/// The file or the variable that is wrong, and what is wrong with it; never the value.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut table = match file {
        None => Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Read { path: path.to_owned(), reason: error.to_string() })?;
            let bad = |error: toml::de::Error| ConfigError::File {
                path: path.to_owned(),
                reason: format!("{}{}", error.message(), line_of(&text, error.span())),
            };
            // Parsed on its own first, so that the complaint names the file and the line.
            toml::from_str::<Config>(&text).map_err(bad)?;
            toml::from_str(&text).map_err(bad)?
        }
    };
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter_map(|(name, value)| {
            let keys = name.strip_prefix(PREFIX)?;
            let keys = keys.to_ascii_lowercase();
            (keys.contains("__") || ALONE.contains(&keys.as_str())).then(|| (keys, name.clone(), value))
        })
        .collect();
    variables.sort();
    for (keys, variable, text) in variables {
        let path: Vec<&str> = keys.split("__").collect();
        let value = typed(&defaults, &path, &text)
            .map_err(|reason| ConfigError::Variable { variable: variable.clone(), reason })?;
        put(&mut table, &path, value).map_err(|reason| ConfigError::Variable { variable: variable.clone(), reason })?;
        Config::deserialize_table(table.clone())
            .map_err(|reason| ConfigError::Variable { variable: variable.clone(), reason })?;
    }
    Config::deserialize_table(table)
        .map_err(|reason| ConfigError::Variable { variable: PREFIX.to_owned() + "*", reason })
}

/// Variables that look like settings and are none, for a warning: a container platform may have made them.
#[must_use]
pub fn unknown<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let is_known = |keys: &str| {
        let keys = keys.to_ascii_lowercase();
        keys.contains("__") || ALONE.contains(&keys.as_str()) || COMMANDS.contains(&keys.as_str())
    };
    let mut unknown: Vec<_> =
        names.into_iter().filter(|name| name.strip_prefix(PREFIX).is_some_and(|keys| !is_known(keys))).collect();
    unknown.sort_unstable();
    unknown
}

impl Config {
    fn deserialize_table(table: Table) -> Result<Self, String> {
        Value::Table(table).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    span.and_then(|span| text.get(..span.start))
        .map(|before| format!(" (line {})", before.matches('\n').count() + 1))
        .unwrap_or_default()
}

/// The variable's text as the type that the setting has by default; a setting without a default is text.
fn typed(defaults: &Table, path: &[&str], text: &str) -> Result<Value, String> {
    let mut found: Option<&Value> = None;
    let mut table = Some(defaults);
    for key in path {
        found = table.and_then(|table| table.get(*key));
        table = found.and_then(Value::as_table);
    }
    match found {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).map_err(|_| "must be a whole number".to_owned()),
        Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).map_err(|_| "must be true or false".to_owned()),
        Some(Value::Table(_)) => Err("names a section; write the key after another `__`".to_owned()),
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn put(table: &mut Table, path: &[&str], value: Value) -> Result<(), String> {
    let Some((last, sections)) = path.split_last() else { return Ok(()) };
    let mut table = table;
    for section in sections {
        table = table
            .entry((*section).to_owned())
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{section}` is not a section"))?;
    }
    table.insert((*last).to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rstest::rstest;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[query]\nconcurrent = 3\nqueued = 7\n").unwrap();
        let config = load(
            Some(file.path()),
            environment(&[
                ("MAVIS_QUERY__CONCURRENT", "5"),
                ("MAVIS_LAKE__STORAGE__AWS_ACCESS_KEY_ID", "12345"),
                ("MAVIS_HTTP__LISTEN", "127.0.0.1:0"),
                ("MAVIS_TOKEN", "not a setting"),
                ("MAVIS_STATE_DIR", "/var/lib/mavis"),
                ("MAVIS_INSECURE", "true"),
            ]),
        )
        .unwrap();
        assert_eq!((config.query.concurrent, config.query.queued), (5, 7));
        assert_eq!(config.lake.storage["aws_access_key_id"].expose(), "12345");
        assert_eq!(config.http.listen.port(), 0);
        assert_eq!((config.state_dir, config.insecure), (Some("/var/lib/mavis".into()), true));
    }

    #[rstest]
    #[case("MAVIS_QUERY__CONCURENT", "5", "unknown field")]
    #[case("MAVIS_QUERY__CONCURRENT", "many", "whole number")]
    #[case("MAVIS_INSECURE", "hunter2", "true or false")]
    #[case("MAVIS_HTTP__LISTEN", "hunter2", "MAVIS_HTTP__LISTEN")]
    fn a_wrong_variable_is_named_and_its_value_is_not(#[case] name: &str, #[case] value: &str, #[case] says: &str) {
        let error = load(None, environment(&[(name, value)])).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(says) && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_variable_that_is_no_setting_is_told() {
        let names = ["PATH", "MAVIS_STATEDIR", "MAVIS_TOKEN", "MAVIS_STATE_DIR", "MAVIS_QUERY__QUEUED", "MAVIS_HTTP"];
        assert_eq!(unknown(names), ["MAVIS_HTTP", "MAVIS_STATEDIR"]);
    }

    #[test]
    fn a_wrong_key_in_the_file_is_told_with_its_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[query]\nqueued = 7\nconcurent = 3\n").unwrap();
        let error = load(Some(file.path()), []).unwrap_err().to_string();
        assert!(error.contains("concurent") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn the_example_configuration_parses_and_shows_every_default() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.example.toml");
        let shown = load(Some(&example), []).unwrap();
        // What is commented out in the example is a default too: take the comment signs away and it parses as well.
        let text = std::fs::read_to_string(example).unwrap();
        let all: String =
            text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).flat_map(|line| [line, "\n"]).collect();
        toml::from_str::<Config>(&all).unwrap();
        assert_eq!(shown.http.listen, Config::default().http.listen);
        for section in Table::try_from(Config::default()).unwrap().keys() {
            assert!(text.contains(section.as_str()), "`{section}` is missing in the example");
        }
    }
}

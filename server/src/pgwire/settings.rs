use std::{collections::BTreeMap, time::Duration};

use super::failure::{Failure, state};

/// The version that clients are told: drivers choose by it what they ask of the catalogs.
pub(super) const SERVER_VERSION: &str = "15.8";

/// A setting by its own spelling, what it is by default, and what may be set.
struct Known {
    name: &'static str,
    default: &'static str,
    takes: Takes,
}

#[derive(Clone, Copy)]
enum Takes {
    /// Any value: it changes nothing here.
    Any,
    /// One of these, since the server does it that way.
    Only(&'static [&'static str]),
    /// Milliseconds, or a number with a unit.
    Time,
    /// UTF-8, however it is spelled.
    Encoding,
    /// UTC, by any of its names.
    Zone,
    /// Names of schemas.
    Path,
    Nothing,
}

const SETTINGS: [Known; 45] = [
    Known { name: "application_name", default: "", takes: Takes::Any },
    Known { name: "bytea_output", default: "hex", takes: Takes::Only(&["hex"]) },
    Known { name: "check_function_bodies", default: "on", takes: Takes::Any },
    Known { name: "client_encoding", default: "UTF8", takes: Takes::Encoding },
    Known { name: "client_min_messages", default: "notice", takes: Takes::Any },
    Known {
        name: "DateStyle",
        default: "ISO, MDY",
        takes: Takes::Only(&["iso", "mdy", "iso, mdy", "iso, ymd", "iso, dmy"]),
    },
    Known { name: "default_tablespace", default: "", takes: Takes::Any },
    Known { name: "default_transaction_deferrable", default: "off", takes: Takes::Any },
    Known { name: "default_transaction_isolation", default: "read committed", takes: Takes::Any },
    Known { name: "default_transaction_read_only", default: "off", takes: Takes::Any },
    Known { name: "escape_string_warning", default: "on", takes: Takes::Any },
    Known { name: "extra_float_digits", default: "1", takes: Takes::Any },
    Known { name: "geqo", default: "on", takes: Takes::Any },
    Known { name: "idle_in_transaction_session_timeout", default: "0", takes: Takes::Time },
    Known { name: "idle_session_timeout", default: "0", takes: Takes::Time },
    Known { name: "in_hot_standby", default: "off", takes: Takes::Nothing },
    Known { name: "integer_datetimes", default: "on", takes: Takes::Nothing },
    Known { name: "IntervalStyle", default: "postgres", takes: Takes::Only(&["postgres"]) },
    Known { name: "is_superuser", default: "off", takes: Takes::Nothing },
    Known { name: "jit", default: "off", takes: Takes::Any },
    Known { name: "lc_collate", default: "C", takes: Takes::Nothing },
    Known { name: "lc_ctype", default: "C", takes: Takes::Nothing },
    Known { name: "lc_messages", default: "C", takes: Takes::Any },
    Known { name: "lc_monetary", default: "C", takes: Takes::Any },
    Known { name: "lc_numeric", default: "C", takes: Takes::Any },
    Known { name: "lc_time", default: "C", takes: Takes::Any },
    Known { name: "lock_timeout", default: "0", takes: Takes::Time },
    Known { name: "max_connections", default: "", takes: Takes::Nothing },
    Known { name: "max_identifier_length", default: "63", takes: Takes::Nothing },
    Known { name: "max_index_keys", default: "32", takes: Takes::Nothing },
    Known { name: "quote_all_identifiers", default: "off", takes: Takes::Any },
    Known { name: "role", default: "none", takes: Takes::Only(&["none"]) },
    Known { name: "row_security", default: "on", takes: Takes::Any },
    Known { name: "search_path", default: "", takes: Takes::Path },
    Known { name: "server_encoding", default: "UTF8", takes: Takes::Nothing },
    Known { name: "server_version", default: SERVER_VERSION, takes: Takes::Nothing },
    Known { name: "server_version_num", default: "150008", takes: Takes::Nothing },
    Known { name: "session_authorization", default: "", takes: Takes::Nothing },
    Known { name: "session_replication_role", default: "origin", takes: Takes::Only(&["origin"]) },
    Known { name: "ssl", default: "", takes: Takes::Nothing },
    Known { name: "standard_conforming_strings", default: "on", takes: Takes::Only(&["on", "true", "1", "yes"]) },
    Known { name: "statement_timeout", default: "0", takes: Takes::Time },
    Known { name: "TimeZone", default: "UTC", takes: Takes::Zone },
    Known { name: "transaction_isolation", default: "repeatable read", takes: Takes::Any },
    Known { name: "transaction_read_only", default: "off", takes: Takes::Any },
];

/// What a client is told at the start, and again when it changes.
pub(super) const REPORTED: [&str; 11] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "standard_conforming_strings",
    "TimeZone",
];

fn known(name: &str) -> Option<&'static Known> {
    SETTINGS.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// The settings of one connection.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Where a table that is named alone is looked for unless the client says otherwise.
    path: Vec<String>,
    /// What the server is, and nobody sets.
    fixed: BTreeMap<&'static str, String>,
    set: BTreeMap<String, String>,
    chosen_path: Option<Vec<String>>,
}

impl Settings {
    /// `has_tls`: whether the server has a certificate; `connections`: how many it takes.
    pub(super) fn new(path: Vec<String>, user: &str, has_tls: bool, connections: usize) -> Self {
        let fixed = BTreeMap::from([
            ("max_connections", connections.to_string()),
            ("session_authorization", user.to_owned()),
            ("ssl", if has_tls { "on" } else { "off" }.to_owned()),
        ]);
        Self { path, fixed, set: BTreeMap::new(), chosen_path: None }
    }

    /// The schemas of the search path.
    pub(super) fn path(&self) -> &[String] {
        self.chosen_path.as_ref().unwrap_or(&self.path)
    }

    /// How long a statement may take, where that was set.
    pub(super) fn time(&self) -> Option<Duration> {
        let time = self.set.get("statement_timeout")?.parse().ok()?;
        (time > 0).then(|| Duration::from_millis(time))
    }

    /// The value by its name, as SHOW tells it.
    ///
    /// # Errors
    /// 42704 for a name that means nothing.
    pub(super) fn show(&self, name: &str) -> Result<String, Failure> {
        let key = name.to_lowercase();
        if key == "search_path" {
            return Ok(self.path().iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "));
        }
        let value = self.fixed.get(key.as_str()).or_else(|| self.set.get(&key)).cloned();
        value.or_else(|| known(&key).map(|known| known.default.to_owned())).ok_or_else(|| unknown(name))
    }

    /// Every setting with its value, by name.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let names = SETTINGS.iter().map(|known| known.name.to_owned());
        let own = self.set.keys().filter(|name| known(name).is_none()).cloned();
        names.chain(own).filter_map(|name| Some((name.clone(), self.show(&name).ok()?))).collect()
    }

    /// Sets a value; answers the setting's own spelling and its value where clients are told of changes.
    ///
    /// # Errors
    /// 42704 for a name that means nothing, 22023 for a value that the server does not do.
    pub(super) fn set(&mut self, name: &str, value: &[String]) -> Result<Option<(&'static str, String)>, Failure> {
        let key = name.to_lowercase();
        let text = value.join(", ");
        // Names with a point are the client's own.
        let Some(known) = known(&key) else {
            return if key.contains('.') {
                self.set.insert(key, text);
                Ok(None)
            } else {
                Err(unknown(name))
            };
        };
        let refused =
            || Failure::error(state::BAD_SETTING, format!("{} cannot be set to what was asked for here", known.name));
        match known.takes {
            Takes::Nothing => {
                return Err(Failure::error("55P02", format!("{} cannot be changed", known.name)));
            }
            Takes::Only(values) if !values.contains(&text.to_lowercase().as_str()) => return Err(refused()),
            Takes::Encoding if !is_utf8(&text) => return Err(refused()),
            Takes::Zone if !is_utc(&text) => return Err(refused()),
            // However it is written, it is shown by the name that it has here.
            Takes::Encoding | Takes::Zone => {
                self.set.remove(&key);
            }
            Takes::Only(_) | Takes::Any => {
                self.set.insert(key, text);
            }
            Takes::Time => {
                self.set.insert(key, milliseconds(&text).ok_or_else(refused)?.to_string());
            }
            Takes::Path => {
                let names = value.iter().flat_map(|value| {
                    if value.contains(',') { value.split(',').collect() } else { vec![value.as_str()] }
                });
                let names = names.map(|name| name.trim().trim_matches('"').to_owned());
                self.chosen_path = Some(names.filter(|name| !name.is_empty() && name != "$user").collect());
            }
        }
        Ok(REPORTED.contains(&known.name).then(|| (known.name, self.show(known.name).unwrap_or_default())))
    }

    /// Takes a setting back to what it was at the start; `None`: all of them.
    ///
    /// # Errors
    /// 42704 for a name that means nothing.
    pub(super) fn reset(&mut self, name: Option<&str>) -> Result<Option<(&'static str, String)>, Failure> {
        let Some(name) = name else {
            self.set.clear();
            self.chosen_path = None;
            return Ok(None);
        };
        let key = name.to_lowercase();
        if key == "search_path" {
            self.chosen_path = None;
        }
        self.set.remove(&key);
        match known(&key) {
            Some(known) => Ok(REPORTED.contains(&known.name).then(|| (known.name, known.default.to_owned()))),
            None if key.contains('.') => Ok(None),
            None => Err(unknown(name)),
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::error(state::NO_SETTING, format!("there is no setting \"{name}\""))
}

/// Whether a name of an encoding means UTF-8: only its letters and digits count, as in PostgreSQL.
pub(super) fn is_utf8(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(letters.to_ascii_lowercase().as_str(), "utf8" | "unicode")
}

/// Whether a name of a time zone, or a distance from UTC, means UTC.
fn is_utc(name: &str) -> bool {
    const NAMES: [&str; 12] =
        ["utc", "uct", "gmt", "gmt0", "gmt+0", "gmt-0", "z", "zulu", "universal", "greenwich", "default", "local"];
    const DISTANCES: [&str; 5] = ["0", "00", "0:00", "00:00", "00:00:00"];
    let name = name.trim().to_lowercase();
    let place = name.strip_prefix("etc/").unwrap_or(&name);
    let distance = name.strip_prefix(['+', '-']).unwrap_or(&name);
    NAMES.contains(&place) || DISTANCES.contains(&distance)
}

/// A name as a list of names shows it.
pub(super) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings() -> Settings {
        Settings::new(vec!["r4".to_owned()], "ann", true, 7)
    }

    fn set(settings: &mut Settings, name: &str, value: &str) -> Result<Option<(&'static str, String)>, Failure> {
        settings.set(name, &[value.to_owned()])
    }

    #[rstest]
    #[case("datestyle", "ISO", true)]
    #[case("DateStyle", "German", false)]
    #[case("TimeZone", "UTC", true)]
    #[case("timezone", "Europe/Paris", false)]
    #[case("timezone", "Etc/Greenwich", true)]
    #[case("timezone", "GMT0", true)]
    #[case("timezone", "Zulu", true)]
    #[case("timezone", "0", true)]
    #[case("timezone", "+00:00", true)]
    #[case("timezone", "-00:00", true)]
    #[case("timezone", "+02:00", false)]
    #[case("client_encoding", "utf-8", true)]
    #[case("client_encoding", "'utf-8'", true)]
    #[case("client_encoding", "UTF_8", true)]
    #[case("client_encoding", "Unicode", true)]
    #[case("client_encoding", "", false)]
    #[case("client_encoding", "LATIN1", false)]
    #[case("server_version", "9", false)]
    #[case("statement_timeout", "2s", true)]
    #[case("statement_timeout", "soon", false)]
    #[case("nonsense", "1", false)]
    #[case("my.own", "1", true)]
    fn only_what_the_server_does_can_be_set(#[case] name: &str, #[case] value: &str, #[case] taken: bool) {
        assert_eq!(set(&mut settings(), name, value).is_ok(), taken);
    }

    #[rstest]
    #[case("transaction_read_only", "off")]
    #[case("SSL", "on")]
    #[case("max_connections", "7")]
    #[case("session_authorization", "ann")]
    #[case("session_replication_role", "origin")]
    #[case("default_tablespace", "")]
    #[case("max_index_keys", "32")]
    fn what_clients_ask_for_is_known(#[case] name: &str, #[case] value: &str) {
        assert_eq!(settings().show(name).unwrap(), value);
    }

    #[test]
    fn a_setting_is_shown_reported_and_taken_back() {
        let mut settings = settings();
        assert_eq!(settings.show("search_path").unwrap(), "r4");
        settings.set("search_path", &["hms".to_owned(), "A b".to_owned()]).unwrap();
        assert_eq!(settings.show("search_path").unwrap(), "hms, \"A b\"");
        set(&mut settings, "statement_timeout", "2s").unwrap();
        assert_eq!(settings.time(), Some(Duration::from_secs(2)));
        assert_eq!(
            set(&mut settings, "application_name", "psql").unwrap(),
            Some(("application_name", "psql".to_owned()))
        );
        settings.reset(None).unwrap();
        assert_eq!(settings.show("ssl").unwrap(), "on");
        assert_eq!(settings.path(), ["r4"]);
        assert_eq!((settings.time(), settings.show("application_name").unwrap().as_str()), (None, ""));
    }
}

use std::{collections::HashSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::Zone;

/// A name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("there is no zone `{zone}`: use raw, processed, fhir or work")]
    UnknownZone { zone: String },
    #[error("`{name}` is not a table name: write zone.schema.table")]
    NotATable { name: String },
    #[error("`{name}` has no letter or digit that a name could keep")]
    Empty { name: String },
}

/// Turns what a source calls something into a name of the lake: lower-case `[a-z0-9_]`, accents folded, never empty,
/// never starting with a digit or with `__` (which is kept for Mavis's own columns).
///
/// ```
/// use mavis_types::normalize_name;
/// assert_eq!(normalize_name("Numéro d'IPP"), "numero_d_ipp");
/// assert_eq!(normalize_name("2nd visit"), "_2nd_visit");
/// assert_eq!(normalize_name("__hash"), "hash");
/// ```
#[must_use]
pub fn normalize_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        match c {
            'œ' | 'Œ' => name.push_str("oe"),
            'æ' | 'Æ' => name.push_str("ae"),
            'ß' => name.push_str("ss"),
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ => name.push('_'),
        }
    }
    let single: String = collapse_underscores(&name);
    let trimmed = single.trim_matches('_');
    match trimmed.chars().next() {
        None => "column".to_owned(),
        Some(c) if c.is_ascii_digit() => format!("_{trimmed}"),
        Some(_) => trimmed.to_owned(),
    }
}

fn collapse_underscores(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '_' || !out.ends_with('_') {
            out.push(c);
        }
    }
    out
}

/// Normalised names in the order given; a name that is taken gets `_2`, `_3`, ...
pub fn unique_names<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    texts
        .into_iter()
        .map(|text| {
            let base = normalize_name(text);
            let mut name = base.clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{base}_{number}");
                number += 1;
            }
            name
        })
        .collect()
}

/// The name of a source, as it stands in schemas and folders.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceName(String);

impl SourceName {
    /// # Errors
    /// When no letter or digit of the text can stand in a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if !text.nfkd().any(|c| c.is_ascii_alphanumeric()) {
            return Err(NameError::Empty { name: text.to_owned() });
        }
        Ok(Self(normalize_name(text)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table of the lake: `zone.schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    pub zone: Zone,
    pub schema: String,
    pub table: String,
}

impl TableName {
    #[must_use]
    pub fn new(zone: Zone, schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { zone, schema: schema.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.zone, self.schema, self.table)
    }
}

impl FromStr for TableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(zone), Some(schema), Some(table), None) if !schema.is_empty() && !table.is_empty() => {
                Ok(Self::new(zone.parse()?, schema, table))
            }
            _ => Err(NameError::NotATable { name: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("hms_patient", "hms_patient")]
    #[case("Date de naissance", "date_de_naissance")]
    #[case("Prénom (usuel)", "prenom_usuel")]
    #[case("cœur", "coeur")]
    #[case("  a ,;{}()=b ", "a_b")]
    #[case("患者", "column")]
    fn normalised_names_use_only_lower_case_letters_digits_and_underscores(#[case] text: &str, #[case] name: &str) {
        assert_eq!(normalize_name(text), name);
    }

    #[test]
    fn colliding_names_get_a_number() {
        assert_eq!(unique_names(["Nom", "nom", "NOM ", "nom_2"]), ["nom", "nom_2", "nom_3", "nom_2_2"]);
    }

    #[test]
    fn a_table_name_reads_back_as_written() {
        let name: TableName = "raw.mavis_test.hms_patient".parse().unwrap();
        assert_eq!(name.to_string(), "raw.mavis_test.hms_patient");
        assert!("raw.patient".parse::<TableName>().is_err());
        assert!("silver.a.b".parse::<TableName>().is_err());
    }
}

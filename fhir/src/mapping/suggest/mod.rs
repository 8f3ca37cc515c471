//! Mappings suggested from column names in French and English.

mod encounter;
mod encounter_words;
mod names;
mod patient;
mod patient_words;

use super::{ElementPath, Mapping, Suggestion};
use names::{Concept, Names};

/// A column of the table that a mapping is suggested for.
#[derive(Debug)]
struct Column {
    name: String,
    data_type: String,
    names: Names,
}

/// What is known of the table.
#[derive(Debug)]
struct Table {
    /// `processed.<schema>.<table>`.
    full: String,
    schema: String,
    /// Words of the table's own name.
    names: Names,
    columns: Vec<Column>,
    key: Vec<String>,
}

/// Below this a suggestion is a guess.
const LEAST_CONFIDENCE: f64 = 0.3;

pub(super) fn suggest(table: &str, columns: &[(String, String)], key: &[String]) -> Vec<Suggestion> {
    let mut parts = table.rsplit('.');
    let own = parts.next().unwrap_or(table);
    let schema = parts.next().unwrap_or("source").to_owned();
    let columns: Vec<Column> = columns
        .iter()
        .filter(|(name, _)| !name.starts_with("__"))
        .map(|(name, data_type)| Column { name: name.clone(), data_type: data_type.clone(), names: Names::new(name) })
        .collect();
    let table = Table { full: table.to_owned(), schema, names: Names::new(own), columns, key: key.to_vec() };
    let mut suggestions: Vec<Suggestion> =
        [patient::suggest(&table), encounter::suggest(&table)].into_iter().flatten().collect();
    suggestions.retain(|suggestion| suggestion.confidence >= LEAST_CONFIDENCE);
    suggestions.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    suggestions
}

/// A column found for a concept.
#[derive(Debug, Clone, Copy)]
struct Found {
    column: usize,
    score: f64,
}

/// The best column of each concept; no column serves two.
#[derive(Debug)]
struct Claims<'t> {
    table: &'t Table,
    by_concept: Vec<(&'static str, Found)>,
}

impl<'t> Claims<'t> {
    fn new(table: &'t Table, concepts: &'static [Concept]) -> Self {
        let mut offers: Vec<(f64, usize, usize)> = Vec::new();
        for (concept_index, concept) in concepts.iter().enumerate() {
            for (column_index, column) in table.columns.iter().enumerate() {
                let score = concept.score(&column.names);
                if score > 0.0 && concept.fits(&column.data_type) {
                    offers.push((score, concept_index, column_index));
                }
            }
        }
        offers.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut by_concept: Vec<(&'static str, Found)> = Vec::new();
        for (score, concept, column) in offers {
            let name = concepts[concept].name;
            if !by_concept.iter().any(|(taken, found)| *taken == name || found.column == column) {
                by_concept.push((name, Found { column, score }));
            }
        }
        Self { table, by_concept }
    }

    fn found(&self, concept: &str) -> Option<Found> {
        self.by_concept.iter().find(|(name, _)| *name == concept).map(|(_, found)| *found)
    }

    fn score(&self, concept: &str) -> f64 {
        self.found(concept).map_or(0.0, |found| found.score)
    }

    /// The column's SQL.
    fn sql(&self, concept: &str) -> Option<String> {
        self.found(concept).map(|found| self.table.sql(found.column))
    }

    fn data_type(&self, concept: &str) -> Option<&str> {
        self.found(concept).map(|found| self.table.columns[found.column].data_type.as_str())
    }

    /// Gives a column back.
    fn release(&mut self, concept: &str) {
        self.by_concept.retain(|(name, _)| *name != concept);
    }

    fn claims(&self, column: usize) -> bool {
        self.by_concept.iter().any(|(_, found)| found.column == column)
    }
}

impl Table {
    fn sql(&self, column: usize) -> String {
        let name = &self.columns[column].name;
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if plain { format!("p.{name}") } else { format!("p.\"{}\"", name.replace('"', "\"\"")) }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Columns of the key: the one that is known, else an identifier that was found, else a column named `id`.
    fn key_columns(&self, identifier: Option<Found>) -> Option<Vec<usize>> {
        let known: Option<Vec<usize>> = self.key.iter().map(|name| self.position(name)).collect();
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            return Some(known);
        }
        let id = self.columns.iter().position(|column| column.names.joined == "id");
        identifier.map(|found| found.column).or(id).map(|column| vec![column])
    }

    fn mapping(&self, resource: &str, key: &[usize], lines: Vec<(&str, String)>) -> Option<Mapping> {
        let set = lines.into_iter().filter_map(|(path, sql)| Some((path.parse::<ElementPath>().ok()?, sql))).collect();
        Some(Mapping {
            version: 1,
            resource: resource.parse().ok()?,
            from: format!("{} p", self.full),
            key: key.iter().map(|column| self.sql(*column)).collect(),
            for_each: None,
            filter: None,
            set,
            resource_json: None,
        })
    }

    /// Columns that neither a concept nor the key uses, each with a word on why.
    fn unmapped(&self, claims: &Claims<'_>, key: &[usize]) -> Vec<String> {
        (0..self.columns.len())
            .filter(|column| !claims.claims(*column) && !key.contains(column))
            .map(|column| self.columns[column].name.clone())
            .collect()
    }
}

fn is_date(data_type: &str) -> bool {
    data_type.starts_with("Date") || data_type.starts_with("Timestamp")
}

fn is_text(data_type: &str) -> bool {
    data_type.contains("Utf8")
}

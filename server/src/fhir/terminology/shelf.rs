//! Terminology resources of the lake, fetched as they are needed.

use datafusion::{logical_expr::lit, prelude::ident};
use mavis_fhir::{
    ResourceType, json,
    terminology::{self, Canonical, CodeSystem, Coded, Library, Missing, TerminologyError, ValueSet},
};
use mavis_sql::{Error, Session};

use super::Unanswered;
use crate::fhir::rows::{Stored, columns, current, fetch, frame, unplanned};

/// Resources that one question may need.
const MAX_FETCHES: usize = 500;

#[derive(Debug)]
pub(super) struct Shelf<'s> {
    session: &'s Session,
    pub(super) library: Library,
}

fn resource_type(name: &str) -> Result<ResourceType, Error> {
    name.parse().map_err(|_| Error::Execution { message: "a resource type of R4 is not known".to_owned() })
}

impl<'s> Shelf<'s> {
    pub(super) fn new(session: &'s Session) -> Self {
        Self { session, library: Library::default() }
    }

    async fn where_is(&self, name: &str, column: &str, value: &str) -> Result<Vec<Stored>, Error> {
        let Some(table) = frame(self.session, &current(resource_type(name)?)).await? else { return Ok(Vec::new()) };
        if table.schema().field_with_unqualified_name(column).is_err() {
            return Ok(Vec::new());
        }
        let found =
            table.filter(ident(column).eq(lit(value))).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
        fetch(self.session, found).await
    }

    /// The text of a resource by its id.
    pub(super) async fn by_id(&self, name: &str, id: &str) -> Result<Option<String>, Error> {
        Ok(self.where_is(name, "id", id).await?.pop().and_then(|stored| stored.json))
    }

    /// The text of a resource by its canonical URL: of the version asked for, else of the newest by version, an active one
    /// before others.
    pub(super) async fn by_url(&self, name: &str, canonical: &str) -> Result<Option<String>, Error> {
        let Canonical { url, version } = Canonical::read(canonical);
        let mut best: Option<(Rank, String)> = None;
        for text in self.where_is(name, "url", url).await?.into_iter().filter_map(|stored| stored.json) {
            let Ok(value) = json::parse(text.as_bytes()) else { continue };
            let its = value.get_str("version");
            if version.is_some() && version != its {
                continue;
            }
            let rank = (
                value.get_str("status") == Some("active"),
                parts(its.unwrap_or_default()),
                value.get_str("id").unwrap_or_default().to_owned(),
            );
            if best.as_ref().is_none_or(|(known, _)| *known < rank) {
                best = Some((rank, text));
            }
        }
        Ok(best.map(|(_, text)| text))
    }

    pub(super) async fn value_set(&self, canonical: &str) -> Result<ValueSet, Unanswered> {
        let text = self.by_url("ValueSet", canonical).await?;
        let text = text.ok_or_else(|| TerminologyError::UnknownValueSet(cut(canonical)))?;
        read_value_set(&text)
    }

    /// `None` where the lake does not have it.
    pub(super) async fn code_system(&mut self, canonical: &str) -> Result<Option<&CodeSystem>, Error> {
        let url = Canonical::read(canonical).url.to_owned();
        if !self.library.code_systems.contains_key(&url) {
            let text = self.by_url("CodeSystem", canonical).await?;
            let system = text.and_then(|text| CodeSystem::read(&json::parse(text.as_bytes()).ok()?));
            self.library.code_systems.insert(url.clone(), system);
        }
        Ok(self.library.code_systems.get(&url).and_then(Option::as_ref))
    }

    /// Asks until nothing is missing.
    pub(super) async fn ask<T>(
        &mut self,
        question: impl Fn(&Library) -> Result<T, TerminologyError>,
    ) -> Result<T, Unanswered> {
        for _ in 0..MAX_FETCHES {
            match question(&self.library) {
                Err(TerminologyError::Missing(Missing::CodeSystem(url))) => {
                    self.code_system(&url).await?;
                }
                Err(TerminologyError::Missing(Missing::ValueSet(url))) => {
                    let text = self.by_url("ValueSet", &url).await?;
                    let set = text.map(|text| read_value_set(&text)).transpose()?;
                    self.library.value_sets.insert(url, set);
                }
                other => return other.map_err(Unanswered::from),
            }
        }
        Err(TerminologyError::Unsupported(format!("the value set needs more than {MAX_FETCHES} others")).into())
    }

    pub(super) async fn expand(&mut self, set: &ValueSet, limit: usize) -> Result<Vec<Coded>, Unanswered> {
        self.ask(|library| terminology::expand(set, library, limit)).await
    }
}

pub(super) fn read_value_set(text: &str) -> Result<ValueSet, Unanswered> {
    let value = json::parse(text.as_bytes())
        .map_err(|_| TerminologyError::Unsupported("a stored value set cannot be read".to_owned()))?;
    Ok(ValueSet::read(&value))
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Of several resources of one URL the greatest is taken: active, version, id.
type Rank = (bool, Vec<Part>, String);

/// A part of a version: numbers compare as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Word(String),
    Number(u64),
}

fn parts(version: &str) -> Vec<Part> {
    let part = |text: &str| text.parse().map_or_else(|_| Part::Word(text.to_owned()), Part::Number);
    version.split(['.', '-', '+']).filter(|text| !text.is_empty()).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(parts("4.0.10") > parts("4.0.9"));
        assert!(parts("2024-03-01") > parts("2023-12-31"));
        assert!(parts("1") > parts(""));
    }
}

//! What a session calls its own: where names without a catalog, or without a schema, are looked for first.

use std::ops::Not;

use datafusion::sql::sqlparser::{ast::ObjectName, parser::Parser, tokenizer::Token};
use futures::{FutureExt, future::BoxFuture};
use mavis_types::Zone;

use crate::{Error, Session, dialect, fault, listing, names::compared, system};

/// A session's own catalog and schema, as `USE` and session options set them. The default has none: a table alone is then
/// of `fhir.r4`, and a schema alone is looked for in fhir, processed, raw and work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Home {
    /// A zone, or `system`.
    pub catalog: Option<String>,
    pub schema: Option<String>,
}

impl Home {
    /// The parts of a name with those in front that the session adds.
    pub(crate) fn whole(&self, parts: &[String]) -> Vec<String> {
        let mut whole = Vec::with_capacity(3);
        if let ([_], Some(schema)) = (parts, &self.schema) {
            whole.extend(self.catalog.iter().cloned());
            whole.push(schema.clone());
        } else if let ([schema, table], Some(catalog)) = (parts, &self.catalog)
            && system::locate(&[catalog, schema, table]).is_some()
            && schema != system::INFORMATION
        {
            whole.push(catalog.clone());
        }
        whole.extend_from_slice(parts);
        whole
    }

    /// The zone where a schema is looked for before all others.
    pub(crate) fn zone(&self) -> Option<Zone> {
        self.catalog.as_ref()?.parse().ok()
    }
}

impl Session {
    /// This session with another catalog and schema of its own.
    #[must_use]
    pub fn at(mut self, home: Home) -> Self {
        self.home = home;
        self
    }

    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What the session's own names become by a `USE`, for doors that keep sessions: `USE schema`, `USE zone`,
    /// `USE zone.schema`, `USE CATALOG zone`, `USE DEFAULT`. `None` for every other statement. Nothing is changed: the door
    /// goes on with [`Session::at`].
    ///
    /// # Errors
    /// [`Error::Invalid`] where the principal sees nothing of that name.
    pub fn used<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Option<Home>, Error>> {
        async move {
            // Most statements are none: they need not be read for it.
            if !sql
                .trim_start_matches(|c: char| c.is_whitespace())
                .get(..3)
                .is_some_and(|w| w.eq_ignore_ascii_case("use"))
            {
                return Ok(None);
            }
            let Some((kind, name)) = read(sql)? else { return Ok(None) };
            let home = match (kind, parts(&name)?.as_slice()) {
                (Kind::Any, [only]) if only == "default" => Home::default(),
                (Kind::Catalog, parts) => self.catalog_of(parts).await?,
                (_, parts) => self.home_of(parts).await?,
            };
            Ok(Some(home))
        }
        .boxed()
    }

    /// The home that a catalog, or a schema, by its name alone would be; what option setters check with.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the principal sees nothing of that name.
    pub fn home_of<'a>(&'a self, parts: &'a [String]) -> BoxFuture<'a, Result<Home, Error>> {
        async move {
            match parts {
                [one] if system::catalogs().any(|known| known == one) => self.catalog_of(parts).await,
                [schema] => {
                    let own = self.home.catalog.iter().cloned();
                    let zones = [Zone::Fhir, Zone::Processed, Zone::Raw, Zone::Work];
                    let places = own.chain(zones.map(|zone| zone.to_string())).chain([system::SYSTEM.to_owned()]);
                    for catalog in places {
                        if self.sees_schema(&catalog, schema).await? {
                            return Ok(Home { catalog: Some(catalog), schema: Some(schema.clone()) });
                        }
                    }
                    Err(unknown("schema or zone", schema))
                }
                [catalog, schema] if self.sees_schema(catalog, schema).await? => {
                    Ok(Home { catalog: Some(catalog.clone()), schema: Some(schema.clone()) })
                }
                _ => Err(unknown("schema", &parts.join("."))),
            }
        }
        .boxed()
    }

    async fn catalog_of(&self, parts: &[String]) -> Result<Home, Error> {
        match parts {
            [one] if system::catalogs().any(|known| known == one) => {
                // The zone of resources has one schema that everybody means.
                let schema = (one == Zone::Fhir.as_str()).then(|| "r4".to_owned());
                Ok(Home { catalog: Some(one.clone()), schema })
            }
            _ => Err(unknown("zone", &parts.join("."))),
        }
    }

    pub(crate) async fn sees_schema(&self, catalog: &str, schema: &str) -> Result<bool, Error> {
        let exact = schema.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let found = listing::schemas(self.store(), self.principal(), Some(catalog), Some(&exact)).await?;
        Ok(found.is_empty().not())
    }
}

/// What a `USE` says its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Catalog,
    Schema,
}

/// The name in a `USE`; `None` for another statement, or one that does not end there.
fn read(sql: &str) -> Result<Option<(Kind, ObjectName)>, Error> {
    let Ok(mut parser) = dialect::parser(sql) else { return Ok(None) };
    let word = |wanted: &[&str], parser: &mut Parser<'static>| {
        let comes = matches!(parser.peek_token().token, Token::Word(word) if word.quote_style.is_none()
            && wanted.iter().any(|wanted| word.value.eq_ignore_ascii_case(wanted)));
        // A word that nothing follows is the name.
        let names = matches!(parser.peek_nth_token(1).token, Token::EOF | Token::SemiColon | Token::Period);
        if comes && !names {
            parser.next_token();
        }
        comes && !names
    };
    if !word(&["USE"], &mut parser) {
        return Ok(None);
    }
    let kind = if word(&["CATALOG"], &mut parser) {
        Kind::Catalog
    } else if word(&["SCHEMA", "DATABASE"], &mut parser) {
        Kind::Schema
    } else {
        Kind::Any
    };
    let name = parser.parse_object_name(false).map_err(|error| dialect::syntax_error(&error))?;
    while parser.consume_token(&Token::SemiColon) {}
    let ends = parser.peek_token().token == Token::EOF;
    Ok(ends.then_some((kind, name)))
}

fn parts(name: &ObjectName) -> Result<Vec<String>, Error> {
    let parts = name.0.iter().map(|part| part.as_ident().map(compared)).collect::<Option<Vec<_>>>();
    parts.ok_or_else(|| fault::invalid(format!("`{name}` is not a name")))
}

fn unknown(what: &str, name: &str) -> Error {
    fault::invalid(format!("there is no {what} `{name}` to use; SHOW SCHEMAS tells which there are"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", &["patient"], "patient")]
    #[case("raw.hms", &["patient"], "raw.hms.patient")]
    #[case("raw.hms", &["lab", "patient"], "lab.patient")]
    #[case("raw.hms", &["fhir", "r4", "patient"], "fhir.r4.patient")]
    #[case("system.ops", &["runs"], "system.ops.runs")]
    #[case("system", &["ops", "runs"], "system.ops.runs")]
    #[case("system", &["information_schema", "tables"], "information_schema.tables")]
    fn a_name_is_completed_with_what_the_session_uses(#[case] home: &str, #[case] parts: &[&str], #[case] whole: &str) {
        let mut words = home.split('.').filter(|word| !word.is_empty()).map(str::to_owned);
        let home = Home { catalog: words.next(), schema: words.next() };
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        assert_eq!(home.whole(&parts).join("."), whole);
    }
}

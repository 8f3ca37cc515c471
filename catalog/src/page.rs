//! One page of the list of tables, as a statement.

use mavis_types::{TableName, Zone};

use crate::{
    engine::{Engine, prefix_of_like},
    value::Value,
};

/// What a part of the name must be.
#[derive(Debug, Clone)]
pub(crate) enum Match {
    Any,
    Is(String),
    /// A pattern in the backend's own words, and the text that every match begins with.
    Like {
        pattern: String,
        prefix: String,
    },
}

impl Match {
    pub(crate) fn like(pattern: Option<&str>, engine: &Engine) -> Self {
        let Some(like) = pattern else { return Self::Any };
        match prefix_of_like(like) {
            (text, true) => Self::Is(text),
            (prefix, false) if prefix.is_empty() && !like.is_empty() && like.chars().all(|c| c == '%') => Self::Any,
            (prefix, false) => Self::Like { pattern: engine.pattern(like), prefix },
        }
    }
}

/// One page of the list of tables.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) zone: Option<Zone>,
    pub(crate) schema: Match,
    pub(crate) table: Match,
    pub(crate) after: Option<&'a TableName>,
    pub(crate) limit: Option<u32>,
}

impl Page<'_> {
    /// The statement, or `None` where no table can match.
    ///
    /// Parts that are fixed are equalities, and the place to go on is a comparison of the parts that are not: only so do
    /// both databases begin at that place in the index.
    pub(crate) fn statement(self) -> Option<(String, Vec<Value>)> {
        let mut args = Vec::new();
        let mut conditions = Vec::new();
        let mut arg = |value: Value| {
            args.push(value);
            format!("${}", args.len())
        };
        if let Some(zone) = self.zone {
            conditions.push(format!("zone = {}", arg(zone.as_str().into())));
        }
        for (column, part) in [("schema_name", &self.schema), ("table_name", &self.table)] {
            match part {
                Match::Any => {}
                Match::Is(text) => conditions.push(format!("{column} = {}", arg(text.into()))),
                Match::Like { pattern, prefix } => {
                    if !prefix.is_empty() {
                        conditions.push(format!("{column} >= {}", arg(prefix.into())));
                        if let Some(end) = after_prefix(prefix) {
                            conditions.push(format!("{column} < {}", arg(end.into())));
                        }
                    }
                    conditions.push(format!("{column} LIKE_CASED {}", arg(pattern.into())));
                }
            }
        }
        if let Some(after) = self.after {
            let fixed_zone = self.zone.map(|zone| zone.as_str().to_owned());
            let fixed = |part: &Match| if let Match::Is(text) = part { Some(text.clone()) } else { None };
            let parts = [
                ("zone", fixed_zone, after.zone.as_str()),
                ("schema_name", fixed(&self.schema), after.schema.as_str()),
                ("table_name", fixed(&self.table), after.table.as_str()),
            ];
            let mut open: Vec<(&str, &str)> = Vec::new();
            let mut or_equal = false;
            let mut decided = false;
            for (column, fixed, after) in parts {
                match fixed {
                    None => open.push((column, after)),
                    // A fixed part decides over all that follow, for names that are equal before it.
                    Some(fixed) if fixed.as_str() != after => {
                        or_equal = fixed.as_str() > after;
                        decided = true;
                        break;
                    }
                    Some(_) => {}
                }
            }
            if open.is_empty() {
                if !(decided && or_equal) {
                    return None;
                }
            } else {
                let columns: Vec<&str> = open.iter().map(|(column, _)| *column).collect();
                let places: Vec<String> = open.iter().map(|(_, after)| arg((*after).into())).collect();
                let operator = if or_equal { ">=" } else { ">" };
                conditions.push(if open.len() == 1 {
                    format!("{} {operator} {}", columns[0], places[0])
                } else {
                    format!("({}) {operator} ({})", columns.join(", "), places.join(", "))
                });
            }
        }
        let mut sql = "SELECT * FROM lake_tables".to_owned();
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        sql.push_str(" ORDER BY zone, schema_name, table_name");
        if let Some(limit) = self.limit {
            sql.push_str(&format!(" LIMIT {}", arg(limit.into())));
        }
        Some((sql, args))
    }
}

/// The first text after all that begin with `prefix`; `None` where there is none.
pub(crate) fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Characters go on after the gap of the surrogates.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{Catalog, Error, engine::Durability, value::values};

    #[rstest]
    #[case("hms", Some("hmt"))]
    #[case("a\u{D7FF}", Some("a\u{E000}"))]
    #[case("a\u{10FFFF}", Some("b"))]
    #[case("\u{10FFFF}", None)]
    fn the_text_after_a_prefix_is_the_next_that_does_not_begin_with_it(
        #[case] prefix: &str,
        #[case] after: Option<&str>,
    ) {
        assert_eq!(after_prefix(prefix).as_deref(), after);
    }

    /// 20 schemas of 1,000 tables in one zone.
    async fn twenty_thousand_tables(folder: &tempfile::TempDir) -> Result<Catalog, Error> {
        let catalog = Catalog::open(&format!("sqlite://{}", folder.path().join("c.sqlite").display())).await?;
        catalog
            .engine
            .write(
                Durability::System,
                "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
                 INSERT INTO lake_tables
                    (id, zone, schema_name, table_name, location, key_columns, created_at, updated_at)
                 SELECT printf('00000000-0000-7000-8000-%012d', i), 'raw', printf('s%02d', i / 1000),
                        printf('t%05d', i), printf('raw/%d', i), '[]', 0, 0
                 FROM n",
                values![],
            )
            .await?;
        Ok(catalog)
    }

    #[rstest]
    #[case::zone(Some(Zone::Raw), None, None, &["zone=?", "(schema_name,table_name)>(?,?)"])]
    #[case::all(None, None, None, &["(zone,schema_name,table_name)>(?,?,?)"])]
    #[case::schema(Some(Zone::Raw), Some("s07"), None, &["zone=?", "schema_name=?", "table_name>?"])]
    #[case::schema_of_any_zone(None, Some("s07"), None, &["schema_name=?", "(zone,table_name)>(?,?)"])]
    #[case::prefix(Some(Zone::Raw), Some("s07"), Some("t079%"), &["zone=?", "schema_name=?", "table_name>? AND table_name<?"])]
    #[tokio::test]
    async fn a_page_begins_at_its_place_in_the_index(
        #[case] zone: Option<Zone>,
        #[case] schema: Option<&str>,
        #[case] table: Option<&str>,
        #[case] search: &[&str],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = twenty_thousand_tables(&folder).await.unwrap();
        let after = TableName::new(Zone::Raw, "s07", "t07900");
        let page = Page {
            zone,
            schema: Match::like(schema, &catalog.engine),
            table: Match::like(table, &catalog.engine),
            after: Some(&after),
            limit: Some(10),
        };
        let (sql, args) = page.statement().unwrap();
        let plan = catalog.engine.all(format!("EXPLAIN QUERY PLAN {sql}"), args).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
        assert!(plan[0].starts_with("SEARCH lake_tables USING INDEX"), "{plan:?}");
        assert!(search.iter().all(|part| plan[0].contains(part)), "{plan:?}");
        assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
        let tables = catalog.tables_like(zone, schema, table, Some(&after), Some(10)).await.unwrap();
        let names: Vec<&str> = tables.iter().map(|table| table.name.table.as_str()).collect();
        assert_eq!(names.first(), Some(&"t07901"), "{names:?}");
        assert_eq!(names.len(), 10);
    }
}

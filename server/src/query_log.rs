//! What is counted and written down of every query, whichever door it came through.

use std::time::Instant;

use futures::StreamExt;
use mavis_catalog::NewAudit;
use mavis_sql::{Executed, QueryStream};
use mavis_types::Principal;
use tracing::{debug, error};

use crate::{App, auth::Door};

/// Longest list of tables in an audit line.
const LONGEST: usize = 1_000;

/// What is audited of a statement that reads.
const QUERY: &str = "query";

/// Words that may stand before the name of a table.
const PASSED: [&str; 5] = ["lateral", "if", "not", "exists", "table"];

/// One query, from its arrival to its end. However it ends (its reader may go away at any time), it is counted once and
/// audited once: who, which tables, how many rows; never its text.
#[derive(Debug)]
pub(crate) struct QueryLog {
    app: App,
    principal: String,
    door: Door,
    sql: String,
    action: String,
    /// What is written, where the statement does not tell it.
    object: String,
    began: Instant,
    rows: u64,
    outcome: &'static str,
}

impl QueryLog {
    pub(crate) fn begin(app: &App, principal: &Principal, door: Door, sql: &str) -> Self {
        Self {
            app: app.clone(),
            principal: principal.name.clone(),
            door,
            sql: sql.to_owned(),
            action: QUERY.to_owned(),
            object: String::new(),
            began: Instant::now(),
            rows: 0,
            outcome: "cancelled",
        }
    }

    /// A statement that writes. `object`: what it writes, where there is no SQL.
    pub(crate) fn write(app: &App, principal: &Principal, door: Door, sql: &str, object: String) -> Self {
        let mut log = Self::begin(app, principal, door, sql);
        "write".clone_into(&mut log.action);
        log.object = object;
        log
    }

    /// What a statement that writes came to.
    pub(crate) fn wrote(mut self, outcome: &Result<Executed, mavis_sql::Error>) {
        match outcome {
            Ok(done) => {
                self.outcome = "ok";
                self.rows = done.rows;
                self.action = format!("write.{}", done.command.to_lowercase().replace(' ', "_"));
            }
            Err(error) => self.outcome = word(error),
        }
    }

    /// The query did not begin.
    pub(crate) fn failed(mut self, error: &mavis_sql::Error) {
        self.outcome = word(error);
    }

    /// Counts the rows that go by, until the stream ends or is dropped.
    pub(crate) fn follow(self, mut query: QueryStream) -> QueryStream {
        let mut batches = query.batches;
        query.batches = async_stream::stream! {
            // The whole of it moves in here, and is dropped with the stream.
            let mut log = self;
            while let Some(batch) = batches.next().await {
                match &batch {
                    Ok(batch) => log.rows += batch.num_rows() as u64,
                    Err(error) => {
                        log.outcome = word(error);
                        yield batch;
                        return;
                    }
                }
                yield batch;
            }
            log.outcome = "ok";
        }
        .boxed();
        query
    }
}

impl Drop for QueryLog {
    fn drop(&mut self) {
        let (door, outcome, seconds) = (self.door.as_str(), self.outcome, self.began.elapsed().as_secs_f64());
        metrics::counter!("mavis_queries_total", "door" => door, "outcome" => outcome).increment(1);
        metrics::counter!("mavis_query_rows_total", "door" => door).increment(self.rows);
        metrics::histogram!("mavis_query_seconds", "door" => door).record(seconds);
        debug!(door, outcome, rows = self.rows, seconds, principal = self.principal, "a query ended: {outcome}");
        // Without a runtime the process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (app, sql) = (self.app.clone(), std::mem::take(&mut self.sql));
        let mut entry = NewAudit {
            actor: std::mem::take(&mut self.principal),
            action: std::mem::take(&mut self.action),
            object: std::mem::take(&mut self.object),
            allowed: outcome != "refused",
            door: door.to_owned(),
            rows: Some(self.rows),
        };
        // After the answer, which does not wait for it.
        runtime.spawn(async move {
            // What it writes stands first, then what it reads.
            let names = tables(&sql);
            drop(sql);
            if entry.object.is_empty() {
                entry.object = names;
            }
            // What was changed or refused is written down at once, what was read together with others.
            if entry.action == QUERY && entry.allowed {
                app.reads.line(entry).await;
            } else if let Err(error) = app.catalog.audit(&entry).await {
                error!(error = &error as &dyn std::error::Error, "cannot write the audit of a statement");
            }
        });
    }
}

fn word(error: &mavis_sql::Error) -> &'static str {
    use mavis_sql::Error;
    match error {
        Error::Invalid { .. } | Error::Value { .. } => "invalid",
        Error::NoSuchTable { .. } => "no_such_table",
        Error::Refused { .. } => "refused",
        Error::Limit { .. } => "limit",
        Error::Cancelled => "cancelled",
        Error::SnapshotGone { .. } | Error::Catalog(_) | Error::Lake(_) | Error::Execution { .. } => "failed",
    }
}

/// The names of a statement's tables, as it writes them: whatever stands after FROM, JOIN, INTO, TABLE, UPDATE, DESCRIBE
/// and the commas of a FROM. Read from the words of the text, for a statement that does not parse is audited too; literals
/// and comments are passed over, so that no value gets in.
fn tables(sql: &str) -> String {
    use datafusion::sql::sqlparser::{
        dialect::GenericDialect,
        tokenizer::{Token, Tokenizer},
    };
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return String::new() };
    let mut tokens = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    let mut found: Vec<String> = Vec::new();
    let (mut in_from, mut expects, mut is_written) = (false, false, false);
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word)
                if expects
                    && word.quote_style.is_none()
                    && PASSED.contains(&word.value.to_ascii_lowercase().as_str()) => {}
            // MERGE ... THEN UPDATE SET
            Token::Word(word) if expects && word.quote_style.is_none() && word.value.eq_ignore_ascii_case("set") => {
                expects = false;
            }
            Token::Word(word) if expects => {
                let mut name = word.value;
                while tokens.peek() == Some(&Token::Period) {
                    tokens.next();
                    if let Some(Token::Word(part)) = tokens.next() {
                        name = format!("{name}.{}", part.value);
                    }
                }
                expects = false;
                // A function that makes a table is none.
                // What is written may have a list of columns after it.
                if (is_written || tokens.peek() != Some(&Token::LParen)) && !found.contains(&name) {
                    found.push(name);
                }
            }
            Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_uppercase().as_str() {
                "FROM" => (in_from, expects, is_written) = (true, true, false),
                "INTO" | "TABLE" | "VIEW" => (expects, is_written) = (true, true),
                "JOIN" | "UPDATE" | "USING" | "DESCRIBE" | "DESC" => (expects, is_written) = (true, false),
                "WHERE" | "GROUP" | "ORDER" | "HAVING" | "LIMIT" | "UNION" | "SELECT" | "ON" | "SET" => in_from = false,
                _ => {}
            },
            Token::Comma if in_from => expects = true,
            _ => expects = false,
        }
    }
    let mut text = found.join(", ");
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("SELECT 1", "")]
    #[case("SELECT a, b FROM patient WHERE name = 'FROM secret'", "patient")]
    #[case(
        "select * from raw.a.b x, fhir.r4.\"Odd\" join c on x.id = c.id where d in (select e from f)",
        "raw.a.b, fhir.r4.Odd, c, f"
    )]
    #[case("SELECT * FROM t VERSION AS OF 3", "t")]
    #[case("DROP TABLE raw.a.b", "raw.a.b")]
    #[case("SELECT * FROM unnest(x) -- FROM comment", "")]
    #[case("SELECT * FROM (SELECT * FROM inside) q", "inside")]
    #[case("SELECT 'open", "")]
    #[case("INSERT INTO work.a.t (x, y) SELECT 'secret', b FROM raw.a.b", "work.a.t, raw.a.b")]
    #[case("CREATE TABLE IF NOT EXISTS work.a.t (x INT)", "work.a.t")]
    #[case("CREATE OR REPLACE VIEW work.a.v (x) AS SELECT 1", "work.a.v")]
    #[case("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET a = 'secret'", "t, s")]
    #[case("UPDATE t SET a = 'secret' WHERE b = 'FROM x'", "t")]
    #[case("DELETE FROM t WHERE b = 'secret'", "t")]
    fn the_audit_names_tables_and_never_values(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(tables(sql), expected);
    }
}

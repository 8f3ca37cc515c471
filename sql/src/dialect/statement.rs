use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor};

use super::{hive, show};
use crate::{
    Error,
    told::{Form, Told},
};

/// What a statement that was let through is.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// A query, or an `EXPLAIN` of one.
    Query(Box<Statement>),
    /// `DESCRIBE t`, `SHOW COLUMNS FROM t` and their like.
    Told(Told),
    /// `SET TIME ZONE 'UTC'`: understood, changes nothing.
    Nothing,
}

/// Lets a statement through that only reads; `SHOW` and `DESCRIBE` come back as queries.
///
/// # Errors
/// [`Error::Refused`] for everything that writes, changes settings or reaches for files.
pub(crate) fn admit(statement: Statement) -> Result<Admitted, Error> {
    let mut query = match statement {
        Statement::Query(_) => statement,
        Statement::Explain { analyze, verbose, statement, format, options, .. } => {
            return explain(analyze, verbose, *statement, format.is_some() || options.is_some());
        }
        Statement::Set(set) if show::sets_utc(&set) => return Ok(Admitted::Nothing),
        Statement::Set(_) => {
            return Err(refused("settings cannot be changed here, only `SET TIME ZONE 'UTC'` is taken"));
        }
        Statement::Use(_) => {
            return Err(refused(
                "there is no session here that `USE` could change: write the schema before the table (zone.schema.table), or set catalog and schema as options of a Flight SQL or PostgreSQL session",
            ));
        }
        // With a comment before it, which `told` does not read over.
        Statement::ExplainTable { table_name, .. } => {
            return Ok(Admitted::Told(Told::Describe { table: table_name, form: Form::Plain }));
        }
        Statement::ShowColumns { show_options, .. } => {
            let table = show::described(show_options)?;
            return Ok(Admitted::Told(Told::Columns { table, like: None }));
        }
        other => match show::as_query(&other)? {
            Some(query) => query,
            None => {
                return Err(refused(
                    "queries are read-only: only SELECT, VALUES, EXPLAIN, SHOW and DESCRIBE are taken",
                ));
            }
        },
    };
    match query.visit(&mut ReadsOnly) {
        ControlFlow::Continue(()) => {
            hive::rewrite(&mut query);
            Ok(Admitted::Query(Box::new(query)))
        }
        ControlFlow::Break(reason) => Err(refused(reason)),
    }
}

fn explain(analyze: bool, verbose: bool, inner: Statement, shaped: bool) -> Result<Admitted, Error> {
    if verbose || shaped {
        return Err(refused("EXPLAIN takes no options here: write `EXPLAIN` or `EXPLAIN ANALYZE`"));
    }
    if matches!(inner, Statement::Explain { .. }) {
        return Err(refused("EXPLAIN of EXPLAIN says nothing"));
    }
    match admit(inner)? {
        Admitted::Query(statement) => Ok(Admitted::Query(Box::new(Statement::Explain {
            describe_alias: datafusion::sql::sqlparser::ast::DescribeAlias::Explain,
            analyze,
            verbose: false,
            query_plan: false,
            estimate: false,
            statement,
            format: None,
            options: None,
        }))),
        Admitted::Told(_) | Admitted::Nothing => Err(refused("there is nothing to explain")),
    }
}

fn refused(reason: &str) -> Error {
    Error::Refused { reason: reason.to_owned() }
}

/// Finds writing that hides inside a query.
struct ReadsOnly;

impl Visitor for ReadsOnly {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("queries are read-only: nothing can be locked");
        }
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return ControlFlow::Break("FOR, SETTINGS, FORMAT and pipe operators after a query are not known here");
        }
        set_expr(&query.body)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break("TABLESAMPLE is not known here: write `WHERE random() < 0.01`")
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        if select.into.is_some() {
            return ControlFlow::Break("queries are read-only: SELECT INTO writes");
        }
        ControlFlow::Continue(())
    }

    /// Statements inside a query are `INSERT`, `UPDATE`, ... in a `WITH`.
    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Self::Break> {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            _ => ControlFlow::Break("queries are read-only"),
        }
    }
}

fn set_expr(body: &SetExpr) -> ControlFlow<&'static str> {
    match body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            ControlFlow::Break("queries are read-only")
        }
        SetExpr::SetOperation { left, right, .. } => {
            set_expr(left)?;
            set_expr(right)
        }
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        SetExpr::Table(_) => ControlFlow::Break("write `SELECT * FROM t`, not `TABLE t`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case("INSERT INTO t VALUES (1)")]
    #[case("UPDATE t SET a = 1")]
    #[case("DELETE FROM t")]
    #[case("DROP TABLE t")]
    #[case("TRUNCATE TABLE t")]
    #[case("CREATE TABLE t (a INT)")]
    #[case("CREATE TABLE t AS SELECT 1")]
    #[case("CREATE VIEW v AS SELECT 1")]
    #[case("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'")]
    #[case("ALTER TABLE t ADD COLUMN a INT")]
    #[case("COPY t TO '/tmp/x'")]
    #[case("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE")]
    #[case("WITH x AS (INSERT INTO t VALUES (1)) SELECT * FROM x")]
    #[case("WITH x AS (SELECT 1) DELETE FROM t")]
    #[case("SELECT * INTO t2 FROM t")]
    #[case("SELECT * FROM t FOR UPDATE")]
    #[case("SET datafusion.execution.target_partitions = 1")]
    #[case("SET TIME ZONE 'Europe/Paris'")]
    #[case("PREPARE p AS SELECT 1")]
    #[case("BEGIN")]
    #[case("GRANT SELECT ON t TO x")]
    #[case("EXPLAIN INSERT INTO t VALUES (1)")]
    #[case("EXPLAIN VERBOSE SELECT 1")]
    #[case("SHOW datafusion.execution.target_partitions")]
    fn what_does_not_only_read_is_not_run(#[case] sql: &str) {
        let outcome = parse(sql).and_then(admit);
        assert!(matches!(outcome, Err(Error::Refused { .. } | Error::Invalid { .. })), "{outcome:?}");
    }

    #[test]
    fn a_writing_statement_is_told_that_queries_are_read_only() {
        let error = admit(parse("DELETE FROM t").unwrap()).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
    }

    #[rstest]
    #[case("SELECT 1")]
    #[case("VALUES (1, 2)")]
    #[case("WITH x AS (SELECT 1) SELECT * FROM x")]
    #[case("EXPLAIN SELECT 1")]
    #[case("EXPLAIN ANALYZE SELECT 1")]
    #[case("SET TIME ZONE 'UTC'")]
    #[case("SHOW TABLES")]
    #[case("SHOW TABLES IN processed.hms LIKE 'a%'")]
    #[case("SHOW DATABASES")]
    #[case("DESCRIBE fhir.r4.patient")]
    fn what_only_reads_is_let_through(#[case] sql: &str) {
        admit(parse(sql).unwrap()).unwrap();
    }
}

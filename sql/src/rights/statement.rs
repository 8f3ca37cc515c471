use datafusion::sql::sqlparser::tokenizer::Token;
use mavis_catalog::Grantee;
use mavis_types::{Mask, Place, TableName};

use crate::{Error, dialect::parser, fault};

use super::reader::Reader;
/// A statement about rights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement {
    Grant {
        leaves: Vec<Leave>,
        on: Place,
        to: Vec<Grantee>,
    },
    Revoke {
        leaves: Vec<Leave>,
        on: Place,
        from: Vec<Grantee>,
    },
    Join {
        groups: Vec<String>,
        to: Vec<Grantee>,
    },
    Leave {
        groups: Vec<String>,
        from: Vec<Grantee>,
    },
    /// A row filter.
    Filter {
        name: String,
        on: TableName,
        to: Vec<Grantee>,
        condition: String,
    },
    /// `from` is empty for everybody who has it.
    Unfilter {
        name: String,
        on: TableName,
        from: Vec<Grantee>,
    },
    Mask {
        on: TableName,
        columns: Vec<String>,
        to: Vec<Grantee>,
        mask: Mask,
    },
    Unmask {
        on: TableName,
        columns: Vec<String>,
        from: Vec<Grantee>,
    },
    BreakGlass {
        on: Place,
        minutes: u32,
        reason: String,
    },
    CloseGlass,
    /// `SHOW GRANTS`, as a query.
    Show {
        sql: String,
    },
}

/// What is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The columns; none for all.
    Read(Vec<String>),
    Write,
    Open,
}

/// Longest time that an emergency lasts, in minutes.
pub(super) const LONGEST: u32 = 24 * 60;
/// How long it lasts when nothing is said.
pub(super) const USUAL: u32 = 60;

/// The statement, where the text is one about rights.
///
/// # Errors
/// [`Error::Invalid`] for one that begins like it and goes on differently.
pub(crate) fn read(sql: &str) -> Result<Option<Statement>, Error> {
    let first = sql.trim_start().get(..6).unwrap_or_default().to_ascii_uppercase();
    if !["GRANT", "REVOKE", "CREATE", "DROP ", "BREAK ", "CLOSE ", "SHOW G"].iter().any(|word| first.starts_with(word))
    {
        return Ok(None);
    }
    let Ok(parser) = parser(sql) else { return Ok(None) };
    let mut reader = Reader(parser);
    let read = match reader.begin() {
        Begins::Otherwise => return Ok(None),
        Begins::Grant => reader.grant(),
        Begins::Revoke => reader.revoke(),
        Begins::Filter => reader.filter(),
        Begins::Unfilter => reader.unfilter(),
        Begins::Mask => reader.mask(),
        Begins::Unmask => reader.unmask(),
        Begins::BreakGlass => reader.break_glass(),
        Begins::CloseGlass => Ok(Statement::CloseGlass),
        Begins::Show => reader.show(),
    };
    let statement = read?;
    while reader.0.consume_token(&Token::SemiColon) {}
    match reader.0.peek_token().token {
        Token::EOF => Ok(Some(statement)),
        other => Err(fault::invalid(format!("the statement should end before `{other}`"))),
    }
}

/// Which statement begins here.
pub(super) enum Begins {
    Grant,
    Revoke,
    Filter,
    Unfilter,
    Mask,
    Unmask,
    BreakGlass,
    CloseGlass,
    Show,
    Otherwise,
}

#[cfg(test)]
mod tests {
    use mavis_types::Zone;

    use super::*;
    use rstest::rstest;

    fn role(name: &str) -> Vec<Grantee> {
        vec![Grantee::Role(name.to_owned())]
    }

    fn table() -> TableName {
        "raw.hms.patient".parse().unwrap()
    }

    #[test]
    fn grants_are_read() {
        let columns = vec!["id".to_owned(), "Sex".to_owned()];
        let read_one = Leave::Read(columns);
        let cases = [
            (
                "GRANT SELECT (id, \"Sex\") ON raw.hms.patient TO analyst;",
                Statement::Grant { leaves: vec![read_one], on: Place::Table(table()), to: role("analyst") },
            ),
            (
                "grant all privileges on schema work.shared to role researchers, user 'Ana B', public",
                Statement::Grant {
                    leaves: vec![Leave::Read(Vec::new()), Leave::Write],
                    on: Place::Schema(Zone::Work, "shared".to_owned()),
                    to: vec![
                        Grantee::Role("researchers".to_owned()),
                        Grantee::User("Ana B".to_owned()),
                        Grantee::Public,
                    ],
                },
            ),
            (
                "REVOKE SELECT, BREAK GLASS ON ZONE fhir FROM ROLE clinician",
                Statement::Revoke {
                    leaves: vec![Leave::Read(Vec::new()), Leave::Open],
                    on: Place::Zone(Zone::Fhir),
                    from: role("clinician"),
                },
            ),
            (
                "GRANT ROLE researchers TO USER ana",
                Statement::Join { groups: vec!["researchers".to_owned()], to: vec![Grantee::User("ana".to_owned())] },
            ),
            (
                "CREATE POLICY own ON raw.hms.patient TO analyst USING (clinic_id = 3 OR doctor = current_user)",
                Statement::Filter {
                    name: "own".to_owned(),
                    on: table(),
                    to: role("analyst"),
                    condition: "clinic_id = 3 OR doctor = current_user".to_owned(),
                },
            ),
            (
                "CREATE MASK ON raw.hms.patient (last_name, born) TO analyst USING NULL",
                Statement::Mask {
                    on: table(),
                    columns: vec!["last_name".to_owned(), "born".to_owned()],
                    to: role("analyst"),
                    mask: Mask::Null,
                },
            ),
            (
                "BREAK GLASS ON fhir.r4 FOR 2 HOURS REASON 'patient in the emergency room'",
                Statement::BreakGlass {
                    on: Place::Schema(Zone::Fhir, "r4".to_owned()),
                    minutes: 120,
                    reason: "patient in the emergency room".to_owned(),
                },
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(read(sql).unwrap(), Some(expected), "{sql}");
        }
    }

    #[rstest]
    #[case("SELECT 1")]
    #[case("CREATE TABLE work.a.t (id INT)")]
    #[case("CREATE OR REPLACE VIEW work.a.v AS SELECT 1")]
    #[case("DROP TABLE work.a.t")]
    #[case("SHOW TABLES")]
    #[case("grantee")]
    fn other_statements_are_left_to_others(#[case] sql: &str) {
        assert!(matches!(read(sql), Ok(None)), "{sql}");
    }

    #[rstest]
    #[case("GRANT SELECT ON raw.hms.patient TO ana", "USER ana")]
    #[case("GRANT SELECT ON raw.hms.patient", "expected TO")]
    #[case("GRANT SELECT ON hms.patient TO analyst", "no zone `hms`")]
    #[case("GRANT admin ON raw TO analyst", "SELECT, MODIFY")]
    #[case("GRANT ROLE admin TO USER ana", "role of tokens")]
    #[case("CREATE POLICY p ON raw.hms.patient AS PERMISSIVE TO analyst USING (true)", "RESTRICTIVE")]
    #[case("CREATE MASK ON raw.hms.patient (a) TO analyst USING rot13", "no mask")]
    #[case("BREAK GLASS ON fhir.r4 REASON 'x'", "reason")]
    #[case("BREAK GLASS ON fhir.r4 FOR 25 HOURS REASON 'patient in the emergency room'", "24 hours")]
    #[case("GRANT SELECT ON raw TO analyst; DROP TABLE x", "should end")]
    fn a_wrong_statement_is_told_what_is_wrong(#[case] sql: &str, #[case] told: &str) {
        let error = read(sql).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

//! The words of a statement about rights, one after the other.

use datafusion::sql::sqlparser::{
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};
use mavis_catalog::Grantee;
use mavis_types::{Place, Role, TableName, Zone};

use crate::{Error, dialect::syntax_error, fault};

use super::statement::{Begins, LONGEST, Leave, Statement, USUAL};

/// What is left to read.
pub(super) struct Reader(pub(super) Parser<'static>);

type Read<T> = Result<T, Error>;

impl Reader {
    pub(super) fn begin(&mut self) -> Begins {
        if self.word("GRANT") {
            return Begins::Grant;
        }
        if self.word("REVOKE") {
            return Begins::Revoke;
        }
        if self.words(&["SHOW", "GRANTS"]) {
            return Begins::Show;
        }
        if self.words(&["BREAK", "GLASS"]) {
            return Begins::BreakGlass;
        }
        if self.words(&["CLOSE", "GLASS"]) {
            return Begins::CloseGlass;
        }
        for create in [["CREATE", "POLICY"], ["CREATE", "FILTER"]] {
            if self.words(&create) {
                return Begins::Filter;
            }
        }
        if self.words(&["CREATE", "OR", "REPLACE", "POLICY"]) || self.words(&["CREATE", "ROW", "FILTER"]) {
            return Begins::Filter;
        }
        if self.words(&["CREATE", "MASK"]) || self.words(&["CREATE", "OR", "REPLACE", "MASK"]) {
            return Begins::Mask;
        }
        if self.words(&["DROP", "POLICY"]) || self.words(&["DROP", "ROW", "FILTER"]) {
            return Begins::Unfilter;
        }
        if self.words(&["DROP", "MASK"]) {
            return Begins::Unmask;
        }
        Begins::Otherwise
    }

    pub(super) fn grant(&mut self) -> Read<Statement> {
        if let Some(groups) = self.groups()? {
            self.expect("TO")?;
            return Ok(Statement::Join { groups, to: self.grantees()? });
        }
        let leaves = self.leaves()?;
        self.expect("ON")?;
        let on = self.place()?;
        self.expect("TO")?;
        Ok(Statement::Grant { leaves, on, to: self.grantees()? })
    }

    pub(super) fn revoke(&mut self) -> Read<Statement> {
        if let Some(groups) = self.groups()? {
            self.expect("FROM")?;
            return Ok(Statement::Leave { groups, from: self.grantees()? });
        }
        let leaves = self.leaves()?;
        self.expect("ON")?;
        let on = self.place()?;
        self.expect("FROM")?;
        Ok(Statement::Revoke { leaves, on, from: self.grantees()? })
    }

    /// `ROLE a, b` or `GROUP a`.
    fn groups(&mut self) -> Read<Option<Vec<String>>> {
        if !self.word("ROLE") && !self.word("GROUP") {
            return Ok(None);
        }
        let mut groups = vec![self.name()?];
        while self.0.consume_token(&Token::Comma) {
            groups.push(self.name()?);
        }
        if let Some(role) = groups.iter().find(|group| Role::ALL.iter().any(|role| role.as_str() == group.as_str())) {
            return Err(fault::invalid(format!("`{role}` is a role of tokens: make a token with it")));
        }
        Ok(Some(groups))
    }

    fn leaves(&mut self) -> Read<Vec<Leave>> {
        let mut leaves = Vec::new();
        loop {
            let found = if self.word("SELECT") || self.word("READ") {
                vec![Leave::Read(self.columns()?)]
            } else if ["INSERT", "UPDATE", "DELETE", "MODIFY", "WRITE"].iter().any(|word| self.word(word)) {
                vec![Leave::Write]
            } else if self.words(&["BREAK", "GLASS"]) {
                vec![Leave::Open]
            } else if self.word("ALL") {
                self.word("PRIVILEGES");
                vec![Leave::Read(Vec::new()), Leave::Write]
            } else {
                return Err(self.unexpected("SELECT, MODIFY, BREAK GLASS, ALL or ROLE"));
            };
            for leave in found {
                if !leaves.contains(&leave) {
                    leaves.push(leave);
                }
            }
            if !self.0.consume_token(&Token::Comma) {
                return Ok(leaves);
            }
        }
    }

    /// `(a, b)`, or nothing.
    fn columns(&mut self) -> Read<Vec<String>> {
        let mut columns = Vec::new();
        if self.0.consume_token(&Token::LParen) {
            columns.push(self.ident()?);
            while self.0.consume_token(&Token::Comma) {
                columns.push(self.ident()?);
            }
            self.0.expect_token(&Token::RParen).map_err(|error| syntax_error(&error))?;
        }
        Ok(columns)
    }

    fn place(&mut self) -> Read<Place> {
        if self.word("EVERYTHING") || self.word("ALL") || self.0.consume_token(&Token::Mul) {
            return Ok(Place::Everything);
        }
        if self.word("ZONE") || self.word("CATALOG") || self.word("DATABASE") {
            let zone = self.ident()?;
            return zone
                .parse()
                .map(Place::Zone)
                .map_err(|error: mavis_types::NameError| fault::invalid(error.to_string()));
        }
        let is_schema = self.word("SCHEMA");
        let is_table = !is_schema && self.word("TABLE");
        let parts = self.parts()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let zone = |text: &str| text.parse::<Zone>().map_err(|error| fault::invalid(error.to_string()));
        match (parts.as_slice(), is_schema, is_table) {
            ([one], false, false) => Ok(Place::Zone(zone(one)?)),
            ([one, schema], _, false) => Ok(Place::Schema(zone(one)?, (*schema).to_owned())),
            ([one, schema, table], false, _) => Ok(Place::Table(TableName::new(zone(one)?, *schema, *table))),
            _ => Err(fault::invalid("say on what: zone.schema.table, SCHEMA zone.schema, ZONE zone, or EVERYTHING")),
        }
    }

    fn table(&mut self) -> Read<TableName> {
        self.word("TABLE");
        match self.place()? {
            Place::Table(table) => Ok(table),
            other => Err(fault::invalid(format!("`{other}` is no table: write zone.schema.table"))),
        }
    }

    fn grantees(&mut self) -> Read<Vec<Grantee>> {
        let mut grantees = vec![self.grantee()?];
        while self.0.consume_token(&Token::Comma) {
            grantees.push(self.grantee()?);
        }
        Ok(grantees)
    }

    fn grantee(&mut self) -> Read<Grantee> {
        if self.word("PUBLIC") {
            return Ok(Grantee::Public);
        }
        if self.word("USER") || self.word("TOKEN") {
            return Ok(Grantee::User(self.exact_name()?));
        }
        if self.word("ROLE") || self.word("GROUP") {
            return Ok(Grantee::Role(self.name()?));
        }
        let name = self.name()?;
        if Role::ALL.iter().any(|role| role.as_str() == name) {
            return Ok(Grantee::Role(name));
        }
        Err(fault::invalid(format!(
            "say what `{name}` is: USER {name} (a token's name), ROLE {name} (a group), or PUBLIC"
        )))
    }

    pub(super) fn filter(&mut self) -> Read<Statement> {
        let name = self.name()?;
        self.expect("ON")?;
        let on = self.table()?;
        if self.word("AS") && !self.word("RESTRICTIVE") {
            return Err(fault::invalid(
                "row filters are RESTRICTIVE: all that are set hold at once; write one condition with OR",
            ));
        }
        if self.word("FOR") && !self.word("SELECT") {
            return Err(fault::invalid("row filters are FOR SELECT"));
        }
        let mut to = Vec::new();
        if self.word("TO") {
            to = self.grantees()?;
        }
        self.expect("USING")?;
        self.0.expect_token(&Token::LParen).map_err(|error| syntax_error(&error))?;
        let condition = self.0.parse_expr().map_err(|error| syntax_error(&error))?.to_string();
        self.0.expect_token(&Token::RParen).map_err(|error| syntax_error(&error))?;
        if to.is_empty() {
            self.expect("TO")?;
            to = self.grantees()?;
        }
        Ok(Statement::Filter { name, on, to, condition })
    }

    pub(super) fn unfilter(&mut self) -> Read<Statement> {
        let name = self.name()?;
        self.expect("ON")?;
        let on = self.table()?;
        let from = if self.word("FROM") { self.grantees()? } else { Vec::new() };
        Ok(Statement::Unfilter { name, on, from })
    }

    pub(super) fn mask(&mut self) -> Read<Statement> {
        self.expect("ON")?;
        let on = self.table()?;
        let columns = self.some_columns()?;
        self.expect("TO")?;
        let to = self.grantees()?;
        self.expect("USING")?;
        let word = self.ident()?;
        let mask = word.parse().map_err(|()| fault::invalid(format!("`{word}` is no mask: use NULL, HASH or YEAR")))?;
        Ok(Statement::Mask { on, columns, to, mask })
    }

    pub(super) fn unmask(&mut self) -> Read<Statement> {
        self.expect("ON")?;
        let on = self.table()?;
        let columns = self.some_columns()?;
        self.expect("FROM")?;
        Ok(Statement::Unmask { on, columns, from: self.grantees()? })
    }

    fn some_columns(&mut self) -> Read<Vec<String>> {
        let columns = self.columns()?;
        if columns.is_empty() { Err(self.unexpected("the columns in parentheses")) } else { Ok(columns) }
    }

    pub(super) fn break_glass(&mut self) -> Read<Statement> {
        self.expect("ON")?;
        let on = self.place()?;
        let mut minutes = USUAL;
        if self.word("FOR") {
            let number = self.0.parse_literal_uint().map_err(|error| syntax_error(&error))?;
            let unit = if self.word("HOURS") || self.word("HOUR") {
                60
            } else if self.word("MINUTES") || self.word("MINUTE") {
                1
            } else {
                return Err(self.unexpected("MINUTES or HOURS"));
            };
            let asked = u32::try_from(number).ok().and_then(|number| number.checked_mul(unit));
            let possible = asked.filter(|asked| (1..=LONGEST).contains(asked));
            minutes = possible.ok_or_else(|| fault::invalid("an emergency lasts from 1 minute to 24 hours"))?;
        }
        self.expect("REASON")?;
        let reason = self.0.parse_literal_string().map_err(|error| syntax_error(&error))?.trim().to_owned();
        if reason.chars().count() < 10 || reason.len() > 500 {
            return Err(fault::invalid("give a reason that somebody else understands, of 10 to 500 letters"));
        }
        Ok(Statement::BreakGlass { on, minutes, reason })
    }

    pub(super) fn show(&mut self) -> Read<Statement> {
        let mut conditions = Vec::new();
        if self.word("TO") || self.word("FOR") || self.word("FROM") {
            let (kind, name) = match self.grantee()? {
                Grantee::User(name) => ("user", name),
                Grantee::Role(name) => ("role", name),
                Grantee::Public => ("public", "public".to_owned()),
            };
            conditions.push(format!("grantee_kind = {} AND grantee = {}", text(kind), text(&name)));
        }
        if self.word("ON") {
            let on = self.place()?;
            let [zone, schema, table] = match &on {
                Place::Everything => [None, None, None],
                Place::Zone(zone) => [Some(zone.to_string()), None, None],
                Place::Schema(zone, schema) => [Some(zone.to_string()), Some(schema.clone()), None],
                Place::Table(name) => {
                    [Some(name.zone.to_string()), Some(name.schema.clone()), Some(name.table.clone())]
                }
            };
            for (column, value) in [("zone", zone), ("schema_name", schema), ("table_name", table)] {
                // What is granted on a whole is granted on its parts.
                if let Some(value) = value {
                    conditions.push(format!("({column} IS NULL OR {column} = {})", text(&value)));
                }
            }
        }
        let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
        Ok(Statement::Show { sql: format!("SELECT * FROM system.ops.grants WHERE {conditions}") })
    }

    /// A name in lower case unless it is quoted.
    fn name(&mut self) -> Read<String> {
        self.ident()
    }

    /// A name as it is written, for tokens may have capital letters.
    fn exact_name(&mut self) -> Read<String> {
        match self.0.peek_token().token {
            Token::SingleQuotedString(text) => {
                self.0.advance_token();
                Ok(text)
            }
            _ => Ok(self.0.parse_identifier().map_err(|error| syntax_error(&error))?.value),
        }
    }

    fn ident(&mut self) -> Read<String> {
        let ident = self.0.parse_identifier().map_err(|error| syntax_error(&error))?;
        Ok(if ident.quote_style.is_some() { ident.value } else { ident.value.to_lowercase() })
    }

    fn parts(&mut self) -> Read<Vec<String>> {
        let mut parts = vec![self.ident()?];
        while self.0.consume_token(&Token::Period) {
            parts.push(self.ident()?);
        }
        Ok(parts)
    }

    /// Whether the next word is this one; then it is taken.
    fn word(&mut self, word: &str) -> bool {
        let is = is_word(&self.0.peek_token().token, word);
        if is {
            self.0.advance_token();
        }
        is
    }

    /// The same of several, all or none.
    fn words(&mut self, words: &[&str]) -> bool {
        let are = words.iter().enumerate().all(|(at, word)| is_word(&self.0.peek_nth_token(at).token, word));
        if are {
            words.iter().for_each(|_| self.0.advance_token());
        }
        are
    }

    fn expect(&mut self, word: &str) -> Read<()> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = self.0.peek_token();
        let message = match found.token {
            Token::EOF => format!("expected {wanted} at the end"),
            ref token => format!("expected {wanted}, not `{token}`"),
        };
        syntax_error(&ParserError::ParserError(format!("{message}{}", place_of(found.span.start))))
    }
}

fn place_of(location: datafusion::sql::sqlparser::tokenizer::Location) -> String {
    format!(" at Line: {}, Column: {}", location.line, location.column)
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found)
        if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
            || found.keyword == Keyword::NULL && word == "NULL")
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

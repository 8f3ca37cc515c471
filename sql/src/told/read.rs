use datafusion::sql::sqlparser::{ast::ObjectName, parser::Parser, tokenizer::Token};

use crate::{Error, dialect::parser, fault};

/// Versions of a table that are told of where nothing is said.
const USUAL: usize = 100;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// What the catalog and the types say.
    Told(Told),
    /// `SHOW PARTITIONS t`: what rows say.
    Partitions(ObjectName),
}

/// What is asked of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Columns { table: ObjectName, like: Option<String> },
    Describe { table: ObjectName, form: Form },
    History { table: ObjectName, limit: usize },
    CreateTable(ObjectName),
    Properties { table: ObjectName, only: Option<String> },
    Functions { like: Option<String> },
    Database(ObjectName),
    Function(String),
}

/// How much a `DESCRIBE` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Whole,
}

/// What a text asks, where it is one of these statements.
///
/// # Errors
/// [`Error::Invalid`] for one that begins like it and goes on differently.
pub(crate) fn read(sql: &str) -> Result<Option<Asked>, Error> {
    let first = sql.trim_start().get(..4).unwrap_or_default().to_ascii_uppercase();
    if !["SHOW", "DESC"].contains(&first.as_str()) {
        return Ok(None);
    }
    let Ok(parser) = parser(sql) else { return Ok(None) };
    let mut reader = Reader(parser);
    let asked = if !reader.word("SHOW") {
        reader.describe()?.map(Asked::Told)
    } else if reader.word("PARTITIONS") {
        Some(Asked::Partitions(reader.name()?))
    } else {
        reader.show()?.map(Asked::Told)
    };
    let Some(asked) = asked else { return Ok(None) };
    while reader.0.consume_token(&Token::SemiColon) {}
    match reader.0.peek_token().token {
        Token::EOF => Ok(Some(asked)),
        other => Err(fault::invalid(format!("the statement should end before `{other}`"))),
    }
}

struct Reader(Parser<'static>);

impl Reader {
    /// Takes a word, if it comes next.
    fn word(&mut self, wanted: &str) -> bool {
        let comes = matches!(self.0.peek_token().token,
            Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted));
        if comes {
            self.0.next_token();
        }
        comes
    }

    fn show(&mut self) -> Result<Option<Told>, Error> {
        if self.word("COLUMNS") {
            let before = self.like()?;
            if !(self.word("IN") || self.word("FROM")) {
                return Err(fault::invalid("say which table: `SHOW COLUMNS IN zone.schema.table`"));
            }
            let mut table = self.name()?;
            // `FROM table FROM schema`, as MySQL's users write it
            if self.word("IN") || self.word("FROM") {
                let mut whole = self.name()?;
                whole.0.append(&mut table.0);
                table = whole;
            }
            let like = before.or(self.like()?);
            return Ok(Some(Told::Columns { table, like }));
        }
        if self.word("TBLPROPERTIES") {
            let table = self.name()?;
            let only = if self.0.consume_token(&Token::LParen) {
                let only = self.text()?;
                if !self.0.consume_token(&Token::RParen) {
                    return Err(fault::invalid("write `SHOW TBLPROPERTIES table ('property')`"));
                }
                Some(only)
            } else {
                None
            };
            return Ok(Some(Told::Properties { table, only }));
        }
        if self.word("CREATE") {
            if !(self.word("TABLE") || self.word("VIEW")) {
                return Err(fault::invalid("write `SHOW CREATE TABLE zone.schema.table`"));
            }
            return self.name().map(Told::CreateTable).map(Some);
        }
        if self.word("FUNCTIONS") {
            return Ok(Some(Told::Functions { like: self.like()? }));
        }
        Ok(None)
    }

    fn describe(&mut self) -> Result<Option<Told>, Error> {
        if !(self.word("DESCRIBE") || self.word("DESC")) {
            return Ok(None);
        }
        // `DESCRIBE SELECT ...` explains.
        if matches!(self.0.peek_token().token, Token::Word(word) if word.quote_style.is_none()
            && ["SELECT", "WITH", "VALUES"].iter().any(|begins| word.value.eq_ignore_ascii_case(begins)))
        {
            return Ok(None);
        }
        if self.goes_on("HISTORY") {
            let table = self.name()?;
            let limit = if self.word("LIMIT") { self.number()? } else { USUAL };
            return Ok(Some(Told::History { table, limit }));
        }
        if self.goes_on("DATABASE") || self.goes_on("SCHEMA") {
            self.word("EXTENDED");
            return self.name().map(Told::Database).map(Some);
        }
        if self.goes_on("FUNCTION") {
            self.word("EXTENDED");
            let name = match self.0.peek_token().token {
                Token::SingleQuotedString(_) => self.text()?,
                _ => self.name()?.to_string(),
            };
            return Ok(Some(Told::Function(name)));
        }
        let form = if self.goes_on("EXTENDED") || self.goes_on("FORMATTED") { Form::Whole } else { Form::Plain };
        self.goes_on("TABLE");
        Ok(Some(Told::Describe { table: self.name()?, form }))
    }

    /// Takes a word that is not itself the name: something comes after it.
    fn goes_on(&mut self, wanted: &str) -> bool {
        let follows = |token: Token| !matches!(token, Token::EOF | Token::SemiColon | Token::Period);
        let comes = matches!(self.0.peek_token().token,
            Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted));
        if comes && follows(self.0.peek_nth_token(1).token) {
            self.0.next_token();
            return true;
        }
        false
    }

    fn name(&mut self) -> Result<ObjectName, Error> {
        self.0.parse_object_name(false).map_err(|error| crate::dialect::syntax_error(&error))
    }

    /// `LIKE 'p*'`, or the pattern alone.
    fn like(&mut self) -> Result<Option<String>, Error> {
        let named = self.word("LIKE") || self.word("ILIKE");
        if named || matches!(self.0.peek_token().token, Token::SingleQuotedString(_)) {
            return self.text().map(Some);
        }
        Ok(None)
    }

    fn text(&mut self) -> Result<String, Error> {
        match self.0.next_token().token {
            Token::SingleQuotedString(text) => Ok(text),
            Token::DoubleQuotedString(text) => Ok(text),
            Token::Word(word) => Ok(word.value),
            other => Err(fault::invalid(format!("a text in quotes is wanted, not `{other}`"))),
        }
    }

    fn number(&mut self) -> Result<usize, Error> {
        match self.0.next_token().token {
            Token::Number(text, _) => text.parse().map_err(|_| fault::invalid("LIMIT is followed by a whole number")),
            _ => Err(fault::invalid("LIMIT is followed by a whole number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("SHOW COLUMNS IN a.b LIKE 'x*'", "Columns a.b x*")]
    #[case("show columns from b from raw.hms", "Columns raw.hms.b")]
    #[case("SHOW PARTITIONS a.b", "Partitions a.b")]
    #[case("SHOW TBLPROPERTIES t('rows')", "Properties t rows")]
    #[case("SHOW CREATE TABLE t;", "Create t")]
    #[case("SHOW FUNCTIONS LIKE 'date*'", "Functions date*")]
    #[case("SHOW FUNCTIONS", "Functions")]
    #[case("DESCRIBE t", "Plain t")]
    #[case("DESC EXTENDED t", "Whole t")]
    #[case("DESCRIBE FORMATTED TABLE a.t", "Whole a.t")]
    #[case("DESCRIBE HISTORY t LIMIT 3", "History t 3")]
    #[case("DESCRIBE history", "Plain history")]
    #[case("DESCRIBE formatted.t", "Plain formatted.t")]
    #[case("DESCRIBE DATABASE raw.hms", "Database raw.hms")]
    #[case("DESCRIBE FUNCTION nvl", "Function nvl")]
    #[case("SHOW TABLES", "")]
    #[case("SHOW GRANTS", "")]
    #[case("DESCRIBE SELECT 1", "")]
    #[case("SELECT 1", "")]
    fn a_statement_is_read_as(#[case] sql: &str, #[case] expected: &str) {
        let told = match read(sql).unwrap() {
            None => return assert_eq!(expected, ""),
            Some(Asked::Partitions(table)) => return assert_eq!(format!("Partitions {table}"), expected),
            Some(Asked::Told(told)) => told,
        };
        let text = match told {
            Told::Columns { table, like } => format!("Columns {table} {}", like.unwrap_or_default()),
            Told::Describe { table, form } => format!("{form:?} {table}"),
            Told::History { table, limit } => format!("History {table} {limit}"),
            Told::CreateTable(table) => format!("Create {table}"),
            Told::Properties { table, only } => format!("Properties {table} {}", only.unwrap_or_default()),
            Told::Functions { like } => format!("Functions {}", like.unwrap_or_default()),
            Told::Database(name) => format!("Database {name}"),
            Told::Function(name) => format!("Function {name}"),
        };
        assert_eq!(text.trim(), expected);
    }

    #[rstest]
    #[case("SHOW COLUMNS")]
    #[case("SHOW CREATE t")]
    #[case("DESCRIBE a b c")]
    #[case("SHOW PARTITIONS t WHERE a")]
    fn what_goes_on_differently_is_an_error(#[case] sql: &str) {
        assert!(matches!(read(sql), Err(Error::Invalid { .. })));
    }
}

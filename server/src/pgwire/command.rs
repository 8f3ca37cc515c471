//! What kind of statement a text is. Whatever is not known here is a query, which the engine takes or refuses.

use super::{
    copy::{self, Copy},
    failure::{Failure, state},
    lexer::{Kind, Token},
};

/// A statement by what it concerns.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// For the engine; the word that its tag begins with.
    Query {
        verb: String,
    },
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    Set {
        name: String,
        value: Vec<String>,
        local: bool,
    },
    Reset(Option<String>),
    Show(Option<String>),
    Discard {
        all: bool,
    },
    Deallocate(Option<String>),
    Prepare {
        name: String,
        types: Vec<String>,
        sql: String,
    },
    Execute {
        name: String,
        values: Vec<String>,
    },
    Declare {
        name: String,
        hold: bool,
        binary: bool,
        sql: String,
    },
    Fetch {
        cursor: String,
        rows: Option<u64>,
        moves: bool,
    },
    Close(Option<String>),
    Copy(Box<Copy>),
    /// Understood, and without effect here: LISTEN, UNLISTEN, SET CONSTRAINTS and their like. Its tag.
    Nothing(&'static str),
}

impl Command {
    /// Whether it may run in a transaction that failed.
    pub(super) fn ends_failure(&self) -> bool {
        matches!(self, Command::Commit | Command::Rollback | Command::RollbackTo(_))
    }

    /// Whether it is a query that changes something.
    pub(super) fn writes(&self) -> bool {
        let Command::Query { verb } = self else { return false };
        const WRITING: [&str; 12] = [
            "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "ALTER", "TRUNCATE", "GRANT", "REVOKE", "COMMENT",
            "REFRESH",
        ];
        WRITING.contains(&verb.as_str())
    }
}

/// Reads the words of one statement; `sql` is its text.
///
/// # Errors
/// 42601 for a command that is not complete.
pub(super) fn read(sql: &str, tokens: &[Token]) -> Result<Command, Failure> {
    let mut words = Words { sql, tokens, at: 0 };
    let Some(first) = words.word() else { return Ok(query(tokens)) };
    Ok(match first.as_str() {
        "begin" => Command::Begin,
        "start" if words.takes("transaction") => Command::Begin,
        "commit" | "end" => Command::Commit,
        "abort" => Command::Rollback,
        "rollback" => {
            let (work, transaction) = (words.takes("work"), words.takes("transaction"));
            let _ = work || transaction;
            if words.takes("to") {
                words.takes("savepoint");
                Command::RollbackTo(words.name()?)
            } else {
                Command::Rollback
            }
        }
        "savepoint" => Command::Savepoint(words.name()?),
        "release" => {
            words.takes("savepoint");
            Command::Release(words.name()?)
        }
        "set" => return set(words),
        "reset" => {
            if words.takes("all") {
                Command::Reset(None)
            } else {
                Command::Reset(Some(words.setting()?))
            }
        }
        "show" => show(words),
        "discard" => Command::Discard { all: words.takes("all") },
        "deallocate" => {
            words.takes("prepare");
            if words.takes("all") { Command::Deallocate(None) } else { Command::Deallocate(Some(words.name()?)) }
        }
        "prepare" => return prepare(words),
        "execute" => return execute(words),
        "declare" => return declare(words),
        "fetch" => return fetch(words, false),
        "move" => return fetch(words, true),
        "close" => {
            if words.takes("all") {
                Command::Close(None)
            } else {
                Command::Close(Some(words.name()?))
            }
        }
        "copy" => Command::Copy(Box::new(copy::read(words)?)),
        "listen" => Command::Nothing("LISTEN"),
        "unlisten" => Command::Nothing("UNLISTEN"),
        "analyze" | "vacuum" | "checkpoint" | "lock" | "notify" => {
            return Err(Failure::error(state::UNSUPPORTED, format!("{} is not offered here", first.to_uppercase())));
        }
        _ => query(tokens),
    })
}

fn query(tokens: &[Token]) -> Command {
    let word = tokens.iter().find_map(|token| match &token.kind {
        Kind::Word(word) => Some(word.to_uppercase()),
        _ => None,
    });
    Command::Query { verb: word.unwrap_or_default() }
}

fn set(mut words: Words<'_>) -> Result<Command, Failure> {
    let local = words.takes("local");
    if words.takes("session") && (words.takes("authorization") || words.takes("characteristics")) {
        return Ok(Command::Nothing("SET"));
    }
    for word in ["transaction", "constraints"] {
        if words.takes(word) {
            return Ok(Command::Nothing("SET"));
        }
    }
    let name = words.setting()?;
    // `SET TIME ZONE x` has no sign between the two.
    if name != "timezone" || !words.takes_sign('=') {
        let _ = words.takes("to") || words.takes_sign('=');
    } else {
        words.takes("to");
    }
    if words.takes("default") {
        return Ok(Command::Reset(Some(name)));
    }
    let mut value = Vec::new();
    if name == "timezone" && words.takes("interval") {
        // HOUR TO MINUTE after it says how the text is to be read, and a distance is read in one way only.
        return Ok(Command::Set { name, value: vec![words.value()?], local });
    }
    loop {
        value.push(words.value()?);
        if !words.takes_sign(',') {
            break;
        }
    }
    Ok(Command::Set { name, value, local })
}

/// What SHOW has a list of, and which is no setting.
const LISTS: [&str; 18] = [
    "tables",
    "databases",
    "schemas",
    "catalogs",
    "views",
    "columns",
    "fields",
    "partitions",
    "create",
    "tblproperties",
    "functions",
    "grants",
    "roles",
    "collation",
    "indexes",
    "index",
    "keys",
    "processlist",
];

/// SHOW of a setting; SHOW TABLES and its like are queries.
fn show(mut words: Words<'_>) -> Command {
    let tokens = words.tokens;
    if words.takes("all") && words.is_at_end() {
        return Command::Show(None);
    }
    match words.setting() {
        Ok(name) if words.is_at_end() && !LISTS.contains(&name.as_str()) => Command::Show(Some(name)),
        _ => query(tokens),
    }
}

fn prepare(mut words: Words<'_>) -> Result<Command, Failure> {
    let name = words.name()?;
    let mut types = Vec::new();
    if words.takes_sign('(') {
        types = words.list()?;
    }
    words.expect("as")?;
    Ok(Command::Prepare { name, types, sql: words.rest().to_owned() })
}

fn execute(mut words: Words<'_>) -> Result<Command, Failure> {
    let name = words.name()?;
    let values = if words.takes_sign('(') { words.list()? } else { Vec::new() };
    Ok(Command::Execute { name, values })
}

fn declare(mut words: Words<'_>) -> Result<Command, Failure> {
    let name = words.name()?;
    let (mut hold, mut binary) = (false, false);
    loop {
        if words.takes("binary") {
            binary = true;
        } else if words.takes("scroll") {
            return Err(Failure::error(state::UNSUPPORTED, "cursors go forward only: leave SCROLL out"));
        } else if words.takes("insensitive") || words.takes("asensitive") {
        } else if words.takes("no") {
            words.expect("scroll")?;
        } else if words.takes("with") {
            hold = true;
            words.expect("hold")?;
        } else if words.takes("without") {
            words.expect("hold")?;
        } else if !words.takes("cursor") {
            break;
        }
    }
    words.expect("for")?;
    Ok(Command::Declare { name, hold, binary, sql: words.rest().to_owned() })
}

/// `FETCH [NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] cursor`.
fn fetch(mut words: Words<'_>, moves: bool) -> Result<Command, Failure> {
    let mut rows = Some(1);
    let counted = |words: &mut Words<'_>| -> Option<Option<u64>> {
        if words.takes("all") {
            return Some(None);
        }
        words.number().map(Some)
    };
    if words.takes("forward") {
        if let Some(count) = counted(&mut words) {
            rows = count;
        }
    } else if ["backward", "prior", "first", "last", "absolute", "relative"].iter().any(|word| words.takes(word))
        || words.takes_sign('-')
    {
        return Err(Failure::error("55000", "cursors go forward only"));
    } else if let Some(count) = counted(&mut words) {
        rows = count;
    } else {
        words.takes("next");
    }
    let _ = words.takes("from") || words.takes("in");
    Ok(Command::Fetch { cursor: words.name()?, rows, moves })
}

/// The words of a statement, from the front.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    pub(super) sql: &'a str,
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn word(&mut self) -> Option<String> {
        match &self.peek()?.kind {
            Kind::Word(word) => {
                self.at += 1;
                Some(word.clone())
            }
            _ => None,
        }
    }

    pub(super) fn takes(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|token| token.is(word));
        self.at += usize::from(is);
        is
    }

    pub(super) fn takes_sign(&mut self, sign: char) -> bool {
        let is = self.peek().is_some_and(|token| token.is_sign(sign));
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), Failure> {
        if self.takes(word) { Ok(()) } else { Err(self.incomplete(&word.to_uppercase())) }
    }

    pub(super) fn name(&mut self) -> Result<String, Failure> {
        let name = self.peek().and_then(Token::name).map(str::to_owned).ok_or_else(|| self.incomplete("a name"))?;
        self.at += 1;
        Ok(name)
    }

    fn number(&mut self) -> Option<u64> {
        let Kind::Number(number) = &self.peek()?.kind else { return None };
        let number = number.parse().ok()?;
        self.at += 1;
        Some(number)
    }

    /// The name of a setting: `a`, `a.b`, TIME ZONE, TRANSACTION ISOLATION LEVEL, NAMES.
    fn setting(&mut self) -> Result<String, Failure> {
        let mut name = self.name()?.to_lowercase();
        match name.as_str() {
            "time" if self.takes("zone") => name = "timezone".to_owned(),
            "transaction" if self.takes("isolation") => {
                self.expect("level")?;
                name = "transaction_isolation".to_owned();
            }
            "session" if self.takes("authorization") => name = "session_authorization".to_owned(),
            "names" => name = "client_encoding".to_owned(),
            _ => {
                while self.takes_sign('.') {
                    name = format!("{name}.{}", self.name()?.to_lowercase());
                }
            }
        }
        Ok(name)
    }

    /// A value of a setting: a text, a number, a word.
    pub(super) fn value(&mut self) -> Result<String, Failure> {
        let sign = if self.takes_sign('-') { "-" } else { "" };
        let value = match self.peek().map(|token| &token.kind) {
            Some(Kind::Word(text) | Kind::Quoted(text) | Kind::Text(text) | Kind::Number(text)) => {
                format!("{sign}{text}")
            }
            _ => return Err(self.incomplete("a value")),
        };
        self.at += 1;
        Ok(value)
    }

    /// The texts between commas up to the parenthesis that closes.
    pub(super) fn list(&mut self) -> Result<Vec<String>, Failure> {
        let mut list = Vec::new();
        let mut depth = 0;
        let mut begin = self.at;
        while let Some(token) = self.peek() {
            let ends = depth == 0 && (token.is_sign(',') || token.is_sign(')'));
            if ends
                && let (Some(first), Some(last)) = (self.tokens.get(begin), self.tokens.get(self.at.wrapping_sub(1)))
            {
                if begin < self.at {
                    list.push(self.sql[first.span.start..last.span.end].to_owned());
                }
                begin = self.at + 1;
            }
            self.at += 1;
            match token.kind {
                Kind::Sign('(') => depth += 1,
                Kind::Sign(')') if depth == 0 => return Ok(list),
                Kind::Sign(')') => depth -= 1,
                _ => {}
            }
        }
        Err(self.incomplete(")"))
    }

    /// The text from here to the end.
    pub(super) fn rest(&self) -> &'a str {
        self.peek().map(|token| &self.sql[token.span.start..]).unwrap_or_default()
    }

    pub(super) fn incomplete(&self, wanted: &str) -> Failure {
        let found = self.peek().map_or("the end", |token| &self.sql[token.span.clone()]);
        Failure::error(state::SYNTAX, format!("expected {wanted}, found {found}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::pgwire::lexer::tokens;

    fn of(sql: &str) -> String {
        format!("{:?}", read(sql, &tokens(sql).unwrap()).unwrap())
    }

    #[rstest]
    #[case("begin isolation level read committed", "Begin")]
    #[case("START TRANSACTION READ ONLY", "Begin")]
    #[case("END", "Commit")]
    #[case("ROLLBACK WORK TO SAVEPOINT \"S1\"", "RollbackTo(\"S1\")")]
    #[case("SET client_encoding TO 'UTF8'", "Set { name: \"client_encoding\", value: [\"UTF8\"], local: false }")]
    #[case("SET TIME ZONE 'UTC'", "Set { name: \"timezone\", value: [\"UTC\"], local: false }")]
    #[case(
        "SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE",
        "Set { name: \"timezone\", value: [\"+00:00\"], local: false }"
    )]
    #[case("set search_path = hms, \"R4\"", "Set { name: \"search_path\", value: [\"hms\", \"R4\"], local: false }")]
    #[case(
        "SET SESSION statement_timeout = 100",
        "Set { name: \"statement_timeout\", value: [\"100\"], local: false }"
    )]
    #[case("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "Nothing(\"SET\")")]
    #[case("show transaction isolation level", "Show(Some(\"transaction_isolation\"))")]
    #[case("SHOW TABLES", "Query { verb: \"SHOW\" }")]
    #[case("SHOW COLUMNS FROM t", "Query { verb: \"SHOW\" }")]
    #[case("SHOW transaction_read_only", "Show(Some(\"transaction_read_only\"))")]
    #[case("SHOW nonsense", "Show(Some(\"nonsense\"))")]
    #[case(
        "DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1",
        "Declare { name: \"c\", hold: false, binary: false, sql: \"SELECT 1\" }"
    )]
    #[case("FETCH FORWARD 10 FROM c", "Fetch { cursor: \"c\", rows: Some(10), moves: false }")]
    #[case("FETCH ALL IN c", "Fetch { cursor: \"c\", rows: None, moves: false }")]
    #[case("FETCH c", "Fetch { cursor: \"c\", rows: Some(1), moves: false }")]
    #[case("EXECUTE p(1, f(2, 3), 'x')", "Execute { name: \"p\", values: [\"1\", \"f(2, 3)\", \"'x'\"] }")]
    #[case("(SELECT 1)", "Query { verb: \"SELECT\" }")]
    #[case("with x as (select 1) select * from x", "Query { verb: \"WITH\" }")]
    fn a_statement_is_read_as(#[case] sql: &str, #[case] expected: &str) {
        assert_eq!(of(sql), expected);
    }
}

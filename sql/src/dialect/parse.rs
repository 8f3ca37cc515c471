use datafusion::sql::sqlparser::{
    ast::Statement,
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace},
};

use super::{chains, depth, syntax::Syntax, words};
use crate::{Error, fault};

/// How deep expressions and subqueries may nest.
const RECURSION: usize = 50;

/// Longest statement that is read at all, in bytes.
const LONGEST: usize = 1 << 20;

/// Parses exactly one statement. `?` become `$1`, `$2`, ... in the order in which they stand; a time travel clause after a
/// table's alias, or with `FOR` before it, is put where the parser reads it.
pub(crate) fn parse(sql: &str) -> Result<Statement, Error> {
    parse_tokens(tokens(sql)?)
}

/// As [`parse`], with parameters that are written `:name`. Answers too which of the names `$1`, `$2`, ... stand for, by
/// their places.
pub(crate) fn parse_named(sql: &str, names: &[&str]) -> Result<(Statement, Vec<usize>), Error> {
    let mut tokens = tokens(sql)?;
    let mut used: Vec<usize> = Vec::new();
    let mut at = 0;
    while at + 1 < tokens.len() {
        if let (Token::Colon, Token::Word(word)) = (&tokens[at].token, &tokens[at + 1].token) {
            let name = names.iter().position(|name| *name == word.value);
            let name = name.ok_or_else(|| fault::invalid(format!("parameter `:{}` has no value", word.value)))?;
            let place = used.iter().position(|other| *other == name).unwrap_or_else(|| {
                used.push(name);
                used.len() - 1
            });
            tokens[at].token = Token::Placeholder(format!("${}", place + 1));
            tokens.remove(at + 1);
        }
        at += 1;
    }
    Ok((parse_tokens(tokens)?, used))
}

/// A parser at the beginning of a text, for statements that are Mavis's own.
pub(crate) fn parser(sql: &str) -> Result<Parser<'static>, Error> {
    Ok(Parser::new(&Syntax).with_recursion_limit(RECURSION).with_tokens_with_locations(tokens(sql)?))
}

/// Where a statement first writes a name, its parts joined by dots, as line and column from 1.
pub(crate) fn place_of_name(sql: &str, name: &str) -> Option<(u64, u64)> {
    let tokens = tokens(sql).ok()?;
    let is = |at: usize, part: &str| matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word)) if word.value.eq_ignore_ascii_case(part));
    let parts: Vec<&str> = name.split('.').collect();
    (0..tokens.len()).find_map(|at| {
        let found = parts.iter().enumerate().all(|(n, part)| {
            is(at + 2 * n, part)
                && (n == 0 || tokens.get(at + 2 * n - 1).is_some_and(|token| token.token == Token::Period))
        });
        let start = tokens.get(at)?.span.start;
        found.then_some((start.line, start.column))
    })
}

fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, Error> {
    if sql.len() > LONGEST {
        return Err(fault::invalid(format!("the statement is longer than {LONGEST} bytes")));
    }
    let mut tokens = Tokenizer::new(&Syntax, sql).tokenize_with_location().map_err(|error| Error::Invalid {
        message: error.message,
        line: Some(error.location.line),
        column: Some(error.location.column),
    })?;
    chains::to_lists(&mut tokens);
    depth::check(&tokens)?;
    Ok(tokens)
}

fn parse_tokens(mut tokens: Vec<TokenWithSpan>) -> Result<Statement, Error> {
    number_parameters(&mut tokens)?;
    words::quote(&mut tokens);
    move_time_travel(&mut tokens);
    end_lateral_views(&mut tokens);
    let mut statements = Parser::new(&Syntax)
        .with_recursion_limit(RECURSION)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| syntax_error(&error))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (None, _) => Err(fault::invalid("there is no statement to run")),
        (Some(_), false) => {
            Err(Error::Refused { reason: "send one statement at a time, not several joined by `;`".to_owned() })
        }
    }
}

/// A condition with `current_user` as the text of a name; one that is no SQL stays as it is.
pub(crate) fn with_user(condition: &str, name: &str) -> String {
    let Ok(mut tokens) = tokens(condition) else { return condition.to_owned() };
    let mut at = 0;
    while at < tokens.len() {
        let is_user = matches!(&tokens[at].token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("current_user"));
        if is_user {
            tokens[at].token = Token::SingleQuotedString(name.replace('\'', "''"));
            if let [_, open, close, ..] = &tokens[at..]
                && (&open.token, &close.token) == (&Token::LParen, &Token::RParen)
            {
                tokens.drain(at + 1..at + 3);
            }
        }
        at += 1;
    }
    tokens.iter().map(|token| token.token.to_string()).collect()
}

pub(crate) fn syntax_error(error: &ParserError) -> Error {
    match error {
        ParserError::RecursionLimitExceeded => fault::invalid("the statement nests too deeply"),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => fault::located(message),
    }
}

fn number_parameters(tokens: &mut [TokenWithSpan]) -> Result<(), Error> {
    let (mut anonymous, mut numbered) = (0, false);
    for token in tokens {
        if let Token::Placeholder(text) = &mut token.token {
            if text == "?" {
                anonymous += 1;
                *text = format!("${anonymous}");
            } else if text.strip_prefix('$').is_some_and(|number| number.parse::<u16>().is_ok_and(|n| n > 0)) {
                numbered = true;
            } else {
                return Err(fault::invalid(format!("parameter `{text}` is not one of `$1`, `$2`, ... or `?`")));
            }
        }
    }
    if anonymous > 0 && numbered {
        return Err(fault::invalid("`?` and numbered parameters cannot stand in one statement"));
    }
    Ok(())
}

/// The parser takes what follows `LATERAL VIEW f(x) t` for the name of a column, unless it knows better. Before the words
/// that it does not know, a condition that always holds ends the views.
fn end_lateral_views(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = lateral_view_at(tokens, at) {
            let condition = [Token::make_keyword("WHERE"), Token::make_keyword("TRUE")].map(TokenWithSpan::wrap);
            tokens.splice(end..end, condition);
            at = end;
        }
        at += 1;
    }
}

/// Of a lateral view that begins at `at`, has no names of columns and is followed by such a word: the place of the word.
fn lateral_view_at(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut place = next(tokens, at)?;
    if keyword(tokens, at) != Some(Keyword::LATERAL) || keyword(tokens, place) != Some(Keyword::VIEW) {
        return None;
    }
    let mut depth = 0_usize;
    loop {
        place = next(tokens, place)?;
        match tokens[place].token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => break,
            Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    let alias = next(tokens, place)?;
    if !matches!(&tokens[alias].token, Token::Word(word) if word.keyword != Keyword::AS) {
        return None;
    }
    let after = next(tokens, alias)?;
    let ends = [
        Keyword::ORDER,
        Keyword::LIMIT,
        Keyword::OFFSET,
        Keyword::FETCH,
        Keyword::UNION,
        Keyword::INTERSECT,
        Keyword::EXCEPT,
        Keyword::QUALIFY,
        Keyword::WINDOW,
        Keyword::SORT,
    ];
    keyword(tokens, after).filter(|word| ends.contains(word)).map(|_| after)
}

/// The parser reads `t VERSION AS OF 3 AS p`. We also take `t AS p VERSION AS OF 3`, `t p VERSION AS OF 3` and each of
/// them with `FOR` before the clause.
fn move_time_travel(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let Some((clause_start, clause_end)) = clause_at(tokens, at) else {
            at += 1;
            continue;
        };
        let clause: Vec<TokenWithSpan> = tokens.drain(at..clause_end).skip(clause_start - at).collect();
        let place = alias_before(tokens, at).unwrap_or(at);
        let length = clause.len();
        tokens.splice(place..place, clause);
        at = at.max(place) + length;
    }
}

/// The clause that begins at `at`, without and with the `FOR` before it: `(start, end)`, `end` after its literal.
fn clause_at(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, usize)> {
    let mut start = at;
    if keyword(tokens, at) == Some(Keyword::FOR) {
        start = next(tokens, at)?;
    }
    let what = keyword(tokens, start)?;
    if !matches!(what, Keyword::VERSION | Keyword::TIMESTAMP) {
        return None;
    }
    let as_at = next(tokens, start)?;
    let of_at = next(tokens, as_at)?;
    if keyword(tokens, as_at) != Some(Keyword::AS) || keyword(tokens, of_at) != Some(Keyword::OF) {
        return None;
    }
    let mut value = next(tokens, of_at)?;
    if keyword(tokens, value) == Some(Keyword::TIMESTAMP) {
        value = next(tokens, value)?;
    }
    let literal = matches!(tokens.get(value)?.token, Token::SingleQuotedString(_) | Token::Number(..));
    literal.then_some((start, value + 1))
}

/// Where the alias before `at` begins (its `AS`, or the word itself), if the words before `at` are a table and an alias.
fn alias_before(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let alias = previous(tokens, at)?;
    let Token::Word(_) = &tokens.get(alias)?.token else { return None };
    let before = previous(tokens, alias)?;
    match &tokens.get(before)?.token {
        Token::Word(word) if word.keyword == Keyword::AS => Some(before),
        // `FROM t`, `JOIN t`: the word is the table.
        Token::Word(word)
            if word.quote_style.is_none()
                && matches!(word.keyword, Keyword::FROM | Keyword::JOIN | Keyword::LATERAL | Keyword::ONLY) =>
        {
            None
        }
        Token::Word(_) => Some(alias),
        _ => None,
    }
}

pub(super) fn keyword(tokens: &[TokenWithSpan], at: usize) -> Option<Keyword> {
    match &tokens.get(at)?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(
        token.token,
        Token::Whitespace(
            Whitespace::Space
                | Whitespace::Newline
                | Whitespace::Tab
                | Whitespace::SingleLineComment { .. }
                | Whitespace::MultiLineComment(_)
        )
    )
}

pub(super) fn next(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    (at + 1..tokens.len()).find(|index| !is_blank(&tokens[*index]))
}

pub(super) fn previous(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    (0..at).rev().find(|index| !is_blank(&tokens[*index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("SELECT * FROM t VERSION AS OF 3", "SELECT * FROM t VERSION AS OF 3")]
    #[case("SELECT * FROM a.b.t FOR VERSION AS OF 3", "SELECT * FROM a.b.t VERSION AS OF 3")]
    #[case("SELECT * FROM t VERSION AS OF 3 AS p", "SELECT * FROM t AS p VERSION AS OF 3")]
    #[case("SELECT * FROM t AS p VERSION AS OF 3", "SELECT * FROM t AS p VERSION AS OF 3")]
    #[case("SELECT * FROM t p FOR VERSION AS OF 3 WHERE x = 1", "SELECT * FROM t p VERSION AS OF 3 WHERE x = 1")]
    #[case(
        "SELECT * FROM a, b q TIMESTAMP AS OF '2024-01-01' JOIN c VERSION AS OF 1 ON true",
        "SELECT * FROM a, b q TIMESTAMP AS OF '2024-01-01' JOIN c VERSION AS OF 1 ON true"
    )]
    #[case(
        "SELECT c FROM t LATERAL VIEW explode(f(a)) v ORDER BY c",
        "SELECT c FROM t LATERAL VIEW explode(f(a)) v WHERE true ORDER BY c"
    )]
    #[case(
        "SELECT c FROM t LATERAL VIEW explode(a) v AS c LIMIT 3",
        "SELECT c FROM t LATERAL VIEW explode(a) v AS c LIMIT 3"
    )]
    #[case("SELECT a, ? FROM t WHERE b = ? LIMIT ?", "SELECT a, $1 FROM t WHERE b = $2 LIMIT $3")]
    #[case("SELECT `a b`, \"C\", d::int FROM t", "SELECT `a b`, \"C\", d::INT FROM t")]
    /// The parser writes the clause after the alias, whichever way it read it.
    fn a_statement_is_read_as(#[case] sql: &str, #[case] read: &str) {
        assert_eq!(parse(sql).unwrap().to_string(), read);
    }

    #[rstest]
    #[case("SELECT 1;;", true)]
    #[case("SELECT 1; SELECT 2", false)]
    #[case("", false)]
    #[case("SELECT $0", false)]
    #[case("SELECT $name", false)]
    #[case("SELECT ?, $1", false)]
    fn exactly_one_statement_is_taken(#[case] sql: &str, #[case] taken: bool) {
        assert_eq!(parse(sql).is_ok(), taken);
    }

    #[test]
    fn a_syntax_error_tells_line_and_column() {
        let error = parse("SELECT 1\nFROM t GROUP 3").unwrap_err();
        let Error::Invalid { line, column, message } = error else { panic!("{error}") };
        assert_eq!((line, column), (Some(2), Some(8)), "{message}");
        assert!(!message.contains("Line:"), "{message}");
    }

    #[rstest]
    #[case("doctor = current_user", "doctor = 'o''neil'")]
    #[case("doctor IN (CURRENT_USER(), 'x')", "doctor IN ('o''neil', 'x')")]
    #[case("\"current_user\" = 'current_user'", "\"current_user\" = 'current_user'")]
    fn the_user_of_a_condition_is_who_asks(#[case] condition: &str, #[case] read: &str) {
        assert_eq!(with_user(condition, "o'neil"), read);
    }

    #[rstest]
    #[case("SELECT * FROM\n  raw.x.gone g, b", "raw.x.gone", Some((2, 3)))]
    #[case("SELECT gone.a FROM Gone", "gone", Some((1, 8)))]
    #[case("SELECT 'gone' FROM b", "gone", None)]
    fn a_name_is_found_in_its_statement(#[case] sql: &str, #[case] name: &str, #[case] place: Option<(u64, u64)>) {
        assert_eq!(place_of_name(sql, name), place);
    }

    #[test]
    fn a_statement_that_nests_too_deeply_is_refused() {
        let sql = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&sql).is_err());
    }
}

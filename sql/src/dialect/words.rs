//! Words that the parser keeps for forms which are not taken here, and that stand for names in all dialects that we read: a
//! column called `index` or `key`, a table that goes by `at`. They get quotes before anything is parsed. And `EXISTS (SELECT FROM
//! t)` gets a column, which nobody sees.

use datafusion::sql::sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Whitespace},
};

/// Puts quotes around such words where they can only be names.
pub(super) fn quote(tokens: &mut Vec<TokenWithSpan>) {
    let places: Vec<usize> = (0..tokens.len()).filter(|at| !is_blank(&tokens[*at])).collect();
    let selects = without_columns(tokens, &places);
    for at in aliases(tokens, &places).into_iter().chain(columns(tokens, &places)) {
        if let Token::Word(word) = &mut tokens[at].token {
            word.value = word.value.to_lowercase();
            word.quote_style = Some('"');
            word.keyword = Keyword::NoKeyword;
        }
    }
    for at in selects.into_iter().rev() {
        let number = [Token::Whitespace(Whitespace::Space), Token::Number("1".to_owned(), false)];
        tokens.splice(at..at, number.map(TokenWithSpan::wrap));
    }
}

/// The places after `EXISTS (SELECT`, where `FROM` follows at once.
fn without_columns(tokens: &[TokenWithSpan], places: &[usize]) -> Vec<usize> {
    let is_one = |four: &&[usize]| {
        let [exists, open, select, from] = **four else { return false };
        keyword(&tokens[exists]) == Some(Keyword::EXISTS)
            && tokens[open].token == Token::LParen
            && keyword(&tokens[select]) == Some(Keyword::SELECT)
            && keyword(&tokens[from]) == Some(Keyword::FROM)
    };
    places.windows(4).filter(is_one).map(|four| four[2] + 1).collect()
}

/// `FROM t at`: what begins with `AT` after a table is `AT (...)`, and after a value `AT TIME ZONE`.
fn aliases(tokens: &[TokenWithSpan], places: &[usize]) -> Vec<usize> {
    let is_alias = |three: &&[usize]| {
        let [before, at, after] = **three else { return false };
        let named = match &tokens[before].token {
            Token::Word(word) => word.keyword == Keyword::NoKeyword,
            token => *token == Token::RParen,
        };
        named
            && keyword(&tokens[at]) == Some(Keyword::AT)
            && tokens[after].token != Token::LParen
            && keyword(&tokens[after]) != Some(Keyword::TIME)
    };
    places.windows(3).filter(is_alias).map(|three| three[1]).collect()
}

/// `CREATE TABLE t (index INT)`: a type stands after the name of a column.
fn columns(tokens: &[TokenWithSpan], places: &[usize]) -> Vec<usize> {
    let head: Vec<Keyword> = places.iter().map_while(|at| keyword(&tokens[*at])).take(4).collect();
    if head.first() != Some(&Keyword::CREATE) || !head.contains(&Keyword::TABLE) {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for (number, at) in places.iter().enumerate() {
        match &tokens[*at].token {
            Token::LParen => depth += 1,
            Token::RParen if depth <= 1 => break,
            Token::RParen => depth -= 1,
            // The query of a table follows, which names columns that are there.
            Token::Word(word) if matches!(word.keyword, Keyword::AS | Keyword::SELECT) => break,
            _ => {}
        }
        let is_name = depth == 1
            && matches!(keyword(&tokens[*at]), Some(Keyword::INDEX | Keyword::KEY))
            && number > 0
            && matches!(tokens[places[number - 1]].token, Token::LParen | Token::Comma)
            && !is_index(tokens, &places[number + 1..]);
        if is_name {
            names.push(*at);
        }
    }
    names
}

/// An unquoted word by what it is for the parser.
fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

/// Whether an index is asked for: its columns follow, or its name and its columns; a type has numbers in its parentheses.
fn is_index(tokens: &[TokenWithSpan], after: &[usize]) -> bool {
    let mut after = after.iter().map(|at| &tokens[*at].token);
    let (name, open, column) = (after.next(), after.next(), after.next());
    !matches!(name, Some(Token::Word(_)))
        || open == Some(&Token::LParen) && matches!(column, Some(Token::Word(_) | Token::DoubleQuotedString(_)))
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

#[cfg(test)]
mod tests {
    use crate::dialect::parse;
    use rstest::rstest;

    #[rstest]
    #[case(
        "CREATE TABLE t (index BIGINT, KEY VARCHAR(10), x INT)",
        "CREATE TABLE t (\"index\" BIGINT, \"key\" VARCHAR(10), x INT)"
    )]
    #[case("CREATE TABLE t (x DECIMAL(10, 2), key INT)", "CREATE TABLE t (x DECIMAL(10,2), \"key\" INT)")]
    #[case("INSERT INTO t (index, key) VALUES (1, 2)", "INSERT INTO t (index, key) VALUES (1, 2)")]
    #[case("SELECT at.x FROM t at LEFT JOIN u ON AT.x = u.x", "SELECT at.x FROM t \"at\" LEFT JOIN u ON AT.x = u.x")]
    #[case("SELECT 1 WHERE EXISTS (SELECT FROM t)", "SELECT 1 WHERE EXISTS (SELECT 1 FROM t)")]
    #[case("SELECT x AT TIME ZONE 'UTC' FROM t", "SELECT x AT TIME ZONE 'UTC' FROM t")]
    #[case("CREATE TABLE t AS (SELECT x, key k FROM u)", "CREATE TABLE t AS (SELECT x, key AS k FROM u)")]
    fn a_word_is_a_name(#[case] sql: &str, #[case] read: &str) {
        assert_eq!(parse(sql).unwrap().to_string(), read);
    }
}

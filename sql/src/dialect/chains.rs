//! `x = 1 OR x = 2 OR ...`, as tools write a list of values, said as `x IN (1, 2, ...)`.
//!
//! The two say the same, of NULL too, but a chain is a tree as deep as it is long, and planning goes down it again and again.
//! Terms at the ends that an operator beside them may bind tighter stay as they are.

use datafusion::sql::sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Whitespace},
};

use super::parse::{keyword, next, previous};

/// A chain shorter than this stays: it costs nothing, and a column of an answer may be called by it.
const FEWEST: usize = 16;
/// Digits of a whole number that is a BIGINT whatever they are.
const DIGITS: usize = 18;

/// `column = literal`, as places of tokens.
struct Term {
    start: usize,
    equals: usize,
    literal: usize,
}

/// Puts lists in the place of chains.
pub(super) fn to_lists(tokens: &mut Vec<TokenWithSpan>) {
    if tokens.iter().filter(|token| is_or(&token.token)).count() + 1 < FEWEST {
        return;
    }
    let mut put = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        match chain_at(tokens, at) {
            Some((list, end)) => {
                put.extend(list);
                at = end;
            }
            None => {
                put.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    *tokens = put;
}

fn is_or(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.keyword == Keyword::OR)
}

/// The list for the chain that begins at a place, and the place after the chain.
fn chain_at(tokens: &[TokenWithSpan], at: usize) -> Option<(Vec<TokenWithSpan>, usize)> {
    let is_word = matches!(tokens.get(at)?.token, Token::Word(_));
    let first = if is_word && begins(tokens, at) { term_at(tokens, at)? } else { return None };
    let mut literals = vec![first.literal];
    let mut last = first.literal;
    while let Some(or) = next(tokens, last).filter(|or| is_or(&tokens[*or].token))
        && let Some(term) = next(tokens, or).and_then(|start| term_at(tokens, start))
        && is_alike(tokens, &first, &term)
    {
        literals.push(term.literal);
        last = term.literal;
    }
    if !ends(tokens, last) {
        literals.pop();
        last = *literals.last()?;
    }
    if literals.len() < FEWEST {
        return None;
    }
    let span = tokens[first.equals].span;
    let mut list = tokens[first.start..first.equals].to_vec();
    // (Tokens are also written out again.)
    list.push(TokenWithSpan::new(Token::Whitespace(Whitespace::Space), span));
    list.push(TokenWithSpan::new(Token::make_keyword("IN"), span));
    list.push(TokenWithSpan::new(Token::LParen, span));
    for (number, literal) in literals.iter().enumerate() {
        if number > 0 {
            list.push(TokenWithSpan::new(Token::Comma, span));
        }
        list.push(tokens[*literal].clone());
    }
    list.push(TokenWithSpan::new(Token::RParen, tokens[last].span));
    Some((list, last + 1))
}

/// Whether nothing before a place binds tighter than OR. (After `SET` or in a list of arguments, `x = 1` is no comparison.)
fn begins(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = previous(tokens, at).and_then(|place| keyword(tokens, place));
    // (A condition alone begins with itself.)
    previous(tokens, at).is_none()
        || matches!(before, Some(Keyword::WHERE | Keyword::ON | Keyword::HAVING | Keyword::OR))
        || previous(tokens, at).is_some_and(|open| {
            let named = previous(tokens, open).map(|place| (&tokens[place].token, keyword(tokens, place)));
            // A bracket of an expression, not one that a call opens.
            let opens = [Keyword::WHERE, Keyword::ON, Keyword::HAVING, Keyword::AND, Keyword::OR, Keyword::NOT];
            let is_call =
                matches!(named, Some((Token::Word(_), word)) if !word.is_some_and(|word| opens.contains(&word)));
            tokens[open].token == Token::LParen && !is_call
        })
}

/// Whether nothing after a place binds tighter than OR.
fn ends(tokens: &[TokenWithSpan], at: usize) -> bool {
    next(tokens, at).is_none_or(|after| {
        let after = &tokens[after].token;
        matches!(after, Token::RParen | Token::SemiColon | Token::EOF) || is_or(after)
    })
}

fn term_at(tokens: &[TokenWithSpan], start: usize) -> Option<Term> {
    let mut place = start;
    loop {
        let Token::Word(_) = &tokens.get(place)?.token else { return None };
        place = next(tokens, place)?;
        match tokens[place].token {
            Token::Period => place = next(tokens, place)?,
            Token::Eq => break,
            _ => return None,
        }
    }
    let literal = next(tokens, place)?;
    let is_literal = match &tokens[literal].token {
        Token::Number(digits, false) => digits.len() <= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()),
        Token::SingleQuotedString(_) => true,
        _ => false,
    };
    is_literal.then_some(Term { start, equals: place, literal })
}

/// Whether two terms compare the same column with literals of one kind.
fn is_alike(tokens: &[TokenWithSpan], one: &Term, other: &Term) -> bool {
    let column = |term: &Term| {
        let own = tokens[term.start..term.equals].iter().map(|token| &token.token);
        own.filter(|token| !matches!(token, Token::Whitespace(_))).collect::<Vec<_>>()
    };
    let is_text = |term: &Term| matches!(tokens[term.literal].token, Token::SingleQuotedString(_));
    is_text(one) == is_text(other) && column(one) == column(other)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use rstest::rstest;

    fn chain(column: &str, values: std::ops::Range<usize>) -> String {
        values.map(|n| format!("{column} = {n}")).collect::<Vec<_>>().join(" OR ")
    }

    fn list(column: &str, values: std::ops::Range<usize>) -> String {
        format!("{column} IN ({})", values.map(|n| n.to_string()).collect::<Vec<_>>().join(", "))
    }

    #[rstest]
    #[case("SELECT 1 FROM t WHERE {}", "SELECT 1 FROM t WHERE []")]
    #[case("SELECT 1 FROM t WHERE b AND ({}) LIMIT 1", "SELECT 1 FROM t WHERE b AND ([]) LIMIT 1")]
    #[case("SELECT 1 FROM t WHERE b = 1 OR {} OR c = 2", "SELECT 1 FROM t WHERE b = 1 OR [] OR c = 2")]
    #[case("SELECT 1 FROM t WHERE a = 0 OR {} OR a = '7'", "SELECT 1 FROM t WHERE [0] OR a = '7'")]
    #[case("SELECT 1 FROM t WHERE b AND a = 0 OR {}", "SELECT 1 FROM t WHERE b AND a = 0 OR []")]
    #[case("SELECT 1 FROM t WHERE NOT a = 0 OR {}", "SELECT 1 FROM t WHERE NOT a = 0 OR []")]
    #[case("SELECT 1 FROM t WHERE {} OR a = 9 AND b", "SELECT 1 FROM t WHERE [] OR a = 9 AND b")]
    #[case("SELECT 1 FROM t WHERE {} OR a = 9 + 1", "SELECT 1 FROM t WHERE [] OR a = 9 + 1")]
    #[case("SELECT 1 FROM t WHERE {} OR a = 9 ORDER BY b", "SELECT 1 FROM t WHERE [] OR a = 9 ORDER BY b")]
    #[case("SELECT f(a = 0 OR {})", "SELECT f(a = 0 OR [])")]
    #[case("UPDATE t SET a = 0 OR {}", "UPDATE t SET a = 0 OR []")]
    fn a_chain_is_read_as_a_list(#[case] sql: &str, #[case] read: &str) {
        let sql = sql.replace("{}", &chain("a", 1..41));
        let read = read.replace("[]", &list("a", 1..41)).replace("[0]", &list("a", 0..41));
        assert_eq!(parse(&sql).unwrap().to_string(), read);
    }

    #[rstest]
    #[case(chain("a", 0..10))]
    #[case((0..40).map(|n| format!("a = {n} OR b = {n}")).collect::<Vec<_>>().join(" OR "))]
    #[case((0..40).map(|n| format!("a = {n}.5")).collect::<Vec<_>>().join(" OR "))]
    #[case((0..40).map(|n| format!("a = {n} AND b")).collect::<Vec<_>>().join(" OR "))]
    #[case((0..40).map(|n| format!("f(a) = {n}")).collect::<Vec<_>>().join(" OR "))]
    fn what_is_no_chain_stays(#[case] condition: String) {
        let sql = format!("SELECT 1 FROM t WHERE {condition}");
        assert_eq!(parse(&sql).unwrap().to_string(), sql);
    }

    #[test]
    fn a_condition_that_is_written_out_again_says_the_same() {
        let condition = chain("a", 0..20).replace(" = ", "=");
        let sql = format!("SELECT 1 FROM t WHERE {}", super::super::with_user(&condition, "ana"));
        assert_eq!(parse(&sql).unwrap().to_string(), format!("SELECT 1 FROM t WHERE {}", list("a", 0..20)));
    }

    #[test]
    fn a_chain_may_be_as_long_as_a_list() {
        parse(&format!("SELECT 1 FROM t WHERE {}", chain("t.a", 0..20_000))).unwrap();
    }
}

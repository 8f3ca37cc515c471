use std::ops::Range;

use super::failure::{Failure, state};

/// A word of a text, with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted word, in lower case.
    Word(String),
    /// `"name"` as it is meant.
    Quoted(String),
    /// `'text'` as it is meant.
    Text(String),
    /// Any other single character: `;`, `(`, `.`, also digits' first.
    Sign(char),
    /// Digits, with what belongs to them.
    Number(String),
}

impl Token {
    /// Whether it is this unquoted word.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    pub(super) fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// A name: unquoted in lower case, quoted as it is.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(name) | Kind::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// The words of a text, without blanks and comments: as much of PostgreSQL's lexical rules as it takes to find where a
/// statement ends and what kind it is.
///
/// # Errors
/// 42601 for a text, a quoted name or a comment without an end.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token>, Failure> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Option<Token>, Failure> {
        self.skip()?;
        let begin = self.at;
        let mut letters = self.rest().chars();
        let Some(first) = letters.next() else { return Ok(None) };
        let second = letters.next();
        let kind = match first {
            '\'' => Kind::Text(self.quoted('\'', false)?),
            'e' | 'E' if second == Some('\'') => {
                self.at += 1;
                Kind::Text(self.quoted('\'', true)?)
            }
            '"' | '`' => Kind::Quoted(self.quoted(first, false)?),
            '$' => match self.dollar()? {
                Some(text) => Kind::Text(text),
                None => {
                    self.at += 1;
                    Kind::Sign('$')
                }
            },
            _ if first.is_alphabetic() || first == '_' => {
                Kind::Word(self.while_(|c| c.is_alphanumeric() || c == '_' || c == '$').to_lowercase())
            }
            _ if first.is_ascii_digit() => Kind::Number(self.while_(|c| c.is_alphanumeric() || c == '.' || c == '_')),
            _ => {
                self.at += first.len_utf8();
                Kind::Sign(first)
            }
        };
        Ok(Some(Token { kind, span: begin..self.at }))
    }

    fn while_(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let text = rest[..end].to_owned();
        self.at += end;
        text
    }

    /// Passes over blanks and comments; those between `/*` and `*/` nest.
    fn skip(&mut self) -> Result<(), Failure> {
        loop {
            let rest = self.rest();
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let mut depth = 0;
                loop {
                    let rest = self.rest();
                    if rest.starts_with("/*") {
                        (depth, self.at) = (depth + 1, self.at + 2);
                    } else if rest.starts_with("*/") {
                        (depth, self.at) = (depth - 1, self.at + 2);
                    } else {
                        self.at += rest.chars().next().ok_or_else(|| unended("comment"))?.len_utf8();
                    }
                    if depth == 0 {
                        break;
                    }
                }
            } else if let Some(blank) = rest.chars().next().filter(|c| c.is_whitespace()) {
                self.at += blank.len_utf8();
            } else {
                return Ok(());
            }
        }
    }

    /// From a quote to the next one that is not doubled.
    fn quoted(&mut self, quote: char, escapes: bool) -> Result<String, Failure> {
        let mut text = String::new();
        let mut letters = self.rest().char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if escapes && letter == '\\' {
                let (_, next) = letters.next().ok_or_else(|| unended("text"))?;
                text.push(match next {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    other => other,
                });
            } else if letter != quote {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.at += at + quote.len_utf8();
                return Ok(text);
            }
        }
        Err(unended("quoted text"))
    }

    /// `$tag$ ... $tag$`; `None` where no tag begins, as in `$1`.
    fn dollar(&mut self) -> Result<Option<String>, Failure> {
        let rest = self.rest();
        let Some(end) = rest[1..].find('$').map(|end| end + 2) else { return Ok(None) };
        let tag = &rest[..end];
        let inner = &tag[1..end - 1];
        if inner.starts_with(|c: char| c.is_ascii_digit()) || !inner.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Ok(None);
        }
        let body = &rest[end..];
        let close = body.find(tag).ok_or_else(|| unended("quoted text"))?;
        let text = body[..close].to_owned();
        self.at += end + close + tag.len();
        Ok(Some(text))
    }
}

fn unended(what: &str) -> Failure {
    Failure::error(state::SYNTAX, format!("a {what} has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_texts_names_and_comments_are_told_apart() {
        let sql = "Select 'a''b', E'c\\'d' /* x /* y */ ; */ \"E F\" -- ;\n, $1, $q$;'$q$ 1.5;";
        let kinds: Vec<Kind> = tokens(sql).unwrap().into_iter().map(|token| token.kind).collect();
        let sign = Kind::Sign;
        assert_eq!(
            kinds,
            [
                Kind::Word("select".to_owned()),
                Kind::Text("a'b".to_owned()),
                sign(','),
                Kind::Text("c'd".to_owned()),
                Kind::Quoted("E F".to_owned()),
                sign(','),
                sign('$'),
                Kind::Number("1".to_owned()),
                sign(','),
                Kind::Text(";'".to_owned()),
                Kind::Number("1.5".to_owned()),
                sign(';'),
            ]
        );
    }

    #[test]
    fn what_has_no_end_is_an_error() {
        for sql in ["'a", "\"a", "/* a", "$x$ a", "E'a\\'"] {
            assert!(tokens(sql).is_err(), "{sql}");
        }
    }
}

//! FHIRPath text to tokens (its grammar's lexical part).

use super::PathError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name, a keyword, or a name between backticks (`quoted`).
    Name {
        text: String,
        quoted: bool,
    },
    Text(String),
    /// A number without a sign, as written.
    Number(String),
    /// What follows `@`: a date, a dateTime or a time (that begins with `T`).
    Moment(String),
    /// `%name`.
    Variable(String),
    /// `$this`, `$index`.
    Special(String),
    Sign(&'static str),
}

const SIGNS: [&str; 23] = [
    "!=", "!~", "<=", ">=", ".", "|", "(", ")", "=", "~", "<", ">", "[", "]", "{", "}", "+", "-", "*", "/", "&", ",",
    "@",
];

/// The longest expression that is read, in bytes.
const LONGEST: usize = 20_000;

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, PathError> {
    if text.len() > LONGEST {
        return Err(PathError::Syntax(format!("it is longer than {LONGEST} bytes")));
    }
    let mut tokens = Vec::new();
    let mut rest = blank(text)?;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = word(rest);
                tokens.push(Token::Name { text: rest[..end].to_owned(), quoted: false });
                end
            }
            '\'' | '`' => {
                let (text, length) = quoted(rest, first)?;
                tokens.push(match first {
                    '\'' => Token::Text(text),
                    _ => Token::Name { text, quoted: true },
                });
                length
            }
            '0'..='9' => {
                let length = number(rest);
                tokens.push(Token::Number(rest[..length].to_owned()));
                length
            }
            '@' => {
                let length = moment(rest);
                if length < 3 {
                    return Err(PathError::Syntax("`@` without a date or time".to_owned()));
                }
                tokens.push(Token::Moment(rest[1..length].to_owned()));
                length
            }
            '%' => {
                let (name, length) = match rest[1..].chars().next() {
                    Some(quote @ ('`' | '\'')) => quoted(&rest[1..], quote)?,
                    _ => {
                        let end = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)));
                        let end = end.unwrap_or(rest.len() - 1);
                        (rest[1..=end].to_owned(), end)
                    }
                };
                if name.is_empty() {
                    return Err(PathError::Syntax("`%` without a name".to_owned()));
                }
                tokens.push(Token::Variable(name));
                length + 1
            }
            '$' => {
                let end = 1 + word(&rest[1..]);
                tokens.push(Token::Special(rest[1..end].to_owned()));
                end
            }
            other => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| PathError::Syntax(format!("`{other}`")))?;
                tokens.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = blank(&rest[length..])?;
    }
    Ok(tokens)
}

/// Passes over blanks and comments.
fn blank(text: &str) -> Result<&str, PathError> {
    let mut rest = text.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.split_once("*/");
            end.ok_or_else(|| PathError::Syntax("a comment without end".to_owned()))?.1
        } else {
            return Ok(rest);
        };
        rest = rest.trim_start();
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn number(text: &str) -> usize {
    let digits = |from: usize| text[from..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| from + end);
    let whole = digits(0);
    match text[whole..].strip_prefix('.').and_then(|rest| rest.chars().next()) {
        Some('0'..='9') => digits(whole + 1),
        _ => whole,
    }
}

/// `@2020-02-03T10:00:00.5+02:00`, `@T10:00`: how far it goes, with the `@`.
fn moment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |mut at: usize, of: &[u8]| {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || of.contains(byte)) {
            // a minus that no digit follows is an operator
            let is_digit = bytes.get(at).is_some_and(u8::is_ascii_digit);
            if !is_digit && !bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                break;
            }
            at += 1;
        }
        at
    };
    let date = run(1, b"-");
    if bytes.get(date) != Some(&b'T') {
        return date;
    }
    let time = run(date + 1, b":.");
    match bytes.get(time) {
        Some(b'Z') => time + 1,
        Some(b'+' | b'-') => run(time + 1, b":"),
        _ => time,
    }
}

/// A text between quotes, its escapes read, and its length with the quotes.
fn quoted(text: &str, quote: char) -> Result<(String, usize), PathError> {
    let unfinished = || PathError::Syntax("a text without end".to_owned());
    let mut out = String::new();
    let mut rest = text.char_indices().skip(1);
    while let Some((at, c)) = rest.next() {
        match c {
            c if c == quote => return Ok((out, at + c.len_utf8())),
            '\\' => match rest.next().ok_or_else(unfinished)?.1 {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'f' => out.push('\u{c}'),
                'u' => {
                    let code: String = rest.by_ref().take(4).map(|(_, c)| c).collect();
                    let c = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                    out.push(c.ok_or_else(|| PathError::Syntax("`\\u` without four hexadecimal digits".to_owned()))?);
                }
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    Err(unfinished())
}

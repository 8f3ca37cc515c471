use std::{borrow::Cow, collections::HashSet};

use super::{ParseError, Value, scan::string_end};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// Reads one JSON text.
///
/// # Errors
/// At the first byte that does not fit.
pub fn parse(text: &[u8]) -> Result<Value<'_>, ParseError> {
    let mut parser = Parser::new(text)?;
    let value = parser.value()?;
    parser.end()?;
    Ok(value)
}

type Member<'a> = (Cow<'a, str>, Value<'a>);

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Items of the arrays that are open, the innermost last: each array is then one allocation of its exact size.
    items: Vec<Value<'a>>,
    members: Vec<Member<'a>>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text)
            .map_err(|error| ParseError { offset: error.valid_up_to(), reason: "the text is not valid UTF-8" })?;
        Ok(Self { text, bytes: text.as_bytes(), at: 0, depth: 0, items: Vec::new(), members: Vec::new() })
    }

    /// After the value: nothing but space may follow.
    pub(super) fn end(&mut self) -> Result<(), ParseError> {
        self.skip_space();
        if self.at < self.bytes.len() { Err(self.error("there is text after the end of the value")) } else { Ok(()) }
    }

    fn error(&self, reason: &'static str) -> ParseError {
        ParseError { offset: self.at, reason }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        // Between most tokens there is nothing, or one space.
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn value(&mut self) -> Result<Value<'a>, ParseError> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.error("a value was expected")),
            None => Err(self.error("the text ends where a value was expected")),
        }
    }

    fn word(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, ParseError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error("a value was expected"))
        }
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` (RFC 8259, section 6).
    fn number(&mut self) -> Result<Value<'a>, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.at += 1;
                if matches!(self.peek(), Some(b'0'..=b'9')) {
                    return Err(self.error("a number starts with a zero too many"));
                }
            }
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("a digit was expected")) } else { Ok(()) }
    }

    /// At a `"`.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let start = self.at + 1;
        let end = string_end(self.bytes, start);
        self.at = end;
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.text[start..end]))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            Some(_) => Err(self.error("a control character stands unescaped in a string")),
            None => Err(self.error("the text ends within a string")),
        }
    }

    /// At the first `\` of a string that began at `start`.
    #[cold]
    fn escaped(&mut self, start: usize) -> Result<String, ParseError> {
        let mut out = String::with_capacity((self.at - start) * 2 + 16);
        let mut from = start;
        loop {
            out.push_str(&self.text[from..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.error("a control character stands unescaped in a string")),
                None => return Err(self.error("the text ends within a string")),
            }
            from = self.at;
            self.at = string_end(self.bytes, from);
        }
    }

    /// After a `\`.
    fn escape(&mut self) -> Result<char, ParseError> {
        let Some(byte) = self.peek() else { return Err(self.error("the text ends within a string")) };
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.error("there is no such escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// After `\u`. Characters beyond the first plane are written as two escapes, the high surrogate first.
    fn unicode(&mut self) -> Result<char, ParseError> {
        const LONE: &str = "half of a surrogate pair stands alone";
        let high = self.four_digits()?;
        let code = match high {
            0xd800..0xdc00 => {
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err(self.error(LONE));
                }
                self.at += 2;
                let low = self.four_digits()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(self.error(LONE));
                }
                0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => high,
        };
        char::from_u32(code).ok_or_else(|| self.error(LONE))
    }

    fn four_digits(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.error("four hexadecimal digits were expected"))?;
            self.at += 1;
        }
        Ok(code)
    }

    pub(super) fn enter(&mut self) -> Result<(), ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("arrays and objects nest deeper than 64 levels"));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// After an item or a member: whether another one follows.
    pub(super) fn more(&mut self, close: u8, expected: &'static str) -> Result<bool, ParseError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Err(self.error(expected)),
            None => Err(self.error("the text ends within an array or an object")),
        }
    }

    fn array(&mut self) -> Result<Value<'a>, ParseError> {
        self.enter()?;
        let start = self.items.len();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                let item = self.value()?;
                self.items.push(item);
                if !self.more(b']', "a comma or the end of the array was expected")? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Array(self.items.drain(start..).collect()))
    }

    /// A member's name, and where it begins.
    #[inline]
    pub(super) fn name(&mut self) -> Result<(usize, Cow<'a, str>), ParseError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a member's name was expected"));
        }
        let begin = self.at;
        Ok((begin, self.string()?))
    }

    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), ParseError> {
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.error("a colon was expected"));
        }
        self.at += 1;
        Ok(())
    }

    fn object(&mut self) -> Result<Value<'a>, ParseError> {
        self.enter()?;
        let start = self.members.len();
        let mut seen = Seen::default();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let (begin, name) = self.name()?;
                if seen.again(&name, self.members[start..].iter().map(|(name, _)| name)) {
                    return Err(ParseError { offset: begin, reason: "an object has two members of one name" });
                }
                self.colon()?;
                let value = self.value()?;
                self.members.push((name, value));
                if !self.more(b'}', "a comma or the end of the object was expected")? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Object(self.members.drain(start..).collect()))
    }
}

/// Names seen in an object. A 64-bit filter answers most questions; a set takes over where there are many names.
#[derive(Default)]
pub(super) struct Seen<'a> {
    filter: u64,
    many: Option<HashSet<Cow<'a, str>>>,
}

const MANY: usize = 48;

impl<'a> Seen<'a> {
    #[inline]
    #[allow(clippy::ptr_arg, reason = "a borrowed name stays borrowed when it is kept")]
    pub(super) fn again<'b>(
        &mut self,
        name: &Cow<'a, str>,
        mut before: impl ExactSizeIterator<Item = &'b Cow<'a, str>>,
    ) -> bool
    where
        'a: 'b,
    {
        if before.len() < MANY {
            let bit = 1 << bucket(name.as_bytes());
            let perhaps = self.filter & bit != 0;
            self.filter |= bit;
            return perhaps && before.any(|other| other == name);
        }
        let many = self.many.get_or_insert_with(|| before.cloned().collect());
        !many.insert(name.clone())
    }
}

#[inline]
fn bucket(name: &[u8]) -> u32 {
    let ends = match (name.first(), name.last()) {
        (Some(first), Some(last)) => u32::from(*first) * 31 + u32::from(*last),
        _ => 0,
    };
    (ends.wrapping_add(name.len() as u32 * 7)).wrapping_mul(0x9e37_79b1) >> 26
}

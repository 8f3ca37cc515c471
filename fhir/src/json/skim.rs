use std::borrow::Cow;

use super::{
    ParseError,
    parse::{Parser, Seen},
};

/// The members of an object: their names, and the texts of their values.
pub type Outline<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// Reads a text as [`super::parse`] does and refuses what it refuses, for whoever wants little of it: answers the outermost
/// object's members (none where it is no object), and tells `seen` the text of every member called `watched`, however deep,
/// whose value is a string. Nothing else is kept.
///
/// # Errors
/// Those of [`super::parse`].
pub fn skim<'a>(text: &'a [u8], watched: &str, seen: &mut dyn FnMut(&str)) -> Result<Outline<'a>, ParseError> {
    let mut skim = Skim { parser: Parser::new(text)?, names: Vec::new(), watched, seen };
    let mut outline = Outline::new();
    skim.parser.skip_space();
    if skim.parser.peek() == Some(b'{') {
        skim.object(Some(&mut outline))?
    } else {
        skim.value(false)?
    }
    skim.parser.end()?;
    Ok(outline)
}

struct Skim<'a, 'v> {
    parser: Parser<'a>,
    /// Names of the members of the objects that are open, the innermost last.
    names: Vec<Cow<'a, str>>,
    watched: &'v str,
    seen: &'v mut dyn FnMut(&str),
}

impl<'a> Skim<'a, '_> {
    fn value(&mut self, is_watched: bool) -> Result<(), ParseError> {
        self.parser.skip_space();
        match self.parser.peek() {
            Some(b'"') => {
                let text = self.parser.string()?;
                if is_watched {
                    (self.seen)(&text);
                }
                Ok(())
            }
            Some(b'{') => self.object(None),
            Some(b'[') => self.array(),
            // Numbers and words need no memory.
            _ => self.parser.value().map(drop),
        }
    }

    fn array(&mut self) -> Result<(), ParseError> {
        self.parser.enter()?;
        if self.parser.peek() == Some(b']') {
            self.parser.at += 1;
        } else {
            loop {
                self.value(false)?;
                if !self.parser.more(b']', "a comma or the end of the array was expected")? {
                    break;
                }
            }
        }
        self.parser.depth -= 1;
        Ok(())
    }

    fn object(&mut self, mut outline: Option<&mut Outline<'a>>) -> Result<(), ParseError> {
        self.parser.enter()?;
        let start = self.names.len();
        let mut seen = Seen::default();
        if self.parser.peek() == Some(b'}') {
            self.parser.at += 1;
        } else {
            loop {
                let (begin, name) = self.parser.name()?;
                if seen.again(&name, self.names[start..].iter()) {
                    return Err(ParseError { offset: begin, reason: "an object has two members of one name" });
                }
                let is_watched = name == self.watched;
                self.parser.colon()?;
                self.parser.skip_space();
                let from = self.parser.at;
                self.value(is_watched)?;
                if let Some(outline) = &mut outline {
                    outline.push((name.clone(), &self.parser.text[from..self.parser.at]));
                }
                self.names.push(name);
                if !self.parser.more(b'}', "a comma or the end of the object was expected")? {
                    break;
                }
            }
        }
        self.parser.depth -= 1;
        self.names.truncate(start);
        Ok(())
    }
}

//! FHIRPath's grammar, by operator precedence.

use super::{
    PathError,
    syntax::{Ast, Literal, Operator, TYPE_STRENGTH},
    token::{Token, tokens},
};

/// How deep parentheses, arguments and indexers may lie in each other.
const DEEPEST: usize = 40;
/// How many operators and steps an expression may have. Functions, indexers and types count [`CALL`] times: they are
/// walked by recursion, which must fit on any stack.
const MOST_LINKS: usize = 600;
const CALL: usize = 10;

/// Reads an expression.
///
/// # Errors
/// [`PathError::Empty`], [`PathError::Syntax`].
pub(crate) fn parse(text: &str) -> Result<Ast, PathError> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(PathError::Empty);
    }
    let mut parser = Parser { tokens, at: 0, depth: 0, links: 0 };
    let node = parser.expression(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(node),
        Some(token) => Err(unexpected(token)),
    }
}

fn unexpected(token: &Token) -> PathError {
    let shown = match token {
        Token::Name { text, .. } | Token::Number(text) => text.clone(),
        Token::Text(_) => "a text".to_owned(),
        Token::Moment(text) => format!("@{text}"),
        Token::Variable(name) => format!("%{name}"),
        Token::Special(name) => format!("${name}"),
        Token::Sign(sign) => (*sign).to_owned(),
    };
    PathError::Syntax(format!("`{shown}` stands where it cannot"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    links: usize,
}

impl Parser {
    fn sign(&mut self, sign: &'static str) -> bool {
        let found = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), PathError> {
        if self.sign(sign) { Ok(()) } else { Err(PathError::Syntax(format!("`{sign}` is missing"))) }
    }

    fn name(&mut self) -> Result<String, PathError> {
        match self.tokens.get(self.at) {
            Some(Token::Name { text, .. }) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(PathError::Syntax("a name is missing".to_owned())),
        }
    }

    fn link(&mut self, weight: usize) -> Result<(), PathError> {
        self.links += weight;
        if self.links > MOST_LINKS {
            return Err(PathError::Syntax(format!("it has more than {MOST_LINKS} operators and steps")));
        }
        Ok(())
    }

    fn operator(&self) -> Option<Operator> {
        Some(match self.tokens.get(self.at)? {
            Token::Sign(sign) => match *sign {
                "*" => Operator::Multiply,
                "/" => Operator::Divide,
                "+" => Operator::Plus,
                "-" => Operator::Minus,
                "&" => Operator::Concatenate,
                "|" => Operator::Union,
                "<" => Operator::Less,
                ">" => Operator::Greater,
                "<=" => Operator::LessOrEqual,
                ">=" => Operator::GreaterOrEqual,
                "=" => Operator::Equal,
                "!=" => Operator::NotEqual,
                "~" => Operator::Equivalent,
                "!~" => Operator::NotEquivalent,
                _ => return None,
            },
            Token::Name { text, quoted: false } => match text.as_str() {
                "div" => Operator::Div,
                "mod" => Operator::Mod,
                "in" => Operator::In,
                "contains" => Operator::Contains,
                "and" => Operator::And,
                "or" => Operator::Or,
                "xor" => Operator::Xor,
                "implies" => Operator::Implies,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn type_word(&self) -> Option<bool> {
        match self.tokens.get(self.at) {
            Some(Token::Name { text, quoted: false }) if text == "is" => Some(true),
            Some(Token::Name { text, quoted: false }) if text == "as" => Some(false),
            _ => None,
        }
    }

    /// What binds at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Result<Ast, PathError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(PathError::Syntax(format!("it is nested deeper than {DEEPEST}")));
        }
        let mut left = self.unary()?;
        loop {
            if let Some(is) = self.type_word().filter(|_| TYPE_STRENGTH >= least) {
                self.at += 1;
                self.link(CALL)?;
                let name = self.type_name()?;
                left = if is { Ast::Is(Box::new(left), name) } else { Ast::As(Box::new(left), name) };
            } else if let Some(operator) = self.operator().filter(|operator| operator.strength() >= least) {
                self.at += 1;
                let right = self.expression(operator.strength() + 1)?;
                left = Ast::Binary(operator, Box::new(left), Box::new(right));
                self.link(1)?;
            } else {
                break;
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Ast, PathError> {
        if self.sign("-") {
            return Ok(match self.path()? {
                Ast::Literal(Literal::Integer(number)) => Ast::Literal(Literal::Integer(-number)),
                Ast::Literal(Literal::Decimal(number)) => Ast::Literal(Literal::Decimal(format!("-{number}"))),
                operand => Ast::Negative(Box::new(operand)),
            });
        }
        self.sign("+");
        self.path()
    }

    fn path(&mut self) -> Result<Ast, PathError> {
        let mut node = self.term()?;
        loop {
            if self.sign(".") {
                let name = self.name()?;
                self.link(1)?;
                node = if self.sign("(") {
                    self.link(CALL)?;
                    let arguments = self.arguments()?;
                    Ast::Call(Some(Box::new(node)), name, arguments)
                } else {
                    Ast::Member(Box::new(node), name)
                };
            } else if self.sign("[") {
                self.link(CALL)?;
                let index = self.expression(0)?;
                self.expect("]")?;
                node = Ast::Item(Box::new(node), Box::new(index));
            } else {
                return Ok(node);
            }
        }
    }

    fn term(&mut self) -> Result<Ast, PathError> {
        let Some(token) = self.tokens.get(self.at).cloned() else {
            return Err(PathError::Syntax("it ends too early".to_owned()));
        };
        self.at += 1;
        match token {
            Token::Sign("(") => {
                let inner = self.expression(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("{") => {
                self.expect("}")?;
                Ok(Ast::Empty)
            }
            Token::Text(text) => Ok(Ast::Literal(Literal::Text(text))),
            Token::Number(text) => self.number(text),
            Token::Moment(text) => moment(text).map(Ast::Literal),
            Token::Variable(name) => Ok(Ast::Variable(name)),
            Token::Special(name) => match name.as_str() {
                "this" => Ok(Ast::This),
                "index" => Ok(Ast::Index),
                _ => Err(PathError::Syntax(format!("`${name}`"))),
            },
            Token::Name { text, quoted: false } if text == "true" => Ok(Ast::Literal(Literal::Boolean(true))),
            Token::Name { text, quoted: false } if text == "false" => Ok(Ast::Literal(Literal::Boolean(false))),
            Token::Name { text, .. } => {
                if self.sign("(") {
                    let arguments = self.arguments()?;
                    Ok(Ast::Call(None, text, arguments))
                } else {
                    Ok(Ast::Name(text))
                }
            }
            token @ Token::Sign(_) => Err(unexpected(&token)),
        }
    }

    fn number(&mut self, text: String) -> Result<Ast, PathError> {
        const UNITS: [&str; 16] = [
            "year",
            "years",
            "month",
            "months",
            "week",
            "weeks",
            "day",
            "days",
            "hour",
            "hours",
            "minute",
            "minutes",
            "second",
            "seconds",
            "millisecond",
            "milliseconds",
        ];
        let has_unit = match self.tokens.get(self.at) {
            Some(Token::Text(_)) => true,
            Some(Token::Name { text, quoted: false }) => UNITS.contains(&text.as_str()),
            _ => false,
        };
        if has_unit {
            return Err(PathError::Syntax("quantities cannot be written here".to_owned()));
        }
        if text.contains('.') {
            return Ok(Ast::Literal(Literal::Decimal(text)));
        }
        let number = text.parse().map_err(|_| PathError::Syntax("an integer of more than 64 bits".to_owned()))?;
        Ok(Ast::Literal(Literal::Integer(number)))
    }

    fn arguments(&mut self) -> Result<Vec<Ast>, PathError> {
        let mut arguments = Vec::new();
        if self.sign(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(0)?);
            if !self.sign(",") {
                self.expect(")")?;
                return Ok(arguments);
            }
        }
    }

    /// `Patient`, `FHIR.Patient`, `System.String`.
    fn type_name(&mut self) -> Result<String, PathError> {
        let mut name = self.name()?;
        while self.sign(".") {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name)
    }
}

fn moment(text: String) -> Result<Literal, PathError> {
    let wrong = || PathError::Syntax(format!("`@{text}` is no date or time"));
    if let Some(time) = text.strip_prefix('T') {
        // FHIRPath lets an hour stand alone; FHIR's time does not
        let padded = if time.len() == 2 { format!("{time}:00") } else { time.to_owned() };
        let read = crate::temporal::time(padded.as_bytes()).ok_or_else(wrong)?;
        return if read.length == padded.len() { Ok(Literal::Time(padded)) } else { Err(wrong()) };
    }
    let (written, is_time) = match text.split_once('T') {
        None => (text.clone(), false),
        // `2020-01-01T`: a dateTime of the precision of a date
        Some((date, "")) => (date.to_owned(), true),
        Some(_) => (text.clone(), true),
    };
    crate::temporal::parse(&written).ok_or_else(wrong)?;
    Ok(if is_time { Literal::DateTime(written) } else { Literal::Date(written) })
}

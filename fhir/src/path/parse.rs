use super::PathError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// The first name of a path.
    Name(String),
    Member(Box<Node>, String),
    OfType(Box<Node>, String),
    WhereEquals(Box<Node>, String, String),
    WhereResolves(Box<Node>, String),
    Exists(Box<Node>),
    NotFalse(Box<Node>),
    And(Box<Node>, Box<Node>),
    Union(Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Sign(&'static str),
}

fn tokens(text: &str) -> Result<Vec<Token>, PathError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            end
        } else if first == '\'' {
            let end = rest[1..].find('\'').ok_or_else(|| PathError::Syntax("a text without end".to_owned()))?;
            tokens.push(Token::Text(rest[1..=end].to_owned()));
            end + 2
        } else {
            let sign = ["!=", ".", "|", "(", ")", "="].into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| PathError::Syntax(format!("`{first}`")))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Reads an expression: `and` binds loosest, then `|`, `as`, `!=`, then the path.
pub(super) fn parse(text: &str) -> Result<Node, PathError> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(PathError::Empty);
    }
    let mut parser = Parser { tokens, at: 0 };
    let node = parser.conjunction()?;
    match parser.tokens.get(parser.at) {
        None => Ok(node),
        Some(token) => Err(PathError::Syntax(format!("{token:?}"))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn sign(&mut self, sign: &'static str) -> bool {
        let found = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Name(name)) if name == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), PathError> {
        if self.sign(sign) { Ok(()) } else { Err(PathError::Syntax(format!("`{sign}` is missing"))) }
    }

    fn name(&mut self) -> Result<String, PathError> {
        match self.tokens.get(self.at) {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name.clone())
            }
            _ => Err(PathError::Syntax("a name is missing".to_owned())),
        }
    }

    fn conjunction(&mut self) -> Result<Node, PathError> {
        let mut node = self.union()?;
        while self.word("and") {
            node = Node::And(Box::new(node), Box::new(self.union()?));
        }
        Ok(node)
    }

    fn union(&mut self) -> Result<Node, PathError> {
        let first = self.typed()?;
        let mut all = vec![first];
        while self.sign("|") {
            all.push(self.typed()?);
        }
        Ok(match <[Node; 1]>::try_from(all) {
            Ok([one]) => one,
            Err(all) => Node::Union(all),
        })
    }

    fn typed(&mut self) -> Result<Node, PathError> {
        let mut node = self.path()?;
        if self.word("as") {
            node = Node::OfType(Box::new(node), self.name()?);
        }
        if self.sign("!=") {
            return if self.word("false") {
                Ok(Node::NotFalse(Box::new(node)))
            } else {
                Err(PathError::Syntax("`!=` is known with `false` alone".to_owned()))
            };
        }
        Ok(node)
    }

    fn path(&mut self) -> Result<Node, PathError> {
        let mut node = if self.sign("(") {
            let inner = self.conjunction()?;
            self.expect(")")?;
            inner
        } else {
            Node::Name(self.name()?)
        };
        while self.sign(".") {
            let name = self.name()?;
            node = if self.sign("(") { self.call(node, &name)? } else { Node::Member(Box::new(node), name) };
        }
        Ok(node)
    }

    fn call(&mut self, node: Node, function: &str) -> Result<Node, PathError> {
        let node = Box::new(node);
        let called = match function {
            "ofType" | "as" => Node::OfType(node, self.name()?),
            "exists" => Node::Exists(node),
            "where" => {
                let member = self.name()?;
                if member == "resolve" {
                    self.expect("(")?;
                    self.expect(")")?;
                    if !self.word("is") {
                        return Err(PathError::Syntax("`resolve()` without `is`".to_owned()));
                    }
                    Node::WhereResolves(node, self.name()?)
                } else {
                    self.expect("=")?;
                    let Some(Token::Text(value)) = self.tokens.get(self.at).cloned() else {
                        return Err(PathError::Syntax("`where` compares with something other than a text".to_owned()));
                    };
                    self.at += 1;
                    Node::WhereEquals(node, member, value)
                }
            }
            _ => return Err(PathError::Syntax(format!("the function `{function}`"))),
        };
        self.expect(")")?;
        Ok(called)
    }
}

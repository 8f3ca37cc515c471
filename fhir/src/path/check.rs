//! From the tree of the grammar to a checked [`Expr`]: names against the definitions, functions and their arguments,
//! types of operands.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
};

use super::{
    PathError,
    expr::{self, Expr, Function, Kind, Node, kind, members, primitive, types_named},
    parse::parse,
    syntax::{Ast, Literal, Operator},
};
use crate::{
    ResourceType,
    definitions::{self, Primitive, TypeId},
};

/// What expressions of one resource type are checked against, and what the check found.
#[derive(Debug)]
pub(crate) struct Checker<'a> {
    root: TypeId,
    constants: &'a HashMap<String, Literal>,
    /// Columns of the current table that the expressions read.
    columns: RefCell<BTreeSet<String>>,
    /// What is allowed and likely a mistake: an element that no type has.
    warnings: RefCell<Vec<String>>,
}

/// What an expression's focus can be.
#[derive(Debug, Clone, Copy)]
struct Focus<'a> {
    /// `$this`
    this: &'a [TypeId],
    /// `%context`
    context: &'a [TypeId],
}

impl<'a> Checker<'a> {
    pub(crate) fn new(resource: ResourceType, constants: &'a HashMap<String, Literal>) -> Self {
        Self { root: definitions::root(resource), constants, columns: RefCell::default(), warnings: RefCell::default() }
    }

    pub(crate) fn root(&self) -> TypeId {
        self.root
    }

    /// The warnings of all expressions so far.
    pub(crate) fn warnings(self) -> Vec<String> {
        self.warnings.into_inner()
    }

    /// The columns that the expressions since the last call read.
    pub(crate) fn take_reads(&self) -> BTreeSet<String> {
        self.columns.take()
    }

    /// Compiles an expression over values of these types.
    ///
    /// # Errors
    /// [`PathError`].
    pub(crate) fn compile(&self, text: &str, focus: &[TypeId]) -> Result<Expr, PathError> {
        self.expr(&parse(text)?, Focus { this: focus, context: focus })
    }

    fn expr(&self, ast: &Ast, focus: Focus<'_>) -> Result<Expr, PathError> {
        Ok(match ast {
            Ast::Empty => Expr::new(Node::Empty, Vec::new()),
            Ast::Literal(literal) => constant(literal),
            Ast::This => Expr::new(Node::This, focus.this.to_vec()),
            Ast::Index => Expr::of(Node::Index, Primitive::Integer),
            Ast::Variable(name) => self.variable(name, focus)?,
            Ast::Name(name) => {
                let this = Expr::new(Node::This, focus.this.to_vec());
                let is_type = |type_id: &TypeId| {
                    type_id.name() == name
                        || (*type_id == self.root && matches!(name.as_str(), "Resource" | "DomainResource"))
                };
                if focus.this.iter().any(is_type) { this } else { self.member(this, name) }
            }
            Ast::Member(..) => self.members(ast, focus)?,
            Ast::Item(base, index) => {
                let (base, index) = (self.expr(base, focus)?, self.expr(index, focus)?);
                need(&index, "an index", "an integer", |kind| kind == Kind::Integer)?;
                let types = base.types.clone();
                Expr::new(Node::Item(Box::new(base), Box::new(index)), types)
            }
            Ast::Is(base, name) => {
                let base = self.expr(base, focus)?;
                Expr::of(Node::Is(Box::new(base), named(name)?), Primitive::Boolean)
            }
            Ast::As(base, name) => self.of_type(self.expr(base, focus)?, named(name)?, name),
            Ast::Negative(operand) => {
                let operand = self.expr(operand, focus)?;
                need(&operand, "`-`", "a number", Kind::is_number)?;
                let types = operand.types.clone();
                Expr::new(Node::Negative(Box::new(operand)), types)
            }
            Ast::Binary(..) => self.operators(ast, focus)?,
            Ast::Call(base, function, arguments) => {
                let base = match base {
                    Some(base) => self.expr(base, focus)?,
                    None => Expr::new(Node::This, focus.this.to_vec()),
                };
                self.call(base, function, arguments, focus)?
            }
        })
    }

    /// A path of members, however long, without calling itself.
    fn members(&self, ast: &Ast, focus: Focus<'_>) -> Result<Expr, PathError> {
        let mut names = Vec::new();
        let mut base = ast;
        while let Ast::Member(inner, name) = base {
            names.push(name);
            base = inner;
        }
        let base = self.expr(base, focus)?;
        Ok(names.into_iter().rev().fold(base, |base, name| self.member(base, name)))
    }

    /// A row of operators, however long: only their right sides are nested.
    fn operators(&self, ast: &Ast, focus: Focus<'_>) -> Result<Expr, PathError> {
        let mut row = Vec::new();
        let mut first = ast;
        while let Ast::Binary(operator, left, right) = first {
            row.push((*operator, right));
            first = left;
        }
        let mut expr = self.expr(first, focus)?;
        while let Some((operator, right)) = row.pop() {
            expr = binary(operator, expr, self.expr(right, focus)?)?;
        }
        Ok(expr)
    }

    fn variable(&self, name: &str, focus: Focus<'_>) -> Result<Expr, PathError> {
        if let Some(literal) = self.constants.get(name) {
            return Ok(constant(literal));
        }
        let text = |text: &str| Ok(constant(&Literal::Text(text.to_owned())));
        match name {
            "rowIndex" => Ok(Expr::of(Node::RowIndex, Primitive::Integer)),
            "resource" | "rootResource" => Ok(Expr::new(Node::Resource, vec![self.root])),
            "context" => Ok(Expr::new(Node::Context, focus.context.to_vec())),
            "ucum" => text("http://unitsofmeasure.org"),
            "sct" => text("http://snomed.info/sct"),
            "loinc" => text("http://loinc.org"),
            _ => Err(PathError::Constant(name.to_owned())),
        }
    }

    fn member(&self, base: Expr, name: &str) -> Expr {
        if base.types.is_empty() {
            return base;
        }
        let mut types = Vec::new();
        let mut is_known = false;
        for type_id in &base.types {
            for element in members(*type_id, name) {
                is_known = true;
                // the column `resource` is the JSON, whatever the type has of that name
                if *type_id == self.root && element.name != "resource" {
                    self.read(element);
                }
                if !expr::has_no_columns(element.type_id) && !types.contains(&element.type_id) {
                    types.push(element.type_id);
                }
            }
        }
        let of = || base.types.iter().map(|type_id| type_id.name()).collect::<Vec<_>>().join(", ");
        if !is_known {
            self.warn(format!("`{name}` is no element of {}", of()));
        } else if types.is_empty() {
            self.warn(format!("`{name}` of {} has no columns: it is always empty", of()));
        }
        if types.is_empty() {
            return Expr::new(Node::Empty, Vec::new());
        }
        Expr::new(Node::Member(Box::new(base), name.to_owned()), types)
    }

    fn read(&self, element: &definitions::Element) {
        let mut columns = self.columns.borrow_mut();
        columns.insert(element.name.to_owned());
        if element.type_id.primitive() == Some(Primitive::Decimal) {
            columns.insert(format!("{}__text", element.name));
        }
    }

    fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    fn of_type(&self, base: Expr, wanted: Vec<TypeId>, name: &str) -> Expr {
        let types: Vec<TypeId> = base.types.iter().filter(|type_id| wanted.contains(type_id)).copied().collect();
        if types.is_empty() {
            if !base.types.is_empty() {
                self.warn(format!("nothing there is of type `{name}`"));
            }
            return Expr::new(Node::Empty, Vec::new());
        }
        Expr::new(Node::OfType(Box::new(base), wanted), types)
    }

    fn call(&self, base: Expr, name: &str, arguments: &[Ast], focus: Focus<'_>) -> Result<Expr, PathError> {
        let inner_types = base.types.clone();
        let inner = Focus { this: &inner_types, context: focus.context };
        match (name, arguments) {
            ("where", [criteria]) => {
                let criteria = self.truth(criteria, inner, "where()")?;
                Ok(Expr::new(Node::Where(Box::new(base), Box::new(criteria)), inner_types.clone()))
            }
            ("exists", []) => {
                Ok(Expr::of(Node::Call(Function::Exists, Box::new(base), Vec::new()), Primitive::Boolean))
            }
            ("exists", [criteria]) => {
                let criteria = self.truth(criteria, inner, "exists()")?;
                let kept = Expr::new(Node::Where(Box::new(base), Box::new(criteria)), inner_types.clone());
                Ok(Expr::of(Node::Call(Function::Exists, Box::new(kept), Vec::new()), Primitive::Boolean))
            }
            ("all", [criteria]) => {
                let criteria = self.truth(criteria, inner, "all()")?;
                Ok(Expr::of(Node::All(Box::new(base), Box::new(criteria)), Primitive::Boolean))
            }
            ("select", [projection]) => {
                let projection = self.expr(projection, inner)?;
                let types = projection.types.clone();
                Ok(Expr::new(Node::Select(Box::new(base), Box::new(projection)), types))
            }
            ("extension", [url]) => {
                let extensions = self.member(base, "extension");
                let types = extensions.types.clone();
                let inner = Focus { this: &types, context: focus.context };
                let url = binary(
                    Operator::Equal,
                    self.member(Expr::new(Node::This, types.clone()), "url"),
                    self.expr(url, inner)?,
                )?;
                Ok(Expr::new(Node::Where(Box::new(extensions), Box::new(url)), types.clone()))
            }
            ("iif", [condition, then, rest @ ..]) if rest.len() < 2 => {
                let condition = self.truth(condition, focus, "iif()")?;
                let then = self.expr(then, focus)?;
                let otherwise = rest.first().map(|ast| self.expr(ast, focus)).transpose()?;
                let types = merged(&then.types, otherwise.as_ref().map_or(&[], |expr| &expr.types));
                Ok(Expr::new(Node::If(Box::new(condition), Box::new(then), otherwise.map(Box::new)), types))
            }
            ("ofType" | "as", [name]) => {
                let name = type_argument(name)?;
                Ok(self.of_type(base, named(&name)?, &name))
            }
            ("is", [name]) => Ok(Expr::of(Node::Is(Box::new(base), named(&type_argument(name)?)?), Primitive::Boolean)),
            ("union", [other]) => binary(Operator::Union, base, self.expr(other, focus)?),
            ("combine", [other]) => {
                let other = self.expr(other, focus)?;
                let types = merged(&base.types, &other.types);
                Ok(Expr::new(Node::Combine(Box::new(base), Box::new(other)), types))
            }
            ("getReferenceKey", _) if arguments.len() < 2 => {
                if !base.types.iter().all(|type_id| type_id.is_reference()) {
                    return Err(PathError::Type(
                        "`getReferenceKey()` is asked of something other than a Reference".to_owned(),
                    ));
                }
                let target = arguments.first().map(type_argument).transpose()?;
                if let Some(target) = &target {
                    target.parse::<ResourceType>().map_err(|error| PathError::Type(error.to_string()))?;
                }
                let arguments = target.iter().map(|target| constant(&Literal::Text(target.clone()))).collect();
                Ok(Expr::of(Node::Call(Function::ReferenceKey, Box::new(base), arguments), Primitive::String))
            }
            _ => self.plain_call(base, name, arguments, focus),
        }
    }

    /// A function whose arguments are values.
    fn plain_call(&self, base: Expr, name: &str, arguments: &[Ast], focus: Focus<'_>) -> Result<Expr, PathError> {
        let Some((function, least, most)) = Function::named(name) else {
            return Err(PathError::Syntax(format!("the function `{name}`")));
        };
        if arguments.len() < least || arguments.len() > most {
            return Err(PathError::Syntax(format!("`{name}()` takes {least} to {most} arguments")));
        }
        let arguments = arguments.iter().map(|ast| self.expr(ast, focus)).collect::<Result<Vec<_>, _>>()?;
        let what = format!("`{name}()`");
        let types = match function {
            Function::ResourceKey => {
                if base.types.iter().any(|type_id| *type_id != self.root) {
                    return Err(PathError::Type(
                        "`getResourceKey()` is asked of something other than a resource".to_owned(),
                    ));
                }
                self.columns.borrow_mut().insert("id".to_owned());
                vec![primitive(Primitive::String)]
            }
            Function::First
            | Function::Last
            | Function::Tail
            | Function::Skip
            | Function::Take
            | Function::Single
            | Function::Distinct => {
                for argument in &arguments {
                    need(argument, &what, "an integer", |kind| kind == Kind::Integer)?;
                }
                base.types.clone()
            }
            Function::Count | Function::Length | Function::IndexOf | Function::ToInteger => {
                vec![primitive(Primitive::Integer)]
            }
            Function::Exists
            | Function::Empty
            | Function::Not
            | Function::IsDistinct
            | Function::AllTrue
            | Function::AnyTrue
            | Function::AllFalse
            | Function::AnyFalse
            | Function::HasValue
            | Function::StartsWith
            | Function::EndsWith
            | Function::Contains
            | Function::Matches
            | Function::ToBoolean => vec![primitive(Primitive::Boolean)],
            Function::Join
            | Function::Substring
            | Function::Replace
            | Function::Upper
            | Function::Lower
            | Function::Trim
            | Function::ToText
            | Function::ReferenceKey => {
                vec![primitive(Primitive::String)]
            }
            Function::LowBoundary | Function::HighBoundary => {
                need(&base, &what, "a decimal, date or time", |kind| {
                    matches!(kind, Kind::Integer | Kind::Decimal | Kind::Moment | Kind::Time)
                })?;
                let wider = |type_id: &TypeId| {
                    if kind(*type_id) == Kind::Integer { primitive(Primitive::Decimal) } else { *type_id }
                };
                base.types.iter().map(wider).collect()
            }
            Function::ToDecimal | Function::Round => vec![primitive(Primitive::Decimal)],
            Function::Ceiling | Function::Floor | Function::Truncate => vec![primitive(Primitive::Integer)],
            Function::Absolute => base.types.clone(),
        };
        match function {
            Function::Absolute | Function::Ceiling | Function::Floor | Function::Truncate | Function::Round => {
                need(&base, &what, "a number", Kind::is_number)?;
            }
            Function::StartsWith
            | Function::EndsWith
            | Function::Contains
            | Function::Matches
            | Function::IndexOf
            | Function::Substring
            | Function::Replace
            | Function::Upper
            | Function::Lower
            | Function::Trim
            | Function::Length
            | Function::Join => need(&base, &what, "a text", |kind| kind != Kind::Complex)?,
            Function::AllTrue | Function::AnyTrue | Function::AllFalse | Function::AnyFalse => {
                need(&base, &what, "truths", |kind| kind == Kind::Boolean)?;
            }
            _ => {}
        }
        Ok(Expr::new(Node::Call(function, Box::new(base), arguments), types))
    }

    /// A criterion: one truth, or (the rule for single values) anything that is there.
    fn truth(&self, ast: &Ast, focus: Focus<'_>, _of: &str) -> Result<Expr, PathError> {
        self.expr(ast, focus)
    }
}

fn constant(literal: &Literal) -> Expr {
    let of = match literal {
        Literal::Boolean(_) => Primitive::Boolean,
        Literal::Integer(_) => Primitive::Integer,
        Literal::Decimal(_) => Primitive::Decimal,
        Literal::Text(_) => Primitive::String,
        Literal::Date(_) => Primitive::Date,
        Literal::DateTime(_) => Primitive::DateTime,
        Literal::Time(_) => Primitive::Time,
    };
    Expr::of(Node::Literal(literal.clone()), of)
}

fn merged(one: &[TypeId], other: &[TypeId]) -> Vec<TypeId> {
    let mut all = one.to_vec();
    all.extend(other.iter().filter(|type_id| !one.contains(type_id)));
    all
}

fn named(name: &str) -> Result<Vec<TypeId>, PathError> {
    types_named(name).ok_or_else(|| PathError::Type(format!("there is no type `{name}`")))
}

/// A type that stands where an argument is: `ofType(Quantity)`, `ofType(FHIR.Quantity)`.
fn type_argument(ast: &Ast) -> Result<String, PathError> {
    match ast {
        Ast::Name(name) => Ok(name.clone()),
        Ast::Member(base, name) => Ok(format!("{}.{name}", type_argument(base)?)),
        _ => Err(PathError::Type("the name of a type is missing".to_owned())),
    }
}

fn need(expr: &Expr, what: &str, wanted: &str, allowed: impl Fn(Kind) -> bool) -> Result<(), PathError> {
    if expr.can_be(allowed) {
        return Ok(());
    }
    let types = expr.types.iter().map(|type_id| type_id.name()).collect::<Vec<_>>().join(", ");
    Err(PathError::Type(format!("{what} needs {wanted}, not {types}")))
}

fn binary(operator: Operator, left: Expr, right: Expr) -> Result<Expr, PathError> {
    let what = format!("`{}`", operator.sign());
    let both = |wanted: &str, allowed: fn(Kind) -> bool| {
        need(&left, &what, wanted, allowed).and_then(|()| need(&right, &what, wanted, allowed))
    };
    let types = match operator {
        Operator::Multiply | Operator::Minus | Operator::Div | Operator::Mod | Operator::Divide | Operator::Plus => {
            let is_text = operator == Operator::Plus
                && !left.types.is_empty()
                && !right.types.is_empty()
                && left.is_only(|kind| kind == Kind::Text)
                && right.is_only(|kind| kind == Kind::Text);
            let of = if is_text {
                Primitive::String
            } else {
                both("numbers", Kind::is_number)?;
                let whole = left.is_only(|kind| kind == Kind::Integer) && right.is_only(|kind| kind == Kind::Integer);
                let is_integer = operator == Operator::Div || (whole && operator != Operator::Divide);
                if is_integer { Primitive::Integer } else { Primitive::Decimal }
            };
            vec![primitive(of)]
        }
        Operator::Concatenate => {
            both("texts", |kind| kind != Kind::Complex)?;
            vec![primitive(Primitive::String)]
        }
        Operator::Union => merged(&left.types, &right.types),
        Operator::Less | Operator::Greater | Operator::LessOrEqual | Operator::GreaterOrEqual => {
            both("values with an order", |kind| !matches!(kind, Kind::Complex | Kind::Boolean))?;
            let classes = |expr: &Expr| expr.types.iter().map(|type_id| class(kind(*type_id))).collect::<Vec<_>>();
            let (one, other) = (classes(&left), classes(&right));
            let fits = one.iter().any(|class| other.contains(class))
                || [&one, &other].iter().any(|all| all.is_empty() || all.contains(&1));
            if !fits {
                return Err(PathError::Type(format!("{what} compares values of different kinds")));
            }
            vec![primitive(Primitive::Boolean)]
        }
        Operator::Equal
        | Operator::NotEqual
        | Operator::Equivalent
        | Operator::NotEquivalent
        | Operator::In
        | Operator::Contains
        | Operator::And
        | Operator::Or
        | Operator::Xor
        | Operator::Implies => vec![primitive(Primitive::Boolean)],
    };
    Ok(Expr::new(Node::Binary(operator, Box::new(left), Box::new(right)), types))
}

/// Kinds that can be compared with each other have the same number; a text (1) can be a date or a time.
fn class(kind: Kind) -> u8 {
    match kind {
        Kind::Integer | Kind::Decimal => 0,
        Kind::Text => 1,
        Kind::Moment => 2,
        Kind::Time => 3,
        Kind::Boolean | Kind::Complex => 4,
    }
}

//! What an expression says, before it means anything: the tree of FHIRPath's grammar.

/// A FHIRPath expression as parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ast {
    /// `{}`
    Empty,
    Literal(Literal),
    /// The first name of a path: an element of the focus, or the focus' own type.
    Name(String),
    This,
    /// `$index`
    Index,
    /// `%name`
    Variable(String),
    Member(Box<Ast>, String),
    Item(Box<Ast>, Box<Ast>),
    /// A function, of the focus where nothing stands before it.
    Call(Option<Box<Ast>>, String, Vec<Ast>),
    Binary(Operator, Box<Ast>, Box<Ast>),
    Negative(Box<Ast>),
    Is(Box<Ast>, String),
    As(Box<Ast>, String),
}

/// A literal; numbers, dates and times as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Literal {
    Boolean(bool),
    Integer(i64),
    Decimal(String),
    Text(String),
    Date(String),
    DateTime(String),
    Time(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    Multiply,
    Divide,
    Div,
    Mod,
    Plus,
    Minus,
    Concatenate,
    Union,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    In,
    Contains,
    And,
    Or,
    Xor,
    Implies,
}

impl Operator {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Div => "div",
            Self::Mod => "mod",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Concatenate => "&",
            Self::Union => "|",
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessOrEqual => "<=",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Equivalent => "~",
            Self::NotEquivalent => "!~",
            Self::In => "in",
            Self::Contains => "contains",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Implies => "implies",
        }
    }

    /// How tightly it binds: larger is tighter (section "Operator Precedence" of FHIRPath).
    pub(super) fn strength(self) -> u8 {
        match self {
            Self::Multiply | Self::Divide | Self::Div | Self::Mod => 9,
            Self::Plus | Self::Minus | Self::Concatenate => 8,
            Self::Union => 6,
            Self::Less | Self::Greater | Self::LessOrEqual | Self::GreaterOrEqual => 5,
            Self::Equal | Self::NotEqual | Self::Equivalent | Self::NotEquivalent => 4,
            Self::In | Self::Contains => 3,
            Self::And => 2,
            Self::Or | Self::Xor => 1,
            Self::Implies => 0,
        }
    }
}

/// Of `is` and `as`, between `+` and `|`.
pub(super) const TYPE_STRENGTH: u8 = 7;

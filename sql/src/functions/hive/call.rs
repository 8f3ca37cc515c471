use std::{fmt, hash};

use arrow::{array::ArrayRef, datatypes::DataType};
use datafusion::{
    common::{DataFusionError, Result, plan_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
    scalar::ScalarValue,
};

use crate::Error;

/// What a function takes in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Takes {
    Text,
    Whole,
    /// A number that is whole by its type: a fraction would be cut off unseen.
    Integer,
    /// Whole and decimal numbers as they are, everything else as a double.
    Number,
    /// A date, a time stamp, or the text of one: read value by value, what cannot be read is NULL.
    Moment,
    /// Text or bytes.
    Bytes,
    /// A list or a map; of text where [`Takes::Text`] is expected of its items.
    List,
    Anything,
}

/// A mistake of the statement, told as it is: the message holds no value of a row.
pub(super) fn mistake<T>(message: impl Into<String>) -> Result<T> {
    Err(DataFusionError::External(Box::new(Error::Value { message: message.into() })))
}

type Body = fn(&[ArrayRef], usize) -> Result<ArrayRef>;

/// A function given by what it takes and a body over arrays of one length.
#[derive(Clone)]
pub(super) struct Call {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    takes: &'static [Takes],
    /// Of `takes`, how many must be given.
    needed: usize,
    /// Whether the last of `takes` may come any number of times.
    many: bool,
    returns: DataType,
    body: Body,
}

fn no_body(_: &[ArrayRef], _: usize) -> Result<ArrayRef> {
    plan_err!("a function has no body")
}

impl Call {
    pub(super) fn new(name: &'static str, volatility: Volatility) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            signature: Signature::user_defined(volatility),
            takes: &[],
            needed: 0,
            many: false,
            returns: DataType::Null,
            body: no_body,
        }
    }

    pub(super) fn alias(mut self, names: &[&str]) -> Self {
        self.aliases.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// What stands in each place; of these the first `needed` must be given.
    pub(super) fn takes(mut self, takes: &'static [Takes], needed: usize) -> Self {
        (self.takes, self.needed) = (takes, needed);
        self
    }

    pub(super) fn many(mut self) -> Self {
        self.many = true;
        self
    }

    pub(super) fn gives(mut self, returns: DataType, body: Body) -> Self {
        (self.returns, self.body) = (returns, body);
        self
    }

    fn place(&self, at: usize) -> Option<Takes> {
        self.takes.get(at).or_else(|| self.takes.last().filter(|_| self.many)).copied()
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Call {}

impl hash::Hash for Call {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let most = if self.many { usize::MAX } else { self.takes.len() };
        if given.len() < self.needed || given.len() > most {
            let wanted = match (self.needed, self.takes.len()) {
                (least, _) if self.many => format!("at least {least}"),
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            return plan_err!("{} takes {wanted} arguments, not {}", self.name, given.len());
        }
        given.iter().enumerate().map(|(at, given)| self.coerced(at, given)).collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let answer = (self.body)(&arrays, rows)?;
        if constant && !args.args.is_empty() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?));
        }
        Ok(ColumnarValue::Array(if constant { (self.body)(&arrays, args.number_rows)? } else { answer }))
    }
}

impl Call {
    fn coerced(&self, at: usize, given: &DataType) -> Result<DataType> {
        let refuse = |what: &str| plan_err!("{} takes {what} as argument {}, not {given}", self.name, at + 1);
        match (self.place(at), given) {
            (
                Some(Takes::Text | Takes::Bytes),
                DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..),
            ) => refuse("text"),
            (Some(Takes::Bytes), DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => {
                Ok(DataType::Binary)
            }
            (Some(Takes::Text | Takes::Bytes), _) => Ok(DataType::Utf8),
            (Some(Takes::Whole), given) if given.is_integer() || *given == DataType::Null => Ok(DataType::Int64),
            (Some(Takes::Whole), given) if given.is_numeric() || given.is_string() => Ok(DataType::Int64),
            (Some(Takes::Whole), _) => refuse("a whole number"),
            (Some(Takes::Integer), given) if given.is_integer() || *given == DataType::Null => Ok(DataType::Int64),
            (Some(Takes::Integer), _) => refuse("a whole number (of a type without fractions)"),
            (Some(Takes::Number), given) if given.is_integer() || given.is_decimal() => Ok(given.clone()),
            (Some(Takes::Number), given) if given.is_numeric() || given.is_null() || given.is_string() => {
                Ok(DataType::Float64)
            }
            (Some(Takes::Number), _) => refuse("a number"),
            (Some(Takes::Moment), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null) => {
                Ok(DataType::Utf8)
            }
            (Some(Takes::Moment), DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)) => Ok(given.clone()),
            (Some(Takes::Moment), _) => refuse("a date, a time stamp or their text"),
            (Some(Takes::List), DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) | DataType::Null) => {
                Ok(given.clone())
            }
            (Some(Takes::List), _) => refuse("a list or a map"),
            (Some(Takes::Anything), DataType::Utf8View) => Ok(DataType::Utf8),
            (Some(Takes::Anything) | None, _) => Ok(given.clone()),
        }
    }
}

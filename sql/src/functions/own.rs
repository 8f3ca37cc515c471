use std::{fmt, hash, sync::Arc};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, FieldRef, TimeUnit},
};
use datafusion::{
    common::{DataFusionError, Result, ScalarValue, internal_err, plan_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

use crate::Error;

/// The key under which the field of a text says that it is JSON, which is not to be quoted within other JSON.
const JSON: &str = "mavis.json";

type Takes = fn(&[DataType]) -> Option<Vec<DataType>>;
type Gives = fn(&[DataType]) -> DataType;
type Body = fn(&[Given], usize) -> Result<ArrayRef>;

/// A value that a function is called with, for each row, and whether it is JSON.
pub(super) struct Given {
    pub(super) array: ArrayRef,
    pub(super) is_json: bool,
}

/// A function of PostgreSQL: what its values become, what it gives, and a body over arrays of one length.
pub(super) struct Own {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    takes: Takes,
    gives: Gives,
    is_json: bool,
    body: Body,
}

impl Own {
    /// `takes` says what values of these types become, and nothing where there is no such function.
    pub(super) fn new(name: &'static str, takes: Takes, gives: Gives, body: Body) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { name, aliases: Vec::new(), signature, takes, gives, is_json: false, body }
    }

    pub(super) fn alias(mut self, names: &[&str]) -> Self {
        self.aliases = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Gives JSON.
    pub(super) fn json(mut self) -> Self {
        self.is_json = true;
        self
    }

    /// Gives another value whenever it is asked, for each row.
    pub(super) fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    pub(super) fn made(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }
}

/// A mistake of the statement, told as it is: the message holds no value of a row.
pub(super) fn mistake<T>(message: &str) -> Result<T> {
    Err(DataFusionError::External(Box::new(Error::Value { message: message.to_owned() })))
}

/// A value by its place.
pub(super) fn given(all: &[Given], place: usize) -> Result<&ArrayRef> {
    match all.get(place) {
        Some(given) => Ok(&given.array),
        None => internal_err!("a function was called with too few values"),
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    data_type.is_string() || data_type.is_null()
}

/// What texts and what is nothing by itself become.
pub(super) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Dictionary(_, value) => plain(value),
        other => other.clone(),
    }
}

/// A time in the zone that all are in: those with one are UTC.
pub(super) const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

pub(super) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Own {}

impl hash::Hash for Own {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ScalarUDFImpl for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok((self.gives)(types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = Field::new(self.name, (self.gives)(&types), true);
        let told = self.is_json.then(|| (JSON.to_owned(), "1".to_owned()));
        Ok(Arc::new(field.with_metadata(told.into_iter().collect())))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.takes)(types) {
            Some(types) => Ok(types),
            None => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                plan_err!("there is no {}({})", self.name, types.join(", "))
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_volatile = self.signature.volatility == Volatility::Volatile;
        let one = !is_volatile && args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { args.number_rows };
        let values = args.args.into_iter().zip(&args.arg_fields).map(|(value, field)| {
            Ok(Given { array: value.into_array(rows)?, is_json: field.metadata().contains_key(JSON) })
        });
        let array = (self.body)(&values.collect::<Result<Vec<_>>>()?, rows)?;
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

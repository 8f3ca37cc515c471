//! Functions that go by nanoseconds, and make null of times beyond: a time that they do not reach is refused.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    buffer::NullBuffer,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        sort_properties::{ExprProperties, SortProperties},
    },
};

use crate::Error;

/// `function`, which gives null for null only.
pub(super) fn honest(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Honest { inner: function }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Honest {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Honest {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut given: Vec<ArrayRef> = Vec::new();
        for arg in &args.args {
            match arg {
                // Nothing comes of nothing.
                ColumnarValue::Scalar(value) if value.is_null() => return self.inner.invoke_with_args(args),
                ColumnarValue::Scalar(_) => {}
                ColumnarValue::Array(values) => given.push(Arc::clone(values)),
            }
        }
        let answer = self.inner.invoke_with_args(args)?;
        let lost = match &answer {
            ColumnarValue::Scalar(value) => value.is_null() && given.iter().all(|values| values.null_count() == 0),
            ColumnarValue::Array(values) if values.null_count() == 0 => false,
            ColumnarValue::Array(values) => {
                let nulls = given
                    .iter()
                    .fold(None, |nulls, values| NullBuffer::union(nulls.as_ref(), values.logical_nulls().as_ref()));
                values.null_count() > nulls.as_ref().map_or(0, NullBuffer::null_count)
            }
        };
        if lost {
            let message = format!("{}() knows times of the years 1678 to 2261 only", self.name());
            return Err(DataFusionError::External(Box::new(Error::Value { message })));
        }
        Ok(answer)
    }
}

use std::sync::Arc;

use arrow::{
    array::{Array, StringArray, StringBuilder},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{Result, exec_err, plan_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};
use mavis_types::SourceId;

use super::canonical_text;
use crate::{ResourceType, resource_id};

/// `reference(type, key...)` and `fhir_id(type, key...)`; `type` is a literal, a null key part gives null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reference {
    source: SourceId,
    /// `Type/id` rather than the id alone.
    with_type: bool,
    signature: Signature,
}

pub(super) fn functions(source: SourceId) -> Vec<ScalarUDF> {
    [true, false]
        .into_iter()
        .map(|with_type| {
            let signature = Signature::variadic_any(Volatility::Immutable);
            ScalarUDF::new_from_impl(Reference { source, with_type, signature })
        })
        .collect()
}

impl ScalarUDFImpl for Reference {
    fn name(&self) -> &str {
        if self.with_type { "reference" } else { "fhir_id" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if args.arg_fields.len() < 2 {
            return plan_err!("{} takes a resource type and at least one key part", self.name());
        }
        let Some(Some(name)) =
            args.scalar_arguments.first().map(|name| name.and_then(|name| name.try_as_str().flatten()))
        else {
            return plan_err!("{}: the first argument is a resource type, written as a text literal", self.name());
        };
        if let Err(error) = name.parse::<ResourceType>() {
            return plan_err!("{}: {error}", self.name());
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((ColumnarValue::Scalar(name), keys)) = args.args.split_first() else {
            return exec_err!("{}: the resource type is not a literal", self.name());
        };
        let resource = match name.try_as_str().flatten().unwrap_or_default().parse::<ResourceType>() {
            Ok(resource) => resource,
            Err(error) => return exec_err!("{}: {error}", self.name()),
        };
        let mut columns: Vec<StringArray> = Vec::with_capacity(keys.len());
        for key in keys {
            match canonical_text(&key.to_array(args.number_rows)?) {
                Ok(texts) => columns.push(texts),
                Err(error) => return exec_err!("{}: {error}", self.name()),
            }
        }
        let mut out = StringBuilder::with_capacity(args.number_rows, args.number_rows * 48);
        let mut parts: Vec<&str> = Vec::with_capacity(columns.len());
        for row in 0..args.number_rows {
            if columns.iter().any(|column| column.is_null(row)) {
                out.append_null();
                continue;
            }
            parts.clear();
            parts.extend(columns.iter().map(|column| column.value(row)));
            let id = resource_id(self.source, resource, &parts);
            if self.with_type {
                out.append_value(format!("{}/{id}", resource.name()));
            } else {
                out.append_value(id);
            }
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

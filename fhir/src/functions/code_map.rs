use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, StringBuilder},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{Result, exec_err, plan_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

use super::{Code, CodeMaps, UnknownCodes, canonical_text};

/// What of the target is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Code,
    System,
    Display,
}

/// `code_map(name, code)` and its siblings; `name` is a literal.
#[derive(Debug)]
struct CodeMap {
    part: Part,
    maps: Arc<CodeMaps>,
    unknown: Arc<UnknownCodes>,
    signature: Signature,
}

pub(super) fn functions(maps: &Arc<CodeMaps>, unknown: &Arc<UnknownCodes>) -> Vec<ScalarUDF> {
    [Part::Code, Part::System, Part::Display]
        .into_iter()
        .map(|part| {
            ScalarUDF::new_from_impl(CodeMap {
                part,
                maps: Arc::clone(maps),
                unknown: Arc::clone(unknown),
                signature: Signature::any(2, Volatility::Immutable),
            })
        })
        .collect()
}

// Two functions are the same when they look into the same maps and count in the same place.
impl PartialEq for CodeMap {
    fn eq(&self, other: &Self) -> bool {
        self.part == other.part && Arc::ptr_eq(&self.maps, &other.maps) && Arc::ptr_eq(&self.unknown, &other.unknown)
    }
}

impl Eq for CodeMap {}

impl Hash for CodeMap {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.part.hash(state);
        Arc::as_ptr(&self.maps).hash(state);
    }
}

impl ScalarUDFImpl for CodeMap {
    fn name(&self) -> &str {
        match self.part {
            Part::Code => "code_map",
            Part::System => "code_system",
            Part::Display => "code_display",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(Some(name)) =
            args.scalar_arguments.first().map(|name| name.and_then(|name| name.try_as_str().flatten()))
        else {
            return plan_err!(
                "{}: the first argument is the name of a code map, written as a text literal",
                self.name()
            );
        };
        if !self.maps.contains_key(name) {
            let mut known: Vec<&str> = self.maps.keys().map(String::as_str).collect();
            known.sort_unstable();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            return plan_err!("{}: there is no code map `{name}`: {known}", self.name());
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [name, codes] = args.args.as_slice() else {
            return exec_err!("{} takes the name of a code map and a code", self.name());
        };
        let ColumnarValue::Scalar(name) = name else {
            return exec_err!("{}: the name of the code map is not a literal", self.name());
        };
        let name = name.try_as_str().flatten().unwrap_or_default();
        let Some(map) = self.maps.get(name) else {
            return exec_err!("{}: there is no code map `{name}`", self.name());
        };
        let codes = match canonical_text(&codes.to_array(args.number_rows)?) {
            Ok(codes) => codes,
            Err(error) => return exec_err!("{}: {error}", self.name()),
        };
        let mut out = StringBuilder::with_capacity(codes.len(), codes.len() * 8);
        let mut missing = 0;
        for code in &codes {
            let target = code.and_then(|code| map.get(code).or_else(|| map.get(code.trim())));
            missing += u64::from(code.is_some() && target.is_none());
            out.append_option(target.and_then(|target| self.part.of(target)));
        }
        if self.part == Part::Code {
            self.unknown.add(name, missing);
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

impl Part {
    fn of(self, code: &Code) -> Option<&str> {
        match self {
            Part::Code => Some(&code.code),
            Part::System => code.system.as_deref(),
            Part::Display => code.display.as_deref(),
        }
    }
}

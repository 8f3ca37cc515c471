//! Functions that PostgreSQL's clients call about catalogs. Those that ask who is asking, or what a number means, are made
//! for each statement: a number means something only to whoever may see what has it.

use std::{fmt, hash, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder,
        StructArray, UInt32Array,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Int64Type},
};
use datafusion::{
    common::{Result, ScalarValue, exec_datafusion_err, plan_err},
    execution::{FunctionRegistry, SessionState},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};
use mavis_catalog::{Catalog, Numbered};
use mavis_types::{Principal, Zone};

use super::{
    Postgres,
    moment::{BEYOND, beyond, out_of_range},
    path::parts_of,
    pattern, series,
    unknown::Beside,
    zone,
};
use crate::{Error, Session, system, views};

/// What a function takes in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Number,
    Text,
    Numbers,
}

impl Takes {
    fn data_type(self) -> DataType {
        match self {
            Takes::Number => DataType::Int64,
            Takes::Text => DataType::Utf8,
            Takes::Numbers => DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
        }
    }
}

type Body = Arc<dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync>;

/// A function given by what it takes, what it gives, and a body over arrays of one length.
struct Call {
    name: &'static str,
    takes: &'static [Takes],
    /// Of `takes`, how many must be given.
    needed: usize,
    gives: DataType,
    signature: Signature,
    body: Body,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
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

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.len() < self.needed || given.len() > self.takes.len().max(self.needed) + 1 {
            return plan_err!("{} takes {} values", self.name, self.takes.len());
        }
        let takes = |at: usize| self.takes.get(at).map_or(DataType::Utf8, |takes| takes.data_type());
        Ok((0..given.len()).map(takes).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let one = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let length = if one { 1 } else { rows };
        let arrays = args.args.into_iter().map(|value| value.into_array(length)).collect::<Result<Vec<_>>>()?;
        let array = (self.body)(&arrays, length)?;
        Ok(if one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

pub(super) fn made(
    name: &'static str,
    takes: &'static [Takes],
    needed: usize,
    gives: DataType,
    volatility: Volatility,
    body: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(volatility);
    Arc::new(ScalarUDF::new_from_impl(Call { name, takes, needed, gives, signature, body: Arc::new(body) }))
}

/// A text for each row's first value, a number.
fn text_of_number(array: &ArrayRef, tell: impl Fn(u32) -> Option<String>) -> ArrayRef {
    let numbers = array.as_primitive::<Int64Type>();
    let texts: StringArray = numbers.iter().map(|number| u32::try_from(number?).ok().and_then(&tell)).collect();
    Arc::new(texts)
}

fn text_of_text(array: &ArrayRef, tell: impl Fn(&str) -> Option<String>) -> ArrayRef {
    let texts: StringArray = array.as_string::<i32>().iter().map(|text| text.and_then(&tell)).collect();
    Arc::new(texts)
}

fn number_of_text(array: &ArrayRef, tell: impl Fn(&str) -> Option<u32>) -> ArrayRef {
    let numbers: UInt32Array = array.as_string::<i32>().iter().map(|text| text.and_then(&tell)).collect();
    Arc::new(numbers)
}

fn first(arrays: &[ArrayRef]) -> Result<&ArrayRef> {
    arrays.first().ok_or_else(|| exec_datafusion_err!("a function has no values"))
}

/// Functions that tell the same to everybody.
pub(crate) fn shared() -> Vec<Arc<ScalarUDF>> {
    use Takes::{Number, Numbers, Text};
    let steady = Volatility::Immutable;
    let mut all = vec![
        made("format_type", &[Number, Number], 1, DataType::Utf8, steady, |arrays, _| {
            let numbers = first(arrays)?.as_primitive::<Int64Type>();
            let modifiers = arrays.get(1).map(|array| array.as_primitive::<Int64Type>().clone());
            let texts: StringArray = (0..numbers.len())
                .map(|row| {
                    let oid = (!numbers.is_null(row)).then(|| u32::try_from(numbers.value(row)).unwrap_or_default())?;
                    let modifier = modifiers.as_ref().filter(|own| !own.is_null(row)).map(|own| own.value(row));
                    Some(system::format(oid, modifier))
                })
                .collect();
            Ok(Arc::new(texts))
        }),
        made("quote_ident", &[Text], 1, DataType::Utf8, steady, |arrays, _| {
            Ok(text_of_text(first(arrays)?, |name| Some(quoted(name))))
        }),
        made("quote_literal", &[Text], 1, DataType::Utf8, steady, |arrays, _| {
            Ok(text_of_text(first(arrays)?, |text| Some(format!("'{}'", text.replace('\'', "''")))))
        }),
        made("format", &[Text; 8], 1, DataType::Utf8, steady, |arrays, rows| {
            let texts: Vec<_> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
            let values = |row: usize| texts.iter().map(move |array| array.is_valid(row).then(|| array.value(row)));
            let put: StringArray = (0..rows).map(|row| formatted(&values(row).collect::<Vec<_>>())).collect();
            Ok(Arc::new(put))
        }),
        made("pg_size_pretty", &[Number], 1, DataType::Utf8, steady, |arrays, _| {
            let numbers = first(arrays)?.as_primitive::<Int64Type>();
            let texts: StringArray = numbers.iter().map(|bytes| bytes.map(|bytes| format!("{bytes} bytes"))).collect();
            Ok(Arc::new(texts))
        }),
        made("regtype_in", &[Text], 1, DataType::UInt32, steady, |arrays, _| {
            Ok(number_of_text(first(arrays)?, system::by_name))
        }),
        made("regproc_out", &[Number], 1, DataType::Utf8, steady, |arrays, _| {
            Ok(text_of_number(first(arrays)?, |number| Some(system::procedure_of_number(number))))
        }),
        made("parse_ident", &[Text], 1, texts(), steady, |arrays, _| {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for text in first(arrays)?.as_string::<i32>() {
                match text.and_then(parts_of) {
                    Some(parts) => lists.append_value(parts.into_iter().map(Some)),
                    None => lists.append_null(),
                }
            }
            Ok(Arc::new(lists.finish()))
        }),
        made(BEYOND, &[Text], 1, DataType::Utf8, steady, |arrays, _| {
            let text = first(arrays)?.as_string::<i32>().iter().flatten().find_map(out_of_range);
            Err(beyond(text.unwrap_or("a time is out of range")))
        }),
        made("pg_expandarray__", &[Numbers], 1, pairs(), steady, |arrays, _| expanded(first(arrays)?)),
    ];
    all.extend(pattern::functions());
    all.push(zone::function());
    all
}

/// The first text with the others in the places of `%s`, `%I` and `%L`.
fn formatted(texts: &[Option<&str>]) -> Option<String> {
    let (pattern, values) = texts.split_first()?;
    let mut values = values.iter();
    let mut put = String::new();
    let mut letters = (*pattern)?.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            put.push(letter);
            continue;
        }
        match letters.next()? {
            's' => put.push_str(values.next()?.unwrap_or_default()),
            'I' => put.push_str(&quoted(values.next().copied()??)),
            'L' => match values.next()? {
                Some(text) => put.push_str(&format!("'{}'", text.replace('\'', "''"))),
                None => put.push_str("NULL"),
            },
            other => put.push(other),
        }
    }
    Some(put)
}

fn texts() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

fn pair() -> Fields {
    vec![Field::new("x", DataType::Int64, true), Field::new("n", DataType::Int64, true)].into()
}

fn pairs() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(pair()), true)))
}

/// Each item of a list with its place, from 1.
fn expanded(lists: &ArrayRef) -> Result<ArrayRef> {
    let lists = lists.as_list::<i32>();
    let (mut items, mut places, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for list in lists.iter() {
        let list = list.map(|list| list.as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).unwrap_or_default();
        lengths.push(list.len());
        places.extend((1..).take(list.len()));
        items.extend(list);
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(items)), Arc::new(Int64Array::from(places))];
    let values = StructArray::try_new(pair(), columns, None)?;
    let field = Arc::new(Field::new_list_field(DataType::Struct(pair()), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(values), lists.nulls().cloned())?))
}

/// Who asks, for functions whose answer depends on that.
struct Asker {
    catalog: Catalog,
    principal: Principal,
    own: Postgres,
}

impl Asker {
    fn zone(&self) -> Option<Zone> {
        self.own.database.parse().ok()
    }

    /// The schema and the name of a table by its number, if it is of this database and may be seen.
    fn table(&self, oid: u32) -> Option<(String, String)> {
        if let Some((schema, table)) = system::own_of_number(oid) {
            return Some((schema.to_owned(), table.to_owned()));
        }
        let (numbered, part) = self.catalog.numbered(oid)?;
        let name = numbered.table_name().filter(|name| Some(name.zone) == self.zone())?;
        if !self.sees(&numbered) {
            return None;
        }
        Some((name.schema, if part == 1 { format!("{}_pkey", name.table) } else { name.table }))
    }

    /// Views are numbered only for those who see them, by a listing that asked first.
    fn sees(&self, numbered: &Numbered) -> bool {
        match numbered.table_name() {
            Some(name) if name.zone == Zone::Fhir && name.schema == views::SCHEMA => {
                self.principal.may_read_schema(Zone::Fhir, "r4")
            }
            Some(name) => self.principal.may_read(&name),
            None => self.principal.may_read_schema(numbered.zone, &numbered.schema),
        }
    }

    fn in_path(&self, schema: &str) -> bool {
        schema == system::PG_CATALOG || self.own.path.iter().any(|own| own == schema)
    }

    /// The name that a table is shown by: with its schema where that is not in the search path.
    fn shown(&self, oid: u32) -> Option<String> {
        match self.table(oid) {
            Some((schema, table)) if self.in_path(&schema) => Some(quoted(&table)),
            Some((schema, table)) => Some(format!("{}.{}", quoted(&schema), quoted(&table))),
            None => Some(if oid == 0 { "-".to_owned() } else { oid.to_string() }),
        }
    }

    fn number_of(&self, text: &str) -> Option<u32> {
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        let parts = parts_of(text)?;
        let schemas: Vec<&str> = match parts.as_slice() {
            [_] => std::iter::once(system::PG_CATALOG).chain(self.own.path.iter().map(String::as_str)).collect(),
            [.., schema, _] => vec![schema],
            [] => Vec::new(),
        };
        let table = parts.last()?;
        schemas.into_iter().find_map(|schema| {
            system::number_of_own(schema, table).or_else(|| {
                let name = Numbered { zone: self.zone()?, schema: schema.to_owned(), table: Some(table.clone()) };
                self.catalog.number_of(&name).filter(|_| self.sees(&name))
            })
        })
    }

    fn schema(&self, oid: u32) -> Option<String> {
        match oid {
            11 => Some(system::PG_CATALOG.to_owned()),
            13_000 => Some(system::INFORMATION.to_owned()),
            oid => {
                let (numbered, _) = self.catalog.numbered(oid)?;
                let own = Some(numbered.zone) == self.zone() && numbered.table.is_none() && self.sees(&numbered);
                own.then(|| numbered.schema.clone())
            }
        }
    }

    fn number_of_schema(&self, text: &str) -> Option<u32> {
        match text.trim_matches('"') {
            system::PG_CATALOG => Some(11),
            system::INFORMATION => Some(13_000),
            schema => {
                let zone = self.zone().filter(|zone| self.principal.may_read_schema(*zone, schema))?;
                Some(self.catalog.number(zone, schema, None))
            }
        }
    }
}

/// Adds the functions that ask who is asking to the state of one statement, and what is read otherwise in PostgreSQL.
///
/// # Errors
/// [`Error::Execution`] when a function cannot be registered.
pub(crate) fn register(session: &Session, own: &Postgres, state: &mut SessionState) -> std::result::Result<(), Error> {
    use Takes::{Number, Text};
    let asker = Arc::new(Asker {
        catalog: session.catalog().clone(),
        principal: session.principal().clone(),
        own: own.clone(),
    });
    let told = |name: &'static str, tell: fn(&Asker, u32) -> Option<String>| {
        let asker = Arc::clone(&asker);
        made(name, &[Number], 1, DataType::Utf8, Volatility::Stable, move |arrays, _| {
            Ok(text_of_number(first(arrays)?, |oid| tell(&asker, oid)))
        })
    };
    let numbered = |name: &'static str, tell: fn(&Asker, &str) -> Option<u32>| {
        let asker = Arc::clone(&asker);
        made(name, &[Text], 1, DataType::UInt32, Volatility::Stable, move |arrays, _| {
            Ok(number_of_text(first(arrays)?, |text| tell(&asker, text)))
        })
    };
    let visible = {
        let asker = Arc::clone(&asker);
        made("pg_table_is_visible", &[Number], 1, DataType::Boolean, Volatility::Stable, move |arrays, _| {
            let numbers = first(arrays)?.as_primitive::<Int64Type>();
            let seen = numbers.iter().map(|number| {
                let table = u32::try_from(number?).ok().and_then(|oid| asker.table(oid));
                Some(table.is_some_and(|(schema, _)| asker.in_path(&schema)))
            });
            Ok(Arc::new(seen.collect::<BooleanArray>()))
        })
    };
    let setting = {
        let asker = Arc::clone(&asker);
        made("current_setting", &[Text], 1, DataType::Utf8, Volatility::Stable, move |arrays, _| {
            Ok(text_of_text(first(arrays)?, |wanted| {
                let found = asker.own.settings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.clone())
            }))
        })
    };
    let all = [
        visible,
        setting,
        told("regclass_out", Asker::shown),
        told("regnamespace_out", |asker, oid| asker.schema(oid).or_else(|| Some(oid.to_string()))),
        told("pg_get_userbyid", |asker, oid| {
            Some(match oid {
                oid if oid == system::OWNER.0 => system::OWNER.1.to_owned(),
                oid if oid == system::USER_OID => asker.principal.name.clone(),
                oid => format!("unknown (OID={oid})"),
            })
        }),
        numbered("regclass_in", Asker::number_of),
        numbered("regnamespace_in", Asker::number_of_schema),
    ];
    let series = state.scalar_functions().get(series::SERIES).cloned().map(series::typed);
    for function in all.into_iter().chain(series) {
        state.register_udf(function).map_err(|error| crate::fault::planning(&error))?;
    }
    state.register_expr_planner(Arc::new(Beside)).map_err(|error| crate::fault::planning(&error))
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

//! Random resources of any type, made from the definitions: they are valid, come back as they were, and every value stands
//! in its column.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{Float64Type, Int32Type, TimestampMicrosecondType},
};
use chrono::DateTime;
use mavis_fhir::{
    ResourceType,
    definitions::{self, Element, Primitive, TypeId},
    json::{self, Value},
    shape::{self, Encoder, Meta},
    temporal, validate,
};
use proptest::prelude::*;

use crate::generate::{Chance, resource};

/// Whether an element is in the JSON only.
fn is_hidden(element: &Element) -> bool {
    ["Narrative", "Resource", "xhtml"].contains(&element.type_id.name())
}

/// Whether a value holds something that becomes a column.
fn has_leaf(element: &Element, value: &Value<'_>, depth: usize) -> bool {
    let inner = |value: &Value<'_>| {
        value.members().any(|(name, value)| {
            definitions::element(element.type_id, name).is_some_and(|element| has_leaf(element, value, depth + 1))
        })
    };
    let is_leaf = element.type_id.primitive().is_some();
    depth <= shape::MAX_DEPTH && !is_hidden(element) && (is_leaf || inner(value) || value.items().any(inner))
}

/// Compares an object with its columns: what is there, and that nothing else is.
fn compare(type_id: TypeId, value: &Value<'_>, columns: &[(&str, &ArrayRef)], row: usize, path: &str) {
    for element in definitions::elements(type_id) {
        let path = format!("{path}.{}", element.name);
        let column = columns.iter().find(|(name, _)| *name == element.name).map(|(_, column)| *column);
        let companion = |what: &str| {
            let name = format!("{}__{what}", element.name);
            columns.iter().find(|(column, _)| *column == name).map(|(_, column)| *column)
        };
        let own_id = path.matches('.').count() == 1 && ["id", "resource"].contains(&element.name);
        match value.get(element.name) {
            None if own_id => {}
            None => assert!(column.is_none_or(|column| column.is_null(row)), "{path} should be null"),
            Some(_) if own_id => {}
            Some(value) => {
                if !has_leaf(element, value, path.matches('.').count()) {
                    assert!(column.is_none() || !is_hidden(element), "{path} should be no column");
                    continue;
                }
                let column = column.unwrap_or_else(|| panic!("{path} has no column"));
                let companions = ["text", "start", "end"].map(companion);
                if element.many {
                    let slice = |column: &ArrayRef| column.as_list::<i32>().value(row);
                    let items = slice(column);
                    let parts = companions.map(|column| column.map(slice));
                    assert_eq!(items.len(), value.items().count(), "{path}");
                    for (index, item) in value.items().enumerate() {
                        one(element.type_id, item, &items, parts.each_ref().map(Option::as_ref), index, &path);
                    }
                } else {
                    one(element.type_id, value, column, companions, row, &path);
                }
            }
        }
    }
}

fn one(
    type_id: TypeId,
    value: &Value<'_>,
    column: &ArrayRef,
    [text, start, end]: [Option<&ArrayRef>; 3],
    row: usize,
    path: &str,
) {
    assert!(column.is_valid(row), "{path} is null");
    let Some(primitive) = type_id.primitive() else {
        let column = column.as_struct();
        let columns: Vec<_> = column.column_names().into_iter().zip(column.columns()).collect();
        return compare(type_id, value, &columns, row, path);
    };
    match value {
        Value::Bool(value) => assert_eq!(column.as_boolean().value(row), *value, "{path}"),
        Value::Number(written) if primitive == Primitive::Decimal => {
            assert_eq!(column.as_primitive::<Float64Type>().value(row), written.parse::<f64>().unwrap(), "{path}");
            assert_eq!(text.unwrap().as_string::<i32>().value(row), *written, "{path}");
        }
        Value::Number(written) => {
            assert_eq!(column.as_primitive::<Int32Type>().value(row), written.parse::<i32>().unwrap(), "{path}");
        }
        Value::String(written) => {
            assert_eq!(column.as_string::<i32>().value(row), written.as_ref(), "{path}");
            if primitive.is_temporal() {
                let period = temporal::parse(written).unwrap();
                let at =
                    |column: Option<&ArrayRef>| column.unwrap().as_primitive::<TimestampMicrosecondType>().value(row);
                assert_eq!((at(start), at(end)), (period.start, period.end), "{path}");
            }
        }
        other => panic!("{path}: {}", other.kind()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_resource_is_valid_and_every_value_stands_in_its_column(type_number in 0_usize..147, seed in any::<u64>(), rows in 1_usize..6) {
        let resource_type = ResourceType::all().nth(type_number).unwrap();
        let mut chance = Chance(seed);
        let texts: Vec<_> = (0..rows).map(|_| resource(resource_type, &mut chance)).collect();
        let mut encoder = Encoder::new(resource_type, None);
        let mut values = Vec::new();
        for text in &texts {
            let value = json::parse(text.as_bytes()).unwrap();
            let mut issues = validate::validate(resource_type, &value);
            issues.retain(|issue| issue.message != "the object is empty");
            prop_assert!(issues.is_empty(), "{text}\n{issues:#?}");
            let written = value.to_json();
            prop_assert_eq!(&json::parse(written.as_bytes()).unwrap(), &value);
            let hash = shape::content_hash(&value);
            let meta = Meta { id: "x", version: 1, last_updated: DateTime::UNIX_EPOCH, source: "s", run: "r", hash };
            encoder.push(&value, text, &meta);
            values.push(value);
        }
        let batch = encoder.finish().unwrap();
        let schema = batch.schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns()).collect();
        for (row, value) in values.iter().enumerate() {
            compare(definitions::root(resource_type), value, &columns, row, resource_type.name());
        }
        // A second batch that knows the first one's columns has the same ones, whatever it holds.
        let mut second = Encoder::new(resource_type, Some(schema.clone()));
        let other = resource(resource_type, &mut chance);
        let value = json::parse(other.as_bytes()).unwrap();
        let meta = Meta { id: "y", version: 1, last_updated: DateTime::UNIX_EPOCH, source: "s", run: "r", hash: [0; 16] };
        second.push(&value, &other, &meta);
        let second = second.finish().unwrap();
        prop_assert_eq!(shape::union(&second.schema(), &schema), second.schema());
    }
}

//! Random resources of any type, made from the definitions: they are valid, come back as they were, and every value stands
//! in its column.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{Float64Type, Int32Type, TimestampMicrosecondType},
};
use chrono::DateTime;
use mavis_fhir::{
    ResourceType,
    definitions::{self, Element, Primitive, TypeId, TypeKind},
    json::{self, Value},
    shape::{self, Encoder, Meta},
    temporal, validate,
};
use proptest::prelude::*;

/// SplitMix64: enough to choose with, and a failing seed is one number.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % bound as u64).unwrap()
    }

    fn one<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// JSON text of a resource.
fn resource(resource: ResourceType, chance: &mut Chance) -> String {
    let members = members(definitions::root(resource), 1, chance);
    let rest = members.iter().map(|member| format!(",{member}")).collect::<String>();
    format!("{{\"resourceType\":\"{resource}\"{rest}}}")
}

/// Members of an object, in random order. `depth`: names down to them, their own included.
fn members(type_id: TypeId, depth: usize, chance: &mut Chance) -> Vec<String> {
    let elements = definitions::elements(type_id);
    let mut members = Vec::new();
    let mut choices = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let group = element.choice.unwrap_or(element.name);
        if choices.contains(&group) {
            continue;
        }
        // Of a choice, any of its types; whether it is wanted is asked of its first one.
        let alternatives: Vec<_> = elements[index..].iter().filter(|other| other.choice == Some(group)).collect();
        let element = if alternatives.is_empty() { element } else { alternatives[chance.below(alternatives.len())] };
        choices.push(group);
        let wanted = element.min > 0 || chance.below(elements.len() + 6) < 4;
        let goes_on = element.type_id.primitive().is_some() || depth < 6 || element.min > 0;
        if wanted && goes_on {
            members.push(format!("\"{}\":{}", element.name, content(element, depth, chance)));
        }
    }
    if members.is_empty()
        && let Some(element) = elements.iter().find(|element| element.type_id.primitive().is_some())
    {
        members.push(format!("\"{}\":{}", element.name, content(element, depth, chance)));
    }
    let turn = chance.below(members.len().max(1));
    members.rotate_left(turn);
    members
}

fn content(element: &Element, depth: usize, chance: &mut Chance) -> String {
    if !element.many {
        return value(element, depth, chance);
    }
    let values: Vec<_> = (0..=chance.below(2)).map(|_| value(element, depth, chance)).collect();
    format!("[{}]", values.join(", "))
}

fn value(element: &Element, depth: usize, chance: &mut Chance) -> String {
    match element.type_id.kind() {
        TypeKind::Primitive(primitive) => match element.required_codes {
            Some(codes) => format!("\"{}\"", chance.one(codes)),
            None => self::primitive(primitive, chance).to_owned(),
        },
        TypeKind::AnyResource | TypeKind::Resource(_) => {
            r#"{"resourceType":"Basic","id":"within","code":{"text":"inner"}}"#.to_owned()
        }
        TypeKind::Complex | TypeKind::Backbone if element.type_id.is_reference() => {
            let target = if element.targets.is_empty() { "Basic" } else { chance.one(element.targets) };
            let known = target.parse::<ResourceType>().map_or("Basic", ResourceType::name);
            format!("{{\"reference\":\"{known}/x{}\",\"display\":\"some one\"}}", chance.below(9))
        }
        TypeKind::Complex | TypeKind::Backbone => {
            let mut members = members(element.type_id, depth + 1, chance);
            if let Some(codes) = element.required_codes {
                members.retain(|member| !member.starts_with("\"code\"") && !member.starts_with("\"coding\""));
                let code = format!("\"code\":\"{}\"", chance.one(codes));
                let is_coding = element.type_id.name() == "Coding";
                members.push(if is_coding { code } else { format!("\"coding\":[{{{code}}}]") });
            }
            format!("{{{}}}", members.join(","))
        }
    }
}

fn primitive(primitive: Primitive, chance: &mut Chance) -> &'static str {
    let texts: &[&str] = match primitive {
        Primitive::Boolean => &["true", "false"],
        Primitive::Integer => &["-2147483648", "0", "2147483647"],
        Primitive::PositiveInt => &["1", "77"],
        Primitive::UnsignedInt => &["0", "77"],
        Primitive::Decimal => &["1.10", "-0.000", "1E-3", "123456789.123456789", "0.1e+2"],
        Primitive::Date => &["\"1999\"", "\"2000-02\"", "\"2000-02-29\""],
        Primitive::DateTime => &["\"1999-12\"", "\"2000-02-29T23:59:59+14:00\"", "\"2000-01-01T00:00:00.125Z\""],
        Primitive::Instant => &["\"2015-02-07T13:28:17.239+02:00\"", "\"2015-02-07T13:28:17Z\""],
        Primitive::Time => &["\"23:59:59\"", "\"00:00:00.5\""],
        Primitive::Code => &["\"a\"", "\"a b\""],
        Primitive::Id => &["\"x-1.2\""],
        Primitive::Uri | Primitive::Url | Primitive::Canonical => &["\"http://example.org/x|1\"", "\"urn:x\""],
        Primitive::Oid => &["\"urn:oid:1.2.36\""],
        Primitive::Uuid => &["\"urn:uuid:c757873d-ec9a-4326-a141-556f43239520\""],
        Primitive::Base64Binary => &["\"AAAA\"", "\"AAA=\""],
        Primitive::Xhtml => &["\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">x</div>\""],
        Primitive::String | Primitive::Markdown => &["\"é \\n \\\" \\u20ac 😀\"", "\"x\"", "\"null\""],
    };
    chance.one(texts)
}

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

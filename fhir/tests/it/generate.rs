//! Random resources, valid by the definitions.

use mavis_fhir::{
    ResourceType,
    definitions::{self, Element, Primitive, TypeId, TypeKind},
};

/// SplitMix64: enough to choose with, and a failing seed is one number.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
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
pub(crate) fn resource(resource: ResourceType, chance: &mut Chance) -> String {
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

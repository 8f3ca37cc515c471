//! Reads the committed tables. They are part of the program and its tests read all of them, so that a line that does not
//! fit cannot reach a user; such a line is passed over.

use std::collections::HashMap;

use super::{Component, Element, Lookup, ParameterKind, Primitive, ResourceType, SearchParameter, TypeId, TypeKind};

const TYPES: &str = include_str!("../../definitions/types.txt");
const CODES: &str = include_str!("../../definitions/codes.txt");
const SYSTEMS: &str = include_str!("../../definitions/systems.txt");
const SEARCH: &str = include_str!("../../definitions/search.txt");
const COMPARTMENT: &str = include_str!("../../definitions/compartment.txt");
const COMPARTMENTS: &str = include_str!("../../definitions/compartments.txt");

#[derive(Debug)]
pub(super) struct Definitions {
    pub(super) types: Vec<TypeDefinition>,
    pub(super) type_by_name: HashMap<&'static str, TypeId>,
    /// By name; a [`ResourceType`] is an index into it.
    pub(super) resources: Vec<ResourceDefinition>,
    pub(super) resource_by_name: HashMap<&'static str, ResourceType>,
    pub(super) reference: TypeId,
    pub(super) extension: TypeId,
}

#[derive(Debug)]
pub(super) struct TypeDefinition {
    pub(super) name: &'static str,
    pub(super) kind: TypeKind,
    pub(super) elements: Vec<Element>,
    pub(super) lookup: Lookup,
    /// Elements with a lower bound; of a choice the first one.
    pub(super) required: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct ResourceDefinition {
    pub(super) name: &'static str,
    pub(super) table: &'static str,
    pub(super) root: TypeId,
    pub(super) parameters: Vec<SearchParameter>,
    pub(super) compartment: Vec<&'static str>,
    /// Of others than a Patient: the type that a compartment is of, and the parameters that put a resource into it.
    pub(super) compartments: Vec<(&'static str, &'static [&'static str])>,
}

/// A type as it stands in the file, before names become ids.
struct Block {
    kind: &'static str,
    name: &'static str,
    base: Option<&'static str>,
    lines: Vec<&'static str>,
}

/// Codes and code systems of a value set.
type Codes = HashMap<&'static str, (&'static [&'static str], &'static [&'static str])>;

pub(super) fn load() -> Definitions {
    let blocks = blocks();
    let named = |text| lines(text).filter_map(|line| line.split_once(' ')).map(|(name, all)| (name, words(all, ' ')));
    let systems: HashMap<_, _> = named(SYSTEMS).collect();
    let codes: Codes =
        named(CODES).map(|(name, codes)| (name, (codes, systems.get(name).copied().unwrap_or_default()))).collect();
    let (mut types, resources) = declare(&blocks);
    let type_by_name: HashMap<_, _> =
        (0..).map(TypeId).zip(&types).map(|(id, definition)| (definition.name, id)).collect();
    let by_name: HashMap<_, _> = blocks.iter().map(|block| (block.name, block)).collect();
    for definition in &mut types {
        let mut elements = Vec::new();
        if definition.kind != TypeKind::AnyResource {
            gather(definition.name, &by_name, &type_by_name, &codes, &mut elements);
        }
        definition.lookup = Lookup::new(&elements);
        definition.required = required(&elements);
        definition.elements = elements;
    }
    let resource_by_name = (0..).map(ResourceType).zip(&resources).map(|(id, resource)| (resource.name, id)).collect();
    let id_of = |name| type_by_name.get(name).copied().unwrap_or(TypeId(0));
    let (reference, extension) = (id_of("Reference"), id_of("Extension"));
    Definitions { types, type_by_name, resources, resource_by_name, reference, extension }
}

fn required(elements: &[Element]) -> Vec<usize> {
    let bound = |index: &usize| {
        let one: &Element = &elements[*index];
        let is_first = !elements[..*index].iter().any(|other| one.choice.is_some() && other.choice == one.choice);
        one.min > 0 && is_first
    };
    (0..elements.len()).filter(bound).collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn words(text: &'static str, separator: char) -> &'static [&'static str] {
    let words: Vec<&'static str> = text.split(separator).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { &[] } else { Box::leak(words.into_boxed_slice()) }
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in lines(TYPES) {
        if let Some(element) = line.strip_prefix("  ") {
            if let Some(block) = blocks.last_mut() {
                block.lines.push(element);
            }
        } else if let Some((kind, rest)) = line.split_once(' ').filter(|(kind, _)| *kind != "primitive") {
            let (name, base) = rest.split_once(" < ").map_or((rest, None), |(name, base)| (name, Some(base)));
            blocks.push(Block { kind, name, base, lines: Vec::new() });
        }
    }
    blocks
}

/// Types without their elements (primitives first, in the order of [`Primitive::ALL`]), and resource types by name.
fn declare(blocks: &[Block]) -> (Vec<TypeDefinition>, Vec<ResourceDefinition>) {
    let declared = |name, kind| TypeDefinition {
        name,
        kind,
        elements: Vec::new(),
        lookup: Lookup::default(),
        required: Vec::new(),
    };
    let mut types: Vec<_> = Primitive::ALL
        .into_iter()
        .map(|primitive| declared(primitive.name(), TypeKind::Primitive(primitive)))
        .collect();
    let mut parameters = parameters();
    let compartment: HashMap<_, _> = lines(COMPARTMENT).filter_map(|line| line.split_once(' ')).collect();
    let mut compartments = compartments();
    let mut resources = Vec::new();
    // Types and resource types are far fewer than 65,536.
    let index = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    for block in blocks {
        let kind = match block.kind {
            "resource" => TypeKind::Resource(ResourceType(index(resources.len()))),
            "backbone" => TypeKind::Backbone,
            _ if block.name == "Resource" => TypeKind::AnyResource,
            _ => TypeKind::Complex,
        };
        if let TypeKind::Resource(_) = kind {
            let mut own: Vec<SearchParameter> = Vec::new();
            let is_domain = block.base == Some("DomainResource");
            for base in ["Resource", "DomainResource"].into_iter().take(if is_domain { 2 } else { 1 }) {
                own.extend(parameters.get(base).into_iter().flatten().cloned());
            }
            own.extend(parameters.remove(block.name).unwrap_or_default());
            own.sort_by_key(|parameter| parameter.code);
            resources.push(ResourceDefinition {
                name: block.name,
                table: Box::leak(block.name.to_ascii_lowercase().into_boxed_str()),
                root: TypeId(index(types.len())),
                parameters: own,
                compartment: compartment.get(block.name).map_or_else(Vec::new, |codes| codes.split(' ').collect()),
                compartments: compartments.remove(block.name).unwrap_or_default(),
            });
        }
        types.push(declared(block.name, kind));
    }
    (types, resources)
}

/// The elements of a type: those of its base first. An own element replaces one of the same name.
fn gather(
    name: &'static str,
    blocks: &HashMap<&'static str, &Block>,
    types: &HashMap<&'static str, TypeId>,
    codes: &Codes,
    into: &mut Vec<Element>,
) {
    let Some(block) = blocks.get(name) else { return };
    if let Some(base) = block.base {
        gather(base, blocks, types, codes, into);
    }
    for line in &block.lines {
        for element in element(line, types, codes) {
            match into.iter_mut().find(|known| known.name == element.name) {
                Some(known) => *known = element,
                None => into.push(element),
            }
        }
    }
}

/// The elements of one line: several where it is a choice.
fn element(line: &'static str, types: &HashMap<&'static str, TypeId>, codes: &Codes) -> Vec<Element> {
    let mut parts = line.split(' ');
    let (Some(name), Some((min, max))) = (parts.next(), parts.next().and_then(|range| range.split_once(".."))) else {
        return Vec::new();
    };
    let choice = name.strip_suffix("[x]");
    let one = |text: &'static str| {
        let type_name = text.find(['(', '{']).map_or(text, |end| &text[..end]);
        let between =
            |open, close| text.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map(|(inner, _)| inner);
        Some(Element {
            name: match choice {
                Some(group) => Box::leak(choice_name(group, type_name).into_boxed_str()),
                None => name,
            },
            type_id: types.get(type_name).copied()?,
            min: min.parse().ok()?,
            many: max == "*",
            choice,
            required_codes: between('{', '}').and_then(|set| codes.get(set)).map(|(codes, _)| *codes),
            systems: between('{', '}').and_then(|set| codes.get(set)).map_or(&[], |(_, systems)| *systems),
            targets: between('(', ')').map_or(&[], |targets| words(targets, ',')),
        })
    };
    parts.filter_map(one).collect()
}

/// `value` and `dateTime` make `valueDateTime`.
fn choice_name(group: &str, type_name: &str) -> String {
    let (first, rest) = type_name.split_at(type_name.len().min(1));
    format!("{group}{}{rest}", first.to_ascii_uppercase())
}

/// By resource type: the compartments that its resources may be in.
fn compartments() -> HashMap<&'static str, Vec<(&'static str, &'static [&'static str])>> {
    let mut compartments: HashMap<_, Vec<_>> = HashMap::new();
    let mut of = "";
    for line in lines(COMPARTMENTS) {
        match line.strip_prefix("  ").map(|line| line.split_once(' ')) {
            Some(Some((resource, codes))) => compartments.entry(resource).or_default().push((of, words(codes, ' '))),
            Some(None) => {}
            None => of = line,
        }
    }
    compartments
}

fn parameters() -> HashMap<&'static str, Vec<SearchParameter>> {
    let mut parameters: HashMap<_, Vec<_>> = HashMap::new();
    let mut base = "";
    for line in lines(SEARCH) {
        match line.strip_prefix("  ") {
            Some(line) => parameters.entry(base).or_default().extend(parameter(line)),
            None => base = line,
        }
    }
    parameters
}

fn parameter(line: &'static str) -> Option<SearchParameter> {
    let mut fields = line.split('\t');
    let (code, kind) = (fields.next()?, parameter_kind(fields.next()?)?);
    let expression = fields.next().unwrap_or_default();
    let targets = fields.next().map_or(&[][..], |targets| words(targets, ','));
    let components: Vec<Component> = fields.filter_map(component).collect();
    Some(SearchParameter { code, kind, expression, targets, components: Box::leak(components.into_boxed_slice()) })
}

fn component(text: &'static str) -> Option<Component> {
    let mut parts = text.splitn(3, ':');
    Some(Component { code: parts.next()?, kind: parameter_kind(parts.next()?)?, expression: parts.next()? })
}

fn parameter_kind(name: &str) -> Option<ParameterKind> {
    Some(match name {
        "number" => ParameterKind::Number,
        "date" => ParameterKind::Date,
        "string" => ParameterKind::String,
        "token" => ParameterKind::Token,
        "reference" => ParameterKind::Reference,
        "composite" => ParameterKind::Composite,
        "quantity" => ParameterKind::Quantity,
        "uri" => ParameterKind::Uri,
        "special" => ParameterKind::Special,
        _ => return None,
    })
}

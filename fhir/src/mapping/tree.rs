//! The paths of a mapping as the tree of the resource that they make.

use super::{Mapping, MappingProblem, PathStep, sql, text::nearest};
use crate::definitions::{self, Element, TypeId, TypeKind};

/// An object: the resource, a complex value or a backbone element.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) type_id: TypeId,
    /// As it stands in paths; empty for the resource.
    pub(super) path: String,
    /// In the order of the definitions.
    pub(super) members: Vec<Member>,
    /// Elements or choice groups that must be there.
    pub(super) required: Vec<Required>,
    /// Whether something below is more than a literal.
    pub(super) varies: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) element: &'static Element,
    place: usize,
    /// By index; one, of index 0, where the element does not repeat.
    pub(super) slots: Vec<(u32, Node)>,
}

#[derive(Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Object(Object),
}

#[derive(Debug)]
pub(super) struct Leaf {
    /// Index into the mapping's `set`.
    pub(super) index: usize,
    pub(super) varies: bool,
    /// Types that the text of a `reference` may point to; empty: any.
    pub(super) targets: &'static [&'static str],
}

#[derive(Debug)]
pub(super) struct Required {
    /// `status`, or `medication[x]` for a choice.
    pub(super) name: String,
    /// Indices into `members`.
    pub(super) members: Vec<usize>,
}

/// An element that is set: what a planned column is checked and written by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) element: &'static Element,
    pub(super) targets: &'static [&'static str],
}

/// The tree of a mapping, the element of each entry of `set`, and what is wrong with the paths.
pub(super) fn build(mapping: &Mapping) -> (Object, Vec<Option<Target>>, Vec<MappingProblem>) {
    let mut root = Object::new(definitions::root(mapping.resource), String::new());
    let mut targets = Vec::with_capacity(mapping.set.len());
    let mut problems = Vec::new();
    for (index, (path, expression)) in mapping.set.iter().enumerate() {
        let leaf = Leaf { index, varies: !sql::is_constant(expression), targets: &[] };
        match root.insert(&path.0, leaf, mapping) {
            Ok(target) => targets.push(Some(target)),
            Err(message) => {
                targets.push(None);
                problems.push(MappingProblem::new(path.to_string(), message));
            }
        }
    }
    root.finish();
    (root, targets, problems)
}

impl Object {
    fn new(type_id: TypeId, path: String) -> Self {
        Self { type_id, path, members: Vec::new(), required: Vec::new(), varies: false }
    }

    fn insert(&mut self, steps: &[PathStep], leaf: Leaf, mapping: &Mapping) -> Result<Target, String> {
        let Some((step, rest)) = steps.split_first() else { return Err("is no path".to_owned()) };
        if self.path.is_empty() && step.name == "id" {
            return Err("the id is made from `key` and cannot be set".to_owned());
        }
        let (place, element) = self.element(&step.name)?;
        if step.index.is_some() && !element.many {
            return Err(format!("`{}` does not repeat: write it without an index", step.name));
        }
        if let Some(other) = self.members.iter().find(|member| {
            member.element.choice.is_some() && member.element.choice == element.choice && member.place != place
        }) {
            let (one, two) = (other.element.name, element.name);
            return Err(format!("`{one}` and `{two}` are choices of one element: set only one of them"));
        }
        let index = step.index.unwrap_or(0);
        let member_index = match self.members.binary_search_by_key(&place, |member| member.place) {
            Ok(found) => found,
            Err(at) => {
                self.members.insert(at, Member { element, place, slots: Vec::new() });
                at
            }
        };
        let mut child_path = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
        child_path.push_str(element.name);
        if element.many {
            child_path.push_str(&format!("[{index}]"));
        }
        let slots = &mut self.members[member_index].slots;
        let found = slots.binary_search_by_key(&index, |(index, _)| *index);

        if element.type_id.primitive().is_some() {
            if !rest.is_empty() {
                return Err(format!("`{}` is a {} and has no elements", element.name, element.type_id));
            }
            return match found {
                Ok(at) => match &slots[at].1 {
                    Node::Leaf(first) => {
                        let first = &mapping.set[first.index].0;
                        Err(format!("is set twice: `{first}` is the same element"))
                    }
                    Node::Object(_) => Err("is set twice".to_owned()),
                },
                Err(at) => {
                    let targets = leaf.targets;
                    slots.insert(at, (index, Node::Leaf(leaf)));
                    Ok(Target { element, targets })
                }
            };
        }
        let reference = [PathStep { name: "reference".to_owned(), index: None }];
        let (rest, leaf) = match element.type_id.kind() {
            TypeKind::AnyResource | TypeKind::Resource(_) => {
                return Err(format!("`{}` holds whole resources, which a mapping cannot set", element.name));
            }
            _ if element.type_id.is_reference() => {
                let rest = if rest.is_empty() { &reference[..] } else { rest };
                let targets = if rest[0].name == "reference" { element.targets } else { &[] };
                (rest, Leaf { targets, ..leaf })
            }
            _ if rest.is_empty() => {
                let some: Vec<&str> = definitions::elements(element.type_id)
                    .iter()
                    .map(|element| element.name)
                    .filter(|name| !matches!(*name, "id" | "extension" | "modifierExtension"))
                    .take(6)
                    .collect();
                return Err(format!(
                    "`{}` is a {}: set its elements ({}, ...)",
                    element.name,
                    element.type_id,
                    some.join(", ")
                ));
            }
            _ => (rest, leaf),
        };
        let at = match found {
            Ok(at) => at,
            Err(at) => {
                slots.insert(at, (index, Node::Object(Object::new(element.type_id, child_path))));
                at
            }
        };
        match &mut slots[at].1 {
            Node::Object(object) => object.insert(rest, leaf, mapping),
            Node::Leaf(_) => Err("is set as a whole elsewhere".to_owned()),
        }
    }

    fn element(&self, name: &str) -> Result<(usize, &'static Element), String> {
        let elements = definitions::elements(self.type_id);
        if let Some(place) = definitions::element_index(self.type_id, name) {
            return Ok((place, &elements[place]));
        }
        let choices: Vec<&str> =
            elements.iter().filter(|element| element.choice == Some(name)).map(|element| element.name).collect();
        if !choices.is_empty() {
            return Err(format!("`{name}` is a choice of types: write one of {}", choices.join(", ")));
        }
        let near = nearest(name, elements.iter().map(|element| element.name));
        Err(format!("{} has no element `{name}`{near}", self.type_id))
    }

    /// Notes what is required and what varies, once every path is in.
    fn finish(&mut self) {
        let mut required: Vec<Required> = Vec::new();
        for element in definitions::elements(self.type_id).iter().filter(|element| element.min > 0) {
            let name = element.choice.map_or_else(|| element.name.to_owned(), |choice| format!("{choice}[x]"));
            if required.iter().any(|required| required.name == name) {
                continue;
            }
            let same = |member: &Member| match element.choice {
                Some(_) => member.element.choice == element.choice,
                None => member.element.name == element.name,
            };
            let members = (0..self.members.len()).filter(|index| same(&self.members[*index])).collect();
            required.push(Required { name, members });
        }
        self.required = required;
        for node in self.members.iter_mut().flat_map(|member| member.slots.iter_mut().map(|(_, node)| node)) {
            if let Node::Object(object) = node {
                object.finish();
            }
            self.varies |= node.varies();
        }
    }
}

impl Node {
    pub(super) fn varies(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.varies,
            Node::Object(object) => object.varies,
        }
    }
}

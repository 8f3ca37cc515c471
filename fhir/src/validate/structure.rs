//! The walk over a resource: which members may stand where, how often, and as what.

use std::borrow::Cow;

use super::{Issue, Severity, primitive, resource_type};
use crate::{
    ResourceType,
    bundle::relative_reference,
    definitions::{self, Element, TypeId, TypeKind},
    json::Value,
};

type Members<'v, 'a> = &'v [(Cow<'a, str>, Value<'a>)];

/// One validation on its way through a resource.
pub(super) struct Walk<'v> {
    root: ResourceType,
    steps: Vec<Step<'v>>,
    pub(super) issues: Vec<Issue>,
}

#[derive(Clone, Copy)]
enum Step<'v> {
    Member(&'v str),
    Item(usize),
}

impl<'v> Walk<'v> {
    pub(super) fn new(root: ResourceType) -> Self {
        Self { root, steps: Vec::with_capacity(16), issues: Vec::new() }
    }

    fn report(&mut self, severity: Severity, message: impl Into<String>) {
        let mut path = self.root.name().to_owned();
        for step in &self.steps {
            match step {
                Step::Member(name) => {
                    path.push('.');
                    path.push_str(if is_name(name) { name } else { "?" });
                }
                Step::Item(index) => path.push_str(&format!("[{index}]")),
            }
        }
        self.issues.push(Issue { severity, path, message: message.into() });
    }

    fn within(&mut self, step: Step<'v>, inner: impl FnOnce(&mut Self)) {
        self.steps.push(step);
        inner(self);
        self.steps.pop();
    }

    /// A resource whose type is known.
    pub(super) fn resource(&mut self, type_id: TypeId, value: &'v Value<'_>) {
        match value {
            Value::Object(members) => self.object(type_id, members, true),
            other => self.report(Severity::Error, format!("a resource must be an object, not {}", other.kind())),
        }
    }

    fn object(&mut self, type_id: TypeId, members: Members<'v, '_>, is_resource: bool) {
        if members.is_empty() {
            self.report(Severity::Warning, "the object is empty");
        }
        for (at, (name, value)) in members.iter().enumerate() {
            if is_resource && name == "resourceType" {
                if value.as_str() != Some(type_id.name()) {
                    self.within(Step::Member(name), |walk| {
                        walk.report(Severity::Error, format!("`resourceType` must be {type_id} here"));
                    });
                }
                continue;
            }
            let plain = name.strip_prefix('_');
            let element = definitions::element(type_id, plain.unwrap_or(name));
            self.within(Step::Member(name), |walk| match (element, plain) {
                (Some(element), None) => {
                    walk.choice(element, type_id, &members[..at]);
                    walk.element(element, value, members);
                }
                (Some(element), Some(_)) if element.type_id.primitive().is_some() => {
                    walk.choice(element, type_id, &members[..at]);
                    walk.companion(element, value);
                }
                _ => walk
                    .report(Severity::Warning, format!("{type_id} has no such element; it is kept in the JSON only")),
            });
        }
        self.required(type_id, members);
    }

    /// At most one type of a choice may be present.
    fn choice(&mut self, element: &Element, type_id: TypeId, before: Members<'_, '_>) {
        let Some(group) = element.choice else { return };
        let is_other = |name: &str| {
            let other = definitions::element(type_id, name.strip_prefix('_').unwrap_or(name));
            other.is_some_and(|other| other.choice == Some(group) && other.name != element.name)
        };
        if before.iter().any(|(name, _)| is_other(name)) {
            self.report(Severity::Error, format!("only one type of `{group}[x]` may be given"));
        }
    }

    fn required(&mut self, type_id: TypeId, members: Members<'v, '_>) {
        for index in definitions::required(type_id) {
            let element = &definitions::elements(type_id)[*index];
            let is_there = members.iter().any(|(name, value)| {
                let name = name.strip_prefix('_').unwrap_or(name);
                let is_it = name == element.name
                    || element.choice.is_some()
                        && definitions::element(type_id, name).is_some_and(|other| other.choice == element.choice);
                is_it && !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
            });
            if !is_there {
                let name = element.choice.map_or_else(|| element.name.to_owned(), |group| format!("{group}[x]"));
                self.report(Severity::Error, format!("`{name}` is required"));
            }
        }
    }

    fn element(&mut self, element: &'static Element, value: &'v Value<'_>, siblings: Members<'v, '_>) {
        match (element.many, value) {
            (_, Value::Null) => self.report(Severity::Warning, "null stands where the element should be left out"),
            (true, Value::Array(items)) => {
                if items.is_empty() {
                    self.report(Severity::Warning, "the array is empty");
                }
                for (index, item) in items.iter().enumerate() {
                    self.within(Step::Item(index), |walk| {
                        if item.is_null() {
                            walk.padding(element, index, siblings);
                        } else {
                            walk.value(element, item);
                        }
                    });
                }
            }
            (true, other) => {
                self.report(
                    Severity::Error,
                    format!("the element repeats: an array is expected, not {}", other.kind()),
                );
            }
            (false, Value::Array(_)) => {
                self.report(Severity::Error, "the element does not repeat: no array is expected")
            }
            (false, value) => self.value(element, value),
        }
    }

    /// A null in an array: a repeating primitive's item without a value, if `_name` has something in its place.
    fn padding(&mut self, element: &Element, index: usize, siblings: Members<'_, '_>) {
        if element.type_id.primitive().is_none() {
            return self.report(Severity::Error, "null cannot stand for an object");
        }
        let companion = siblings.iter().find(|(name, _)| name.strip_prefix('_') == Some(element.name));
        let item = companion.and_then(|(_, value)| value.as_array()).and_then(|items| items.get(index));
        if item.is_none_or(Value::is_null) {
            self.report(Severity::Warning, "null has no extension that stands in its place");
        }
    }

    /// `_name`: id and extensions of a primitive, or as many of them as it has items.
    fn companion(&mut self, element: &Element, value: &'v Value<'_>) {
        match (element.many, value) {
            (true, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                    self.within(Step::Item(index), |walk| walk.element_members(item));
                }
            }
            (false, Value::Object(_)) => self.element_members(value),
            (_, Value::Null) => self.report(Severity::Warning, "null stands where the element should be left out"),
            (true, other) => self.report(Severity::Error, format!("an array is expected, not {}", other.kind())),
            (false, other) => self.report(Severity::Error, format!("an object is expected, not {}", other.kind())),
        }
    }

    fn element_members(&mut self, value: &'v Value<'_>) {
        match (value, TypeId::from_name("Element")) {
            (Value::Object(members), Some(type_id)) => self.object(type_id, members, false),
            _ => self.report(Severity::Error, format!("an object is expected, not {}", value.kind())),
        }
    }

    fn value(&mut self, element: &'static Element, value: &'v Value<'_>) {
        match element.type_id.kind() {
            TypeKind::Primitive(kind) => {
                if let Some(expected) = primitive::wrong_kind(kind, value) {
                    let message = format!("{expected} is expected for {}, not {}", kind.name(), value.kind());
                    self.report(Severity::Error, message);
                } else if let Some((severity, message)) = primitive::check(kind, value) {
                    // A resource is found by its id, so a wrong one is more than a blemish.
                    let is_own_id = element.name == "id" && kind == definitions::Primitive::Id;
                    self.report(if is_own_id { Severity::Error } else { severity }, message);
                } else {
                    self.codes(element, value.as_str().into_iter());
                }
            }
            TypeKind::AnyResource | TypeKind::Resource(_) => match resource_type(value) {
                Ok(resource) => self.resource(definitions::root(resource), value),
                Err(issue) => self.report(issue.severity, issue.message),
            },
            TypeKind::Complex | TypeKind::Backbone => match value {
                Value::Object(members) => {
                    self.object(element.type_id, members, false);
                    if element.required_codes.is_some() {
                        let coding = value.get("coding").into_iter().flat_map(Value::items);
                        let codes = coding.chain([value]).filter_map(|coding| coding.get_str("code"));
                        self.codes(element, codes);
                    }
                    if element.type_id.is_reference() {
                        self.target(element, value);
                    }
                }
                other => {
                    let message = format!("an object is expected for {}, not {}", element.type_id, other.kind());
                    self.report(Severity::Error, message);
                }
            },
        }
    }

    /// Of the codes given, one at least must be of a required value set.
    fn codes<'c>(&mut self, element: &Element, mut codes: impl Iterator<Item = &'c str>) {
        if let Some(required) = element.required_codes
            && !codes.any(|code| required.contains(&code))
        {
            self.report(Severity::Warning, "no code of the required value set is given");
        }
    }

    fn target(&mut self, element: &Element, value: &Value<'_>) {
        let Some((type_name, _)) = value.get_str("reference").and_then(relative_reference) else { return };
        if !element.targets.is_empty() && !element.targets.contains(&type_name) {
            self.report(Severity::Warning, format!("a reference to {} is expected", element.targets.join(" or ")));
        }
    }
}

/// Whether a member's name can be that of an element, and not something that was put into the wrong place.
fn is_name(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

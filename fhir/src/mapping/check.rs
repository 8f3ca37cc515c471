use super::{
    Mapping, MappingProblem, sql,
    tree::{self, Node, Object},
};

pub(super) fn check(mapping: &Mapping) -> Vec<MappingProblem> {
    let mut problems = Vec::new();
    let mut note = |place: &str, result: Result<(), String>| {
        if let Err(message) = result {
            problems.push(MappingProblem::new(place, message));
        }
    };
    note("from", sql::relations(&mapping.from).map(drop));
    if mapping.key.is_empty() {
        note("key", Err("has no part".to_owned()));
    }
    for part in &mapping.key {
        note("key", sql::expression(part).map(drop));
    }
    if let Some(for_each) = &mapping.for_each {
        note("for_each", sql::for_each(for_each).map(drop));
        if sql::relations(&mapping.from).is_ok() && sql::for_each(for_each).is_ok() {
            note("for_each", sql::unnested(&mapping.from, for_each).map(drop));
        }
    }
    if let Some(filter) = &mapping.filter {
        note("where", sql::expression(filter).map(drop));
    }
    if let Some(json) = &mapping.resource_json {
        note("resource_json", sql::expression(json).map(drop));
        if !mapping.set.is_empty() {
            note("resource_json", Err("stands in the place of [set]: give only one of them".to_owned()));
        }
        return problems;
    }
    for (path, expression) in &mapping.set {
        note(&path.to_string(), sql::expression(expression).map(drop));
    }
    let (root, _, wrong) = tree::build(mapping);
    // where paths are wrong, what they were meant to set would be told as missing
    let complete = wrong.is_empty();
    problems.extend(wrong);
    if complete {
        missing(mapping, &root, &mut problems);
    }
    problems
}

fn missing(mapping: &Mapping, object: &Object, problems: &mut Vec<MappingProblem>) {
    for required in object.required.iter().filter(|required| required.members.is_empty()) {
        let (place, owner) = if object.path.is_empty() {
            (required.name.clone(), mapping.resource.name().to_owned())
        } else {
            (format!("{}.{}", object.path, required.name), format!("`{}`", object.path))
        };
        problems.push(MappingProblem::new(place, format!("{owner} requires `{}`, which is not set", required.name)));
    }
    for (_, node) in object.members.iter().flat_map(|member| &member.slots) {
        if let Node::Object(child) = node {
            missing(mapping, child, problems);
        }
    }
}

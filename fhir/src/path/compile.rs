use super::{
    Path, PathError, Selection, Step,
    parse::{self, Node},
};
use crate::{
    ResourceType,
    definitions::{self, Element, TypeId, TypeKind},
};

/// A place on the way: the steps so far and the type there.
#[derive(Debug, Clone)]
struct Place {
    steps: Vec<Step>,
    type_id: TypeId,
    element: Option<&'static Element>,
}

/// Compiles an expression of a search parameter of this type.
///
/// # Errors
/// [`PathError`], where the expression is empty, is not of the subset or leads where there are no columns.
pub fn compile(resource: ResourceType, expression: &str) -> Result<Selection, PathError> {
    let node = parse::parse(expression)?;
    let root = definitions::root(resource);
    if let Node::And(left, right) = &node {
        return match (left.as_ref(), right.as_ref()) {
            (Node::Exists(one), Node::NotFalse(other)) if one == other => Ok(Selection::Truth(paths(one, root)?)),
            _ => Err(PathError::Syntax("`and` of something other than `X.exists() and X != false`".to_owned())),
        };
    }
    Ok(Selection::Elements(paths(&node, root)?))
}

fn paths(node: &Node, root: TypeId) -> Result<Vec<Path>, PathError> {
    let path = |place: Place| match place.element {
        Some(element) => Ok(Path { steps: place.steps, element }),
        None => Err(PathError::Syntax("it selects the resource itself".to_owned())),
    };
    places(node, root)?.into_iter().map(path).collect()
}

fn places(node: &Node, root: TypeId) -> Result<Vec<Place>, PathError> {
    match node {
        Node::Name(name) => {
            if name == root.name() || matches!(name.as_str(), "Resource" | "DomainResource") {
                return Ok(vec![Place { steps: Vec::new(), type_id: root, element: None }]);
            }
            Err(PathError::UnknownElement(name.clone()))
        }
        Node::Member(base, name) => {
            let mut found = Vec::new();
            for place in places(base, root)? {
                found.extend(members(&place, name)?);
            }
            Ok(found)
        }
        Node::OfType(base, name) => {
            let all = places(base, root)?;
            let found: Vec<Place> = all.into_iter().filter(|place| place.type_id.name() == name).collect();
            if found.is_empty() { Err(PathError::UnknownElement(format!("ofType({name})"))) } else { Ok(found) }
        }
        Node::WhereEquals(base, member, value) => {
            let mut found = places(base, root)?;
            for place in &mut found {
                let element = definitions::element(place.type_id, member);
                let element = element.ok_or_else(|| PathError::UnknownElement(member.clone()))?;
                place.steps.push(Step::Where { member: element.name, value: value.clone() });
            }
            Ok(found)
        }
        Node::WhereResolves(base, name) => {
            let target = name.parse::<ResourceType>().map_err(|error| PathError::Syntax(error.to_string()))?;
            let mut found = places(base, root)?;
            found.retain(|place| place.type_id.is_reference());
            found.iter_mut().for_each(|place| place.steps.push(Step::Resolves(target)));
            Ok(found)
        }
        Node::Union(nodes) => {
            let mut found = Vec::new();
            for node in nodes {
                found.extend(places(node, root)?);
            }
            Ok(found)
        }
        Node::Exists(_) | Node::NotFalse(_) | Node::And(..) => {
            Err(PathError::Syntax("a truth inside a path".to_owned()))
        }
    }
}

fn members(place: &Place, name: &str) -> Result<Vec<Place>, PathError> {
    if matches!(place.type_id.kind(), TypeKind::AnyResource) {
        return Err(PathError::Resource(name.to_owned()));
    }
    let step = |element: &'static Element| {
        if matches!(element.type_id.kind(), TypeKind::AnyResource | TypeKind::Resource(_)) {
            return Err(PathError::Resource(name.to_owned()));
        }
        let mut steps = place.steps.clone();
        steps.push(Step::Member(element.name));
        Ok(Place { steps, type_id: element.type_id, element: Some(element) })
    };
    if let Some(element) = definitions::element(place.type_id, name) {
        return Ok(vec![step(element)?]);
    }
    let choices = definitions::elements(place.type_id).iter().filter(|element| element.choice == Some(name));
    let found: Vec<Place> = choices.map(step).collect::<Result<_, _>>()?;
    if found.is_empty() { Err(PathError::UnknownElement(name.to_owned())) } else { Ok(found) }
}

use super::{
    Path, PathError, Selection, Step, parse,
    syntax::{Ast, Literal, Operator},
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
    let ast = parse::parse(expression)?;
    let root = definitions::root(resource);
    if let Ast::Binary(Operator::And, left, right) = &ast {
        return match (exists(left), not_false(right)) {
            (Some(one), Some(other)) if one == other => Ok(Selection::Truth(paths(one, root)?)),
            _ => Err(PathError::Syntax("`and` of something other than `X.exists() and X != false`".to_owned())),
        };
    }
    Ok(Selection::Elements(paths(&ast, root)?))
}

/// The `X` of `X.exists()`.
fn exists(ast: &Ast) -> Option<&Ast> {
    match ast {
        Ast::Call(Some(base), function, arguments) if function == "exists" && arguments.is_empty() => Some(base),
        _ => None,
    }
}

/// The `X` of `X != false`.
fn not_false(ast: &Ast) -> Option<&Ast> {
    match ast {
        Ast::Binary(Operator::NotEqual, base, other) if **other == Ast::Literal(Literal::Boolean(false)) => Some(base),
        _ => None,
    }
}

fn paths(ast: &Ast, root: TypeId) -> Result<Vec<Path>, PathError> {
    let path = |place: Place| match place.element {
        Some(element) => Ok(Path { steps: place.steps, element }),
        None => Err(PathError::Syntax("it selects the resource itself".to_owned())),
    };
    places(ast, root)?.into_iter().map(path).collect()
}

fn places(ast: &Ast, root: TypeId) -> Result<Vec<Place>, PathError> {
    match ast {
        Ast::Name(name) => {
            if name == root.name() || matches!(name.as_str(), "Resource" | "DomainResource") {
                return Ok(vec![Place { steps: Vec::new(), type_id: root, element: None }]);
            }
            Err(PathError::UnknownElement(name.clone()))
        }
        Ast::Member(base, name) => {
            let mut found = Vec::new();
            for place in places(base, root)? {
                found.extend(members(&place, name)?);
            }
            Ok(found)
        }
        Ast::As(base, name) => of_type(base, name, root),
        Ast::Binary(Operator::Union, left, right) => {
            let mut found = places(left, root)?;
            found.extend(places(right, root)?);
            Ok(found)
        }
        Ast::Call(Some(base), function, arguments) => match (function.as_str(), arguments.as_slice()) {
            ("ofType" | "as", [Ast::Name(name)]) => of_type(base, name, root),
            ("where", [criteria]) => only(base, criteria, root),
            _ => Err(PathError::Syntax(format!("the function `{function}`"))),
        },
        Ast::Item(..) => Err(PathError::Syntax("`[`".to_owned())),
        _ => Err(PathError::Syntax("something other than a path".to_owned())),
    }
}

fn of_type(base: &Ast, name: &str, root: TypeId) -> Result<Vec<Place>, PathError> {
    let all = places(base, root)?;
    let found: Vec<Place> = all.into_iter().filter(|place| place.type_id.name() == name).collect();
    if found.is_empty() { Err(PathError::UnknownElement(format!("ofType({name})"))) } else { Ok(found) }
}

/// `where(member = 'text')` and `where(resolve() is Type)`.
fn only(base: &Ast, criteria: &Ast, root: TypeId) -> Result<Vec<Place>, PathError> {
    let mut found = places(base, root)?;
    match criteria {
        Ast::Is(resolved, name) if matches!(&**resolved, Ast::Call(None, function, _) if function == "resolve") => {
            let target = name.parse::<ResourceType>().map_err(|error| PathError::Syntax(error.to_string()))?;
            found.retain(|place| place.type_id.is_reference());
            found.iter_mut().for_each(|place| place.steps.push(Step::Resolves(target)));
        }
        Ast::Binary(Operator::Equal, member, value) => {
            let (Ast::Name(member), Ast::Literal(Literal::Text(value))) = (&**member, &**value) else {
                return Err(PathError::Syntax("`where` compares something other than a member with a text".to_owned()));
            };
            for place in &mut found {
                let element = definitions::element(place.type_id, member);
                let element = element.ok_or_else(|| PathError::UnknownElement(member.clone()))?;
                place.steps.push(Step::Where { member: element.name, value: value.clone() });
            }
        }
        _ => return Err(PathError::Syntax("`where` with something other than `=` or `resolve() is`".to_owned())),
    }
    Ok(found)
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

//! Conditions on what resources refer to: reverse includes and compartments.

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Expr;

use super::{
    plain,
    test::{ReferenceTest, Target, Test},
};
use crate::{
    ResourceType,
    definitions::{self, ITSELF},
    path::{self, Path},
};

/// Resources of a type that refer to any of these by a parameter's paths.
pub(super) fn referring(paths: &[Path], to: &[(ResourceType, String)], schema: &SchemaRef) -> Expr {
    let test = |(resource, id): &(ResourceType, String)| ReferenceTest {
        target: Target::Typed(*resource, id.clone()),
        text: format!("{resource}/{id}"),
    };
    plain::any(paths, &[], &Test::Reference(to.iter().map(test).collect()), schema)
}

/// Which rows of a type's table are in the compartments of some resources: those that refer to one of them by a parameter that the
/// compartment's definition names, and where that says so the resources themselves.
/// `ids`: the resources whose compartments are meant.
pub(super) fn in_compartments(
    of: ResourceType,
    resource: ResourceType,
    ids: &[String],
    schema: &SchemaRef,
) -> Option<Expr> {
    let is_patient = of.name() == "Patient";
    let codes = match is_patient {
        true => definitions::patient_compartment(resource),
        false => definitions::compartment(of, resource),
    };
    let own = if is_patient { resource == of } else { codes.contains(&ITSELF) };
    let parameters = codes.iter().filter_map(|code| definitions::search_parameter(resource, code));
    let paths: Vec<Path> = parameters
        .filter_map(|parameter| path::compile(resource, parameter.expression).ok())
        .flat_map(|selection| selection.paths().to_vec())
        .filter(|path| path.element.type_id.is_reference())
        .collect();
    let to: Vec<_> = ids.iter().map(|id| (of, id.clone())).collect();
    let members = (!paths.is_empty()).then(|| referring(&paths, &to, schema));
    let itself = own.then(|| plain::one_of("id", ids, schema));
    match (itself, members) {
        (Some(itself), Some(members)) => Some(itself.or(members)),
        (one, other) => one.or(other),
    }
}

//! Composite parameters: `code$value`, both of one and the same element (section 3.1.1.4.14).

use datafusion::logical_expr::{Expr, lit};

use super::{
    SearchError,
    condition::fits,
    matcher,
    scope::Scope,
    test::{Part, Test, Way},
    value::split,
};
use crate::{
    definitions::{self, Component, SearchParameter},
    path::{self, Path, Step},
};

/// What the names in a component's expression are relative to.
enum Base {
    /// The resource: every component is a condition of its own.
    Resource,
    /// Elements of the resource.
    Elements(Path),
}

impl Scope<'_> {
    pub(super) fn composite(&self, name: &str, parameter: &SearchParameter, value: &str) -> Result<Expr, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let mut alternatives = Vec::new();
        for one in split(value, ',') {
            let parts = split(one, '$');
            if parts.len() != parameter.components.len() || parts.iter().any(|part| part.is_empty()) {
                let codes: Vec<&str> = parameter.components.iter().map(|component| component.code).collect();
                return Err(invalid(format!("its values are written `{}`", codes.join("$"))));
            }
            alternatives.push(parts);
        }
        let bases = parameter.expression.split('|').map(str::trim).map(|expression| {
            if expression == self.resource.name() {
                return Ok((expression, vec![Base::Resource]));
            }
            let selection = path::compile(self.resource, expression)
                .map_err(|error| SearchError::Unsupported { name: name.to_owned(), reason: error.to_string() })?;
            Ok((expression, selection.paths().iter().cloned().map(Base::Elements).collect()))
        });
        let mut found: Option<Expr> = None;
        for base in bases.collect::<Result<Vec<_>, SearchError>>()? {
            for one in &base.1 {
                let condition = self.on(name, parameter, base.0, one, &alternatives)?;
                found = Some(match found {
                    Some(found) => found.or(condition),
                    None => condition,
                });
            }
        }
        Ok(found.unwrap_or_else(|| lit(false)))
    }

    fn on(
        &self,
        name: &str,
        parameter: &SearchParameter,
        expression: &str,
        base: &Base,
        alternatives: &[Vec<&str>],
    ) -> Result<Expr, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let skipped = match base {
            Base::Resource => 0,
            Base::Elements(path) => path.steps.len(),
        };
        let components: Vec<(Component, SearchParameter, Vec<Path>)> = parameter
            .components
            .iter()
            .map(|component| {
                let own = own(component);
                let paths = self.component(expression, component, &own).ok_or_else(|| {
                    let reason = format!("this server cannot compare its part `{}`", component.code);
                    SearchError::Unsupported { name: name.to_owned(), reason }
                })?;
                Ok((component.clone(), own, paths))
            })
            .collect::<Result<_, SearchError>>()?;
        let mut found: Option<Expr> = None;
        let mut inside: Vec<Vec<Part>> = Vec::new();
        for alternative in alternatives {
            let mut whole: Option<Expr> = None;
            let mut parts = Vec::new();
            for ((component, own, paths), value) in components.iter().zip(alternative) {
                let test = self.test(own, None, value).map_err(invalid)?;
                let targets = definitions::search_parameter(self.resource, component.code)
                    .map_or(&[][..], |parameter| parameter.targets);
                if matches!(base, Base::Resource) || of_resource(component) {
                    let condition = self.any(paths, targets, &test);
                    whole = Some(match whole {
                        Some(whole) => whole.and(condition),
                        None => condition,
                    });
                } else {
                    let way = |path: &Path| Way {
                        steps: path.steps[skipped..].to_vec(),
                        type_id: path.element.type_id,
                        systems: path.element.systems,
                    };
                    parts.push(Part { ways: paths.iter().map(way).collect(), targets, test });
                }
            }
            let condition = match (whole, base, parts.is_empty()) {
                (whole, _, true) => whole.unwrap_or_else(|| lit(false)),
                (None, _, false) => {
                    inside.push(parts);
                    continue;
                }
                (Some(whole), Base::Elements(path), false) => whole.and(self.elements(path, vec![parts])),
                (Some(whole), Base::Resource, false) => whole,
            };
            found = Some(match found {
                Some(found) => found.or(condition),
                None => condition,
            });
        }
        // alternatives that are about the elements alone are tested in one walk
        if let (Base::Elements(path), false) = (base, inside.is_empty()) {
            let condition = self.elements(path, inside);
            found = Some(match found {
                Some(found) => found.or(condition),
                None => condition,
            });
        }
        Ok(found.unwrap_or_else(|| lit(false)))
    }

    fn elements(&self, path: &Path, alternatives: Vec<Vec<Part>>) -> Expr {
        matcher::expression(path, &[], Test::Composite(alternatives), &self.schema).unwrap_or_else(|| lit(false))
    }

    /// The paths of a component, from the resource. Two definitions of R4 carry expressions that do not fit their own
    /// components (`DocumentReference.relationship` has them crossed, `Observation.code-value-date` names a type that is
    /// not): there the parameter that the component is defined by tells where it is.
    fn component(&self, base: &str, component: &Component, own: &SearchParameter) -> Option<Vec<Path>> {
        let fitting = |expression: &str| {
            let selection = path::compile(self.resource, expression).ok()?;
            let paths: Vec<Path> = selection.paths().iter().filter(|path| fits(own, path)).cloned().collect();
            (!paths.is_empty()).then_some(paths)
        };
        let name = self.resource.name();
        let written = match component.expression.strip_prefix("%resource.") {
            Some(of_resource) => vec![format!("{name}.{of_resource}")],
            None => component.expression.split('|').map(|one| format!("{base}.{}", one.trim())).collect(),
        };
        let written: Option<Vec<Vec<Path>>> = written.iter().map(|expression| fitting(expression)).collect();
        if let Some(written) = written {
            return Some(written.into_iter().flatten().collect());
        }
        let defined = definitions::search_parameter(self.resource, component.code)?;
        let paths = fitting(defined.expression)?;
        let within: Vec<Step> = if base == name {
            Vec::new()
        } else {
            path::compile(self.resource, base).ok()?.paths().first()?.steps.clone()
        };
        paths.iter().all(|path| path.steps.starts_with(&within)).then_some(paths)
    }
}

/// A component as a parameter of its own: its kind is what its value is read by.
fn own(component: &Component) -> SearchParameter {
    SearchParameter {
        code: component.code,
        kind: component.kind,
        expression: component.expression,
        targets: &[],
        components: &[],
    }
}

fn of_resource(component: &Component) -> bool {
    component.expression.starts_with("%resource.")
}

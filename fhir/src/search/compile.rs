use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use datafusion::logical_expr::{Expr, SortExpr, lit};

use super::{
    Handling, Search, SearchError,
    control::{Control, Taken},
    eval, matcher, plain, sort,
    test::{Target, Test},
    value::{split, unescape},
};
use crate::{
    ResourceType,
    definitions::{self, ParameterKind, Primitive, SearchParameter},
    path::{self, Path, Selection, Step},
};

struct Context<'c> {
    resource: ResourceType,
    schema: &'c Schema,
    now: DateTime<Utc>,
}

pub(super) fn compile(
    resource: ResourceType,
    parameters: &[(String, String)],
    schema: &Schema,
    handling: Handling,
    now: DateTime<Utc>,
) -> Result<Search, SearchError> {
    let context = Context { resource, schema, now };
    let mut control = Control::new();
    let mut filter: Option<Expr> = None;
    let (mut applied, mut ignored) = (Vec::new(), Vec::new());
    for (name, value) in parameters {
        let shown = match control.take(name, value)? {
            Taken::Applied(shown) => shown,
            Taken::Sort => {
                match context.sort(name, value) {
                    Ok(keys) => control.sort = keys,
                    Err(SearchError::UnknownParameter { known, .. }) if handling == Handling::Lenient => {
                        ignored.push((name.clone(), known));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                value.clone()
            }
            Taken::No if value.is_empty() => {
                let reason = "has no value".to_owned();
                if handling == Handling::Strict {
                    return Err(SearchError::Invalid { name: name.clone(), reason });
                }
                ignored.push((name.clone(), reason));
                continue;
            }
            Taken::No => match context.condition(name, value) {
                Ok(condition) => {
                    filter = Some(match filter {
                        Some(filter) => filter.and(condition),
                        None => condition,
                    });
                    value.clone()
                }
                Err(SearchError::UnknownParameter { known, .. }) if handling == Handling::Lenient => {
                    ignored.push((name.clone(), format!("{resource} has no such search parameter: {known}")));
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        applied.push((name.clone(), shown));
    }
    let mut sort = control.sort;
    if !sort.iter().any(|key| key.expr == matcher::column("id")) {
        sort.push(matcher::column("id").sort(true, false));
    }
    Ok(Search { filter, sort, count: control.count, total: control.total, applied, ignored })
}

impl Context<'_> {
    fn parameter(&self, name: &str, code: &str) -> Result<&'static SearchParameter, SearchError> {
        definitions::search_parameter(self.resource, code).ok_or_else(|| SearchError::UnknownParameter {
            name: name.to_owned(),
            resource: self.resource,
            known: nearest(self.resource, code),
        })
    }

    fn paths(&self, name: &str, parameter: &SearchParameter) -> Result<Selection, SearchError> {
        path::compile(self.resource, parameter.expression)
            .map_err(|error| SearchError::Unsupported { name: name.to_owned(), reason: error.to_string() })
    }

    /// The condition of one parameter; its value is not empty.
    fn condition(&self, name: &str, value: &str) -> Result<Expr, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let unsupported = |reason: String| SearchError::Unsupported { name: name.to_owned(), reason };
        let (code, modifier) = match name.split_once(':') {
            Some((code, modifier)) => (code, Some(modifier)),
            None => (name, None),
        };
        let parameter = self.parameter(name, code)?;
        let negated = modifier == Some("not") && parameter.kind == ParameterKind::Token;
        let missing = if modifier == Some("missing") {
            match value {
                "true" => Some(true),
                "false" => Some(false),
                _ => return Err(invalid("`:missing` is true or false".to_owned())),
            }
        } else {
            None
        };
        match code {
            "_id" => return self.id(modifier, value, missing).map_err(invalid),
            "_lastUpdated" => {
                return match (missing, Test::parse(parameter.kind, modifier, value, self.now)) {
                    (Some(missing), _) => Ok(lit(!missing)),
                    (None, Ok(Test::Date(tests))) => Ok(plain::instants("__last_updated", &tests)),
                    (None, Ok(_)) => Err(invalid("is not a date".to_owned())),
                    (None, Err(reason)) => Err(invalid(reason)),
                };
            }
            _ => {}
        }
        match parameter.kind {
            ParameterKind::Composite => return Err(unsupported("composite parameters are not there yet".to_owned())),
            ParameterKind::Special => return Err(unsupported("this server does not answer it".to_owned())),
            _ => {}
        }
        let selection = self.paths(name, parameter)?;
        if let Some(missing) = missing {
            let present = self.any(selection.paths(), parameter, &Test::Present);
            return Ok(if missing { present.is_not_true() } else { present });
        }
        if matches!(modifier, Some("in" | "not-in" | "above" | "below")) && parameter.kind == ParameterKind::Token {
            return Err(unsupported("value sets and hierarchies of codes are not there".to_owned()));
        }
        let test = Test::parse(parameter.kind, modifier, value, self.now).map_err(invalid)?;
        let condition = match &selection {
            Selection::Truth(paths) => self.truth(paths, &test).map_err(invalid)?,
            Selection::Elements(paths) => {
                let fitting: Vec<Path> =
                    paths.iter().filter(|path| eval::supports(parameter.kind, path.element.type_id)).cloned().collect();
                let Some(first) = fitting.first() else {
                    let types: Vec<&str> = paths.iter().map(|path| path.element.type_id.name()).collect();
                    return Err(unsupported(format!(
                        "it is about {}, which this server cannot compare",
                        types.join(", ")
                    )));
                };
                if all_boolean(&fitting) {
                    booleans(&test).map_err(invalid)?;
                }
                let condition = self.any(&fitting, parameter, &test);
                match (fitting.as_slice(), self.patients(first, parameter, &test)) {
                    ([_], Some(patients)) => patients.and(condition),
                    _ => condition,
                }
            }
        };
        Ok(if negated { condition.is_not_true() } else { condition })
    }

    /// Whether any of the paths passes; false where the table has none of their columns.
    fn any(&self, paths: &[Path], parameter: &SearchParameter, test: &Test) -> Expr {
        paths
            .iter()
            .filter_map(|path| {
                plain::expression(path, test, self.schema)
                    .or_else(|| matcher::expression(path, parameter.targets, test.clone(), self.schema))
            })
            .reduce(Expr::or)
            .unwrap_or_else(|| lit(false))
    }

    /// `Patient.deceased`: a date is as true as `true`.
    fn truth(&self, paths: &[Path], test: &Test) -> Result<Expr, String> {
        let wanted = booleans(test)?;
        let yes = paths
            .iter()
            .filter_map(|path| {
                if path.element.type_id.primitive() == Some(Primitive::Boolean) {
                    let column = matcher::columns(path, self.schema)?.into_iter().next()?;
                    Some(matcher::column(&column).is_true())
                } else {
                    matcher::expression(path, &[], Test::Present, self.schema)
                }
            })
            .reduce(Expr::or)
            .unwrap_or_else(|| lit(false));
        Ok(match (wanted.contains(&true), wanted.contains(&false)) {
            (true, true) => lit(true),
            (true, false) => yes,
            _ => yes.is_not_true(),
        })
    }

    fn id(&self, modifier: Option<&str>, value: &str, missing: Option<bool>) -> Result<Expr, String> {
        if let Some(missing) = missing {
            return Ok(lit(!missing));
        }
        let ids: Vec<String> = split(value, ',').into_iter().map(unescape).collect();
        if ids.iter().any(String::is_empty) {
            return Err("an id is empty".to_owned());
        }
        if ids.iter().any(|id| id.contains('|')) {
            return Err("an id has no system: write it without `|`".to_owned());
        }
        let list = plain::one_of("id", &ids, self.schema);
        match modifier {
            None => Ok(list),
            Some("not") => Ok(list.is_not_true()),
            Some(modifier) => Err(format!("the modifier `:{modifier}` is not for it: it takes :not, :missing")),
        }
    }

    /// A condition on `__patient` that follows from the test, so that files are skipped: where the path is the first that the
    /// resource's compartment is told by, and every reference asked for is to a Patient.
    fn patients(&self, path: &Path, parameter: &SearchParameter, test: &Test) -> Option<Expr> {
        let Test::Reference(tests) = test else { return None };
        let first = definitions::patient_compartment(self.resource).first()?;
        let first = definitions::search_parameter(self.resource, first)?;
        let first = path::compile(self.resource, first.expression).ok()?;
        let members = |path: &Path| -> Vec<Step> {
            path.steps.iter().filter(|step| matches!(step, Step::Member(_))).cloned().collect()
        };
        let first = members(first.paths().first()?);
        if path.element.many || first.len() != 1 || members(path) != first {
            return None;
        }
        let only_patients = parameter.targets == ["Patient"]
            || path.steps.iter().any(|step| matches!(step, Step::Resolves(target) if target.name() == "Patient"));
        let ids = tests.iter().map(|test| match &test.target {
            Target::Typed(target, id) if target.name() == "Patient" => Some(id.clone()),
            Target::Id(id) if only_patients => Some(id.clone()),
            _ => None,
        });
        let ids = ids.collect::<Option<Vec<String>>>()?;
        self.schema.field_with_name("__patient").ok()?;
        Some(plain::one_of("__patient", &ids, self.schema))
    }

    fn sort(&self, name: &str, value: &str) -> Result<Vec<SortExpr>, SearchError> {
        let mut keys = Vec::new();
        for part in value.split(',') {
            let (code, descending) = match part.strip_prefix('-') {
                Some(code) => (code, true),
                None => (part, false),
            };
            let unsupported = |reason: &str| SearchError::Unsupported {
                name: name.to_owned(),
                reason: format!("by `{code}`: {reason}"),
            };
            let key = match code {
                "" => {
                    let reason = "names no search parameter".to_owned();
                    return Err(SearchError::Invalid { name: name.to_owned(), reason });
                }
                "_id" => Some(matcher::column("id")),
                "_lastUpdated" => Some(matcher::column("__last_updated")),
                _ => {
                    let parameter = self.parameter(code, code)?;
                    if matches!(parameter.kind, ParameterKind::Composite | ParameterKind::Special) {
                        return Err(unsupported("it has no order"));
                    }
                    let selection = self.paths(name, parameter)?;
                    sort::key(selection.paths(), parameter.kind, descending, self.schema)
                }
            };
            keys.extend(key.map(|key| key.sort(!descending, false)));
        }
        Ok(keys)
    }
}

fn all_boolean(paths: &[Path]) -> bool {
    paths.iter().all(|path| path.element.type_id.primitive() == Some(Primitive::Boolean))
}

/// The truths that a token parameter asks for.
fn booleans(test: &Test) -> Result<Vec<bool>, String> {
    let Test::Token(tokens) = test else { return Err("is not true or false".to_owned()) };
    tokens
        .iter()
        .map(|token| match token.code.as_deref() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err("is not true or false".to_owned()),
        })
        .collect()
}

/// The codes nearest to one that is unknown.
fn nearest(resource: ResourceType, code: &str) -> String {
    let mut near: Vec<(usize, &str)> = definitions::search_parameters(resource)
        .iter()
        .map(|parameter| {
            let distance = strsim::osa_distance(&parameter.code.to_lowercase(), &code.to_lowercase());
            let part = parameter.code.contains(code) || (!parameter.code.is_empty() && code.contains(parameter.code));
            (if part { distance.min(1) } else { distance }, parameter.code)
        })
        .filter(|(distance, known)| *distance <= (known.len().max(code.len()) / 2).max(1))
        .collect();
    near.sort_unstable();
    let near: Vec<String> = near.into_iter().take(3).map(|(_, code)| format!("`{code}`")).collect();
    if near.is_empty() {
        "the CapabilityStatement lists those there are".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    }
}

//! One search parameter as criteria of one table.

use std::borrow::Cow;

use datafusion::logical_expr::{Expr, lit};

use super::{
    Criteria, MAX_VALUES, SearchError,
    concepts::is_conceptual,
    eval, matcher, plain,
    scope::Scope,
    test::{Target, Test},
    token::Token,
    value::{split, unescape},
};
use crate::{
    ResourceType,
    bundle::is_id,
    definitions::{self, ParameterKind, Primitive, SearchParameter},
    path::{self, Path, Selection, Step},
};

impl From<Expr> for Criteria {
    fn from(filter: Expr) -> Self {
        Self { filter: Some(filter), links: Vec::new() }
    }
}

impl Scope<'_> {
    /// The criteria of one parameter; its value is not empty.
    pub(super) fn condition(&self, name: &str, value: &str) -> Result<Criteria, SearchError> {
        if let Some(rest) = name.strip_prefix("_has:") {
            return self.has(name, rest, value);
        }
        if let Some((head, rest)) = name.split_once('.') {
            return self.chain(name, head, rest, value);
        }
        if split(value, ',').len() > MAX_VALUES {
            let reason = format!("a parameter has at most {MAX_VALUES} values");
            return Err(SearchError::TooMuch { name: name.to_owned(), reason });
        }
        let (code, modifier) = match name.split_once(':') {
            Some((code, modifier)) => (code, Some(modifier)),
            None => (name, None),
        };
        match code {
            "_list" => self.list(name, modifier, value),
            "_text" | "_content" | "_query" | "_filter" => Err(not_answered(name)),
            _ => self.simple(name, code, modifier, value).map(Criteria::from),
        }
    }

    fn simple(&self, name: &str, code: &str, modifier: Option<&str>, value: &str) -> Result<Expr, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let unsupported = |reason: String| SearchError::Unsupported { name: name.to_owned(), reason };
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
                return match (missing, self.test(parameter, modifier, value)) {
                    (Some(missing), _) => Ok(lit(!missing)),
                    (None, Ok(Test::Date(tests))) => Ok(plain::instants("__last_updated", &tests)),
                    (None, Ok(_)) => Err(invalid("is not a date".to_owned())),
                    (None, Err(reason)) => Err(invalid(reason)),
                };
            }
            _ => {}
        }
        if parameter.kind == ParameterKind::Composite {
            return match (modifier, missing) {
                (None, _) => self.composite(name, parameter, value),
                _ => Err(invalid("a composite parameter takes no modifier".to_owned())),
            };
        }
        if let Some(modifier) = modifier.filter(|modifier| is_conceptual(modifier))
            && parameter.kind == ParameterKind::Token
        {
            return self.concepts(name, parameter, modifier, value);
        }
        let selection = self.paths(name, parameter)?;
        if let Some(missing) = missing {
            let present = self.any(selection.paths(), parameter.targets, &Test::Present);
            return Ok(if missing { present.is_not_true() } else { present });
        }
        if matches!(modifier, Some("above" | "below")) && parameter.kind == ParameterKind::Reference {
            return Err(unsupported("hierarchies of resources are not there".to_owned()));
        }
        let test = self.test(parameter, modifier, value).map_err(invalid)?;
        let condition = match &selection {
            Selection::Truth(paths) => self.truth(paths, &test).map_err(invalid)?,
            Selection::Elements(paths) => {
                let fitting: Vec<Path> = paths.iter().filter(|path| fits(parameter, path)).cloned().collect();
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
                let condition = self.any(&fitting, parameter.targets, &test);
                match (fitting.as_slice(), self.patients(first, parameter, &test)) {
                    ([_], Some(patients)) => patients.and(condition),
                    _ => condition,
                }
            }
        };
        Ok(if negated { condition.is_not_true() } else { condition })
    }

    /// The test of a value; a reference to a resource of this server by its whole URL is one to `Type/id`.
    pub(super) fn test(
        &self,
        parameter: &SearchParameter,
        modifier: Option<&str>,
        value: &str,
    ) -> Result<Test, String> {
        let request = self.context.request;
        let value = match request.base {
            Some(base) if parameter.kind == ParameterKind::Reference && modifier != Some("identifier") => {
                relative(value, base)
            }
            _ => Cow::Borrowed(value),
        };
        Test::parse(parameter.kind, modifier, &value, request.now)
    }

    /// Whether any of the paths passes; false where the table has none of their columns.
    pub(super) fn any(&self, paths: &[Path], targets: &'static [&'static str], test: &Test) -> Expr {
        plain::any(paths, targets, test, &self.schema)
    }

    /// `Patient.deceased`: a date is as true as `true`.
    fn truth(&self, paths: &[Path], test: &Test) -> Result<Expr, String> {
        let wanted = booleans(test)?;
        let yes = paths
            .iter()
            .filter_map(|path| {
                if path.element.type_id.primitive() == Some(Primitive::Boolean) {
                    let column = matcher::columns(path, &self.schema)?.into_iter().next()?;
                    Some(matcher::column(&column).is_true())
                } else {
                    matcher::expression(path, &[], Test::Present, &self.schema)
                }
            })
            .reduce(Expr::or)
            .unwrap_or_else(|| lit(false));
        Ok(match (wanted.contains(&true), wanted.contains(&false)) {
            (true, true) => lit(true),
            (true, false) => yes,
            (false, true) => yes.is_not_true(),
            (false, false) => lit(false),
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
        if !ids.iter().all(|id| is_id(id)) {
            return Err("is not an id: 1 to 64 letters, digits, `-` and `.`".to_owned());
        }
        let list = plain::one_of("id", &ids, &self.schema);
        match modifier {
            None => Ok(list),
            Some("not") => Ok(list.is_not_true()),
            Some(modifier) => Err(format!("the modifier `:{modifier}` is not for it: it takes :not, :missing")),
        }
    }

    /// A condition on `__patient` that follows from the test, so that files are skipped: where every reference asked for is to
    /// a Patient.
    fn patients(&self, path: &Path, parameter: &SearchParameter, test: &Test) -> Option<Expr> {
        let Test::Reference(tests) = test else { return None };
        if !self.tells_patient(path) {
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
        Some(plain::one_of("__patient", &ids, &self.schema))
    }

    /// Whether a Patient at the end of the path is the one in `__patient`: the path is the first that the resource's
    /// compartment is told by, and has one value.
    pub(super) fn tells_patient(&self, path: &Path) -> bool {
        let first = || {
            let code = definitions::patient_compartment(self.resource).first()?;
            let parameter = definitions::search_parameter(self.resource, code)?;
            path::compile(self.resource, parameter.expression).ok()?.paths().first().map(members)
        };
        let own = members(path);
        !path.element.many
            && own.len() == 1
            && self.schema.field_with_name("__patient").is_ok()
            && first().is_some_and(|first| first == own)
    }
}

/// Whether a parameter's kind can be tested on what a path leads to.
pub(super) fn fits(parameter: &SearchParameter, path: &Path) -> bool {
    parameter.code == "near" && parameter.kind == ParameterKind::Special
        || eval::supports(parameter.kind, path.element.type_id)
}

/// Whether a search by the parameter is answered. A test compiles every composite.
pub(super) fn is_answered(resource: ResourceType, parameter: &SearchParameter) -> bool {
    matches!(parameter.kind, ParameterKind::Composite)
        || path::compile(resource, parameter.expression).is_ok_and(|selection| match selection {
            Selection::Truth(_) => true,
            Selection::Elements(paths) => paths.iter().any(|path| fits(parameter, path)),
        })
}

fn members(path: &Path) -> Vec<&'static str> {
    let member = |step: &Step| match step {
        Step::Member(name) => Some(*name),
        _ => None,
    };
    path.steps.iter().filter_map(member).collect()
}

/// The values of a reference parameter with this server's own URL taken off.
fn relative<'v>(value: &'v str, base: &str) -> Cow<'v, str> {
    if !value.contains("://") {
        return Cow::Borrowed(value);
    }
    let own = |part: &'v str| part.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).unwrap_or(part);
    Cow::Owned(split(value, ',').into_iter().map(own).collect::<Vec<_>>().join(","))
}

pub(super) fn not_answered(name: &str) -> SearchError {
    SearchError::Unsupported { name: name.to_owned(), reason: "this server does not answer it".to_owned() }
}

fn all_boolean(paths: &[Path]) -> bool {
    paths.iter().all(|path| path.element.type_id.primitive() == Some(Primitive::Boolean))
}

/// The truths that a token parameter asks for; of another system than theirs is none.
fn booleans(test: &Test) -> Result<Vec<bool>, String> {
    let Test::Token(tokens) = test else { return Err("is not true or false".to_owned()) };
    if !tokens.iter().all(|token| matches!(token.code.as_deref(), Some("true" | "false"))) {
        return Err("is not true or false".to_owned());
    }
    Ok(tokens.iter().filter_map(Token::truth).collect())
}

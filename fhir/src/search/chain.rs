//! Chains, `_has` and `_list`: criteria on other tables (sections 3.1.1.4.16, 3.1.1.4.17 and "List").

use datafusion::{
    functions::string::expr_fn::concat,
    logical_expr::{Expr, lit},
};

use super::{
    Criteria, Link, MAX_LEVELS, SearchError, Source,
    keys::{self, Key},
    matcher::column,
    plain,
    scope::Scope,
    value::split,
};
use crate::{
    ResourceType,
    bundle::is_id,
    definitions::{self, ParameterKind, SearchParameter},
    path::{Path, Step},
};

impl Scope<'_> {
    /// `head.rest`: resources whose reference `head` is to one that `rest` finds.
    pub(super) fn chain(&self, name: &str, head: &str, rest: &str, value: &str) -> Result<Criteria, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        self.check_level(name, rest)?;
        let (code, typed) = match head.split_once(':') {
            Some((code, typed)) => (code, Some(typed)),
            None => (head, None),
        };
        let parameter = self.parameter(name, code)?;
        let paths = self.reference_paths(name, parameter)?;
        let targets = targets(parameter, &paths);
        let candidates = match typed {
            Some(typed) => {
                let target = typed.parse::<ResourceType>().map_err(|error| invalid(error.to_string()))?;
                if !targets.contains(&target) {
                    return Err(invalid(format!("`{code}` of {} never refers to a {target}", self.resource)));
                }
                vec![target]
            }
            None => known(targets, rest),
        };
        let mut found: Vec<(ResourceType, Criteria)> = Vec::new();
        let mut first_error = None;
        for target in &candidates {
            // a type that lacks the parameter, or where its value means nothing, has no resource that fits
            match self
                .context
                .scope_of_link(*target, self.level + 1, name)
                .and_then(|scope| scope.condition(rest, value))
            {
                Ok(criteria) => found.push((*target, criteria)),
                Err(error @ (SearchError::UnknownParameter { .. } | SearchError::Invalid { .. })) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(renamed(error, name)),
            }
        }
        if found.is_empty() {
            return Err(match first_error {
                Some(error) => renamed(error, name),
                None => invalid(format!("`{code}` of {} refers to nothing that could be searched", self.resource)),
            });
        }
        Ok(Criteria { filter: None, links: vec![self.link(&paths, found)] })
    }

    /// The link from references to what they are to.
    fn link(&self, paths: &[Path], found: Vec<(ResourceType, Criteria)>) -> Link {
        let canonical = paths.iter().any(|path| !path.element.type_id.is_reference());
        let only = match found.as_slice() {
            [(target, _)] if !canonical => Some(*target),
            _ => None,
        };
        let is_patient =
            only.is_some_and(|only| only.name() == "Patient") && matches!(paths, [path] if self.tells_patient(path));
        let mut any_of = Vec::new();
        for (resource, criteria) in found {
            let mut push = |key: Expr| {
                any_of.push(Source { resource, key, many: false, criteria: criteria.clone() });
            };
            if only.is_some() {
                push(column("id"));
                continue;
            }
            push(concat(vec![lit(format!("{resource}/")), column("id")]));
            let schema = self.context.scope(resource, self.level).schema;
            let has = |name: &str| {
                definitions::element(definitions::root(resource), name).is_some()
                    && schema.field_with_name(name).is_ok()
            };
            if canonical && has("url") {
                push(column("url"));
                if has("version") {
                    push(concat(vec![column("url"), lit("|"), column("version")]));
                }
            }
        }
        match keys::references(self.resource, paths, only, false, &self.schema) {
            Some(Key { expression, many }) => Link { key: expression, many, is_patient, any_of },
            // nothing refers to anything
            None => Link { key: no_key(), many: false, is_patient: false, any_of: Vec::new() },
        }
    }

    /// `_has:Type:parameter:rest`: resources that one of `Type` which `rest` finds refers to.
    pub(super) fn has(&self, name: &str, rest: &str, value: &str) -> Result<Criteria, SearchError> {
        let invalid = |reason: &str| SearchError::Invalid { name: name.to_owned(), reason: reason.to_owned() };
        self.check_level(name, rest)?;
        let mut parts = rest.splitn(3, ':');
        let (Some(of), Some(code), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid("is written `_has:Type:reference:parameter`"));
        };
        let of = of.parse::<ResourceType>().map_err(|error| invalid(&error.to_string()))?;
        let scope = self.context.scope_of_link(of, self.level + 1, name)?;
        let parameter = scope.parameter(name, code)?;
        let paths = scope.reference_paths(name, parameter)?;
        if !targets(parameter, &paths).contains(&self.resource) {
            return Err(invalid(&format!("`{code}` of {of} never refers to a {}", self.resource)));
        }
        if paths.iter().any(|path| !path.element.type_id.is_reference()) {
            let reason = format!("`{code}` of {of} refers by canonical URLs, which are not followed backwards");
            return Err(SearchError::Unsupported { name: name.to_owned(), reason });
        }
        let criteria = scope.condition(rest, value).map_err(|error| renamed(error, name))?;
        Ok(self.pointed_at(&scope, &paths, criteria))
    }

    /// `_list=id`: members of a List.
    pub(super) fn list(&self, name: &str, modifier: Option<&str>, value: &str) -> Result<Criteria, SearchError> {
        let invalid = |reason: &str| SearchError::Invalid { name: name.to_owned(), reason: reason.to_owned() };
        if modifier.is_some() {
            return Err(invalid("takes no modifier"));
        }
        let ids: Vec<&str> = split(value, ',').into_iter().map(|id| id.strip_prefix("List/").unwrap_or(id)).collect();
        if ids.iter().any(|id| id.starts_with('$')) {
            let reason = "functional lists are not there".to_owned();
            return Err(SearchError::Unsupported { name: name.to_owned(), reason });
        }
        if !ids.iter().all(|id| is_id(id)) {
            return Err(invalid("is not the id of a List"));
        }
        let list: ResourceType = "List".parse().map_err(|_| invalid("there are no Lists"))?;
        let scope = self.context.scope_of_link(list, self.level + 1, name)?;
        let parameter = scope.parameter(name, "item")?;
        let paths = scope.reference_paths(name, parameter)?;
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let criteria = plain::one_of("id", &ids, &scope.schema).into();
        Ok(self.pointed_at(&scope, &paths, criteria))
    }

    /// Resources of this scope that those of another refer to.
    fn pointed_at(&self, by: &Scope<'_>, paths: &[Path], criteria: Criteria) -> Criteria {
        let key = keys::references(by.resource, paths, Some(self.resource), false, &by.schema);
        let source =
            key.map(|Key { expression, many }| Source { resource: by.resource, key: expression, many, criteria });
        let link = Link { key: column("id"), many: false, is_patient: false, any_of: source.into_iter().collect() };
        Criteria { filter: None, links: vec![link] }
    }

    /// The paths of a reference parameter that lead to references or canonical URLs.
    fn reference_paths(&self, name: &str, parameter: &SearchParameter) -> Result<Vec<Path>, SearchError> {
        if parameter.kind != ParameterKind::Reference {
            let reason = format!("`{}` of {} is not a reference", parameter.code, self.resource);
            return Err(SearchError::Invalid { name: name.to_owned(), reason });
        }
        Ok(reference_paths(self.paths(name, parameter)?.paths()))
    }

    fn check_level(&self, name: &str, rest: &str) -> Result<(), SearchError> {
        let more = rest.matches('.').count() + rest.matches("_has:").count();
        if self.level + 1 + more > MAX_LEVELS {
            let reason = format!("a chain has at most {MAX_LEVELS} levels");
            return Err(SearchError::TooMuch { name: name.to_owned(), reason });
        }
        Ok(())
    }
}

pub(super) fn reference_paths(paths: &[Path]) -> Vec<Path> {
    let is_link = |path: &&Path| super::eval::supports(ParameterKind::Reference, path.element.type_id);
    paths.iter().filter(is_link).cloned().collect()
}

/// The types that a reference parameter can lead to.
pub(super) fn targets(parameter: &SearchParameter, paths: &[Path]) -> Vec<ResourceType> {
    let open = |types: &[&str]| types.is_empty() || types.contains(&"Resource");
    let leads = |path: &Path, target: ResourceType| {
        let resolves = path.steps.iter().all(|step| !matches!(step, Step::Resolves(only) if *only != target));
        let element = path.element.targets;
        resolves && (open(element) || element.contains(&target.name()))
    };
    ResourceType::all()
        .filter(|target| open(parameter.targets) || parameter.targets.contains(&target.name()))
        .filter(|target| paths.iter().any(|path| leads(path, *target)))
        .collect()
}

/// Those of the types that know what the rest of a chain begins with; all, where none does.
fn known(targets: Vec<ResourceType>, rest: &str) -> Vec<ResourceType> {
    let code = rest.split(['.', ':']).next().unwrap_or_default();
    if matches!(code, "_has" | "_list") {
        return targets;
    }
    let knows = |target: &&ResourceType| definitions::search_parameter(**target, code).is_some();
    let known: Vec<ResourceType> = targets.iter().filter(knows).copied().collect();
    // one is enough to tell what is wrong
    if known.is_empty() { targets.into_iter().take(1).collect() } else { known }
}

/// The key of a row that refers to nothing.
fn no_key() -> Expr {
    lit(datafusion::common::ScalarValue::Utf8(None))
}

/// An error about a part of a chain, under the name of the whole.
fn renamed(error: SearchError, whole: &str) -> SearchError {
    let whole = whole.to_owned();
    match error {
        SearchError::UnknownParameter { resource, known, .. } => {
            SearchError::UnknownParameter { name: whole, resource, known }
        }
        SearchError::Invalid { reason, .. } => SearchError::Invalid { name: whole, reason },
        SearchError::Unsupported { reason, .. } => SearchError::Unsupported { name: whole, reason },
        SearchError::TooMuch { reason, .. } => SearchError::TooMuch { name: whole, reason },
    }
}

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::SortExpr;

use super::{
    Criteria, Handling, MAX_PARAMETERS, MAX_SOURCES, Request, Schemas, Search, SearchError,
    control::{Control, Taken},
    include::Include,
    matcher, sort,
};
use crate::{
    ResourceType,
    definitions::{self, ParameterKind, SearchParameter},
    path::{self, Selection},
    shape::base_schema,
};

/// What the compilation of one search shares between tables.
pub(super) struct Context<'c> {
    pub(super) request: Request<'c>,
    schemas: &'c Schemas,
    /// Types whose schema was asked for.
    asked: RefCell<BTreeSet<ResourceType>>,
    /// Sources made so far.
    sources: Cell<usize>,
}

/// One table of a search.
#[derive(Clone)]
pub(super) struct Scope<'c> {
    pub(super) context: &'c Context<'c>,
    pub(super) resource: ResourceType,
    pub(super) schema: SchemaRef,
    /// Links on the way from the table that is searched.
    pub(super) level: usize,
}

pub(super) fn compile(
    resource: ResourceType,
    request: Request<'_>,
    schemas: &Schemas,
) -> Result<(Search, BTreeSet<ResourceType>), SearchError> {
    if let Some((name, _)) = request.parameters.get(MAX_PARAMETERS) {
        let reason = format!("a search has at most {MAX_PARAMETERS} parameters");
        return Err(SearchError::TooMuch { name: name.clone(), reason });
    }
    let context = Context { request, schemas, asked: RefCell::default(), sources: Cell::new(0) };
    let scope = context.scope(resource, 0);
    let mut control = Control::new();
    let mut criteria = Criteria::default();
    let mut includes = Vec::new();
    let mut sort: Vec<SortExpr> = Vec::new();
    let (mut applied, mut ignored) = (Vec::new(), Vec::new());
    for (name, value) in request.parameters {
        let taken = control.take(name, value)?;
        if value.is_empty() && matches!(taken, Taken::No | Taken::Include) {
            let reason = "has no value".to_owned();
            if request.handling == Handling::Strict {
                return Err(SearchError::Invalid { name: name.clone(), reason });
            }
            ignored.push((name.clone(), reason));
            continue;
        }
        let read = match taken {
            Taken::Applied(shown) => {
                applied.push((name.clone(), shown));
                continue;
            }
            Taken::Sort => scope.sort(name, value).map(|keys| sort = keys),
            Taken::Include => Include::parse(
                if request.types.is_empty() { std::slice::from_ref(&resource) } else { request.types },
                name,
                value,
            )
            .map(|include| includes.push(include)),
            Taken::No => scope.condition(name, value).map(|condition| criteria.and(condition)),
        };
        match read {
            Ok(()) => applied.push((name.clone(), value.clone())),
            Err(SearchError::UnknownParameter { resource, known, .. }) if request.handling == Handling::Lenient => {
                ignored.push((name.clone(), format!("{resource} has no such search parameter: {known}")));
            }
            Err(error) => return Err(error),
        }
    }
    control.check(&includes)?;
    if !sort.iter().any(|key| key.expr == matcher::column("id")) {
        sort.push(matcher::column("id").sort(true, false));
    }
    let search = Search { criteria, sort, count: control.count, total: control.total, includes, applied, ignored };
    Ok((search, context.asked.into_inner()))
}

impl Context<'_> {
    pub(super) fn scope(&self, resource: ResourceType, level: usize) -> Scope<'_> {
        self.asked.borrow_mut().insert(resource);
        let schema = self.schemas.get(&resource).cloned().unwrap_or_else(|| base_schema(resource));
        Scope { context: self, resource, schema, level }
    }

    /// The table of one more source.
    pub(super) fn scope_of_link(
        &self,
        resource: ResourceType,
        level: usize,
        name: &str,
    ) -> Result<Scope<'_>, SearchError> {
        self.sources.set(self.sources.get() + 1);
        if self.sources.get() > MAX_SOURCES {
            let reason = format!(
                "its chains lead to more than {MAX_SOURCES} tables: name the types, as in `subject:Patient.name`"
            );
            return Err(SearchError::TooMuch { name: name.to_owned(), reason });
        }
        Ok(self.scope(resource, level))
    }
}

impl Criteria {
    pub(super) fn and(&mut self, more: Criteria) {
        self.filter = match (self.filter.take(), more.filter) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        self.links.extend(more.links);
    }
}

impl Scope<'_> {
    /// The parameter of a code; `name` is what the request calls it.
    pub(super) fn parameter(&self, name: &str, code: &str) -> Result<&'static SearchParameter, SearchError> {
        definitions::search_parameter(self.resource, code).ok_or_else(|| SearchError::UnknownParameter {
            name: name.to_owned(),
            resource: self.resource,
            known: nearest(self.resource, code),
        })
    }

    pub(super) fn paths(&self, name: &str, parameter: &SearchParameter) -> Result<Selection, SearchError> {
        path::compile(self.resource, parameter.expression)
            .map_err(|error| SearchError::Unsupported { name: name.to_owned(), reason: error.to_string() })
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
                _ if self.context.request.types.len() > 1 => {
                    return Err(unsupported("several types have `_id` and `_lastUpdated` as a common order"));
                }
                _ if code.contains(['.', ':']) => return Err(unsupported("an order by another resource is not there")),
                _ => {
                    let parameter = self.parameter(code, code)?;
                    if matches!(parameter.kind, ParameterKind::Composite | ParameterKind::Special) {
                        return Err(unsupported("it has no order"));
                    }
                    let selection = self.paths(name, parameter)?;
                    sort::key(selection.paths(), parameter.kind, descending, &self.schema)
                }
            };
            keys.extend(key.map(|key| key.sort(!descending, false)));
        }
        Ok(keys)
    }
}

/// The codes nearest to one that is unknown.
pub(super) fn nearest(resource: ResourceType, code: &str) -> String {
    // what is far longer than any code is near none
    if code.len() > 64 {
        return "the CapabilityStatement lists those there are".to_owned();
    }
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

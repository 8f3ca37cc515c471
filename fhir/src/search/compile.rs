use std::collections::{BTreeMap, BTreeSet};

use datafusion::logical_expr::SortExpr;

use super::{
    Criteria, Handling, MAX_PARAMETERS, MAX_SORT_KEYS, Request, Schemas, Search, SearchError,
    codes::CodesOf,
    control::{Control, Taken},
    include::Include,
    matcher,
    scope::{Context, Scope},
    sort,
};
use crate::{ResourceType, definitions::ParameterKind};

/// A compiled search, and what it needs.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) search: Search,
    /// Types whose tables it reads.
    pub(super) tables: BTreeSet<ResourceType>,
    /// Codes that it needs and that were not brought: without them it finds too little.
    pub(super) unknown: BTreeMap<CodesOf, String>,
}

impl Compiled {
    /// The same, where nothing is missing.
    pub(super) fn whole(self) -> Result<Self, SearchError> {
        match self.unknown.into_iter().next() {
            None => Ok(Self { unknown: BTreeMap::new(), ..self }),
            Some((_, name)) => {
                let reason = "value sets and hierarchies of codes are not known here".to_owned();
                Err(SearchError::Unsupported { name, reason })
            }
        }
    }
}

pub(super) fn compile(
    resource: ResourceType,
    request: Request<'_>,
    schemas: &Schemas,
) -> Result<Compiled, SearchError> {
    if let Some((name, _)) = request.parameters.get(MAX_PARAMETERS) {
        let reason = format!("a search has at most {MAX_PARAMETERS} parameters");
        return Err(SearchError::TooMuch { name: name.clone(), reason });
    }
    let context = Context::new(request, schemas);
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
    let (tables, unknown) = context.into_needs();
    Ok(Compiled { search, tables, unknown })
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
    fn sort(&self, name: &str, value: &str) -> Result<Vec<SortExpr>, SearchError> {
        if value.split(',').count() > MAX_SORT_KEYS {
            let reason = format!("an order has at most {MAX_SORT_KEYS} keys");
            return Err(SearchError::TooMuch { name: name.to_owned(), reason });
        }
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

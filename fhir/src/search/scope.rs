//! One table of a search, and what all tables of a search share while it is compiled.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use arrow::datatypes::SchemaRef;

use super::{
    MAX_CODE_SETS, MAX_SOURCES, Request, Schemas, SearchError,
    codes::{CodeSet, CodesOf},
};
use crate::{
    ResourceType,
    definitions::{self, SearchParameter},
    path::{self, Selection},
    shape::base_schema,
};

/// What the compilation of one search shares between tables.
pub(super) struct Context<'c> {
    pub(super) request: Request<'c>,
    schemas: &'c Schemas,
    /// Types whose schema was asked for.
    asked: RefCell<BTreeSet<ResourceType>>,
    /// Codes that are needed and were not brought, each with the name of a parameter that needs them.
    unknown: RefCell<BTreeMap<CodesOf, String>>,
    /// Times that codes were asked for.
    code_sets: Cell<usize>,
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

impl<'c> Context<'c> {
    pub(super) fn new(request: Request<'c>, schemas: &'c Schemas) -> Self {
        Self {
            request,
            schemas,
            asked: RefCell::default(),
            unknown: RefCell::default(),
            code_sets: Cell::new(0),
            sources: Cell::new(0),
        }
    }

    /// The types whose tables the search reads, and the codes that it would have to know.
    pub(super) fn into_needs(self) -> (BTreeSet<ResourceType>, BTreeMap<CodesOf, String>) {
        (self.asked.into_inner(), self.unknown.into_inner())
    }

    /// The codes, where they were brought; else they are noted as unknown.
    pub(super) fn codes(&self, name: &str, wanted: CodesOf) -> Result<Option<CodeSet>, SearchError> {
        self.code_sets.set(self.code_sets.get() + 1);
        if self.code_sets.get() > MAX_CODE_SETS {
            let reason = format!("a search names at most {MAX_CODE_SETS} value sets and concepts");
            return Err(SearchError::TooMuch { name: name.to_owned(), reason });
        }
        let known = self.request.codes.and_then(|known| known.get(&wanted)).cloned();
        if known.is_none() {
            self.unknown.borrow_mut().entry(wanted).or_insert_with(|| name.to_owned());
        }
        Ok(known)
    }

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

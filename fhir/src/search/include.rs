//! `_include` and `_revinclude` (section 3.1.1.5.4).

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Expr;

use super::{
    SearchError,
    chain::{reference_paths, targets},
    keys::{self, Key},
    refer,
    scope::nearest,
};
use crate::{
    ResourceType,
    definitions::{self, ParameterKind, SearchParameter},
    path::{self, Path},
};

/// One `_include` or `_revinclude`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// Type of the resources that refer; `None`: any (`*`).
    pub source: Option<ResourceType>,
    /// Type of the resources referred to, where the request names it.
    pub target: Option<ResourceType>,
    /// Whether it applies to included resources too.
    pub iterate: bool,
    /// `_revinclude`.
    pub reverse: bool,
    /// Code of the reference parameter; `None`: all of them (`*`).
    code: Option<&'static str>,
}

impl Include {
    /// Reads `Type:parameter`, `Type:parameter:Target`, `Type:*` or `*`; matches are of the types `of`.
    pub(super) fn parse(of: &[ResourceType], name: &str, value: &str) -> Result<Self, SearchError> {
        let invalid = |reason: String| SearchError::Invalid { name: name.to_owned(), reason };
        let unsupported = |reason: String| SearchError::Unsupported { name: name.to_owned(), reason };
        let (plain, modifier) = match name.split_once(':') {
            Some((plain, modifier)) => (plain, Some(modifier)),
            None => (name, None),
        };
        let reverse = plain == "_revinclude";
        let iterate = match modifier {
            None => false,
            // `:recurse` is what it was called before R4
            Some("iterate" | "recurse") => true,
            Some(modifier) => {
                return Err(invalid(format!("the modifier `:{modifier}` is not for it: it takes :iterate")));
            }
        };
        if value == "*" {
            return Ok(Self { source: None, target: None, iterate, reverse, code: None });
        }
        let parts: Vec<&str> = value.split(':').collect();
        let (source, code, target) = match parts.as_slice() {
            [source, code] => (*source, *code, None),
            [source, code, target] => (*source, *code, Some(*target)),
            _ => return Err(invalid("is written `Type:parameter`, `Type:parameter:Target`, `Type:*`".to_owned())),
        };
        let read = |text: &str| text.parse::<ResourceType>().map_err(|error| invalid(error.to_string()));
        let source = read(source)?;
        let target = target.map(read).transpose()?;
        let code = if code == "*" {
            None
        } else {
            let parameter = definitions::search_parameter(source, code).ok_or_else(|| {
                SearchError::UnknownParameter { name: name.to_owned(), resource: source, known: nearest(source, code) }
            })?;
            if parameter.kind != ParameterKind::Reference {
                return Err(invalid(format!("`{code}` of {source} is not a reference")));
            }
            let paths = own_paths(source, parameter);
            if paths.is_empty() {
                return Err(unsupported(format!(
                    "`{code}` of {source} refers by canonical URLs, which are not included"
                )));
            }
            let reached = targets(parameter, &paths);
            if let Some(wanted) = target.filter(|target| !reached.contains(target)) {
                return Err(invalid(format!("`{code}` of {source} never refers to a {wanted}")));
            }
            if reverse && !iterate && !reached.iter().any(|reached| of.contains(reached)) {
                return Err(invalid(format!("`{code}` of {source} never refers to a {}", names(of))));
            }
            Some(parameter.code)
        };
        if !reverse && !iterate && !of.contains(&source) {
            let of = names(of);
            return Err(invalid(format!(
                "matches are of type {of}: what a {source} refers to comes with `_include:iterate`"
            )));
        }
        if reverse && !iterate && target.is_some_and(|target| !of.contains(&target)) {
            let of = names(of);
            return Err(invalid(format!("matches are of type {of}, and only what refers to them comes with them")));
        }
        Ok(Self { source: Some(source), target, iterate, reverse, code })
    }

    /// What resources of a type refer to: a list of texts `Type/id` for each row of its table. `None` where the include is
    /// not about the type, or none of its resources refers to anything.
    #[must_use]
    pub fn references(&self, resource: ResourceType, schema: &SchemaRef) -> Option<Expr> {
        if self.reverse || self.source.is_some_and(|source| source != resource) {
            return None;
        }
        let Key { expression, .. } = keys::references(resource, &self.paths(resource), None, true, schema)?;
        Some(expression)
    }

    /// Which rows of a type's table refer to any of these; `None` where none can, and where the include is not about the type.
    #[must_use]
    pub fn referring(&self, source: ResourceType, to: &[(ResourceType, String)], schema: &SchemaRef) -> Option<Expr> {
        if !self.reverse || self.source.is_some_and(|named| named != source) {
            return None;
        }
        let paths = self.paths(source);
        let wanted: Vec<(ResourceType, String)> =
            to.iter().filter(|(resource, _)| self.target.is_none_or(|target| target == *resource)).cloned().collect();
        (!paths.is_empty() && !wanted.is_empty()).then(|| refer::referring(&paths, &wanted, schema))
    }

    fn paths(&self, source: ResourceType) -> Vec<Path> {
        let of = |parameter: &SearchParameter| own_paths(source, parameter);
        match self.code {
            Some(code) => definitions::search_parameter(source, code).map(of).unwrap_or_default(),
            None => {
                let mut all: Vec<Path> = Vec::new();
                let parameters = definitions::search_parameters(source).iter();
                for path in parameters.filter(|parameter| parameter.kind == ParameterKind::Reference).flat_map(of) {
                    if !all.iter().any(|known| known.steps == path.steps) {
                        all.push(path);
                    }
                }
                all
            }
        }
    }
}

/// The values that `_include` takes for matches of a type.
pub(super) fn includes(of: ResourceType) -> Vec<String> {
    let parameters = definitions::search_parameters(of).iter();
    let followed = parameters
        .filter(|parameter| parameter.kind == ParameterKind::Reference && !own_paths(of, parameter).is_empty());
    followed.map(|parameter| format!("{of}:{}", parameter.code)).collect()
}

/// Every value that `_revinclude` takes, with the types that it can refer to.
pub(super) fn reverse_includes() -> Vec<(String, Vec<ResourceType>)> {
    let mut all = Vec::new();
    for source in ResourceType::all() {
        for parameter in definitions::search_parameters(source) {
            if parameter.kind == ParameterKind::Reference {
                let paths = own_paths(source, parameter);
                if !paths.is_empty() {
                    all.push((format!("{source}:{}", parameter.code), targets(parameter, &paths)));
                }
            }
        }
    }
    all
}

fn names(types: &[ResourceType]) -> String {
    let names: Vec<&str> = types.iter().take(3).map(|resource| resource.name()).collect();
    names.join(", ")
}

/// The paths of a parameter to references; canonical URLs are not followed.
fn own_paths(source: ResourceType, parameter: &SearchParameter) -> Vec<Path> {
    let Ok(selection) = path::compile(source, parameter.expression) else { return Vec::new() };
    let mut paths = reference_paths(selection.paths());
    paths.retain(|path| path.element.type_id.is_reference());
    paths
}

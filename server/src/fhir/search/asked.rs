//! What a search request asks for, beside what its parameters mean to a type.

use axum::http::{HeaderMap, StatusCode};
use mavis_fhir::{ResourceType, search::Handling};
use url::form_urlencoded;

use crate::fhir::{negotiate::Format, outcome::Outcome};

/// The parameter that carries a place in a walk over pages.
pub(super) const PAGE: &str = "_page";

/// Bytes of all names and values at most.
const MAX_QUERY_BYTES: usize = 64 * 1024;

/// Where a search looks.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Below the door's URL, without slashes at its ends: `Patient`, `Patient/1/Observation`, or nothing.
    pub(super) path: String,
    /// Types that it is about; `None`: all that there are, or those of `_type`.
    pub(super) types: Option<Vec<ResourceType>>,
    /// Type and id of the resource whose compartment it stays in.
    pub(super) compartment: Option<(ResourceType, String)>,
}

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) format: Format,
    pub(super) handling: Handling,
    /// The text of `_page`.
    pub(super) page: Option<String>,
    /// `__explain=true`.
    pub(super) explain: bool,
    /// URL of this door, without a slash at its end.
    pub(super) base: String,
}

impl Asked {
    pub(super) fn read(
        mut scope: Scope,
        mut parameters: Vec<(String, String)>,
        headers: &HeaderMap,
    ) -> Result<Self, Outcome> {
        let format = Format::of(headers, &parameters)?;
        let bytes: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_QUERY_BYTES {
            let message = format!("a search has at most {MAX_QUERY_BYTES} bytes of parameters");
            return Err(Outcome::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", message));
        }
        let page = take(&mut parameters, PAGE);
        let explain = match take(&mut parameters, "__explain").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Outcome::invalid("`__explain` is true or false")),
        };
        if scope.types.is_none()
            && let Some(named) = take(&mut parameters, "_type")
        {
            let types = named.split(',').map(|name| name.parse().map_err(|_| Outcome::unknown_type(name)));
            let mut types: Vec<ResourceType> = types.collect::<Result<_, _>>()?;
            types.sort_unstable();
            types.dedup();
            scope.types = Some(types);
        }
        let handling = handling(headers);
        Ok(Self { scope, parameters, format, handling, page, explain, base: base(headers) })
    }

    /// What a page belongs to, by the parameters that were applied.
    pub(super) fn identity(&self, parameters: &[(String, String)]) -> String {
        let types: Vec<&str> = self.scope.types.iter().flatten().map(|resource| resource.name()).collect();
        let kept = parameters.iter().filter(|(name, _)| !matches!(name.as_str(), "_format" | "_pretty" | "_type"));
        format!("{} {}?{}", self.scope.path, types.join(","), query(kept))
    }

    pub(super) fn link(&self, applied: &[(String, String)], page: Option<&str>) -> String {
        let mut parameters = applied.to_vec();
        parameters.extend(page.map(|page| (PAGE.to_owned(), page.to_owned())));
        let path = match self.scope.path.as_str() {
            "" => self.base.clone(),
            path => format!("{}/{path}", self.base),
        };
        let query = query(parameters.iter());
        if query.is_empty() { path } else { format!("{path}?{query}") }
    }
}

fn query<'a>(parameters: impl Iterator<Item = &'a (String, String)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn take(parameters: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let at = parameters.iter().position(|(known, _)| known == name)?;
    Some(parameters.remove(at).1)
}

/// `Prefer: handling=strict|lenient` (R4, "search.html", section "Handling errors"); lenient where nothing is said.
fn handling(headers: &HeaderMap) -> Handling {
    let strict = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split([',', ';']).any(|part| part.trim().eq_ignore_ascii_case("handling=strict")));
    if strict { Handling::Strict } else { Handling::Lenient }
}

/// The URL of this door as the caller sees it, a proxy's word taken for it.
fn base(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = text("x-forwarded-host").or_else(|| text("host")).unwrap_or_else(|| "localhost".to_owned());
    let scheme = text("x-forwarded-proto").filter(|scheme| scheme == "https").unwrap_or_else(|| "http".to_owned());
    format!("{scheme}://{host}/fhir")
}

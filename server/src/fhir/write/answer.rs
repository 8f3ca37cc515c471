//! What a writer is told (R4, "http.html", sections "create" and "Managing Return Content").

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mavis_fhir::shape::with_meta;
use mavis_pipeline::{Effect, Written};
use serde_json::{Value, json};

use super::{Call, Outcome, prefers, status};
use crate::fhir::{base::base, conditional::stamp, read};

/// What the body of the answer shall be (`Prefer: return=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Minimal,
    Resource,
    Outcome,
    /// Nothing was said.
    Nothing,
}

impl Asked {
    /// # Errors
    /// 400 for a word that R4 does not have.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Outcome> {
        match prefers(headers, "return") {
            None => Ok(Self::Nothing),
            Some("minimal") => Ok(Self::Minimal),
            Some("representation") => Ok(Self::Resource),
            Some("OperationOutcome") => Ok(Self::Outcome),
            Some(_) => Err(Outcome::invalid("Prefer: return= is one of minimal, representation, OperationOutcome")),
        }
    }
}

/// The resource as a read would answer it, where the write stored it.
pub(super) fn stored(written: &Written) -> Option<String> {
    let text = written.text.as_ref()?;
    Some(with_meta(text, &written.id, written.version, written.last_updated))
}

/// What was done, and what is unusual about it.
pub(super) fn told(written: &Written) -> Value {
    let said = match written.effect {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Unchanged => "the content was there already: no new version",
        Effect::Existing => "a resource that meets the condition was there already",
        Effect::Deleted => "deleted",
        Effect::Nothing => "there was nothing to delete",
    };
    let mut issues = vec![json!({ "severity": "information", "code": "informational", "diagnostics": said })];
    issues.extend(written.warnings.iter().map(|(path, message)| {
        json!({ "severity": "warning", "code": "invalid", "diagnostics": message, "expression": [path] })
    }));
    json!({ "resourceType": "OperationOutcome", "issue": issues })
}

pub(super) async fn answer(call: &Call<'_>, asked: Asked, written: Written) -> Result<Response, Outcome> {
    let gone = matches!(written.effect, Effect::Deleted | Effect::Nothing);
    let mut response = match asked {
        Asked::Outcome => {
            let code = if gone { StatusCode::OK } else { status(written.effect) };
            call.format.answer(code, told(&written).to_string())
        }
        _ if gone || asked == Asked::Minimal => status(written.effect).into_response(),
        Asked::Minimal | Asked::Resource | Asked::Nothing => {
            let text = match stored(&written) {
                Some(text) => Some(text),
                None => read::current_text(call.app, call.principal, written.resource, &written.id).await?,
            };
            call.format.answer(status(written.effect), text.unwrap_or_default())
        }
    };
    let headers = response.headers_mut();
    if written.version > 0 {
        stamp(headers, written.version, written.last_updated);
    }
    if !gone {
        let Written { resource, id, version, .. } = &written;
        let location = format!("{}/{resource}/{id}/_history/{version}", base(call.app, call.headers));
        if let Ok(location) = HeaderValue::from_str(&location) {
            headers.insert(header::LOCATION, location);
        }
    }
    Ok(response)
}

//! `POST Patient/[id]/$erase`: an operation of this server, for administrators. With `?shared=true` resources go too that are
//! in another patient's compartment; `?finish=true` goes on where an erasure was interrupted.

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mavis_pipeline::EraseOptions;
use serde_json::{Value, json};

use super::{
    call::Call,
    outcome::{FHIR_JSON, Outcome},
    rows::is_id,
    write::may_administer,
};
use crate::{erase::erase, http::ApiError};

pub(super) async fn patient(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    may_administer(&call.principal)?;
    if !is_id(&id) {
        return Err(Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such Patient"));
    }
    let mut options = EraseOptions::default();
    for (name, value) in &call.query {
        match (name.as_str(), value.as_str()) {
            ("shared", "true") => options.shared = true,
            ("finish", "true") => options.finish = true,
            ("shared" | "finish", "false") => {}
            _ => return Err(Outcome::invalid("$erase has two parameters, each true or false: `shared`, `finish`")),
        }
    }
    let (done, exports) = erase(&call.app, &call.principal, &id, options).await.map_err(|error| {
        let error = ApiError::from(error);
        let code = match error.status {
            StatusCode::BAD_REQUEST => "invalid",
            status if status.is_server_error() => "exception",
            _ => "conflict",
        };
        Outcome::new(error.status, code, error.message)
    })?;
    let count = |name: &str, count: u64| json!({ "name": name, "valueInteger": count });
    let counts = |name: &str, of: &std::collections::BTreeMap<String, u64>| {
        let one = |(what, rows): (&String, &u64)| json!({ "name": name, "part": [{ "name": "name", "valueString": what }, count("count", *rows)] });
        of.iter().map(one).collect::<Vec<Value>>()
    };
    let texts = |name: &str, texts: &[String]| {
        texts.iter().map(|text| json!({ "name": name, "valueString": text })).collect::<Vec<Value>>()
    };
    let mut parameters = counts("resources", &done.resources);
    parameters.extend(counts("rows", &done.rows));
    parameters.push(count("quarantined", done.quarantined));
    parameters.push(count("files", done.files));
    parameters.push(count("exports", exports));
    parameters.extend(texts("shared", &done.shared));
    parameters.extend(texts("referring", &done.referring));
    parameters.extend(texts("unreached", &done.unreached));
    let body = json!({ "resourceType": "Parameters", "parameter": parameters });
    Ok(([(header::CONTENT_TYPE, FHIR_JSON)], body.to_string()).into_response())
}

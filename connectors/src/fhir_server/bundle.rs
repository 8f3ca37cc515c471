//! Pages of searches and histories.

use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::Inner;
use crate::{
    Error, Stage,
    reading::Halt,
    web::{Answer, Net, Request, shown},
};

/// A page of a search or a history.
#[derive(Debug, Deserialize)]
pub(super) struct Bundle {
    #[serde(rename = "resourceType")]
    resource_type: String,
    r#type: Option<String>,
    pub(super) total: Option<u64>,
    #[serde(default)]
    link: Vec<Link>,
    #[serde(default)]
    pub(super) entry: Vec<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct Link {
    relation: String,
    url: String,
}

impl Bundle {
    pub(super) fn link(&self, relation: &str) -> Option<&str> {
        self.link.iter().find(|link| link.relation == relation).map(|link| link.url.as_str())
    }

    /// Fetches a page; one that is cut is asked for again.
    pub(super) fn fetch(net: &Net<'_>, request: &Request, kind: &str) -> Result<(Self, Answer), Halt> {
        let mut tries = 0;
        loop {
            let answer = net.wait(net.client.fetch(request))?;
            let error = match Self::parse(&answer, kind) {
                Ok(bundle) => return Ok((bundle, answer)),
                Err(error) => error,
            };
            if !error.is_transient() || tries >= net.client.settings().max_retries {
                return Err(error.into());
            }
            net.wait(net.client.pause(tries, None, &request.url))?;
            tries += 1;
        }
    }

    fn parse(answer: &Answer, kind: &str) -> Result<Self, Error> {
        let place = || format!("`{}`", shown(&answer.url));
        let body = answer
            .body
            .open()
            .map_err(|_| Error::Interrupted { place: place(), reason: "the answer cannot be unpacked".to_owned() })?;
        let bundle: Self = serde_json::from_reader(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof | serde_json::error::Category::Io => {
                Error::Interrupted { place: place(), reason: "the JSON ends in the middle".to_owned() }
            }
            _ => Error::Malformed {
                place: place(),
                reason: format!(
                    "the answer to a search of `{kind}` is no Bundle in JSON; is it an error page, or a login?"
                ),
            },
        })?;
        let is_page = matches!(bundle.r#type.as_deref(), Some("searchset" | "history"));
        if bundle.resource_type == "Bundle" && is_page {
            return Ok(bundle);
        }
        let reason = format!("the answer to a search of `{kind}` is no Bundle of the type searchset");
        Err(Error::Malformed { place: place(), reason })
    }

    /// The request for the next page.
    pub(super) fn next(&self, inner: &Inner, from: &Url) -> Result<Option<Request>, Error> {
        let Some(text) = self.link("next") else { return Ok(None) };
        let refuse = |reason: String| Error::Refused { endpoint: shown(from), stage: Stage::Read, reason };
        let url = from.join(text).map_err(|_| refuse("the next page's address is none".to_owned()))?;
        if !inner.client.trusts(&url) {
            let origin = url.origin().ascii_serialization();
            return Err(refuse(format!(
                "the next page is on another host: add {origin} to `trusted_origins` if that is right"
            )));
        }
        let mut request = Request::get(url);
        request.header("accept", "application/fhir+json");
        Ok(Some(request))
    }
}

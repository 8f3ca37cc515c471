use std::{collections::BTreeMap, error::Error as _, time::Duration};

use bytes::Bytes;
use reqwest::{
    StatusCode, Version,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use url::Url;

pub(crate) use reqwest::Method;

use super::{
    address::{names_a_secret, same_origin, shown},
    answer::{Answer, Collector},
    auth::Credentials,
};
use crate::{Error, Stage};

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// The first pause before another try; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes that an answer may have.
const ANSWER_BYTES: u64 = 16 << 30;

/// What a client is made of.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) source: String,
    pub(crate) base: Url,
    /// Without a byte for so long, an answer is given up.
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_retries: u32,
    /// A PEM file of authorities that are trusted instead of the system's.
    pub(crate) ca_file: Option<String>,
    /// Origins that may see the credentials, beside that of `base`.
    pub(crate) trusted_origins: Vec<String>,
    /// Headers of every request; they go where credentials go.
    pub(crate) headers: BTreeMap<String, String>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// Goes without credentials, wherever it goes.
    pub(crate) is_open: bool,
    /// Statuses that are answers, beside 2xx.
    pub(crate) accepted: Vec<u16>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, is_open: false, accepted: Vec::new() }
    }

    pub(crate) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Sets a header whose name and value are known to be good.
    pub(crate) fn header(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// A client for one source.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    settings: Settings,
    headers: HeaderMap,
    trusted: Vec<Url>,
    pub(super) credentials: Credentials,
}

/// Why one try failed.
enum Failed {
    /// Another try may succeed, after a pause if one was asked for.
    Again(Error, Option<Duration>),
    /// The token at hand was refused.
    Token(Error),
    Final(Error),
}

impl Client {
    /// Opens no connection.
    ///
    /// # Errors
    /// [`Error::Params`].
    pub(crate) fn new(settings: Settings, credentials: Credentials) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Params { source_name: settings.source.clone(), reason };
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have been faster; either way there is one now.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.timeout)
            .redirect(Policy::none())
            .no_gzip()
            .user_agent(concat!("mavis/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &settings.ca_file {
            let pem = std::fs::read(file).map_err(|error| refuse(format!("`ca_file`: {}", error.kind())))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| refuse("`ca_file` holds no certificates".to_owned()))?;
            builder = builder.tls_certs_only(authorities);
        } else if settings.base.scheme() == "http" && settings.trusted_origins.iter().all(|o| !o.starts_with("https")) {
            // The system's authorities may be absent, and nobody needs them.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| refuse(format!("no client can be made: {}", root(&error))))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            if let Some(reason) = names_a_secret(name) {
                return Err(refuse(format!("`headers.{name}` {reason}")));
            }
            let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (name, value) = parsed.ok_or_else(|| refuse(format!("`headers.{name}` is not a header")))?;
            headers.insert(name, value);
        }
        let mut trusted = Vec::new();
        for origin in &settings.trusted_origins {
            let url: Url =
                origin.parse().map_err(|_| refuse(format!("`trusted_origins`: `{origin}` is not an origin")))?;
            if !matches!(url.scheme(), "http" | "https") || url.path() != "/" {
                return Err(refuse(format!(
                    "`trusted_origins`: `{origin}` is not an origin like https://files.example.org"
                )));
            }
            trusted.push(url);
        }
        Ok(Self { http, settings, headers, trusted, credentials })
    }

    pub(crate) fn base(&self) -> &Url {
        &self.settings.base
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether an origin may see the credentials.
    pub(crate) fn trusts(&self, url: &Url) -> bool {
        same_origin(url, &self.settings.base) || self.trusted.iter().any(|origin| same_origin(url, origin))
    }

    /// An address below the base, whether that ends in a slash or not. An absolute one must be of a trusted origin.
    pub(crate) fn below(&self, path: &str) -> Result<Url, Error> {
        let refuse = |reason: String| Error::Params { source_name: self.settings.source.clone(), reason };
        let url = if path.is_empty() {
            self.settings.base.clone()
        } else if path.contains("://") {
            path.parse().map_err(|_| refuse("a declared path is not a URL".to_owned()))?
        } else {
            let mut base = self.settings.base.clone();
            if !base.path().ends_with('/') {
                base.set_path(&format!("{}/", base.path()));
            }
            base.set_query(None);
            base.join(path).map_err(|_| refuse(format!("`{path}` is not a path")))?
        };
        if self.trusts(&url) {
            return Ok(url);
        }
        Err(refuse(format!("`{}` is on another host: add its origin to `trusted_origins`", shown(&url))))
    }

    /// An error about the source as a whole.
    pub(crate) fn refused(&self, stage: Stage, reason: impl Into<String>) -> Error {
        Error::Refused { endpoint: shown(&self.settings.base), stage, reason: reason.into() }
    }

    /// The complete answer, after as many tries as are allowed.
    ///
    /// # Errors
    /// [`Error::Unreachable`] after the last try, [`Error::Refused`] where another one would not help.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<Answer, Error> {
        let mut token_refused = false;
        let mut tries = 0;
        loop {
            let failed = match self.once(request, token_refused).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match failed {
                Failed::Final(error) => return Err(error),
                Failed::Token(error) if token_refused => return Err(error),
                Failed::Token(error) => {
                    // A password may have been changed since it was asked for.
                    if !self.credentials.buys_tokens() {
                        let old = self.credentials.ask().await?;
                        if old.is_none() || self.credentials.secret.renewed(old.as_ref()).await?.is_none() {
                            return Err(error);
                        }
                    }
                    token_refused = true;
                }
                Failed::Again(error, asked) => {
                    if tries >= self.settings.max_retries {
                        return Err(tried(error, tries + 1));
                    }
                    self.pause(tries, asked, &request.url).await?;
                    tries += 1;
                }
            }
        }
    }

    /// Waits before another try: as long as the server asks, within the time-out, else longer each time.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where the server asks for more than the time-out.
    pub(crate) async fn pause(&self, tries: u32, asked: Option<Duration>, url: &Url) -> Result<(), Error> {
        let pause = match asked {
            Some(asked) if asked > self.settings.timeout => {
                return Err(Error::Unreachable {
                    endpoint: shown(url),
                    stage: Stage::Read,
                    reason: format!("the server asks to come back in {} s, later than `timeout`", asked.as_secs()),
                });
            }
            Some(asked) => asked,
            None => PAUSE * 2_u32.saturating_pow(tries.min(8)),
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// One try, redirects followed.
    async fn once(&self, request: &Request, token_refused: bool) -> Result<Answer, Failed> {
        let (mut url, mut method, mut body) = (request.url.clone(), request.method.clone(), request.body.clone());
        for _ in 0..=REDIRECTS {
            let response = self.send(request, &method, &url, body.clone(), token_refused).await?;
            let status = response.status();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let to = self.target(&url, response.headers()).map_err(Failed::Final)?;
                let keeps_method = matches!(status.as_u16(), 307 | 308);
                if method != Method::GET && !(keeps_method && self.trusts(&to)) {
                    // What is sent may be secret in itself, and a POST that becomes a GET asks for something else.
                    let reason = format!("it redirects to {}: declare that address if it is right", shown(&to));
                    return Err(Failed::Final(refused(&url, Stage::Read, reason)));
                }
                if !keeps_method {
                    (method, body) = (Method::GET, None);
                }
                url = to;
                continue;
            }
            return self.take(request, response, url, token_refused).await;
        }
        Err(Failed::Final(refused(&request.url, Stage::Read, format!("it redirects more than {REDIRECTS} times"))))
    }

    fn target(&self, from: &Url, headers: &HeaderMap) -> Result<Url, Error> {
        let target = headers.get(LOCATION).and_then(|value| value.to_str().ok()).and_then(|text| from.join(text).ok());
        let target = target.filter(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty());
        let Some(target) = target else {
            return Err(refused(from, Stage::Read, "it redirects to no address".to_owned()));
        };
        if from.scheme() == "https" && target.scheme() == "http" {
            return Err(refused(from, Stage::Read, "it redirects from https to http".to_owned()));
        }
        Ok(target)
    }

    /// Sends one request and answers with its head.
    async fn send(
        &self,
        request: &Request,
        method: &Method,
        url: &Url,
        body: Option<Bytes>,
        token_refused: bool,
    ) -> Result<reqwest::Response, Failed> {
        let mut builder = self.http.request(method.clone(), url.clone());
        builder = builder.header(ACCEPT_ENCODING, "gzip");
        if !request.is_open && self.trusts(url) {
            builder = builder.headers(self.headers.clone()).headers(request.headers.clone());
            if let Some(secret) = self.token(token_refused).await.map_err(Failed::Final)? {
                builder = self.credentials.apply(builder, &secret);
            }
        } else {
            // Declared headers may be keys under another name; only what says how to answer goes everywhere.
            let mut headers = request.headers.clone();
            if !request.is_open {
                headers = headers
                    .into_iter()
                    .filter_map(|(name, value)| Some((name?, value)))
                    .filter(|(name, _)| name == "accept" || name == "content-type")
                    .collect();
            }
            builder = builder.headers(headers);
        }
        if let Some(body) = body {
            builder = builder.body(body);
        }
        builder.send().await.map_err(|error| self.broken(url, &error))
    }

    /// What a head means, and the body where it is an answer.
    async fn take(
        &self,
        request: &Request,
        mut response: reqwest::Response,
        url: Url,
        token_refused: bool,
    ) -> Result<Answer, Failed> {
        let status = response.status();
        if !status.is_success() && !request.accepted.contains(&status.as_u16()) {
            return Err(self.status(&url, status, response.headers(), token_refused));
        }
        let (headers, version_2) = (response.headers().clone(), response.version() >= Version::HTTP_2);
        let mut collector = Collector::default();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => collector.push(&chunk).map_err(|error| {
                    Failed::Again(interrupted(&url, format!("cannot keep it: {}", error.kind())), None)
                })?,
                Ok(None) => return Ok(collector.finish(status, headers, url, version_2)),
                Err(error) => return Err(self.broken(&url, &error)),
            }
            if collector.len() > ANSWER_BYTES {
                let reason = format!("the answer is larger than {} GiB: declare `paging`", ANSWER_BYTES >> 30);
                return Err(Failed::Final(refused(&url, Stage::Read, reason)));
            }
        }
    }

    fn status(&self, url: &Url, status: StatusCode, headers: &HeaderMap, token_refused: bool) -> Failed {
        let code = status.as_u16();
        let answered = format!("it answered {code} {}", status.canonical_reason().unwrap_or_default());
        let answered = answered.trim().to_owned();
        match code {
            408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                let error = Error::Unreachable { endpoint: shown(url), stage: Stage::Read, reason: answered };
                Failed::Again(error, retry_after(headers))
            }
            401 | 403 | 407 => {
                let advice = format!("{answered}; check `auth` and the secret ({})", self.credentials.secret.place());
                let error = refused(url, Stage::Login, advice);
                if code == 401 && !token_refused { Failed::Token(error) } else { Failed::Final(error) }
            }
            _ => Failed::Final(refused(url, Stage::Read, answered)),
        }
    }

    /// A connection that could not be made or broke.
    fn broken(&self, url: &Url, error: &reqwest::Error) -> Failed {
        let endpoint = shown(url);
        let root = root(error);
        let error = if error.is_timeout() && error.is_connect() {
            let seconds = self.settings.connect_timeout.as_secs();
            Error::Unreachable { endpoint, stage: Stage::Route, reason: format!("no connection within {seconds} s") }
        } else if error.is_timeout() {
            let seconds = self.settings.timeout.as_secs();
            let reason = format!("the server stalls: not a byte came within {seconds} s");
            Error::Unreachable { endpoint, stage: Stage::Read, reason }
        } else if error.is_connect() {
            let stage = if root.contains("dns") || root.contains("lookup") { Stage::Name } else { Stage::Route };
            Error::Unreachable { endpoint, stage, reason: root }
        } else if error.is_body() || error.is_decode() {
            interrupted(url, format!("the answer broke off: {root}"))
        } else {
            Error::Unreachable { endpoint, stage: Stage::Read, reason: root }
        };
        Failed::Again(error, None)
    }

    /// The status and the first bytes of an answer, the rest left away.
    pub(super) async fn glance(&self, request: &Request) -> Result<(StatusCode, Vec<u8>), Error> {
        let response = self.send(request, &request.method, &request.url, request.body.clone(), false).await;
        let mut response = match response {
            Ok(response) => response,
            Err(Failed::Again(error, _) | Failed::Token(error) | Failed::Final(error)) => return Err(error),
        };
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return match self.status(&request.url, status, response.headers(), true) {
                Failed::Again(error, _) | Failed::Token(error) | Failed::Final(error) => Err(error),
            };
        }
        match response.chunk().await {
            Ok(chunk) => Ok((status, chunk.unwrap_or_default().to_vec())),
            Err(error) => match self.broken(&request.url, &error) {
                Failed::Again(error, _) | Failed::Token(error) | Failed::Final(error) => Err(error),
            },
        }
    }
}

/// Says how often something was tried.
fn tried(error: Error, tries: u32) -> Error {
    let often = |reason: String| if tries > 1 { format!("{reason} ({tries} tries)") } else { reason };
    match error {
        Error::Unreachable { endpoint, stage, reason } => Error::Unreachable { endpoint, stage, reason: often(reason) },
        Error::Interrupted { place, reason } => Error::Interrupted { place, reason: often(reason) },
        other => other,
    }
}

fn refused(url: &Url, stage: Stage, reason: String) -> Error {
    Error::Refused { endpoint: shown(url), stage, reason }
}

fn interrupted(url: &Url, reason: String) -> Error {
    Error::Interrupted { place: format!("`{}`", shown(url)), reason }
}

/// The innermost reason, which names no address.
fn root(error: &reqwest::Error) -> String {
    let mut reason: Option<&dyn std::error::Error> = error.source();
    let mut text = None;
    while let Some(inner) = reason {
        text = Some(inner.to_string());
        reason = inner.source();
    }
    text.unwrap_or_else(|| "the request failed".to_owned())
}

/// Seconds, or a date, that the server asks to wait.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - chrono::Utc::now()).to_std().ok().or(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("120", Some(120))]
    #[case("Sun, 06 Nov 1994 08:49:37 GMT", Some(0))]
    #[case("soon", None)]
    fn a_server_says_how_long_to_wait(#[case] text: &str, #[case] seconds: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        assert_eq!(retry_after(&headers).map(|pause| pause.as_secs()), seconds);
    }
}

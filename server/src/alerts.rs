//! Alerts as a webhook: what the pipeline has to tell is posted as JSON.

use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use mavis_catalog::Alert;
use mavis_connectors::{Secret, SecretWord, Secrets};
use mavis_pipeline::Teller;
use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};

use crate::config::AlertsConfig;

/// What the token is looked for as: `WEBHOOK_TOKEN_ALERTS`.
const KIND: &str = "webhook";
const NAME: &str = "alerts";
/// Longest time of one try, whatever is configured: another server may take the alert after it.
const LONGEST: Duration = Duration::from_secs(60);

/// Posts alerts to one place.
#[derive(Debug)]
pub(crate) struct Webhook {
    client: Client,
    url: Hidden,
    header: HeaderName,
    token: Secret,
}

/// A URL of which only the host is shown: paths of webhooks are secrets.
struct Hidden(Url);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.host())
    }
}

impl Hidden {
    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl Webhook {
    /// `None` where nobody is to be told. Opens no connection.
    ///
    /// # Errors
    /// What is wrong in the configuration, without the URL.
    pub(crate) fn new(config: &AlertsConfig, secrets: &Secrets) -> anyhow::Result<Option<Self>> {
        let Some(webhook) = &config.webhook else { return Ok(None) };
        let url: Url = webhook.expose().parse().ok().context("alerts.webhook is no URL")?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            bail!("alerts.webhook is no URL of a server: it begins with https:// or http://");
        }
        let header = config.header.to_ascii_lowercase().parse().context("alerts.header is no name of a header")?;
        let mut client = Client::builder()
            .timeout(Duration::from_secs(config.timeout_seconds.max(1)).min(LONGEST))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("mavis/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &config.ca_cert {
            let pem = std::fs::read(file).with_context(|| format!("cannot read alerts.ca_cert {}", file.display()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("alerts.ca_cert {} holds no certificates", file.display()))?;
            client = client.tls_certs_only(authorities);
        }
        let client = client.build().context("cannot make a client to post alerts with")?;
        Ok(Some(Self { client, url: Hidden(url), header, token: secrets.named(SecretWord::Token, KIND, NAME) }))
    }

    fn value(&self, token: &SecretString) -> Result<HeaderValue, String> {
        let token = token.expose_secret();
        let text = if self.header == AUTHORIZATION { format!("Bearer {token}") } else { token.to_owned() };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "its token holds characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn post(&self, body: &serde_json::Value, token: Option<&SecretString>) -> Result<StatusCode, String> {
        let mut request = self.client.post(self.url.0.clone()).json(body);
        if let Some(token) = token {
            request = request.header(&self.header, self.value(token)?);
        }
        let answer = request.send().await.map_err(|error| {
            let error = error.without_url();
            let what = if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" };
            format!("{what} ({error})")
        })?;
        Ok(answer.status())
    }
}

#[async_trait]
impl Teller for Webhook {
    async fn tell(&self, alert: &Alert) -> Result<(), String> {
        let to = |reason: String| format!("the webhook at {}: {reason}", self.url.host());
        let mut body = alert.body.clone();
        // A receiver that gets it twice can tell.
        body["id"] = alert.id.to_string().into();
        let token = self.token.get().await.map_err(|error| to(error.to_string()))?;
        let mut status = self.post(&body, token.as_ref()).await.map_err(to)?;
        if status == StatusCode::UNAUTHORIZED
            && let Some(renewed) = self.token.renewed(token.as_ref()).await.map_err(|error| to(error.to_string()))?
        {
            status = self.post(&body, Some(&renewed)).await.map_err(to)?;
        }
        if status.is_success() { Ok(()) } else { Err(to(format!("it answered {status}"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret as Hush;
    use rstest::rstest;

    #[rstest]
    #[case("hooks.example.org/canary", "no URL")]
    #[case("ftp://hooks.example.org/canary", "https://")]
    fn a_webhook_that_is_none_is_refused_without_its_url(#[case] url: &str, #[case] says: &str) {
        crate::boot::install_crypto();
        let config = AlertsConfig { webhook: Some(Hush::new(url)), ..AlertsConfig::default() };
        let error = format!("{:#}", Webhook::new(&config, &Secrets::from_pairs([])).unwrap_err());
        assert!(error.contains(says) && !error.contains("canary"), "{error}");
    }

    #[test]
    fn a_webhook_prints_neither_its_path_nor_its_token() {
        crate::boot::install_crypto();
        let config =
            AlertsConfig { webhook: Some(Hush::new("https://hooks.example.org/canary")), ..AlertsConfig::default() };
        let secrets = Secrets::from_pairs([("WEBHOOK_TOKEN_ALERTS", "canary")]);
        let shown = format!("{:?} {config:?}", Webhook::new(&config, &secrets).unwrap());
        assert!(shown.contains("hooks.example.org") && !shown.contains("canary"), "{shown}");
    }
}

//! A client of the FHIR door, with one token.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::TestServer;

pub(crate) struct Client<'t> {
    pub(crate) test: &'t TestServer,
    pub(crate) token: String,
}

impl<'t> Client<'t> {
    pub(crate) fn admin(test: &'t TestServer) -> Self {
        Self { test, token: test.admin_token() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        reqwest::Client::new().request(method, self.test.http(path)).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.request(Method::POST, path).header("content-type", "application/fhir+json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Writes resources in one transaction.
    pub(crate) async fn put(&self, resources: &[Value]) {
        let entries: Vec<Value> = resources
            .iter()
            .map(|resource| {
                let url =
                    format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
                json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
            })
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        let (status, answer) = self.post("/fhir", &bundle).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub(crate) async fn kick_off(&self, path: &str) -> Response {
        self.request(Method::GET, path).header("prefer", "respond-async").send().await.unwrap()
    }

    /// Waits for the end of something asynchronous.
    pub(crate) async fn wait(&self, begun: Response) -> (u16, Value) {
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        let place = header(&begun, "content-location").to_owned();
        for _ in 0..600 {
            let answer = reqwest::Client::new().get(&place).bearer_auth(&self.token).send().await.unwrap();
            if answer.status() != StatusCode::ACCEPTED {
                return (answer.status().as_u16(), answer.json().await.unwrap());
            }
            assert!(!header(&answer, "retry-after").is_empty() && !header(&answer, "x-progress").is_empty());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end");
    }

    /// The lines of every file of a manifest, by type.
    pub(crate) async fn lines(&self, manifest: &Value) -> BTreeMap<String, Vec<Value>> {
        let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for output in manifest["output"].as_array().unwrap() {
            let url = output["url"].as_str().unwrap();
            let refused = reqwest::Client::new().get(url).send().await.unwrap();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "files need the token");
            let answer = reqwest::Client::new().get(url).bearer_auth(&self.token).send().await.unwrap();
            assert_eq!(header(&answer, "content-type"), "application/fhir+ndjson");
            let text = answer.text().await.unwrap();
            let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(output["count"], found.len());
            lines.entry(output["type"].as_str().unwrap().to_owned()).or_default().extend(found);
        }
        lines
    }
}

pub(crate) fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

//! An OpenID Connect issuer in this process: a real HTTP server on a free port, with keys of every kind.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use mavis_server::config::OidcConfig;
use serde_json::{Value, json};

/// A key made for these tests, in the form of PKCS #1; it protects nothing.
const RSA: &str = "\
MIIEowIBAAKCAQEArfwJ26rZx/CRnXMDe04maJl8ugpxzRQnbpgTVfTlf2rL6pEUnZRJvoacN9tV7TViK0obhPrbWGMtBgG28Xqfaw5t8/NZPv\
Vivb6Qd3d0r+9u0E3dLn0+4FzXH0iKRyDQnSXv6tys5ewLy/Rx63wBgZqg+3oliFW7jEaZqTvt4gsJ6lbkDq5aCJOj3OEH4GtAgG9f9hplNM9W\
qgayjHA2/ls/g8WfTKjEA/7SCNchZPg4vUiF/LonbRmcZkS2YXlhLlSzG/3CYKfTnBAEDeJwyMAoRj/SHdpVBtNhgXRS09lTHW+iEGYueD2bRP\
Z46x142Ygam73UzNBHveNc+fRuuQIDAQABAoIBAAamsdRIWOS+NzzdCJsqQsjhJD3i+BSCUpsVXHje4LahJSxBkVeQU4zhbb+rZoKn1anIvppT\
8jZz7STThDRBTy6bKbwnl4fy/sw46KIuioMOzM5RCbV1I4YVeoJXRjT/pcX6LSyt9Lyh7FYG0WOSlSaonAKdGen3OBEd4lIwSLDpUa/Y1CZrdJ\
6mP343jDKTnO2xyznbPnzj5IZScOPazKhyhSf7X3CIzB793ProHeJAr0GQvYcbMx21hdHN7P96y/ADdr/Xf9pGf5FZw7zi2uWt3sXnd6aT4bvq\
d4y0CDcav3+okjNuJOF+nZx1CA62T7OiBChITLRLLhXN8Ujcq0ECgYEA498nSAgvg4xmv0FYhFAfHfZsiEHSq2HshT33vBU6iNTNzLSLNr8WCb\
i9UhgvheVfskqCZ/FlWPcfyj6PnMvBOlQBC6MPCiu0GA+3gGU7Nzylrx8wVrncEbsbiNceBPxXthVd4gy9UvoNumqeCmi8iiptur++I8scNTMg\
GZ92WkECgYEAw3YG07oAsTQ9vPpaOOH4us60Y5Yj2df0xazLDhcW+U2xge6U73dP3ECN2BgWH8I12z7G+fO0UoaD0ABeVKrg/nkCleeK9Xyo2b\
g5SgbG/9ztH3LUAegIS7iFBycd0cftdEVooWX8VRyUYy0sbcTmDnsFF17H/eNHPLs4C8zWRnkCgYA5btcxuo5vM4X6EnhC8QbGwINeXGjCtW2t\
r46vIxKbxjcQrzifVc4yKRPeiyX/M27JOypfFGKc57xldxsvQ9Ox5dZVnoV95MIBhoSTofAo3epMlynR0gp7lZM9DCsOyqM4y23cOaXGMiwfnh\
uzN+69TDBX71f3IYw8hGRE0QI9gQKBgAcRg5mwhkniO8FTxGN+OIJ46ykWyuEb4Cwt3YH678fAOYUbXaNzSx4J75c698HaQhxVnth3KbQ6TRX+\
jWq+aziIo8FMCEhsY6bL9LZqnFOwZ5rVijkvbO1gFN93WKq3cizcPbZoe8GQMQWNIqgtkKxBYqO/t7fEulTF6Hb0x2LxAoGBALbkrQWOFxUIi6\
wJEu81AYk6nRV4Cpqe0W9xDsvdMORIWBhlDgAv1v00ncJJtlwVGC7IEhpc6lq3WNryYGT/poH3yJwl943Q9Ylvpf2G1y0fPn9U9WEHVwkATgXk\
PGiVDEOo/NvGOH90xv0LNTIBgHtP3tcJ4aqhM9K1gn0UWU8e\
";

/// What `aud` must hold.
pub(crate) const AUDIENCE: &str = "mavis";

#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
}

impl Signer {
    pub(crate) fn rsa(id: &str, algorithm: Algorithm) -> Self {
        Self { id: id.to_owned(), algorithm, key: EncodingKey::from_rsa_der(&STANDARD.decode(RSA).unwrap()) }
    }

    /// A new key each time.
    pub(crate) fn ec(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { id: id.to_owned(), algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&pair.serialize_der()) }
    }

    /// A new key each time: the seed in the form of PKCS #8 (RFC 8410, section 7).
    pub(crate) fn ed(id: &str) -> Self {
        let head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let seed: [u8; 32] = rand::random();
        let key = EncodingKey::from_ed_der(&[&head[..], &seed[..]].concat());
        Self { id: id.to_owned(), algorithm: Algorithm::EdDSA, key }
    }

    pub(crate) fn public(&self) -> Value {
        let mut key = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    is_up: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    pub(crate) async fn start(signers: &[Signer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            keys: Arc::default(),
            is_up: Arc::new(AtomicBool::new(true)),
            asked: Arc::default(),
        };
        issuer.has(signers);
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(Self::configuration))
            .route("/keys", get(Self::public_keys))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        issuer
    }

    async fn configuration(State(issuer): State<Self>) -> Result<Json<Value>, StatusCode> {
        issuer.answer(json!({ "issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url) }))
    }

    async fn public_keys(State(issuer): State<Self>) -> Result<Json<Value>, StatusCode> {
        issuer.asked.fetch_add(1, Ordering::SeqCst);
        let keys = issuer.keys.lock().unwrap().clone();
        issuer.answer(json!({ "keys": keys }))
    }

    fn answer(&self, body: Value) -> Result<Json<Value>, StatusCode> {
        self.is_up.load(Ordering::SeqCst).then_some(Json(body)).ok_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// From now on these are its keys, and one of a kind that nobody knows.
    pub(crate) fn has(&self, signers: &[Signer]) {
        let strange = json!({ "kty": "LWE", "kid": "strange", "use": "sig", "x": [1, 2] });
        *self.keys.lock().unwrap() = signers.iter().map(Signer::public).chain([strange]).collect();
    }

    pub(crate) fn is_up(&self, is: bool) {
        self.is_up.store(is, Ordering::SeqCst);
    }

    /// How often its keys were fetched.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn config(&self) -> OidcConfig {
        let config = json!({
            "issuer": self.url,
            "name": "hospital",
            "audience": [AUDIENCE],
            "roles": { "staff": "analyst", "chiefs": "admin" },
            "groups": { "Research": "researchers" },
            "refetch_seconds": 0,
        });
        serde_json::from_value(config).unwrap()
    }

    /// What a good token of an analyst says.
    pub(crate) fn claims(&self) -> Value {
        let now = chrono::Utc::now().timestamp();
        json!({
            "iss": self.url,
            "aud": ["other", AUDIENCE],
            "sub": "7f3a",
            "exp": now + 600,
            "nbf": now - 5,
            "groups": ["staff", "Research", "football"],
        })
    }

    /// The same with some claims changed; `null` takes one away.
    pub(crate) fn claims_but(&self, changes: &Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }
}

//! Tokens that an OpenID Connect issuer signed, at every door.

use std::time::{Duration, Instant};

use arrow_flight::{Empty, flight_service_client::FlightServiceClient};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mavis_catalog::{Grantee, NewRight, RightKind};
use mavis_proto::v1::{self as pb, ingest_service_client::IngestServiceClient};
use mavis_server::auth::Door;
use mavis_types::{Place, Role, Scope, Zone};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};
use tonic::Code;

use crate::{
    harness::{TestServer, config, with},
    issuer::{Issuer, Signer},
};

/// What a door says to whoever knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    In,
    Who,
    No,
    Later,
}

fn of_http(status: u16) -> Said {
    match status {
        200 => Said::In,
        401 => Said::Who,
        403 => Said::No,
        503 => Said::Later,
        other => panic!("HTTP status {other}"),
    }
}

fn of_grpc<T>(answer: Result<T, tonic::Status>) -> Said {
    match answer.err().map(|status| status.code()) {
        None => Said::In,
        Some(Code::Unauthenticated) => Said::Who,
        Some(Code::PermissionDenied) => Said::No,
        Some(Code::Unavailable) => Said::Later,
        Some(other) => panic!("gRPC code {other}"),
    }
}

/// What the PostgreSQL door says to a password, by SQLSTATE.
async fn of_postgres(test: &TestServer, token: &str) -> Said {
    match crate::postgres::options(test, "fhir", token).connect().await {
        Ok(connection) => {
            connection.close().await.unwrap();
            Said::In
        }
        Err(error) => match error.as_database_error().and_then(|error| error.code()).as_deref() {
            Some("28P01") => Said::Who,
            Some("42501") => Said::No,
            Some("57P03") => Said::Later,
            _ => panic!("{error:?}"),
        },
    }
}

/// Knocks at all doors, in every way that a token can be shown.
async fn knock(test: &TestServer, token: &str) -> Vec<(&'static str, Said)> {
    let basic = format!("Basic {}", STANDARD.encode(format!("anybody:{token}")));
    let http = reqwest::Client::new();
    let status = async |path: &str, authorization: String| {
        let answer = http.get(test.http(path)).header("authorization", authorization).send().await.unwrap();
        of_http(answer.status().as_u16())
    };
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let mut flight = FlightServiceClient::new(test.channel().await);
    let mut shaking = arrow_flight::sql::client::FlightSqlServiceClient::new(test.channel().await);
    let (one, two, three, four, five, six, seven) = tokio::join!(
        status("/api/v1/sources", format!("Bearer {token}")),
        status("/api/v1/sources", basic),
        status("/fhir/Patient", format!("Bearer {token}")),
        async { of_grpc(ingest.list_sources(with(token, pb::ListSourcesRequest {})).await) },
        async { of_grpc(flight.list_actions(with(token, Empty {})).await) },
        async {
            let shaken = shaking.handshake("anybody", token).await;
            shaken.map_or_else(
                |error| {
                    let told = error.to_string();
                    assert!(told.contains("token"), "{told}");
                    if told.contains("role here") {
                        Said::No
                    } else if told.contains("try again later") {
                        Said::Later
                    } else {
                        Said::Who
                    }
                },
                |_| Said::In,
            )
        },
        of_postgres(test, token),
    );
    vec![
        ("http", one),
        ("basic", two),
        ("fhir", three),
        ("grpc", four),
        ("flight", five),
        ("handshake", six),
        ("postgres", seven),
    ]
}

async fn all_say(test: &TestServer, token: &str, said: Said, what: &str) {
    for (door, answer) in knock(test, token).await {
        assert_eq!(answer, said, "{what} at {door}");
    }
}

async fn start(oidc: mavis_server::config::OidcConfig) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let config = mavis_server::config::Config { oidc: vec![oidc], ..config(&folder.path().join("data")) };
    TestServer::start_as(folder, config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_let_in_at_every_door_whatever_kind_of_key_signed_it() {
    let signers =
        [Signer::rsa("rs", Algorithm::RS256), Signer::rsa("ps", Algorithm::PS256), Signer::ec("ec"), Signer::ed("ed")];
    let issuer = Issuer::start(&signers).await;
    let test = start(issuer.config()).await;
    for signer in &signers {
        all_say(&test, &signer.sign(&issuer.claims()), Said::In, &signer.id).await;
    }
    // A token that does not say which key signed it.
    let header = Header::new(Algorithm::ES256);
    let unnamed = encode(&header, &issuer.claims(), &signers[2].key).unwrap();
    all_say(&test, &unnamed, Said::In, "no kid").await;
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_anything_wrong_is_refused_at_every_door() {
    let (rs, ec) = (Signer::rsa("rs", Algorithm::RS256), Signer::ec("ec"));
    let issuer = Issuer::start(&[rs.clone(), ec.clone()]).await;
    let test = start(issuer.config()).await;
    let now = chrono::Utc::now().timestamp();
    let but = |changes: Value| ec.sign(&issuer.claims_but(&changes));
    let good = ec.sign(&issuer.claims());
    let parts: Vec<&str> = good.split('.').collect();
    let chief = issuer.claims_but(&json!({ "groups": ["chiefs"] }));
    let unsigned = |header: Value, signature: &str| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", part(&header), part(&issuer.claims()))
    };
    // The public key of RS256, which anybody knows, taken as the secret of HS256: as the numbers stand in the JWK, and whole.
    let public = rs.public();
    let modulus = URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    let confused = |secret: &[u8]| {
        let header = Header { kid: Some("rs".to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &issuer.claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let other = |signer: Signer, id: &str| Signer { id: id.to_owned(), ..signer }.sign(&issuer.claims());
    let wrong = [
        ("another audience", but(json!({ "aud": "billing" })), "audience"),
        ("audiences of others", but(json!({ "aud": ["billing", "mavis2"] })), "audience"),
        ("no audience", but(json!({ "aud": null })), "claim"),
        ("another issuer", but(json!({ "iss": "https://login.example.org" })), "issuer"),
        ("an issuer among others", but(json!({ "iss": [issuer.url] })), "read"),
        ("no issuer", but(json!({ "iss": null })), "read"),
        ("expired", but(json!({ "exp": now - 120 })), "expired"),
        ("expires never", but(json!({ "exp": null })), "claim"),
        ("expires in words", but(json!({ "exp": "tomorrow" })), "claim"),
        ("not yet good", but(json!({ "nbf": now + 600 })), "not good yet"),
        ("nobody", but(json!({ "sub": null })), "claim"),
        ("an empty subject", but(json!({ "sub": "" })), "claim"),
        ("confusion by the modulus", confused(&modulus), "kind"),
        ("confusion by the text", confused(public["n"].as_str().unwrap().as_bytes()), "kind"),
        ("confusion by the whole key", confused(public.to_string().as_bytes()), "kind"),
        ("alg none", unsigned(json!({ "alg": "none", "typ": "JWT" }), ""), "kind"),
        ("alg NONE", unsigned(json!({ "alg": "NONE", "kid": "ec" }), "AA"), "kind"),
        ("no signature", unsigned(json!({ "alg": "ES256", "kid": "ec" }), ""), "signature"),
        ("an unknown key", other(Signer::ec("x"), "unknown"), "no such key"),
        ("a key that is not the issuer's", other(Signer::ec("x"), "ec"), "signature"),
        ("a key of another kind", other(ec.clone(), "rs"), "no such key"),
        (
            "a tampered payload",
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(chief.to_string()), parts[2]),
            "signature",
        ),
        ("a cut signature", format!("{}.{}.{}", parts[0], parts[1], &parts[2][..parts[2].len() - 4]), "not taken"),
        (
            "a logout token",
            {
                let header = Header {
                    typ: Some("logout+jwt".to_owned()),
                    kid: Some("ec".to_owned()),
                    ..Header::new(Algorithm::ES256)
                };
                encode(&header, &issuer.claims(), &ec.key).unwrap()
            },
            "read",
        ),
        ("no text", "ey.ey.ey".to_owned(), "read"),
    ];
    // All at once: each failure of a peer is answered later than the one before.
    join_all(wrong.iter().map(async |(what, token, says)| {
        all_say(&test, token, Said::Who, what).await;
        let denied = test.server.app().auth.authenticate(Some(token), None, Door::Grpc).await.unwrap_err();
        assert!(denied.to_string().contains(says), "{what}: {denied}");
    }))
    .await;
    let no_role = [
        ("no groups", but(json!({ "groups": null }))),
        ("groups without a role", but(json!({ "groups": ["football", "Research"] }))),
        ("groups in another form", but(json!({ "groups": { "staff": true } }))),
    ];
    join_all(no_role.iter().map(async |(what, token)| all_say(&test, token, Said::No, what).await)).await;
    all_say(&test, &good, Said::In, "a good token after all that").await;

    test.server.app().auth.tell_untold(true).await;
    let audit = test.server.app().catalog.audit_entries(1_000).await.unwrap();
    let failed: Vec<_> = audit.iter().filter(|entry| entry.action == "login.failed").collect();
    assert!(!failed.is_empty() && failed.len() <= 10, "told as numbers: {} lines", failed.len());
    assert!(failed.iter().any(|entry| entry.object.contains(" times")), "{failed:?}");
    assert!(failed.iter().all(|entry| !entry.allowed && entry.actor == "anonymous"));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_of_an_issuer_has_a_name_that_no_token_can_have_and_what_was_granted_to_it() {
    let ec = Signer::ec("ec");
    let issuer = Issuer::start(std::slice::from_ref(&ec)).await;
    let test = start(issuer.config()).await;
    let app = test.server.app();
    let of = async |changes: Value| {
        let token = ec.sign(&issuer.claims_but(&changes));
        app.auth.authenticate(Some(&token), None, Door::Http).await.unwrap()
    };
    let analyst = of(json!({})).await;
    assert_eq!((analyst.name.as_str(), analyst.role), ("hospital:7f3a", Role::Analyst));
    assert_eq!((analyst.groups.as_slice(), &analyst.scope), (&["researchers".to_owned()][..], &Scope::Schemas(vec![])));
    assert!(!analyst.may_read_schema(Zone::Fhir, "r4"));
    let again = of(json!({ "exp": chrono::Utc::now().timestamp() + 900 })).await;
    assert_eq!(again.token, analyst.token, "the same person in another token");
    assert_ne!(of(json!({ "sub": "7f3b" })).await.token, analyst.token);
    let chief = of(json!({ "groups": ["staff", "chiefs"] })).await;
    assert_eq!((chief.role, &chief.scope), (Role::Admin, &Scope::All));

    let to = Grantee::Role("researchers".to_owned());
    let right = NewRight {
        kind: RightKind::Read { column: None },
        to,
        on: Place::Schema(Zone::Fhir, "r4".to_owned()),
        granted_by: "admin".to_owned(),
        expires_at: None,
    };
    app.catalog.grant(&[right]).await.unwrap();
    assert!(of(json!({})).await.may_read_schema(Zone::Fhir, "r4"), "at once");
    assert!(!of(json!({ "groups": ["staff"] })).await.may_read_schema(Zone::Fhir, "r4"));

    let smart = of(json!({ "scope": "openid patient/Observation.rs", "patient": "p1" })).await.smart.unwrap();
    assert_eq!((smart.to_text().as_str(), smart.patient.as_deref()), ("patient/Observation.rs", Some("p1")));
    assert!(of(json!({})).await.smart.is_none(), "what is kept of a person is not one token's scopes");

    let taken = test.mavis(&["token", "create", "hospital:7f3a", "--role", "admin"]).await;
    assert!(!taken.status.success(), "a token cannot have the name");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_our_own_with_the_name_of_somebody_at_the_issuer_stops_the_start() {
    let folder = {
        let test = TestServer::start().await;
        test.token("hospital:7f3a", pb::Role::Reader, &[]).await;
        test.stop().await
    };
    let issuer = Issuer::start(&[]).await;
    let config = mavis_server::config::Config { oidc: vec![issuer.config()], ..config(&folder.path().join("data")) };
    let refused = Box::pin(mavis_server::Server::start_with(config, mavis_connectors::Secrets::from_pairs([]))).await;
    let told = format!("{:#}", refused.map(drop).unwrap_err());
    assert!(told.contains("hospital:7f3a") && told.contains("revoke"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_taken_at_once_and_old_ones_refused_soon() {
    let (old, new) = (Signer::ec("1"), Signer::ec("2"));
    let issuer = Issuer::start(std::slice::from_ref(&old)).await;
    let test = start(mavis_server::config::OidcConfig { refresh_seconds: 1, ..issuer.config() }).await;
    all_say(&test, &old.sign(&issuer.claims()), Said::In, "the first key").await;
    issuer.has(std::slice::from_ref(&new));
    all_say(&test, &new.sign(&issuer.claims()), Said::In, "the next key, fetched when it is first seen").await;
    let until = Instant::now() + Duration::from_secs(10);
    let token = old.sign(&issuer.claims());
    while test.server.app().auth.authenticate(Some(&token), None, Door::Http).await.is_ok() {
        assert!(Instant::now() < until, "the first key is still taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_keys_do_not_make_us_ask_the_issuer_again_and_again() {
    let ec = Signer::ec("ec");
    let issuer = Issuer::start(std::slice::from_ref(&ec)).await;
    let test = start(mavis_server::config::OidcConfig { refetch_seconds: 3600, ..issuer.config() }).await;
    all_say(&test, &ec.sign(&issuer.claims()), Said::In, "a good token").await;
    let before = issuer.asked();
    let auth = &test.server.app().auth;
    join_all((0..20).map(async |n| {
        let token = Signer { id: format!("made up {n}"), ..ec.clone() }.sign(&issuer.claims());
        auth.authenticate(Some(&token), None, Door::Http).await.unwrap_err()
    }))
    .await;
    assert_eq!(issuer.asked(), before);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_issuer_is_away_known_keys_are_good_until_they_are_too_old_and_nobody_gets_in_then() {
    let ec = Signer::ec("ec");
    let issuer = Issuer::start(std::slice::from_ref(&ec)).await;
    let oidc = mavis_server::config::OidcConfig { refresh_seconds: 1, oldest_seconds: 4, ..issuer.config() };
    let test = start(oidc).await;
    let token = ec.sign(&issuer.claims());
    all_say(&test, &token, Said::In, "while it is there").await;
    issuer.is_up(false);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    all_say(&test, &token, Said::In, "with the keys that are known").await;
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    all_say(&test, &token, Said::Later, "with keys that are too old").await;
    let told = test.server.app().auth.authenticate(Some(&token), None, Door::Http).await.unwrap_err().to_string();
    assert!(told.contains("cannot be asked for its keys") && told.contains("too old"), "{told}");
    let admin = test.admin_token();
    all_say(&test, &admin, Said::In, "our own tokens need no issuer").await;
    issuer.is_up(true);
    let until = Instant::now() + Duration::from_secs(10);
    while test.server.app().auth.authenticate(Some(&token), None, Door::Http).await.is_err() {
        assert!(Instant::now() < until, "it is back and nobody noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_was_never_there_lets_nobody_in_and_holds_up_no_start() {
    let ec = Signer::ec("ec");
    let issuer = Issuer::start(std::slice::from_ref(&ec)).await;
    issuer.is_up(false);
    let test = start(issuer.config()).await;
    all_say(&test, &ec.sign(&issuer.claims()), Said::Later, "no keys at all").await;
    all_say(&test, &test.admin_token(), Said::In, "our own").await;
    test.stop().await;
}

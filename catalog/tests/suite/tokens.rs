use std::time::Duration;

use chrono::Utc;
use mavis_catalog::{Error, NewToken};
use mavis_types::{Role, SchemaGrant, Scope, Zone};

use crate::backend::{Db, on_both};

on_both!(
    a_secret_is_shown_once_and_kept_as_a_hash,
    a_revoked_token_fails_at_once,
    an_expired_token_fails_and_frees_its_name,
    a_name_belongs_to_one_live_token,
);

fn new(name: &str) -> NewToken {
    NewToken::new(name, Role::Reader, Scope::Schemas(vec![SchemaGrant { zone: Zone::Fhir, schema: "r4".to_owned() }]))
}

async fn a_secret_is_shown_once_and_kept_as_a_hash(db: Db) {
    let (token, secret) = db.catalog.create_token(new("ana")).await.unwrap();
    assert!(secret.starts_with("mvs_") && secret.len() >= 4 + 43, "{} characters", secret.len());
    let (_, other) = db.catalog.create_token(new("bea")).await.unwrap();
    assert_ne!(secret, other);
    let principal = db.catalog.authenticate(&secret).await.unwrap().unwrap();
    assert_eq!((principal.token, principal.name.as_str()), (token.id, "ana"));
    assert_eq!((principal.role, principal.scope), (Role::Reader, new("ana").scope));
    for wrong in ["", "mvs_", &secret[..secret.len() - 1], &secret.to_uppercase(), "mvs_\0"] {
        assert_eq!(db.catalog.authenticate(wrong).await.unwrap(), None);
    }
    // Neither the secret nor a part of it stands in what is listed or in the file.
    assert!(!format!("{:?}", db.catalog.tokens().await.unwrap()).contains(&secret[4..20]));
    if let Some(folder) = &db.folder {
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(16).any(|window| window == &secret.as_bytes()[4..20]));
        }
    }
}

async fn a_revoked_token_fails_at_once(db: Db) {
    let other = db.open_again().await;
    let (by_name, secret_a) = db.catalog.create_token(new("ana")).await.unwrap();
    let (by_id, secret_b) = db.catalog.create_token(new("bea")).await.unwrap();
    assert!(other.authenticate(&secret_a).await.unwrap().is_some());
    db.catalog.revoke_token("ana").await.unwrap();
    assert_eq!(other.authenticate(&secret_a).await.unwrap(), None);
    db.catalog.revoke_token(&by_id.id.to_string()).await.unwrap();
    assert_eq!(other.authenticate(&secret_b).await.unwrap(), None);
    assert!(matches!(db.catalog.revoke_token("ana").await, Err(Error::NotFound { what: "token", .. })));
    let listed = db.catalog.tokens().await.unwrap();
    assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), [by_name.id, by_id.id]);
    assert!(listed.iter().all(|token| token.revoked_at.is_some()));
    other.close().await;
}

async fn an_expired_token_fails_and_frees_its_name(db: Db) {
    let soon = NewToken { expires_at: Some(Utc::now() + Duration::from_millis(400)), ..new("ana") };
    let (_, secret) = db.catalog.create_token(soon).await.unwrap();
    assert!(db.catalog.authenticate(&secret).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(db.catalog.authenticate(&secret).await.unwrap(), None);
    let (_, second) = db.catalog.create_token(new("ana")).await.unwrap();
    assert!(db.catalog.authenticate(&second).await.unwrap().is_some());
}

async fn a_name_belongs_to_one_live_token(db: Db) {
    db.catalog.create_token(new("ana")).await.unwrap();
    assert!(matches!(db.catalog.create_token(new("ana")).await, Err(Error::Exists { what: "token", .. })));
    db.catalog.revoke_token("ana").await.unwrap();
    db.catalog.create_token(new("ana")).await.unwrap();
    assert_eq!(db.catalog.tokens().await.unwrap().len(), 2);
}

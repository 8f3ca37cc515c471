use mavis_catalog::Error;

use crate::backend::{Db, on_both};

on_both!(who_is_recorded_first_stays_until_it_is_forgotten,);

async fn who_is_recorded_first_stays_until_it_is_forgotten(db: Db) {
    let catalog = &db.catalog;
    assert_eq!(catalog.known_host("gate", 22).await.unwrap(), None);
    let first = catalog.record_known_host("Gate", 22, "ssh-ed25519", "SHA256:a", "ssh-ed25519 AAAA").await.unwrap();
    assert_eq!((first.host.as_str(), first.port, first.fingerprint.as_str()), ("gate", 22, "SHA256:a"));
    let other = db.open_again().await;
    let second = other.record_known_host("gate", 22, "ssh-rsa", "SHA256:b", "ssh-rsa BBBB").await.unwrap();
    assert_eq!(second, first);
    other.record_known_host("gate", 2222, "ssh-rsa", "SHA256:b", "ssh-rsa BBBB").await.unwrap();
    let listed = catalog.known_hosts().await.unwrap();
    assert_eq!(listed.iter().map(|known| known.port).collect::<Vec<_>>(), [22, 2222]);
    catalog.forget_known_host("GATE", 22).await.unwrap();
    assert!(matches!(catalog.forget_known_host("gate", 22).await, Err(Error::NotFound { what: "host key", .. })));
    assert_eq!(other.known_host("gate", 22).await.unwrap(), None);
    other.close().await;
}

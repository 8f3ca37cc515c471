use futures::future::join_all;
use mavis_catalog::{Catalog, Error};
use rstest::rstest;

use crate::backend::{Db, on_both};

on_both!(
    what_was_written_is_there_after_opening_again,
    a_catalog_of_a_newer_version_is_refused,
    a_catalog_whose_shape_was_changed_is_refused,
    openers_at_once_migrate_once,
);

async fn what_was_written_is_there_after_opening_again(db: Db) {
    let table = db.table("raw.hms.a").await;
    db.catalog.ping().await.unwrap();
    db.catalog.close().await;
    let again = db.open_again().await;
    assert_eq!(again.table_by_id(table.id).await.unwrap(), table);
    again.close().await;
}

async fn a_catalog_of_a_newer_version_is_refused(db: Db) {
    db.execute("INSERT INTO migrations (version, hash, applied_at) VALUES (9999, 'x', 0)").await;
    let Err(Error::Open { reason, .. }) = Catalog::open(&db.url).await else { panic!("opened") };
    assert!(reason.contains("newer version"), "{reason}");
}

async fn a_catalog_whose_shape_was_changed_is_refused(db: Db) {
    db.execute("UPDATE migrations SET hash = 'x'").await;
    assert!(matches!(Catalog::open(&db.url).await, Err(Error::Open { .. })));
}

async fn openers_at_once_migrate_once(db: Db) {
    // An empty database: on SQLite another file, on PostgreSQL the same one without its tables.
    let url = match &db.folder {
        Some(folder) => format!("sqlite://{}", folder.path().join("fresh.sqlite").display()),
        None => {
            db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            db.url.clone()
        }
    };
    let opened = join_all((0..6).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { Catalog::open(&url).await })
    }))
    .await;
    for catalog in opened {
        let catalog = catalog.unwrap().unwrap();
        assert_eq!(catalog.sources().await.unwrap(), []);
        catalog.close().await;
    }
}

#[rstest]
#[case("mysql://root:s3cret@localhost/mavis")]
#[case("sqlite::memory:")]
#[case("sqlite:///no/such/folder/at/all/catalog.sqlite")]
#[case("postgres://mavis:s3cret@127.0.0.1:1/mavis")]
#[case("postgres://mavis@127.0.0.1:1/mavis?password=s3cret")]
#[case("")]
#[tokio::test]
async fn a_catalog_that_cannot_be_opened_says_so_without_the_password(#[case] url: &str) {
    let error = Catalog::open(url).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }));
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let text = "not a database, but long enough to have a header of its own".repeat(30);
    std::fs::write(&path, &text).unwrap();
    let opened = Catalog::open(&format!("sqlite://{}", path.display())).await;
    assert!(matches!(opened, Err(Error::Open { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&format!("sqlite://{}", folder.path().join("c.sqlite").display())).await.unwrap();
    assert_eq!(catalog.sources().await.unwrap(), []);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}

//! Sources do not lead to what the server keeps for itself.

use std::{io, path::PathBuf};

use mavis_proto::v1 as pb;
use rstest::rstest;

use crate::harness::{TestServer, stderr, stdout};

#[rstest]
#[case("files", "path={data}/admin.token", "format=csv")]
#[case("files", "path=file://{data}/admin.token", "format=csv")]
#[case("files", "path={data}/spool/../admin.token", "format=csv")]
#[case("files", "path={data}/lake/raw/x/*.parquet", "format=parquet")]
#[case("fhir_files", "path={data}", "keys={}")]
#[case("sqlite", "path={data}/catalog.sqlite", "tables_to_include=[]")]
#[case("hive", "root={data}/lake", "take_over=in_place")]
#[case("hive", "ddl={data}/admin.token", "take_over=copy")]
#[tokio::test(flavor = "multi_thread")]
async fn a_source_below_the_data_folder_is_refused(#[case] kind: &str, #[case] place: &str, #[case] more: &str) {
    let test = TestServer::start().await;
    let engineer = test.token("eve", pb::Role::Engineer, &[]).await;
    let place = place.replace("{data}", &test.server.data().root().display().to_string());
    let added =
        test.mavis_as(&engineer, &["source", "add", "s", "--kind", kind, "--param", &place, "--param", more]).await;
    assert!(!added.status.success(), "{place}");
    let told = stderr(&added);
    assert!(told.contains("put the files into another folder"), "{told}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_from_above_passes_the_data_folder_by() {
    let test = TestServer::start().await;
    let engineer = test.token("eve", pb::Role::Engineer, &[]).await;
    let path = format!("path={}/../**/*.token", test.server.data().root().display());
    let add = ["source", "add", "s", "--kind", "files", "--param", &path, "--param", "format=csv"];
    let added = test.mavis_as(&engineer, &add).await;
    assert!(added.status.success(), "{}", stderr(&added));
    let checked = test.mavis_as(&engineer, &["source", "test", "s"]).await;
    let told = format!("{}{}", stderr(&checked), stdout(&checked));
    assert!(told.contains("no file is there"), "{told}");
    std::fs::write(test.folder.path().join("other.token"), "a,b\n1,2\n").unwrap();
    let checked = test.mavis_as(&engineer, &["source", "test", "s"]).await;
    let told = format!("{}{}", stderr(&checked), stdout(&checked));
    assert!(told.contains("the store lists 1 files"), "{told}");
    test.stop().await;
}

#[cfg(unix)]
#[rstest]
#[case::symbolic(std::os::unix::fs::symlink)]
#[case::hard(std::fs::hard_link)]
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_set_later_leads_nowhere(#[case] link: fn(PathBuf, PathBuf) -> io::Result<()>) {
    let test = TestServer::start().await;
    let engineer = test.token("eve", pb::Role::Engineer, &[]).await;
    let folder = test.folder.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("list.csv"), "a,b\n1,2\n").unwrap();
    let path = format!("path={}/*.csv", folder.display());
    let added = test.mavis_as(&engineer, &["source", "add", "s", "--kind", "files", "--param", &path]).await;
    assert!(added.status.success(), "{}", stderr(&added));
    let found = test.mavis_as(&engineer, &["source", "discover", "s"]).await;
    assert!(found.status.success(), "{}", stderr(&found));
    link(test.server.data().token_file(), folder.join("more.csv")).unwrap();
    let found = test.mavis_as(&engineer, &["source", "discover", "s"]).await;
    let told = format!("{}{}", stderr(&found), stdout(&found));
    assert!(!told.contains(&test.admin_token()), "{told}");
    assert!(told.contains("put the files into another folder"), "{told}");
    test.stop().await;
}

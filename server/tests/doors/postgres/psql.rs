use std::{process::Stdio, time::Duration};

use rstest::rstest;

use super::{printed, psql, psql_command, run_psql, with_tables};
use crate::harness::{TestServer, stderr};

/// Takes longer than any test.
const ENDLESS: &str = "WITH r AS (SELECT unnest(range(0, 60000)) AS n) \
                       SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5";

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_describe_show_what_there_is() {
    let test = with_tables().await;
    for (database, command, shown) in [
        ("fhir", "\\dt", &["r4|patient|table|mavis", "r4|observation|table|mavis"][..]),
        ("fhir", "\\d", &["r4|patient|table|mavis"]),
        ("fhir", "\\dt *.*", &["r4|patient|table|mavis", "pg_catalog|pg_class|table|mavis"]),
        ("fhir", "\\dt+", &["about patient"]),
        ("fhir", "\\l", &["fhir|mavis|UTF8", "processed|mavis|UTF8", "raw|mavis|UTF8", "system|mavis", "work|mavis"]),
        ("fhir", "\\dn", &["r4|mavis"]),
        (
            "fhir",
            "\\d patient",
            &[
                "id|text||not null|",
                "birthDate|date|||",
                "price|numeric(10,2)|||",
                "seen|timestamp with time zone|||",
                "tags|text[]|||",
                "\"patient_pkey\" PRIMARY KEY, btree (id)",
            ],
        ),
        ("fhir", "\\d+ r4.patient", &["the key"]),
        ("fhir", "\\d r4.obs*", &["birthDate|date"]),
        ("fhir", "\\di", &["r4|patient_pkey|index|mavis|patient"]),
        ("fhir", "\\du", &["admin|"]),
        ("fhir", "\\df", &[""]),
        ("fhir", "\\dv", &[""]),
        ("fhir", "\\dx", &[""]),
        ("fhir", "\\dT", &[""]),
        ("fhir", "\\dp patient", &["r4|patient|table"]),
        ("fhir", "\\dv information_schema.*", &["information_schema|columns|view"]),
        ("raw", "\\dt", &["hms|visits|table|mavis", "lab|results|table|mavis"]),
        ("raw", "\\d hms.visits", &["price|numeric(10,2)"]),
        ("system", "\\dv catalog.*", &["catalog|tables|view"]),
    ] {
        let Some(out) = printed(&test, database, &["\\t off", command]).await else { return };
        for line in shown {
            assert!(out.contains(line), "{database} {command}: no `{line}` in\n{out}");
        }
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_answers_statements_parameters_cursors_and_copies() {
    let test = with_tables().await;
    let Some(out) = printed(&test, "fhir", &["SELECT 1 AS one, NULL AS nothing, 'a''b' AS text, true AS flag"]).await
    else {
        return;
    };
    assert_eq!(out, "1||a'b|t\n");
    let several = printed(&test, "fhir", &["SELECT 1; SELECT 2 AS x WHERE false; SELECT 'three'"]).await.unwrap();
    assert_eq!(several, "1\nthree\n");
    let prepared = ["PREPARE p (bigint) AS SELECT $1 + 1", "EXECUTE p(41)", "DEALLOCATE p"];
    assert_eq!(printed(&test, "fhir", &prepared).await.unwrap(), "PREPARE\n42\nDEALLOCATE\n");
    let cursor = [
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT n FROM (SELECT unnest(range(0, 100000)) AS n) ORDER BY n",
        "FETCH 2 FROM c",
        "MOVE 99990 IN c",
        "FETCH ALL FROM c",
        "CLOSE c",
        "COMMIT",
    ];
    let fetched = printed(&test, "fhir", &cursor).await.unwrap();
    assert_eq!(
        fetched,
        "BEGIN\nDECLARE CURSOR\n0\n1\nMOVE 99990\n99992\n99993\n99994\n99995\n99996\n99997\n99998\n99999\nCLOSE CURSOR\nCOMMIT\n"
    );
    let copied = [
        "COPY (SELECT 1 AS a, 'x,\"y\"' AS b UNION ALL SELECT 2, NULL ORDER BY 1) TO STDOUT WITH (FORMAT csv, HEADER)",
    ];
    assert_eq!(printed(&test, "fhir", &copied).await.unwrap(), "a,b\n1,\"x,\"\"y\"\"\"\n2,\n");
    assert_eq!(printed(&test, "fhir", &["COPY patient TO STDOUT"]).await.unwrap(), "");
    let vector = ["SELECT indkey, indkey[0] FROM pg_index WHERE indrelid = 'r4.patient'::regclass"];
    assert_eq!(printed(&test, "fhir", &vector).await.unwrap(), "1|1\n");
    let settings = [
        "SET search_path = hms, r4",
        "SHOW search_path",
        "SHOW server_version",
        "SELECT current_schema(), current_database()",
    ];
    assert_eq!(printed(&test, "fhir", &settings).await.unwrap(), "SET\nhms, r4\n15.8\nhms|fhir\n");
    test.stop().await;
}

#[rstest]
#[case("SELECT * FROM nowhere", "42P01")]
#[case("SELECT nothing FROM r4.patient", "42703")]
#[case("SELECT FROM WHERE", "42601")]
#[case("SELECT 1 / 0", "22012")]
#[case("SELECT 'x'::int", "22P02")]
#[case("SELECT no_such_function(1)", "42883")]
#[case("FETCH 1 FROM nobody", "34000")]
#[case("SET nonsense = 1", "42704")]
#[case("COPY patient FROM STDIN", "0A000")]
#[case("DELETE FROM r4.patient", "25006")]
#[case("CREATE TABLE work.admin.t (a INT); CREATE TABLE work.admin.t (a INT)", "42P07")]
#[case("CREATE VIEW work.admin.v AS SELECT 1 AS a; CREATE VIEW work.admin.v AS SELECT 2 AS a", "42P07")]
#[case("CREATE TABLE work.admin.n (a INT NOT NULL); INSERT INTO work.admin.n VALUES (NULL)", "23502")]
#[case(
    "SET statement_timeout = '100ms'; WITH r AS (SELECT unnest(range(0, 60000)) AS n) SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5",
    "57014"
)]
#[tokio::test(flavor = "multi_thread")]
async fn an_error_tells_its_state(#[case] sql: &str, #[case] state: &str) {
    let test = with_tables().await;
    let token = test.admin_token();
    let Some(output) = run_psql(&test, "fhir", &token, &[sql]).await else { return };
    assert!(stderr(&output).contains(state), "{sql}: {}", stderr(&output));
    assert!(!output.status.success());
    test.stop().await;
}

#[rstest]
#[case("nowhere", None, "3D000")]
#[case("fhir", Some("wrong"), "28P01")]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_without_a_good_token_or_to_no_database(
    #[case] database: &str,
    #[case] token: Option<&str>,
    #[case] state: &str,
) {
    let test = TestServer::start().await;
    let token = token.map_or_else(|| test.admin_token(), str::to_owned);
    let Some(output) = run_psql(&test, database, &token, &["SELECT 1"]).await else { return };
    // psql shows no state of a failed start, but the sentence.
    let told = if state == "3D000" { "there is no database" } else { "the token is unknown" };
    assert!(stderr(&output).contains(told), "{}", stderr(&output));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cancels_what_runs_and_the_session_goes_on() {
    let test = TestServer::start().await;
    let Some(program) = psql() else { return };
    let mut command = psql_command(&program, &test, "fhir", &test.admin_token());
    command.args(["-At", "-v", "ON_ERROR_STOP=0", "-c", ENDLESS, "-c", "SELECT 'still here'"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let mut output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let mut tries = 0;
    let output = loop {
        // It may not have begun yet.
        match tokio::time::timeout(Duration::from_secs(1), &mut output).await {
            Ok(output) => break output.unwrap(),
            Err(_) if tries < 30 => tries += 1,
            Err(_) => panic!("the query goes on"),
        }
        std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
    };
    assert!(stderr(&output).contains("57014"), "{}", stderr(&output));
    test.stop().await;
}

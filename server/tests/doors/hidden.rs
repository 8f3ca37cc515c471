//! Operations of engineers from whom something is hidden: what the guard of queries does not show them comes out nowhere else.

use mavis_proto::v1::{
    self as pb, ingest_service_client::IngestServiceClient, maintenance_service_client::MaintenanceServiceClient,
    mapping_service_client::MappingServiceClient, quarantine_service_client::QuarantineServiceClient,
    schedule_service_client::ScheduleServiceClient, test_source_request::What,
};
use rstest::rstest;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    fhir_read::import,
    harness::{TestServer, stderr, with},
};

const MAPPING: &str = "version = 1\nresource = \"Patient\"\nfrom = \"processed.hms.patients p\"\nkey = \"p.id\"\n\n\
                       [set]\n\"name[0].family\" = \"p.last_name\"\n\"gender\" = \"p.sex\"\n";

/// Sources `hms` and `other` with a table each, read; a resource, so that there is a table of patients; the mapping `hms.patients`.
async fn lake() -> TestServer {
    let test = TestServer::start().await;
    for (name, rows) in [
        ("patients", "id,last_name,sex\n1,Durand,female\n2,Petit,male\n3,Moreau,other\n"),
        ("wards", "id,ward\n1,A\n2,B\n"),
    ] {
        std::fs::write(test.folder.path().join(format!("{name}.csv")), rows).unwrap();
    }
    for (source, file) in [("hms", "patients"), ("other", "wards")] {
        let path = format!("path={}/{file}.csv", test.folder.path().display());
        for args in [
            &["source", "add", source, "--kind", "files", "--param", &path][..],
            &["source", "discover", source],
            &["ingest", source],
        ] {
            let output = test.mavis(args).await;
            assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        }
    }
    let entry = json!({
        "resource": { "resourceType": "Patient", "id": "p", "name": [{ "family": "One" }] },
        "request": { "method": "PUT", "url": "Patient/p" },
    });
    import(&test, "p", &json!({ "resourceType": "Bundle", "type": "transaction", "entry": [entry] })).await;
    assert_eq!(
        apply(&test, &test.admin_token(), "hms.patients", MAPPING).await.map_err(|status| status.code()),
        Ok(())
    );
    test
}

async fn apply(test: &TestServer, token: &str, name: &str, text: &str) -> Result<(), Status> {
    let request = pb::ApplyMappingRequest { name: name.to_owned(), text: text.to_owned() };
    MappingServiceClient::new(test.channel().await).apply_mapping(with(token, request)).await.map(drop)
}

async fn sql(test: &TestServer, token: &str, sql: &str) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = client.post(test.http("/api/v1/sql")).bearer_auth(token).json(&json!({ "sql": sql }));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn engineer(test: &TestServer, schemas: &[&str], rights: &[&str]) -> String {
    let token = test.token("eve", pb::Role::Engineer, schemas).await;
    for right in rights {
        let (status, answer) = sql(test, &test.admin_token(), right).await;
        assert_eq!(status, 200, "{right}: {answer}");
    }
    token
}

/// Every operation that tells values of the source, or of the one table of `hms`, or puts them elsewhere, with what it was answered.
async fn operations(test: &TestServer, token: &str, source: &str) -> Vec<(&'static str, Result<(), Status>)> {
    let name = || source.to_owned();
    let channel = test.channel().await;
    let mut ingest = IngestServiceClient::new(channel.clone());
    let mut mappings = MappingServiceClient::new(channel);
    let other = MAPPING.replace("processed.hms.patients p", "processed.other.wards p").replace("p.last_name", "p.ward");
    let other = other.replace("\"gender\" = \"p.sex\"\n", "");
    let copy = MAPPING.replace("name[0].family", "address[0].city");
    let check = pb::CheckMappingRequest { text: copy.clone() };
    let spec = pb::SourceSpec {
        name: name(),
        kind: "files".to_owned(),
        params_json: json!({ "path": format!("{}/patients.csv", test.folder.path().display()) }).to_string(),
        authoritative: false,
    };
    let registered = pb::SourceSpec { kind: String::new(), ..spec.clone() };
    let test_of = |what: What| pb::TestSourceRequest { what: Some(what) };
    vec![
        ("apply", apply(test, token, "copy", &copy).await),
        ("apply in the place of another", apply(test, token, "hms.patients", &other).await),
        ("check", mappings.check_mapping(with(token, check)).await.map(drop)),
        (
            "suggest",
            mappings.suggest_mappings(with(token, pb::SuggestMappingsRequest { source: name() })).await.map(drop),
        ),
        ("discover", ingest.discover(with(token, pb::DiscoverRequest { name: name() })).await.map(drop)),
        ("accept", ingest.accept_drift(with(token, pb::AcceptDriftRequest { name: name() })).await.map(drop)),
        (
            "report",
            ingest.get_discovery_report(with(token, pb::GetDiscoveryReportRequest { name: name() })).await.map(drop),
        ),
        ("test", ingest.test_source(with(token, test_of(What::Name(name())))).await.map(drop)),
        ("test again", ingest.test_source(with(token, test_of(What::Spec(registered)))).await.map(drop)),
        ("update", ingest.update_source(with(token, pb::UpdateSourceRequest { spec: Some(spec) })).await.map(drop)),
        (
            "discover many",
            ingest
                .discover_many(with(token, pb::DiscoverManyRequest { run_id: String::new(), sources: vec![name()] }))
                .await
                .map(drop),
        ),
    ]
}

/// The rights, and what the refusals name.
#[rstest]
#[case::masked(&[], &["CREATE MASK ON raw.hms.patients (last_name) TO USER eve USING NULL"], "patients`")]
#[case::filtered(&[], &["CREATE POLICY men ON processed.hms.patients TO USER eve USING (sex <> 'other')"], "patients`")]
#[case::by_the_element(&[], &["CREATE MASK ON fhir.r4.patient (name) TO USER eve USING NULL"], "patients`")]
#[case::some_columns(
    &["raw.hms", "processed.other"],
    &["GRANT SELECT (id, sex) ON processed.hms.patients TO USER eve"],
    "`processed.hms.patients`"
)]
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_see_a_table_whole_has_nothing_made_of_it(
    #[case] schemas: &[&str],
    #[case] rights: &[&str],
    #[case] told: &str,
) {
    let test = lake().await;
    let eve = engineer(&test, schemas, rights).await;
    for (operation, answer) in operations(&test, &eve, "hms").await {
        let refused = answer.expect_err(operation);
        assert_eq!(refused.code(), Code::PermissionDenied, "{operation}: {refused}");
        let names = refused.message().contains(told) || refused.message().contains("sources could show them");
        assert!(names || operation.starts_with("apply") || operation == "check", "{operation}: {refused}");
        assert!(!refused.message().contains("Durand"), "{refused}");
    }
    let audit = test.server.app().catalog.audit_entries(100).await.unwrap();
    assert!(audit.iter().any(|entry| entry.actor == "eve" && entry.action == "mapping.apply" && !entry.allowed));
    let kept = test.server.app().catalog.mappings().await.unwrap();
    let text = |name: &str| kept.iter().find(|row| row.name == name).map(|row| row.text.as_str());
    assert_eq!((text("hms.patients"), text("copy")), (Some(MAPPING), None));
    test.stop().await;
}

#[rstest]
#[case::by_schema(&["raw.other", "processed.other"])]
#[case::by_nothing(&["fhir.r4"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_source_is_refused_as_one_that_is_not_there(#[case] schemas: &[&str]) {
    let test = lake().await;
    let eve = engineer(&test, schemas, &[]).await;
    let mut refusals = Vec::new();
    for source in ["hms", "nobody"] {
        let mut told = Vec::new();
        for (operation, answer) in operations(&test, &eve, source).await {
            let refused = answer.expect_err(operation);
            // These read the table, whichever source is named.
            if operation.starts_with("apply") || operation == "check" {
                assert_eq!(refused.code(), Code::PermissionDenied, "{operation}: {refused}");
                continue;
            }
            assert_eq!(refused.code(), Code::NotFound, "{operation}: {refused}");
            told.push((operation, refused.message().replace(source, "S")));
        }
        let path = format!("path={}/patients.csv", test.folder.path().display());
        let added = test.mavis_as(&eve, &["source", "add", source, "--kind", "files", "--param", &path]).await;
        assert!(!added.status.success() && stderr(&added).contains("you may not read all of"), "{}", stderr(&added));
        told.push(("add", stderr(&added).replace(source, "S")));
        let mut ingest = IngestServiceClient::new(test.channel().await);
        let options = Some(pb::ImportOptions { source: source.to_owned(), ..Default::default() });
        let list = pb::ListImportedFilesRequest { options };
        told.push((
            "imported",
            ingest.list_imported_files(with(&eve, list)).await.unwrap_err().message().replace(source, "S"),
        ));
        refusals.push(told);
    }
    assert_eq!(refusals[0], refusals[1]);
    assert!(refusals[0].iter().all(|(_, told)| !told.contains("registered are")), "{refusals:?}");
    test.stop().await;
}

/// A schema that was granted before its source is there tells nothing of other sources.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_yet_to_come_is_missing_without_a_list_of_others() {
    let test = lake().await;
    let eve = engineer(&test, &["raw.coming", "processed.coming"], &[]).await;
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let discover = pb::DiscoverRequest { name: "coming".to_owned() };
    let refused = ingest.discover(with(&eve, discover.clone())).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no source `coming`"));
    let path = format!("path={}/wards.csv", test.folder.path().display());
    let added = test.mavis_as(&eve, &["source", "add", "coming", "--kind", "files", "--param", &path]).await;
    assert!(added.status.success(), "{}", stderr(&added));
    ingest.discover(with(&eve, discover)).await.unwrap();
    let remove = pb::RemoveSourceRequest { name: "coming".to_owned() };
    ingest.remove_source(with(&eve, remove)).await.unwrap();
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sources_are_those_that_are_seen_whole() {
    let test = lake().await;
    let eve = engineer(&test, &[], &["CREATE MASK ON raw.hms.patients (last_name) TO USER eve USING NULL"]).await;
    let asked = "SELECT DISTINCT source FROM system.ops.discoveries ORDER BY source";
    let looked = test.mavis_as(&eve, &["source", "discover-many"]).await;
    assert!(looked.status.success(), "{}", stderr(&looked));
    assert_eq!(sql(&test, &test.admin_token(), asked).await.1["rows"], json!([["other"]]));
    let looked = test.mavis(&["source", "discover-many"]).await;
    assert!(looked.status.success(), "{}", stderr(&looked));
    assert_eq!(sql(&test, &test.admin_token(), asked).await.1["rows"], json!([["hms"], ["other"]]));
    assert_eq!(sql(&test, &eve, asked).await.1["rows"], json!([["other"]]));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engineer_from_whom_nothing_is_hidden_works_as_ever() {
    let test = lake().await;
    let eve = engineer(&test, &[], &[]).await;
    for (operation, answer) in operations(&test, &eve, "hms").await {
        assert!(answer.is_ok(), "{operation}: {answer:?}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_not_declared_by_whoever_could_read_hidden_rows_with_it() {
    let test = lake().await;
    let eve = engineer(&test, &[], &["CREATE MASK ON raw.hms.patients (last_name) TO USER eve USING NULL"]).await;
    let path = format!("path={}/patients.csv", test.folder.path().display());
    let added = test.mavis_as(&eve, &["source", "add", "again", "--kind", "files", "--param", &path]).await;
    assert!(!added.status.success());
    assert!(stderr(&added).contains("hidden from you"), "{}", stderr(&added));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engineer_does_nothing_to_a_source_that_it_may_not_know() {
    let test = lake().await;
    let eve = engineer(&test, &["raw.other", "processed.other"], &[]).await;
    let channel = test.channel().await;
    let mut ingest = IngestServiceClient::new(channel.clone());
    let start = |source: &str| pb::StartRunRequest { source: source.to_owned(), ..Default::default() };
    let mut refusals = Vec::new();
    for source in ["hms", "nobody"] {
        let refused = ingest.start_run(with(&eve, start(source))).await.unwrap_err();
        refusals.push((refused.code(), refused.message().replace(source, "S")));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].0, Code::NotFound);
    let client = reqwest::Client::new().post(test.http("/api/v1/runs")).bearer_auth(&eve);
    assert_eq!(client.json(&json!({ "source": "hms" })).send().await.unwrap().status().as_u16(), 404);
    let remove = pb::RemoveSourceRequest { name: "hms".to_owned() };
    assert_eq!(ingest.remove_source(with(&eve, remove)).await.unwrap_err().code(), Code::NotFound);
    let mut schedules = ScheduleServiceClient::new(channel.clone());
    let remove = pb::RemoveScheduleRequest { source: "hms".to_owned() };
    assert_eq!(schedules.remove_schedule(with(&eve, remove)).await.unwrap_err().code(), Code::NotFound);
    let list = MappingServiceClient::new(channel.clone()).list_mappings(with(&eve, pb::ListMappingsRequest {})).await;
    assert!(list.unwrap().into_inner().mappings.is_empty());
    let mut maintenance = MaintenanceServiceClient::new(channel.clone());
    let named = pb::OptimizeRequest { table: "raw.hms.patients".to_owned() };
    assert_eq!(maintenance.optimize(with(&eve, named)).await.unwrap_err().code(), Code::NotFound);
    let done = maintenance.optimize(with(&eve, pb::OptimizeRequest::default())).await.unwrap().into_inner().tables;
    let names: Vec<_> = done.iter().map(|table| table.table.as_str()).collect();
    assert!(names.contains(&"raw.other.wards") && names.iter().all(|name| name.contains(".other.")), "{names:?}");
    let done = maintenance.vacuum(with(&eve, pb::VacuumRequest::default())).await.unwrap().into_inner().tables;
    let names: Vec<_> = done.iter().map(|table| table.table.as_str()).collect();
    assert!(names.contains(&"raw.other.wards") && names.iter().all(|name| name.contains(".other.")), "{names:?}");
    let mut quarantine = QuarantineServiceClient::new(channel);
    let mut refusals = Vec::new();
    for table in ["raw.hms.patients", "raw.hms.nothing"] {
        let list = pb::ListQuarantinedRequest { table: table.to_owned(), ..Default::default() };
        let refused = quarantine.list_quarantined(with(&eve, list)).await.unwrap_err();
        refusals.push((refused.code(), refused.message().replace(table, "T")));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].0, Code::NotFound);
    let list = pb::ListRunsRequest { source: "hms".to_owned(), limit: 0 };
    let runs = ingest.list_runs(with(&test.admin_token(), list)).await.unwrap().into_inner().runs;
    for (source, run_id) in [("hms", String::new()), ("other", runs[0].id.clone())] {
        let options = Some(pb::ImportOptions { source: source.to_owned(), ..Default::default() });
        let refused = ingest.start_import(with(&eve, pb::StartImportRequest { run_id, options })).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{source}: {refused}");
    }
    ingest.start_run(with(&eve, start("other"))).await.unwrap();
    test.stop().await;
}

/// What is told of the runs of `hms` at both doors: the counts and the lines of the log.
async fn told(test: &TestServer, token: &str) -> Option<(bool, usize)> {
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let id = {
        let list = pb::ListRunsRequest { source: "hms".to_owned(), limit: 0 };
        let runs = ingest.list_runs(with(&test.admin_token(), list)).await.unwrap().into_inner().runs;
        runs.into_iter().find(|run| run.kind == "ingest").unwrap().id
    };
    let client = reqwest::Client::new();
    let get = async |path: String| client.get(test.http(&path)).bearer_auth(token).send().await.unwrap();
    let http = get(format!("/api/v1/runs/{id}")).await;
    let events = get(format!("/api/v1/runs/{id}/events")).await;
    let grpc = ingest.get_run(with(token, pb::GetRunRequest { run_id: id })).await.map(tonic::Response::into_inner);
    let Ok(grpc) = grpc else {
        assert_eq!((http.status().as_u16(), events.status().as_u16()), (404, 404));
        return None;
    };
    let http: Value = http.json().await.unwrap();
    let counted = grpc.run.unwrap().counts.is_some();
    assert_eq!(!http["counts"].is_null(), counted, "{http}");
    let lines = events.text().await.unwrap().matches("event: log").count();
    assert_eq!(lines, grpc.log.len());
    Some((counted, lines))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_numbers_of_rows_to_who_reads_all_of_them() {
    let test = lake().await;
    for name in ["filtered", "of_zone"] {
        let (schemas, right) = match name {
            "filtered" => (&[][..], "CREATE POLICY f ON raw.hms.patients TO USER filtered USING (sex <> 'other')"),
            _ => (&["fhir.r4"][..], "GRANT SELECT ON ZONE fhir TO USER of_zone"),
        };
        let token = test.token(name, pb::Role::Reader, schemas).await;
        assert_eq!(sql(&test, &test.admin_token(), right).await.0, 200, "{right}");
        let known = told(&test, &token).await;
        assert_eq!(known, if name == "filtered" { Some((false, 0)) } else { None }, "{name}");
    }
    let some = test.token("some", pb::Role::Reader, &["raw.hms"]).await;
    assert_eq!(told(&test, &some).await, Some((false, 0)));
    for schemas in [&[][..], &["raw.hms", "processed.hms"]] {
        let whole = test.token(&format!("whole{}", schemas.len()), pb::Role::Reader, schemas).await;
        let (counted, lines) = told(&test, &whole).await.unwrap();
        assert!(counted && lines > 0, "{schemas:?}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_of_resources_is_hidden_in_the_tables_of_their_source() {
    let test = TestServer::start().await;
    let place = test.folder.path().join("patients.ndjson");
    let patient = json!({
        "resourceType": "Patient", "id": "p1", "gender": "female", "name": [{ "family": "Durand" }],
        "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Durand</div>" },
    });
    std::fs::write(&place, format!("{patient}\n")).unwrap();
    let path = format!("path={}", place.display());
    for args in [
        &["source", "add", "north", "--kind", "fhir_files", "--param", &path][..],
        &["source", "discover", "north"],
        &["ingest", "north"],
    ] {
        let output = test.mavis(args).await;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
    let eve = test.token("eve", pb::Role::Reader, &[]).await;
    let ask = async |zone: &str| sql(&test, &eve, &format!("SELECT * FROM {zone}.north.patient")).await.1.to_string();
    let right = async |text: &str| assert_eq!(sql(&test, &test.admin_token(), text).await.0, 200, "{text}");
    for zone in ["raw", "processed"] {
        assert!(ask(zone).await.contains("Durand"), "{zone}");
    }
    right("CREATE MASK ON fhir.r4.patient (name) TO USER eve USING NULL").await;
    for zone in ["raw", "processed"] {
        let told = ask(zone).await;
        assert!(told.contains("female") && !told.contains("Durand"), "{zone}: {told}");
    }
    right("DROP MASK ON fhir.r4.patient (name) FROM USER eve").await;
    right("CREATE POLICY women ON fhir.r4.patient TO USER eve USING (gender = 'female')").await;
    for zone in ["raw", "processed"] {
        let told = ask(zone).await;
        assert!(!told.contains("female"), "{zone}: {told}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hash_of_a_guess_is_not_to_be_had_by_bringing_it_in() {
    let test = TestServer::start().await;
    let folder = test.folder.path().join("guesses");
    std::fs::create_dir(&folder).unwrap();
    let patient = |id: &str, gender: Value| json!({ "resourceType": "Patient", "id": id, "gender": gender });
    let text = format!("{}\n{}\n", patient("p", json!("female")), patient("bad", json!(["male"])));
    std::fs::write(folder.join("patients.ndjson"), text).unwrap();
    let imported = test.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "clinic"]).await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    let mut quarantine = QuarantineServiceClient::new(test.channel().await);
    let list = with(&test.admin_token(), pb::ListQuarantinedRequest::default());
    let rows = quarantine.list_quarantined(list).await.unwrap().into_inner().rows;
    let eve = engineer(&test, &[], &["CREATE MASK ON fhir.r4.patient (gender) TO USER eve USING HASH"]).await;
    let guess = pb::ReplayQuarantinedRequest {
        ids: vec![rows[0].id],
        corrected: Some(patient("bad", json!("female")).to_string()),
    };
    let refused = quarantine.replay_quarantined(with(&eve, guess)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("content is not shown"), "{refused}");
    let options = pb::ImportOptions { source: "clinic".to_owned(), ..Default::default() };
    let part = pb::import_files_request::Part::Options(options);
    let messages = tokio_stream::iter([pb::ImportFilesRequest { part: Some(part) }]);
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let refused = ingest.import_files(with(&eve, messages)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("shown to you as hashes"), "{refused}");
    test.stop().await;
}

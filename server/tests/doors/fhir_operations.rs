//! Operations over HTTP: `$everything`, `$export`, `$import`, terminology.

use mavis_proto::v1::Role;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    fhir_client::{Client, header},
    harness::TestServer,
};

fn patient(id: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id, "generalPractitioner": [{ "reference": "Practitioner/dr" }] })
}

fn observation(id: &str, subject: &str, date: &str) -> Value {
    json!({
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": { "coding": [{ "system": "urn:c", "code": id }] },
        "subject": { "reference": subject },
        "effectiveDateTime": date,
    })
}

/// Patients `a` and `b` with observations; `o3` is of `b`, performed by `a`; a doctor, an organization nobody refers to.
async fn lake(client: &Client<'_>) {
    let mut performed = observation("o3", "Patient/b", "2021-05-05");
    performed["performer"] = json!([{ "reference": "Patient/a" }]);
    client
        .put(&[
            patient("a"),
            patient("b"),
            observation("o1", "Patient/a", "2020-01-01"),
            observation("o2", "Patient/a", "2022-01-01"),
            performed,
            observation("o4", "Patient/b", "2023-01-01"),
            json!({ "resourceType": "Practitioner", "id": "dr" }),
            json!({ "resourceType": "Organization", "id": "alone", "name": "x" }),
            json!({ "resourceType": "Group", "id": "g", "type": "person", "actual": true,
                    "member": [{ "entity": { "reference": "Patient/b" } }] }),
        ])
        .await;
}

fn ids(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let resource = &entry["resource"];
            format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap())
        })
        .collect()
}

#[rstest]
#[case("", &["Patient/a", "Observation/o1", "Observation/o2", "Observation/o3", "Practitioner/dr"])]
#[case("?start=2021-01-01", &["Patient/a", "Observation/o2", "Observation/o3", "Practitioner/dr"])]
#[case("?end=2021-12-31", &["Patient/a", "Observation/o1", "Observation/o3", "Practitioner/dr"])]
#[case("?start=2021-01-01&end=2021-12-31", &["Patient/a", "Observation/o3", "Practitioner/dr"])]
#[case("?_type=Observation", &["Observation/o1", "Observation/o2", "Observation/o3"])]
#[case("?_type=Observation&_since=2999-01-01", &[])]
#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_patient_is_its_compartment_and_what_that_refers_to(
    #[case] query: &str,
    #[case] wanted: &[&str],
) {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let (status, bundle) = client.get(&format!("/fhir/Patient/a/$everything{query}")).await;
    assert_eq!(status, 200, "{bundle}");
    assert_eq!(ids(&bundle), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_in_pages_of_one_state() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let mut seen = Vec::new();
    let (_, mut page) = client.get("/fhir/Patient/a/$everything?_count=2").await;
    client.put(&[observation("o0", "Patient/a", "2020-01-01")]).await;
    loop {
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        let links = page["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        let path = next["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
        page = client.get(&format!("/fhir{path}")).await.1;
    }
    assert_eq!(seen, ["Patient/a", "Observation/o1", "Observation/o2", "Observation/o3", "Practitioner/dr"]);
    for (path, status) in [
        ("/fhir/Patient/nobody/$everything", 404),
        ("/fhir/Patient/a/$everything?_elements=id", 400),
        ("/fhir/Patient/a/$everything?start=2024-13-45", 400),
    ] {
        assert_eq!(client.get(path).await.0, status, "{path}");
    }
}

#[rstest]
#[case("/fhir/$export", &[("Group", 1), ("Observation", 4), ("Organization", 1), ("Patient", 2), ("Practitioner", 1)])]
#[case("/fhir/$export?_type=Patient,Observation", &[("Observation", 4), ("Patient", 2)])]
#[case("/fhir/Patient/$export", &[("Group", 1), ("Observation", 4), ("Patient", 2)])]
#[case("/fhir/Group/g/$export?_type=Patient,Observation", &[("Observation", 2), ("Patient", 1)])]
#[case("/fhir/$export?_type=Observation&_typeFilter=Observation%3Fcode%3Do1,Observation%3Fdate%3Dlt2021", &[("Observation", 1)])]
#[case("/fhir/$export?_type=Observation&_typeFilter=Observation%3Fcode%3Do1,o2&_typeFilter=Observation%3Fcode%3Do2,o4", &[("Observation", 3)])]
#[case("/fhir/$export?_since=2999-01-01T00:00:00Z", &[])]
#[case("/fhir/$export?_until=2001-01-01T00:00:00Z", &[])]
#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_what_was_asked_for(#[case] path: &str, #[case] wanted: &[(&str, usize)]) {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let (status, manifest) = client.wait(client.kick_off(path).await).await;
    assert_eq!(status, 200, "{manifest}");
    assert_eq!(manifest["requiresAccessToken"], true);
    assert!(manifest["request"].as_str().unwrap().contains("$export"));
    let lines = client.lines(&manifest).await;
    let counts: Vec<(&str, usize)> = lines.iter().map(|(name, lines)| (name.as_str(), lines.len())).collect();
    assert_eq!(counts, wanted);
    for (name, resources) in &lines {
        for resource in resources {
            let (_, read) = client.get(&format!("/fhir/{name}/{}", resource["id"].as_str().unwrap())).await;
            assert_eq!(*resource, read, "a line is what a read answers");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_group_has_what_names_a_member_beside_another_patient() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let members = json!([{ "entity": { "reference": "Patient/a" } },
                         { "entity": { "reference": "Patient/b" }, "inactive": true }]);
    client
        .put(&[json!({ "resourceType": "Group", "id": "two", "type": "person", "actual": true, "member": members })])
        .await;
    let begun = client.kick_off("/fhir/Group/two/$export?_type=Patient,Observation").await;
    let (_, manifest) = client.wait(begun).await;
    let lines = client.lines(&manifest).await;
    let mut ids: Vec<&str> = lines["Observation"].iter().map(|one| one["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!((lines["Patient"].len(), ids), (1, vec!["o1", "o2", "o3"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_keeps_elements_and_columns_as_asked() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    let path = "/fhir/$export?_type=Observation&_elements=Observation.code";
    let (_, manifest) = client.wait(client.kick_off(path).await).await;
    let lines = client.lines(&manifest).await;
    let one = &lines["Observation"][0];
    assert!(one["code"].is_object() && one["status"].is_string(), "mandatory elements stay");
    assert!(one.get("subject").is_none());
    assert_eq!(one["meta"]["tag"][0]["code"], "SUBSETTED");

    let begun = client.kick_off("/fhir/$export?_type=Observation&_outputFormat=parquet").await;
    let (_, manifest) = client.wait(begun).await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    let bytes = reqwest::Client::new().get(url).bearer_auth(&client.token).send().await.unwrap().bytes().await.unwrap();
    let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 4);
    assert!(batches[0].column_by_name("effectiveDateTime__start").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_belongs_to_who_began_it_and_ends_when_it_is_deleted() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    lake(&client).await;
    assert_eq!(client.get("/fhir/$export").await.0, 400, "without `Prefer: respond-async`");
    for path in
        ["/fhir/$export?_type=Nonsense", "/fhir/$export?patient=1", "/fhir/$export?_typeFilter=Patient%3Fnonsense%3D1"]
    {
        assert_eq!(client.kick_off(path).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(client.kick_off("/fhir/Group/nobody/$export").await.status(), StatusCode::NOT_FOUND);
    let reader = Client { test: &test, token: test.token("reader", Role::Reader, &["fhir.r4"]).await };
    let other = Client { test: &test, token: test.token("other", Role::Reader, &["fhir.r4"]).await };
    let begun = reader.kick_off("/fhir/$export").await;
    let place = header(&begun, "content-location").to_owned();
    let path = place.split_once("/fhir").map(|(_, path)| format!("/fhir{path}")).unwrap();
    let (status, manifest) = reader.wait(begun).await;
    assert_eq!(status, 200);
    assert_eq!(other.get(&path).await.0, 404);
    let file = manifest["output"][0]["url"].as_str().unwrap().to_owned();
    let stolen = reqwest::Client::new().get(&file).bearer_auth(&other.token).send().await.unwrap();
    assert_eq!(stolen.status(), StatusCode::NOT_FOUND);
    let climbed = reader.get(&format!("{path}/..%2F..%2Fadmin.token")).await;
    assert_eq!(climbed.0, 404);
    // What was written for more than the reader may see now is no longer handed out.
    for (sql, status) in [
        ("CREATE MASK ON fhir.r4.patient (birthDate) TO USER reader USING YEAR", 404),
        ("DROP MASK ON fhir.r4.patient (birthDate) FROM USER reader", 200),
    ] {
        let asked = client.request(Method::POST, "/api/v1/sql").json(&json!({ "sql": sql })).send().await.unwrap();
        assert_eq!(asked.status(), StatusCode::OK, "{sql}");
        assert_eq!(reader.get(&path).await.0, status, "{sql}");
        let fetched = reqwest::Client::new().get(&file).bearer_auth(&reader.token).send().await.unwrap();
        assert_eq!(fetched.status().as_u16(), status, "{sql}");
    }
    let deleted = reader.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    assert_eq!(reader.get(&path).await.0, 404);
    let gone = reqwest::Client::new().get(&file).bearer_auth(&reader.token).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

/// A web server with these files.
async fn web(files: Vec<(&'static str, String)>) -> String {
    let mut router = axum::Router::new();
    for (path, text) in files {
        router = router.route(path, axum::routing::get(async move || text));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_manifest_are_imported() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let lines =
        format!("{}\n{}\n{{\"resourceType\":\"Patient\",\"id\":\"bad\",\"active\":1}}\n", patient("a"), patient("b"));
    let base = web(vec![("/p.ndjson", lines)]).await;
    let manifest = |url: String| {
        json!({
            "inputFormat": "application/fhir+ndjson",
            "inputSource": "clinic",
            "storageDetail": { "type": "https" },
            "input": [{ "type": "Patient", "url": url }],
        })
    };
    let begin = async |body: Value, token: &str| {
        let request = reqwest::Client::new().post(test.http("/fhir/$import")).bearer_auth(token);
        request
            .header("prefer", "respond-async")
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    };
    let admin = test.admin_token();
    let (status, report) = client.wait(begin(manifest(format!("{base}/p.ndjson")), &admin).await).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!((&report["created"], &report["error"][0]["count"]), (&json!(2), &json!(1)));
    assert_eq!(client.get("/fhir/Patient/b").await.0, 200);
    let (status, failed) = client.wait(begin(manifest(format!("{base}/missing")), &admin).await).await;
    assert_eq!((status, &failed["resourceType"]), (500, &json!("OperationOutcome")));
    assert_eq!(begin(manifest("file:///etc/passwd".to_owned()), &admin).await.status(), StatusCode::BAD_REQUEST);
    let reader = test.token("reader", Role::Reader, &["fhir.r4"]).await;
    assert_eq!(begin(manifest(format!("{base}/p.ndjson")), &reader).await.status(), StatusCode::FORBIDDEN);
}

async fn terms(client: &Client<'_>) {
    client
        .put(&[
            json!({ "resourceType": "CodeSystem", "id": "cs", "url": "urn:cs", "status": "active", "content": "complete", "name": "CS",
                    "concept": [{ "code": "animal", "display": "Animal", "concept": [
                        { "code": "dog", "display": "Dog", "designation": [{ "language": "de", "value": "Hund" }] },
                        { "code": "cat", "display": "Cat" }] }, { "code": "plant" }] }),
            json!({ "resourceType": "ValueSet", "id": "vs", "url": "urn:vs", "status": "active",
                    "compose": { "include": [{ "system": "urn:cs", "filter": [{ "property": "concept", "op": "is-a", "value": "animal" }] }] } }),
            json!({ "resourceType": "ConceptMap", "id": "cm", "url": "urn:cm", "status": "active", "group": [{ "source": "urn:cs", "target": "urn:t",
                    "element": [{ "code": "dog", "target": [{ "code": "D", "equivalence": "equivalent" }] }] }] }),
        ])
        .await;
}

fn parameter<'v>(parameters: &'v Value, name: &str) -> &'v Value {
    let list = parameters["parameter"].as_array().unwrap();
    let found = list.iter().find(|parameter| parameter["name"] == name).unwrap_or(&Value::Null);
    let members = found.as_object().into_iter().flatten();
    members.filter(|(key, _)| key.starts_with("value")).map(|(_, value)| value).next().unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn terminology_of_the_lake_is_answered() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    terms(&client).await;
    let codes = |bundle: &Value| -> Vec<String> {
        let list = bundle["expansion"]["contains"].as_array().cloned().unwrap_or_default();
        list.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
    };
    let (status, expanded) = client.get("/fhir/ValueSet/$expand?url=urn:vs").await;
    assert_eq!((status, codes(&expanded)), (200, vec!["animal".to_owned(), "dog".to_owned(), "cat".to_owned()]));
    let (_, filtered) = client.get("/fhir/ValueSet/vs/$expand?filter=do").await;
    assert_eq!(codes(&filtered), ["dog"]);
    let (_, page) = client.get("/fhir/ValueSet/vs/$expand?offset=1&count=1").await;
    assert_eq!((codes(&page), &page["expansion"]["total"]), (vec!["dog".to_owned()], &json!(3)));

    let (status, found) = client.get("/fhir/CodeSystem/$lookup?system=urn:cs&code=dog").await;
    assert_eq!((status, parameter(&found, "display")), (200, &json!("Dog")));
    assert_eq!(client.get("/fhir/CodeSystem/$lookup?system=urn:cs&code=fish").await.0, 404);

    for (path, result) in [
        ("/fhir/ValueSet/$validate-code?url=urn:vs&system=urn:cs&code=dog", true),
        ("/fhir/ValueSet/$validate-code?url=urn:vs&system=urn:cs&code=plant", false),
        ("/fhir/ValueSet/vs/$validate-code?system=urn:cs&code=dog&display=Cat", false),
        ("/fhir/CodeSystem/$validate-code?url=urn:cs&code=plant", true),
        ("/fhir/CodeSystem/$validate-code?url=urn:cs&code=dog&display=Hund", true),
        ("/fhir/CodeSystem/cs/$validate-code?code=fish", false),
        ("/fhir/ConceptMap/$translate?url=urn:cm&system=urn:cs&code=dog", true),
        ("/fhir/ConceptMap/cm/$translate?system=urn:cs&code=cat", false),
    ] {
        let (status, answer) = client.get(path).await;
        assert_eq!((status, parameter(&answer, "result")), (200, &json!(result)), "{path}: {answer}");
    }
    let coding = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "url", "valueUri": "urn:vs" },
        { "name": "coding", "valueCoding": { "system": "urn:cs", "code": "cat" } }] });
    let (_, answer) = client.post("/fhir/ValueSet/$validate-code", &coding).await;
    assert_eq!(parameter(&answer, "result"), &json!(true));
    for (path, status) in [
        ("/fhir/ValueSet/$expand?url=urn:nothing", 404),
        ("/fhir/ValueSet/$expand", 400),
        ("/fhir/ValueSet/$expand?url=urn:vs&nonsense=1", 400),
        ("/fhir/CodeSystem/$lookup?code=dog", 400),
        ("/fhir/ConceptMap/nobody/$translate?system=urn:cs&code=cat", 404),
    ] {
        assert_eq!(client.get(path).await.0, status, "{path}");
    }
}

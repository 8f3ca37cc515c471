//! One server reads another's FHIR door, as it would any FHIR server's.

use mavis_tests::{Server, write};
use serde_json::{Value, json};

#[tokio::test]
async fn what_one_server_holds_another_takes_over_exactly_and_follows() {
    let first = Server::start().await.unwrap();
    let mut lines = String::new();
    for i in 0..230 {
        lines.push_str(&format!("{}\n", json!({"resourceType": "Patient", "id": format!("p{i}"), "gender": "female"})));
    }
    lines.push_str("{\"resourceType\":\"Observation\",\"id\":\"exact\",\"status\":\"final\",\"code\":{\"text\":\"k\"},\"valueQuantity\":{\"value\":4.50}}\n");
    let folder = first.scratch().join("fhir");
    write(folder.join("ward.ndjson"), lines).unwrap();
    first.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "ward"]).unwrap().ok().unwrap();

    let second = Server::builder().env("FHIR_SERVER_PASSWORD_EHR", &first.token().unwrap()).start().await.unwrap();
    let list = second.scratch().join("data_sources.json");
    let source = json!([{"name": "ehr", "type": "fhir_server", "base_url": format!("http://{}/fhir", first.http),
                         "auth": {"type": "bearer"}, "types": ["Patient", "Observation"], "page_size": 50,
                         "deletions": "history", "authoritative": true}]);
    write(&list, source.to_string()).unwrap();
    second.mavis(&["source", "add", "--from", list.to_str().unwrap()]).unwrap().ok().unwrap();
    let tested = second.mavis(&["source", "test", "ehr"]).unwrap().ok().unwrap();
    assert!(tested.contains("read"), "{tested}");
    second.mavis(&["source", "discover", "ehr"]).unwrap().ok().unwrap();
    second.mavis(&["ingest", "ehr"]).unwrap().ok().unwrap();
    assert_eq!(second.count("SELECT count(*) FROM fhir.r4.patient").await.unwrap(), 230);
    let exact = second.value("SELECT resource FROM fhir.r4.observation").await.unwrap();
    assert!(exact.as_str().unwrap().contains("\"value\":4.50"), "{exact}");

    // A new one, a changed one, a deleted one.
    let put = |id: &str, gender: &str| json!({"resourceType": "Patient", "id": id, "gender": gender});
    for (id, gender) in [("new", "male"), ("p7", "male")] {
        let answer = first.request("PUT", &format!("/fhir/Patient/{id}"), &[], Some(put(id, gender))).await.unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    }
    let answer = first.request("DELETE", "/fhir/Patient/p3", &[], None).await.unwrap();
    assert!(answer.status < 300, "{}", answer.text());
    second.mavis(&["ingest", "ehr"]).unwrap().ok().unwrap();
    let rows =
        second.sql("SELECT gender, count(*) AS n FROM fhir.r4.patient GROUP BY gender ORDER BY gender").await.unwrap();
    let counts: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["gender"], &row["n"])).collect();
    assert_eq!(counts, [(&json!("female"), &json!(228)), (&json!("male"), &json!(2))]);
    let read = second.get("/fhir/Patient/new").await.unwrap();
    assert_eq!(read.status, 200, "{}", read.text());
}

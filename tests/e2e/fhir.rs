//! The FHIR door: read, search, paging, errors.

use mavis_tests::{Server, write};
use serde_json::{Value, json};

async fn ward() -> Server {
    let server = Server::start().await.unwrap();
    let mut lines = String::new();
    for i in 0..120 {
        let patient = json!({
            "resourceType": "Patient", "id": format!("p{i}"), "gender": if i % 2 == 0 { "male" } else { "female" },
            "birthDate": format!("19{:02}-03", 10 + i % 80), "name": [{ "family": "Lefèvre", "given": ["Zoé"] }],
        });
        let observation = json!({
            "resourceType": "Observation", "id": format!("o{i}"), "status": "final",
            "code": { "coding": [{ "system": "http://loinc.org", "code": "8480-6" }] },
            "subject": { "reference": format!("Patient/p{i}") },
            "effectiveDateTime": format!("2024-01-{:02}T08:00:00Z", i % 28 + 1),
            "valueQuantity": { "value": 100 + i, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]" },
        });
        lines.push_str(&format!("{patient}\n{observation}\n"));
    }
    // A decimal whose zeros matter.
    lines.push_str("{\"resourceType\":\"Observation\",\"id\":\"exact\",\"status\":\"final\",\"code\":{\"text\":\"k\"},\"valueQuantity\":{\"value\":4.50}}\n");
    let folder = server.scratch().join("fhir");
    write(folder.join("ward.ndjson"), lines).unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "ward"]).unwrap().ok().unwrap();
    server
}

#[tokio::test]
async fn a_search_finds_what_a_reader_of_the_resources_would() {
    let server = ward().await;
    let cases = [
        ("Patient?gender=male", 60),
        ("Patient?gender=male,female", 120),
        ("Patient?family=lefevre", 120),
        ("Patient?family:exact=lefevre", 0),
        ("Patient?family:exact=Lef%C3%A8vre", 120),
        ("Patient?given=ZOE&_id=p1,p2,nobody", 2),
        ("Patient?birthdate=1910-03", 2),
        ("Patient?birthdate=1910", 2),
        ("Patient?birthdate=ge1989-03-30", 1),
        // What is above the 31st begins in April, and a day does not contain a month (R4, "search.html", prefixes).
        ("Patient?birthdate=ge1989-03-31", 0),
        ("Patient?birthdate:missing=true", 0),
        ("Observation?code=8480-6", 120),
        ("Observation?code=http://loinc.org|8480-6", 120),
        ("Observation?code=|8480-6", 0),
        ("Observation?code:not=8480-6", 1),
        ("Observation?subject=Patient/p7", 1),
        ("Observation?patient=p7", 1),
        ("Observation?date=2024-01-03", 5),
        ("Observation?date=ge2024-01-27", 8),
        ("Observation?value-quantity=gt217", 2),
        ("Observation?value-quantity=lt102|http://unitsofmeasure.org|mm[Hg]", 2),
        ("Observation?subject:missing=true", 1),
        ("Observation?status=final&patient=p1,p2", 2),
    ];
    for (search, expected) in cases {
        let answer = server.get(&format!("/fhir/{search}{}_total=accurate&_count=1", "&")).await.unwrap();
        assert_eq!(answer.status, 200, "{search}: {}", answer.text());
        assert_eq!(answer.json().unwrap()["total"], expected, "{search}");
    }
}

#[tokio::test]
async fn a_walk_over_the_pages_sees_every_resource_once_in_the_order_asked_for() {
    let server = ward().await;
    let mut next = Some("/fhir/Observation?_count=25&_sort=-date".to_owned());
    let mut ids = Vec::new();
    let mut dates = Vec::new();
    while let Some(path) = next {
        let bundle = server.get(&path).await.unwrap().json().unwrap();
        for entry in bundle["entry"].as_array().unwrap() {
            ids.push(entry["resource"]["id"].as_str().unwrap().to_owned());
            if let Some(date) = entry["resource"]["effectiveDateTime"].as_str() {
                dates.push(date.to_owned());
            }
        }
        let links = bundle["link"].as_array().unwrap();
        let url = links.iter().find(|link| link["relation"] == "next").and_then(|link| link["url"].as_str());
        next = url.map(|url| url[url.find("/fhir").unwrap()..].to_owned());
        // The lake changes under the walk: the walk does not.
        let folder = server.scratch().join(format!("more-{}", ids.len()));
        let late = format!(
            "{{\"resourceType\":\"Observation\",\"id\":\"late-{}\",\"status\":\"final\",\"code\":{{\"text\":\"x\"}}}}\n",
            ids.len()
        );
        write(folder.join("late.ndjson"), late).unwrap();
        server.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "ward"]).unwrap().ok().unwrap();
    }
    assert_eq!(ids.len(), 121);
    let mut sorted = dates.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(dates, sorted);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 121);
}

#[tokio::test]
async fn a_resource_reads_back_as_it_came_with_its_version() {
    let server = ward().await;
    let answer = server.get("/fhir/Observation/exact").await.unwrap();
    assert!(answer.text().contains("\"value\":4.50"), "{}", answer.text());
    assert_eq!(answer.headers["etag"], "W/\"1\"");
    let folder = server.scratch().join("again");
    write(folder.join("p.ndjson"), "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"other\"}\n").unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "ward"]).unwrap().ok().unwrap();
    let patient: Value = server.get("/fhir/Patient/p1").await.unwrap().json().unwrap();
    assert_eq!(patient["meta"]["versionId"], "2");
    assert_eq!(patient["gender"], "other");
    assert_eq!(server.count("SELECT count(*) FROM fhir.r4_history.patient WHERE id = 'p1'").await.unwrap(), 2);
    assert_eq!(server.count("SELECT count(*) FROM patient WHERE id = 'p1'").await.unwrap(), 1);
}

#[tokio::test]
async fn every_error_is_an_operation_outcome() {
    let server = ward().await;
    let cases = [
        ("Patient/nobody", 404),
        ("Nothing/1", 404),
        ("Patient?birthdate=2024-13-45", 400),
        ("Patient?no-such-parameter=1", 400),
        ("Patient?_text=x", 400),
        ("Patient?_count=-1", 400),
        ("Observation?value-quantity=abc", 400),
        ("Patient/..%2F..%2Fetc", 404),
    ];
    for (path, status) in cases {
        let headers = [("prefer", "handling=strict")];
        let answer = server.request("GET", &format!("/fhir/{path}"), &headers, None).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.json().unwrap()["resourceType"], "OperationOutcome", "{path}");
    }
    let lenient = server.get("/fhir/Patient?no-such-parameter=1&gender=male").await.unwrap().json().unwrap();
    let link =
        lenient["link"].as_array().unwrap().iter().find(|l| l["relation"] == "self").unwrap()["url"].as_str().unwrap();
    assert!(link.contains("gender=male") && !link.contains("no-such-parameter"), "{link}");
    let patched =
        server.request("PATCH", "/fhir/Patient/p1", &[], Some(json!({ "resourceType": "Patient" }))).await.unwrap();
    assert_eq!(patched.status, 405);
    assert_eq!(patched.json().unwrap()["resourceType"], "OperationOutcome");
    let posted =
        server.request("POST", "/fhir/Patient", &[], Some(json!({ "resourceType": "Observation" }))).await.unwrap();
    assert_eq!(posted.status, 400, "{}", posted.text());
    assert_eq!(posted.json().unwrap()["resourceType"], "OperationOutcome");
}

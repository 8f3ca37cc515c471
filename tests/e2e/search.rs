//! FHIR search over several tables: chains, includes, compartments, and what of the answer is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
};

use mavis_tests::{Answer, Server, write};
use serde_json::Value;

const WARD: &str = r#"
{"resourceType":"Organization","id":"o1","name":"North Hospital"}
{"resourceType":"Organization","id":"o2","name":"South Clinic","partOf":{"reference":"Organization/o1"}}
{"resourceType":"Organization","id":"o3","name":"Ring A","partOf":{"reference":"Organization/o4"}}
{"resourceType":"Organization","id":"o4","name":"Ring B","partOf":{"reference":"Organization/o3"}}
{"resourceType":"Practitioner","id":"d1","name":[{"family":"House"}]}
{"resourceType":"Patient","id":"p1","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},"name":[{"family":"Smith"}],"gender":"male","birthDate":"1980-01-01","managingOrganization":{"reference":"Organization/o2"},"contact":[{"name":{"family":"Smith"}}]}
{"resourceType":"Patient","id":"p2","name":[{"family":"Jones"}],"gender":"female","managingOrganization":{"reference":"Organization/o1"},"generalPractitioner":[{"reference":"Practitioner/d1"}]}
{"resourceType":"Patient","id":"p3","name":[{"family":"Noone"}],"link":[{"other":{"reference":"Patient/p1"},"type":"seealso"}]}
{"resourceType":"Observation","id":"b1","status":"final","code":{"coding":[{"code":"bp"}]},"subject":{"reference":"Patient/p1"},"performer":[{"reference":"Practitioner/d1"},{"reference":"Organization/o2"}],"effectiveDateTime":"2024-01-03","component":[{"code":{"coding":[{"code":"sys"}]},"valueQuantity":{"value":120}},{"code":{"coding":[{"code":"dia"}]},"valueQuantity":{"value":80}}]}
{"resourceType":"Observation","id":"b2","status":"final","code":{"coding":[{"code":"weight"}]},"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2024-01-01","valueQuantity":{"value":70.50},"derivedFrom":[{"reference":"Observation/b1"}]}
{"resourceType":"Observation","id":"b3","status":"amended","code":{"coding":[{"code":"weight"}]},"subject":{"reference":"Patient/p2"},"effectiveDateTime":"2024-01-02","valueQuantity":{"value":60},"hasMember":[{"reference":"Observation/b2"},{"reference":"Observation/gone"}]}
{"resourceType":"Condition","id":"c1","subject":{"reference":"Patient/p1"},"code":{"text":"x"},"asserter":{"reference":"Patient/p2"}}
{"resourceType":"List","id":"l1","status":"current","mode":"working","entry":[{"item":{"reference":"Patient/p2"}},{"item":{"reference":"Patient/p3"}}]}
"#;

async fn ward() -> Server {
    let server = Server::start().await.unwrap();
    let folder = server.scratch().join("fhir");
    write(folder.join("ward.ndjson"), WARD.trim_start()).unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "ward"]).unwrap().ok().unwrap();
    server
}

fn bundle(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

/// `Type/id` of the entries of a mode, in their order.
fn keys(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries
        .filter(|entry| entry["search"]["mode"] == mode)
        .map(|entry| {
            let resource = &entry["resource"];
            format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap())
        })
        .collect()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().into_iter().flatten();
    let url = links.filter(|link| link["relation"] == relation).find_map(|link| link["url"].as_str());
    url.map(|url| url[url.find("/fhir").unwrap()..].to_owned())
}

#[tokio::test]
async fn chains_and_compartments_and_systems_are_searched_as_a_reader_would() {
    let server = ward().await;
    let cases = [
        ("Observation?subject:Patient.name=smith", "Observation/b1 Observation/b2"),
        ("Observation?patient.organization.name=north", "Observation/b3"),
        ("Observation?patient.organization.partof.name=north", "Observation/b1 Observation/b2"),
        ("Observation?performer.name=south", "Observation/b1"),
        ("Patient?_has:Observation:patient:code=weight", "Patient/p1 Patient/p2"),
        ("Patient?_has:Observation:patient:_has:Observation:derived-from:code=weight", "Patient/p1"),
        ("Patient?_has:Observation:patient:performer.name=house", "Patient/p1"),
        ("Patient?_list=l1", "Patient/p2 Patient/p3"),
        ("Observation?component-code-value-quantity=sys$gt100", "Observation/b1"),
        ("Observation?component-code-value-quantity=dia$gt100", ""),
        ("Observation?subject.name=nobody", ""),
        ("Device?patient.name=smith", ""),
        // a compartment holds what any of its parameters points to the patient by
        ("Patient/p1/Observation?_sort=date", "Observation/b2 Observation/b1"),
        ("Patient/p1/Condition", "Condition/c1"),
        ("Patient/p2/Condition", "Condition/c1"),
        ("Patient/p2/Observation?code=weight", "Observation/b3"),
        ("Patient/p9/Observation", ""),
        ("Patient/p1/*", "Condition/c1 Observation/b1 Observation/b2 Patient/p1 Patient/p3"),
        ("Practitioner/d1/Observation", "Observation/b1"),
        ("Practitioner/d1/*", "Observation/b1 Patient/p2 Practitioner/d1"),
        ("Encounter/e1/Observation", ""),
        // several types, by type and id
        ("?_type=Patient,Condition", "Condition/c1 Patient/p1 Patient/p2 Patient/p3"),
        ("?_type=Observation,Patient&_id=p1,b2", "Observation/b2 Patient/p1"),
        ("?_type=Patient,Observation&patient.name=smith", ""),
        ("?_id=o1,d1", "Organization/o1 Practitioner/d1"),
        ("?_type=Patient,Organization&_sort=-_id&_count=2", "Patient/p3 Patient/p2"),
    ];
    for (search, expected) in cases {
        if search.contains("&patient.name") {
            // one of the types has no such parameter: strictly an error, leniently left out for both
            let strict = server.request("GET", &format!("/fhir{search}"), &[("prefer", "handling=strict")], None).await;
            assert_eq!(strict.unwrap().status, 400);
            continue;
        }
        let path = if search.starts_with('?') { format!("/fhir{search}") } else { format!("/fhir/{search}") };
        let bundle = bundle(&server.get(&path).await.unwrap());
        assert_eq!(keys(&bundle, "match").join(" "), expected, "{search}");
        assert!(bundle["total"].is_null() || bundle["total"] == expected.split_whitespace().count(), "{search}");
    }
    let posted = server
        .request(
            "POST",
            "/fhir/_search?_type=Patient&_id=p1",
            &[("content-type", "application/x-www-form-urlencoded")],
            None,
        )
        .await
        .unwrap();
    assert_eq!(keys(&bundle(&posted), "match"), ["Patient/p1"]);
    // this server's own URL in a reference
    let own = format!("/fhir/Observation?subject=http://{}/fhir/Patient/p2", server.http);
    assert_eq!(keys(&bundle(&server.get(&own).await.unwrap()), "match"), ["Observation/b3"]);
}

#[tokio::test]
async fn what_is_asked_to_come_with_the_matches_comes_once() {
    let server = ward().await;
    let cases = [
        ("Observation?_id=b1&_include=Observation:subject", "Patient/p1"),
        ("Observation?_id=b1,b2&_include=Observation:subject", "Patient/p1"),
        ("Observation?_id=b1&_include=Observation:performer:Practitioner", "Practitioner/d1"),
        ("Observation?_id=b1&_include=*", "Organization/o2 Patient/p1 Practitioner/d1"),
        ("Observation?_id=b1&_include=Observation:*", "Organization/o2 Patient/p1 Practitioner/d1"),
        (
            "Observation?_id=b1&_include=Observation:subject&_include:iterate=Patient:organization",
            "Organization/o2 Patient/p1",
        ),
        (
            "Observation?_id=b1&_include=Observation:subject&_include:iterate=Patient:organization&_include:iterate=Organization:partof",
            "Organization/o1 Organization/o2 Patient/p1",
        ),
        ("Observation?_id=b1&_include=Observation:subject&_include=Observation:encounter", "Patient/p1"),
        // what is already a match is not included, and a ring of references ends
        ("Observation?_id=b2,b1&_include=Observation:derived-from", ""),
        ("Organization?_id=o3&_include:iterate=Organization:partof", "Organization/o4"),
        (
            "Observation?_id=b3&_include:iterate=Observation:has-member&_include:iterate=Observation:derived-from",
            "Observation/b1 Observation/b2",
        ),
        ("Patient?_id=p1&_revinclude=Observation:subject", "Observation/b1 Observation/b2"),
        ("Patient?_id=p1&_revinclude=Observation:*", "Observation/b1 Observation/b2"),
        ("Patient?_id=p1&_revinclude=*", "Condition/c1 Observation/b1 Observation/b2 Patient/p3"),
        ("Practitioner?_id=d1&_revinclude=*", "Observation/b1 Patient/p2"),
        ("Organization?_id=o1&_revinclude=*", "Organization/o2 Patient/p2"),
        (
            "Patient?_id=p1&_revinclude=Condition:subject&_revinclude=Observation:subject",
            "Condition/c1 Observation/b1 Observation/b2",
        ),
        (
            "Organization?_id=o1&_revinclude:iterate=Organization:partof&_revinclude:iterate=Patient:organization",
            "Organization/o2 Patient/p1 Patient/p2",
        ),
        ("Patient?_id=p3&_revinclude=Observation:subject", ""),
        (
            "Practitioner?_id=d1&_revinclude=Observation:performer&_include:iterate=Observation:subject",
            "Observation/b1 Patient/p1",
        ),
    ];
    for (search, expected) in cases {
        let bundle = bundle(&server.get(&format!("/fhir/{search}&_total=accurate")).await.unwrap());
        let found: BTreeSet<String> = keys(&bundle, "include").into_iter().collect();
        assert_eq!(found.len(), keys(&bundle, "include").len(), "{search}: none twice");
        assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), expected, "{search}");
        let matches = keys(&bundle, "match").len();
        assert_eq!(bundle["total"], matches, "{search}: what is included does not count");
        let own = link(&bundle, "self").unwrap();
        for part in search.split_once('?').unwrap().1.split('&').filter(|part| part.contains("include")) {
            let part = part.replace(':', "%3A");
            assert!(own.contains(&part), "{search}: {own}");
        }
    }
}

#[tokio::test]
async fn the_answer_holds_what_is_asked_for_and_says_what_was_done() {
    let server = ward().await;
    let one = async |search: &str| {
        let slash = if search.starts_with('?') { "" } else { "/" };
        bundle(&server.get(&format!("/fhir{slash}{search}")).await.unwrap())
    };
    let patient = one("Patient?_id=p1&_elements=gender").await["entry"][0]["resource"].clone();
    assert_eq!(patient["meta"]["tag"][0]["code"], "SUBSETTED");
    assert_eq!(patient["gender"], "male");
    assert!(patient["name"].is_null() && patient["text"].is_null());
    let patient = one("Patient?_id=p1&_summary=true").await["entry"][0]["resource"].clone();
    assert!(patient["contact"].is_null() && !patient["name"].is_null());
    let patient = one("Patient?_id=p1&_summary=text").await["entry"][0]["resource"].clone();
    assert!(!patient["text"].is_null() && patient["name"].is_null());
    let patient = one("Patient?_id=p1&_summary=data").await["entry"][0]["resource"].clone();
    assert!(patient["text"].is_null() && !patient["contact"].is_null());
    let whole = one("Patient?_id=p1&_summary=false").await["entry"][0]["resource"].clone();
    assert!(whole["meta"]["tag"].is_null());
    let exact = server.get("/fhir/Observation?_id=b2&_elements=value").await.unwrap().text();
    assert!(exact.contains("70.50"), "{exact}");

    let counted = one("Observation?_summary=count").await;
    assert!(counted["total"] == 3 && counted["entry"].is_null());

    // the walk over several types ends, and sees each once
    let mut next = Some("/fhir?_type=Patient,Observation,Organization&_count=3".to_owned());
    let mut seen = Vec::new();
    while let Some(path) = next {
        let page = bundle(&server.get(&path).await.unwrap());
        seen.extend(keys(&page, "match"));
        next = link(&page, "next");
    }
    assert_eq!(seen.len(), 10);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 10);

    // lenient: what one type does not know is left out for all, and told
    let lenient = one("?_type=Patient,Observation&gender=male&_id=p2,b2").await;
    assert_eq!(keys(&lenient, "match"), ["Observation/b2", "Patient/p2"]);
    assert_eq!(keys_of_outcomes(&lenient), 1);
    let own = link(&lenient, "self").unwrap();
    assert!(own.contains("_type=Observation%2CPatient") && !own.contains("gender"), "{own}");

    let explained = server.get("/fhir/Observation?patient.name=smith&__explain=true").await.unwrap();
    let text = explained.json().unwrap()["issue"][0]["diagnostics"].as_str().unwrap().to_owned();
    assert!(text.contains("Join") && !text.to_lowercase().contains("smith"), "{text}");
}

fn keys_of_outcomes(bundle: &Value) -> usize {
    bundle["entry"].as_array().unwrap().iter().filter(|entry| entry["search"]["mode"] == "outcome").count()
}

#[tokio::test]
async fn what_is_not_answered_and_what_is_hostile_is_refused_with_an_outcome() {
    let server = ward().await;
    let many = |count: usize| (0..count).map(|n| format!("v{n}")).collect::<Vec<_>>().join(",");
    let cases = [
        ("Patient?_text=x".to_owned(), 400),
        ("Patient?_content=x".to_owned(), 400),
        ("Patient?_query=x".to_owned(), 400),
        ("Patient?_filter=name eq x".replace(' ', "%20"), 400),
        ("Patient?_contained=true".to_owned(), 400),
        ("Observation?code:in=http://x".to_owned(), 400),
        ("Observation?_include=Observation:nothing".to_owned(), 400),
        (format!("Observation?code={}", many(1000)), 400),
        (format!("Observation?{}name=x", "subject:Patient.link:".repeat(20)), 400),
        (format!("Observation?subject:Patient.{}name=x", "link:Patient.".repeat(20)), 400),
        (format!("Patient?{}code=x", "_has:Observation:subject:".repeat(20)), 400),
        ("Patient?_count=1e9".to_owned(), 400),
        ("Patient?_count=99999999999999999999".to_owned(), 200),
        ("Patient?birthdate=2024-13-45".to_owned(), 400),
        ("Observation?subject=../../etc/passwd".to_owned(), 400),
        ("Patient?_id=../x".to_owned(), 400),
        ("Patient?_page=AAAA".to_owned(), 400),
        ("Patient/..%2Fx/Observation".to_owned(), 404),
        ("Patient/p1/Organization".to_owned(), 404),
        ("Encounter/e1/Patient".to_owned(), 404),
        ("Organization/o1/Patient".to_owned(), 404),
        ("Patient/p1/Nothing".to_owned(), 404),
        ("Nothing?x=y".to_owned(), 404),
        ("?_type=Nothing".to_owned(), 404),
    ];
    for (path, status) in cases {
        let headers = [("prefer", "handling=strict")];
        let path = if path.starts_with('?') { format!("/fhir{path}") } else { format!("/fhir/{path}") };
        let answer = server.request("GET", &path, &headers, None).await.unwrap();
        let shown: String = path.chars().take(80).collect();
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        let kind = if status == 200 { "Bundle" } else { "OperationOutcome" };
        assert_eq!(answer.json().unwrap()["resourceType"], kind, "{shown}");
    }
    // a megabyte of form
    let token = server.token().unwrap();
    let body = format!("name={}", "x".repeat(1_000_000));
    let request = format!(
        "POST /fhir/Patient/_search HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(&server.http).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("OperationOutcome"), "{answer}");
    assert_eq!(server.get("/health/ready").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_capability_statement_lists_what_is_answered_and_nothing_else() {
    let server = ward().await;
    let statement = server.get("/fhir/metadata").await.unwrap().json().unwrap();
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let of = |name: &str| resources.iter().find(|resource| resource["type"] == name).unwrap();
    let observation = of("Observation");
    let parameters: BTreeMap<&str, &str> = observation["searchParam"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["type"].as_str().unwrap()))
        .collect();
    assert_eq!(parameters["component-code-value-quantity"], "composite");
    assert!(!parameters.contains_key("_text") && !parameters.contains_key("_content"));
    let list = |name: &str| -> Vec<&str> {
        observation[name].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
    };
    assert!(
        list("searchInclude").contains(&"Observation:subject")
            && list("searchRevInclude").contains(&"Provenance:target")
    );
    assert!(!list("searchRevInclude").contains(&"Patient:organization") && list("searchRevInclude").contains(&"*"));
    let compartments: Vec<&str> =
        statement["rest"][0]["compartment"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let names = ["device", "encounter", "practitioner", "relatedPerson", "patient"];
    assert_eq!(compartments, names.map(|name| format!("http://hl7.org/fhir/CompartmentDefinition/{name}")));
    // what the statement lists is answered, by the name it is listed under
    for name in ["Observation", "Patient", "Location"] {
        for parameter in of(name)["searchParam"].as_array().unwrap() {
            let (code, kind) = (parameter["name"].as_str().unwrap(), parameter["type"].as_str().unwrap());
            if kind == "composite" || matches!(code, "_has" | "_id") {
                continue;
            }
            let value = match (code, kind) {
                ("near", _) => "48.8|2.3|10|km",
                ("_list", _) => "l1",
                (_, "date") => "2024",
                (_, "number" | "quantity") => "1",
                ("active" | "deceased", _) => "true",
                _ => "x",
            };
            let headers = [("prefer", "handling=strict")];
            let path = format!("/fhir/{name}?{code}={value}&_count=1");
            let answer = server.request("GET", &path, &headers, None).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
    }
}

//! Queries that mean harm: each gets an OperationOutcome with its status over a real socket, and the server goes on.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use mavis_tests::{Server, write};
use serde_json::Value;

const WARD: &str = r#"
{"resourceType":"Organization","id":"o1","name":"Ring A","partOf":{"reference":"Organization/o3"}}
{"resourceType":"Organization","id":"o2","name":"Ring B","partOf":{"reference":"Organization/o1"}}
{"resourceType":"Organization","id":"o3","name":"Ring C","partOf":{"reference":"Organization/o2"}}
{"resourceType":"Organization","id":"own","name":"Alone","partOf":{"reference":"Organization/own"}}
{"resourceType":"Patient","id":"p1","name":[{"family":"Smith"}],"birthDate":"1980-01-01","link":[{"other":{"reference":"Patient/p2"},"type":"seealso"}]}
{"resourceType":"Patient","id":"p2","name":[{"family":"Jones"}],"link":[{"other":{"reference":"Patient/p1"},"type":"seealso"}]}
{"resourceType":"Observation","id":"b1","status":"final","code":{"coding":[{"code":"bp"}]},"subject":{"reference":"Patient/p1"},"valueQuantity":{"value":70.50}}
{"resourceType":"RiskAssessment","id":"r1","status":"final","subject":{"reference":"Patient/p1"},"prediction":[{"probabilityDecimal":0.5}]}
"#;

async fn ward() -> Server {
    let server = Server::start().await.unwrap();
    let folder = server.scratch().join("fhir");
    write(folder.join("ward.ndjson"), WARD.trim_start()).unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "ward"]).unwrap().ok().unwrap();
    server
}

/// Resident memory of the server in MiB.
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Status and body of a request written as it stands, with the administrator's token.
fn raw(server: &Server, line: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let token = server.token().unwrap();
    let head =
        format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
    let mut socket = TcpStream::connect(&server.http).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn form(server: &Server, path: &str, body: &str) -> (u16, String) {
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
    raw(server, &format!("POST {path}"), &headers, body.as_bytes())
}

fn many(count: usize) -> String {
    (0..count).map(|number| format!("v{number}")).collect::<Vec<_>>().join(",")
}

async fn still_answers(server: &Server) {
    let answer = server.get("/fhir/Patient?family=smith").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["entry"][0]["resource"]["id"], "p1");
}

#[tokio::test]
async fn each_hostile_query_is_refused_with_an_outcome_and_the_server_goes_on() {
    let server = ward().await;
    still_answers(&server).await;
    let before = memory(&server);
    let nines = "9".repeat(400);
    // path and query, status, code of the issue
    let cases: Vec<(String, u16, &str)> = vec![
        // too many of everything
        (format!("Observation?code={}", many(1000)), 400, "too-costly"),
        (format!("Patient?_id={}", many(1000)), 400, "too-costly"),
        (format!("Patient?name:contains={}", many(1000)), 400, "too-costly"),
        (format!("Observation?subject:Patient.name={}", many(1000)), 400, "too-costly"),
        (format!("Observation?code-value-quantity={}", many(1000).replace(',', "$1,")), 400, "too-costly"),
        (format!("Patient?{}", "name=x&".repeat(1000)), 400, "too-costly"),
        (format!("Patient?_sort={}", "name,".repeat(5000) + "name"), 400, "too-costly"),
        (format!("Observation?code:in={}", many(100)), 400, "too-costly"),
        // too deep
        (format!("Observation?subject:Patient.{}name=x", "link:Patient.".repeat(20)), 400, "too-costly"),
        (format!("Observation?{}name=x", "subject.".repeat(20)), 400, "too-costly"),
        (format!("Observation?{}=x", "subject.".repeat(5000)), 400, "too-costly"),
        (format!("Patient?{}code=x", "_has:Observation:subject:".repeat(20)), 400, "too-costly"),
        (format!("Observation?{}_id=x", "focus.".repeat(5)), 400, "too-costly"),
        (format!("Patient?name{}=x", "[".repeat(10_000)), 400, "not-supported"),
        (format!("Patient?_filter={}", "(".repeat(10_000)), 400, "not-supported"),
        (format!("Patient?_text={}", "(".repeat(10_000)), 400, "not-supported"),
        // numbers and dates that are none
        ("Patient?_count=1e9".to_owned(), 400, "value"),
        ("Patient?_count=-1".to_owned(), 400, "value"),
        ("Patient?_count=%2B1".to_owned(), 400, "value"),
        ("Patient?birthdate=2024-13-45".to_owned(), 400, "value"),
        ("Patient?birthdate=2024-02-30".to_owned(), 400, "value"),
        ("Patient?birthdate=99999-01-01".to_owned(), 400, "value"),
        ("Patient?birthdate=-2024".to_owned(), 400, "value"),
        ("Patient?birthdate=2024-01-01T25:00:00Z".to_owned(), 400, "value"),
        ("Patient?_lastUpdated=gt".to_owned(), 400, "value"),
        ("Patient?_lastUpdated=%00".to_owned(), 400, "value"),
        ("RiskAssessment?probability=1e999".to_owned(), 400, "value"),
        ("RiskAssessment?probability=1e99999999999999999999".to_owned(), 400, "value"),
        (format!("RiskAssessment?probability={nines}"), 400, "value"),
        (format!("RiskAssessment?probability=0.{nines}"), 400, "value"),
        ("RiskAssessment?probability=NaN".to_owned(), 400, "value"),
        ("RiskAssessment?probability=Infinity".to_owned(), 400, "value"),
        ("RiskAssessment?probability=0x10".to_owned(), 400, "value"),
        ("Observation?value-quantity=1e999|http://unitsofmeasure.org|kg".to_owned(), 400, "value"),
        ("Location?near=1e300|0|1e300|km".to_owned(), 400, "value"),
        // ways out of a folder
        ("Patient?_id=../../etc/passwd".to_owned(), 400, "value"),
        ("Patient?_id=p1%00".to_owned(), 400, "value"),
        ("Observation?subject=Patient/../p1".to_owned(), 400, "value"),
        ("Patient?_list=../l1".to_owned(), 400, "value"),
        ("Observation?code:in=ValueSet/../x".to_owned(), 400, "not-found"),
        ("Patient/..%2F..%2Fetc%2Fpasswd".to_owned(), 404, ""),
        ("Patient/..%2Fx/Observation".to_owned(), 404, "not-found"),
        ("Encounter/..%2Fx/*".to_owned(), 404, "not-found"),
        ("..%2FPatient".to_owned(), 404, ""),
        ("Patient/%00".to_owned(), 404, ""),
        ("Patient%00?name=x".to_owned(), 404, ""),
        // what is no text
        ("Patient?name=%FF".to_owned(), 400, "invalid"),
        ("Patient?name=%C3%28".to_owned(), 400, "invalid"),
        ("Patient?%E9=x".to_owned(), 400, "invalid"),
        ("Patient/%FF".to_owned(), 400, ""),
        ("Patient?%00=x".to_owned(), 400, "not-supported"),
        ("Patient?name:%00=x".to_owned(), 400, "value"),
        // pages, includes, types
        ("Patient?_page=AAAA".to_owned(), 400, "invalid"),
        (format!("Patient?_page={}", "A".repeat(50_000)), 400, "invalid"),
        ("Patient?_include=%00".to_owned(), 400, "value"),
        (format!("Patient?_include={}", ":".repeat(10_000)), 400, "value"),
        ("Patient?_elements=../..".to_owned(), 400, ""),
        (format!("?_type={}", "Patient,".repeat(5000) + "Nothing"), 404, "not-supported"),
        (format!("{}?x=y", "N".repeat(10_000)), 404, "not-supported"),
    ];
    for (path, status, code) in &cases {
        let shown: String = path.chars().take(60).collect();
        let slash = if path.starts_with('?') { "" } else { "/" };
        let (found, body) = raw(&server, &format!("GET /fhir{slash}{path}"), "Prefer: handling=strict\r\n", b"");
        assert_eq!(found, *status, "{shown}: {}", body.chars().take(500).collect::<String>());
        let outcome: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{shown}: {body}"));
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{shown}");
        let issue = &outcome["issue"][0];
        assert!(code.is_empty() || issue["code"] == *code, "{shown}: {issue}");
        assert!(issue["severity"] == "error" && !issue["diagnostics"].as_str().unwrap().is_empty(), "{shown}");
        assert!(body.len() < 4_000, "{shown}: an answer of {} bytes", body.len());
        // the same as a form
        if let Some((path, query)) = path.split_once('?')
            && !path.is_empty()
            && *status == 400
        {
            let (found, body) = form(&server, &format!("/fhir/{path}/_search"), query);
            let lenient = *code == "not-supported" && !query.starts_with('_');
            let expected = if lenient { 200 } else { 400 };
            assert_eq!(found, expected, "{shown}: {}", body.chars().take(500).collect::<String>());
        }
    }
    still_answers(&server).await;

    // a query string of a megabyte, whatever the door's parser makes of it
    for bytes in [100_000, 400_000, 1_000_000, 4_000_000] {
        for path in ["/fhir/Patient?name=", "/fhir?_id=", "/fhir/metadata?x="] {
            let (status, body) = raw(&server, &format!("GET {path}{}", "x".repeat(bytes)), "", b"");
            assert_eq!(status, 414, "{bytes} {path}: {body}");
            assert!(body.contains("OperationOutcome") && body.contains("too-long"), "{body}");
        }
    }
    let (status, body) = raw(&server, "GET /fhir/Patient", &format!("X-Long: {}\r\n", "x".repeat(1_000_000)), b"");
    assert!(status == 431 && body.contains("OperationOutcome"), "{status} {body}");
    let (status, body) = form(&server, "/fhir/Patient/_search", &format!("name={}", "x".repeat(1_000_000)));
    assert!(status == 413 && body.contains("OperationOutcome"), "{status} {body}");
    let (status, body) = form(&server, "/fhir/Patient/_search", "name=%FF");
    assert!(status == 400 && body.contains("not UTF-8"), "{status} {body}");
    still_answers(&server).await;

    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 400, "{grown} MiB more");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn what_is_large_or_circular_but_means_something_is_answered() {
    let server = ward().await;
    let cases: Vec<(String, usize, usize)> = vec![
        // path, matches, included
        ("Patient?_count=1000000000".to_owned(), 2, 0),
        ("Patient?_count=99999999999999999999999999".to_owned(), 2, 0),
        (format!("Patient?family={}", "x".repeat(60_000)), 0, 0),
        (format!("Patient?family={}", "(".repeat(20_000)), 0, 0),
        (format!("Patient?_id={},p1", (0..499).map(|n| format!("v{n}")).collect::<Vec<_>>().join(",")), 1, 0),
        ("Patient?family=%00".to_owned(), 0, 0),
        ("Patient?family=smith%00".to_owned(), 0, 0),
        ("Patient?family=%zz".to_owned(), 0, 0),
        ("RiskAssessment?probability=lt1e300".to_owned(), 1, 0),
        ("RiskAssessment?probability=gt-1e300".to_owned(), 1, 0),
        ("Patient?birthdate=gt0001".to_owned(), 1, 0),
        ("Patient?birthdate=lt9999-12-31T23:59:60Z".to_owned(), 1, 0),
        ("Organization?_id=o1&_include:iterate=Organization:partof".to_owned(), 1, 2),
        ("Organization?_id=own&_include:iterate=Organization:partof".to_owned(), 1, 0),
        ("Organization?_id=o1&_include:iterate=Organization:*&_revinclude:iterate=Organization:*".to_owned(), 1, 2),
        ("Patient?_id=p1&_include:iterate=Patient:link&_revinclude:iterate=*&_include:iterate=*".to_owned(), 1, 3),
        (format!("Organization?_id=o1{}", "&_include:iterate=Organization:partof".repeat(90)), 1, 2),
    ];
    for (path, matches, included) in cases {
        let shown: String = path.chars().take(60).collect();
        let started = Instant::now();
        let (status, body) = raw(&server, &format!("GET /fhir/{path}"), "Prefer: handling=strict\r\n", b"");
        assert_eq!(status, 200, "{shown}: {}", body.chars().take(500).collect::<String>());
        let bundle: Value = serde_json::from_str(&body).unwrap();
        let of = |mode: &str| {
            let entries = bundle["entry"].as_array().into_iter().flatten();
            entries.filter(|entry| entry["search"]["mode"] == mode).count()
        };
        assert_eq!((of("match"), of("include")), (matches, included), "{shown}");
        assert!(started.elapsed() < Duration::from_secs(20), "{shown}: {:?}", started.elapsed());
    }
    still_answers(&server).await;
}

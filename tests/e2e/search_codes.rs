//! Searches by codes that a value set or a hierarchy tells, of terminology that the lake holds.

use mavis_tests::{Answer, Server, write};
use serde_json::Value;

const ZOO: &str = r#"
{"resourceType":"CodeSystem","id":"zoo","url":"http://zoo.org/cs","status":"active","content":"complete","hierarchyMeaning":"is-a","concept":[{"code":"animal","concept":[{"code":"dog","concept":[{"code":"poodle"}]},{"code":"cat"}]}]}
{"resourceType":"CodeSystem","id":"empty","url":"http://zoo.org/elsewhere","status":"active","content":"not-present"}
{"resourceType":"ValueSet","id":"dogs","url":"http://zoo.org/vs/dogs","version":"1","status":"active","compose":{"include":[{"system":"http://zoo.org/cs","filter":[{"property":"concept","op":"is-a","value":"dog"}]}]}}
{"resourceType":"ValueSet","id":"cats","url":"http://zoo.org/vs/cats","status":"active","compose":{"include":[{"system":"http://zoo.org/cs","concept":[{"code":"cat"}]}]}}
{"resourceType":"ValueSet","id":"pets","url":"http://zoo.org/vs/pets","status":"active","compose":{"include":[{"valueSet":["http://zoo.org/vs/dogs"]},{"valueSet":["http://zoo.org/vs/cats"]}],"exclude":[{"system":"http://zoo.org/cs","concept":[{"code":"poodle"}]}]}}
{"resourceType":"ValueSet","id":"broken","url":"http://zoo.org/vs/broken","status":"active","compose":{"include":[{"valueSet":["http://zoo.org/vs/gone"]}]}}
{"resourceType":"ValueSet","id":"far","url":"http://zoo.org/vs/far","status":"active","compose":{"include":[{"system":"http://zoo.org/elsewhere"}]}}
{"resourceType":"ValueSet","id":"ring","url":"http://zoo.org/vs/ring","status":"active","compose":{"include":[{"valueSet":["http://zoo.org/vs/ring"]}]}}
{"resourceType":"Patient","id":"p1"}
{"resourceType":"Patient","id":"p2"}
{"resourceType":"Observation","id":"o1","status":"final","code":{"coding":[{"system":"http://zoo.org/cs","code":"dog"}]},"subject":{"reference":"Patient/p1"}}
{"resourceType":"Observation","id":"o2","status":"final","code":{"coding":[{"system":"http://zoo.org/cs","code":"poodle"}]},"subject":{"reference":"Patient/p1"}}
{"resourceType":"Observation","id":"o3","status":"final","code":{"coding":[{"system":"http://zoo.org/cs","code":"cat"}]},"subject":{"reference":"Patient/p2"}}
{"resourceType":"Observation","id":"o4","status":"final","code":{"coding":[{"system":"http://zoo.org/cs","code":"animal"}]}}
{"resourceType":"Observation","id":"o5","status":"final","code":{"coding":[{"system":"http://other.org","code":"dog"}]}}
{"resourceType":"Observation","id":"o6","status":"final","code":{"text":"dog"}}
"#;

async fn zoo() -> Server {
    let server = Server::start().await.unwrap();
    let folder = server.scratch().join("zoo");
    write(folder.join("zoo.ndjson"), ZOO.trim_start()).unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "zoo"]).unwrap().ok().unwrap();
    server
}

fn ids(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let bundle: Value = answer.json().unwrap();
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let ids: Vec<String> = entries.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect();
    ids.join(" ")
}

#[tokio::test]
async fn codes_are_found_by_value_sets_and_hierarchies_of_the_lake() {
    let server = zoo().await;
    let cases = [
        ("Observation?code:in=http://zoo.org/vs/dogs", "o1 o2"),
        ("Observation?code:in=http://zoo.org/vs/dogs%7C1", "o1 o2"),
        ("Observation?code:in=ValueSet/dogs", "o1 o2"),
        ("Observation?code:in=http://zoo.org/vs/pets", "o1 o3"),
        ("Observation?code:in=ValueSet/dogs,ValueSet/cats", "o1 o2 o3"),
        ("Observation?code:in=http://zoo.org/cs?fhir_vs", "o1 o2 o3 o4"),
        ("Observation?code:in=http://zoo.org/cs?fhir_vs=isa/dog", "o1 o2"),
        ("Observation?code:not-in=http://zoo.org/vs/dogs", "o3 o4 o5 o6"),
        ("Observation?code:below=http://zoo.org/cs%7Cdog", "o1 o2"),
        ("Observation?code:below=http://zoo.org/cs%7Canimal", "o1 o2 o3 o4"),
        ("Observation?code:above=http://zoo.org/cs%7Cpoodle", "o1 o2 o4"),
        ("Observation?code:below=http://zoo.org/cs%7Cunicorn", ""),
        ("Patient?_has:Observation:patient:code:below=http://zoo.org/cs%7Cdog", "p1"),
        ("Patient/p2/Observation?code:in=ValueSet/pets", "o3"),
        ("?_type=Observation&code:in=ValueSet/cats", "o3"),
    ];
    for (search, expected) in cases {
        let slash = if search.starts_with('?') { "" } else { "/" };
        let answer = server.get(&format!("/fhir{slash}{search}")).await.unwrap();
        assert_eq!(ids(&answer), expected, "{search}");
    }
    let own = format!("/fhir/Observation?code:in=http://{}/fhir/ValueSet/cats", server.http);
    assert_eq!(ids(&server.get(&own).await.unwrap()), "o3");
}

#[tokio::test]
async fn terminology_that_is_not_there_is_told_by_its_name() {
    let server = zoo().await;
    let cases = [
        ("code:in=http://zoo.org/vs/nowhere", "not-found", "no value set `http://zoo.org/vs/nowhere`"),
        ("code:in=http://zoo.org/vs/dogs%7C9", "not-found", "no value set `http://zoo.org/vs/dogs|9`"),
        ("code:in=ValueSet/nowhere", "not-found", "no value set `ValueSet/nowhere`"),
        ("code:not-in=http://zoo.org/vs/broken", "not-found", "no value set `http://zoo.org/vs/gone`"),
        ("code:in=http://zoo.org/vs/far", "not-supported", "`http://zoo.org/elsewhere` are not here"),
        ("code:in=http://zoo.org/vs/ring", "processing", "includes itself"),
        ("code:in=http://zoo.org/cs?fhir_vs=ecl/x", "not-supported", "is not known here"),
        ("code:below=http://nowhere.org%7Cdog", "not-found", "no code system `http://nowhere.org`"),
        ("code:above=http://zoo.org/elsewhere%7Cdog", "not-supported", "`http://zoo.org/elsewhere` are not here"),
        ("code:below=dog", "value", "is written `system|code`"),
    ];
    for handling in ["strict", "lenient"] {
        for (query, code, message) in cases {
            let prefer = format!("handling={handling}");
            let path = format!("/fhir/Observation?{query}");
            let answer = server.request("GET", &path, &[("prefer", &prefer)], None).await.unwrap();
            assert_eq!(answer.status, 400, "{query}: {}", answer.text());
            let issue = answer.json().unwrap()["issue"][0].clone();
            assert_eq!(issue["code"], code, "{query}: {issue}");
            let said = issue["diagnostics"].as_str().unwrap();
            let name = query.split_once('=').unwrap().0;
            assert!(said.contains(message) && said.contains(&format!("`{name}`")), "{query}: {said}");
        }
    }
}

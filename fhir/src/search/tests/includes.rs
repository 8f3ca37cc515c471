use rstest::rstest;

use super::*;

fn observations() -> RecordBatch {
    table(
        "Observation",
        &[
            r#"{"resourceType":"Observation","id":"a","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/1"},"performer":[{"reference":"Practitioner/2"},{"reference":"Organization/3/_history/1"}],"encounter":{"reference":"Encounter/4"}}"#,
            r##"{"resourceType":"Observation","id":"b","status":"final","code":{"text":"x"},"subject":{"reference":"Group/5"},"performer":[{"reference":"#inside"},{"reference":"https://x.org/Patient/9"}]}"##,
            r#"{"resourceType":"Observation","id":"c","status":"final","code":{"text":"x"}}"#,
        ],
    )
}

/// What each row refers to.
fn references(query: &str) -> Vec<String> {
    let table = observations();
    let found = compiled("Observation", &table, query, Handling::Strict).unwrap();
    let [include] = found.includes.as_slice() else { panic!("{query}") };
    let observation = "Observation".parse().unwrap();
    let expression = include.references(observation, &table.schema()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let frame = SessionContext::new().read_batch(table.clone()).unwrap();
        let frame = frame.select(vec![matcher::column("id"), expression.alias("keys")]).unwrap();
        let batches = frame.sort_by(vec![matcher::column("id")]).unwrap().collect().await.unwrap();
        let lists = batches.iter().flat_map(|batch| batch.column(1).as_list::<i32>().iter().collect::<Vec<_>>());
        lists
            .map(|list| {
                let list = list.unwrap();
                list.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(" ")
            })
            .collect()
    })
}

#[rstest]
#[case("_include=Observation:subject", ["Patient/1", "Group/5", ""])]
#[case("_include=Observation:patient", ["Patient/1", "", ""])]
#[case("_include=Observation:performer", ["Practitioner/2 Organization/3", "", ""])]
#[case("_include=Observation:performer:Practitioner", ["Practitioner/2 Organization/3", "", ""])]
#[case("_include:iterate=Observation:encounter", ["Encounter/4", "", ""])]
#[case("_include=Observation:*", ["Encounter/4 Patient/1 Practitioner/2 Organization/3", "Group/5", ""])]
#[case("_include=*", ["Encounter/4 Patient/1 Practitioner/2 Organization/3", "Group/5", ""])]
fn an_include_names_what_rows_refer_to(#[case] query: &str, #[case] expected: [&str; 3]) {
    let sorted = |text: &str| {
        let mut keys: Vec<String> = text.split(' ').map(str::to_owned).collect();
        keys.sort();
        keys.dedup();
        keys
    };
    let found = references(query);
    assert_eq!(found.len(), 3);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(sorted(found), sorted(expected));
    }
}

#[rstest]
#[case("Patient", "_revinclude=Observation:subject", "Patient/1", "a")]
#[case("Patient", "_revinclude=Observation:*", "Patient/1", "a")]
#[case("Patient", "_revinclude=*", "Patient/1", "a")]
#[case("Encounter", "_revinclude=*", "Encounter/4", "a")]
#[case("Encounter", "_revinclude=*", "Encounter/1", "")]
#[case("Practitioner", "_revinclude=Observation:performer", "Practitioner/2", "a")]
#[case("Practitioner", "_revinclude=Observation:performer:Practitioner", "Practitioner/2", "a")]
#[case("Group", "_revinclude=Observation:subject", "Group/5", "b")]
#[case("Patient", "_revinclude=Observation:subject", "Patient/5", "")]
fn a_reverse_include_finds_what_refers_to_a_row(
    #[case] resource: &str,
    #[case] query: &str,
    #[case] to: &str,
    #[case] expected: &str,
) {
    let tables = Tables::from([("Observation".parse().unwrap(), observations())]);
    let found = search(resource, &tables, query, Handling::Strict).unwrap();
    let [include] = found.includes.as_slice() else { panic!("{query}") };
    let (name, id) = to.split_once('/').unwrap();
    let table = observations();
    let source = "Observation".parse().unwrap();
    let filter = include.referring(source, &[(name.parse().unwrap(), id.to_owned())], &table.schema()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let frame = SessionContext::new().read_batch(table).unwrap().filter(filter).unwrap();
        let batches = frame.select_columns(&["id"]).unwrap().collect().await.unwrap();
        let ids: Vec<String> = batches
            .iter()
            .flat_map(|batch| {
                batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(ids.join(" "), expected);
    });
}

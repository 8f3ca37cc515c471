use rstest::rstest;

use super::*;

fn update(own: Option<&str>) -> Checked {
    let resource: ResourceType = "Patient".parse().unwrap();
    let condition = Condition::with_type(resource, "identifier=1").unwrap();
    let target = Wanted::Where(condition, own.map(str::to_owned));
    Checked {
        resource,
        full_url: None,
        action: Action::Update { target, if_match: None },
        body: String::new(),
        conditions: vec![],
        warnings: vec![],
    }
}

#[rstest]
#[case::creates(None, &[], Ok(None))]
#[case::creates_under_its_id(Some("a"), &[], Ok(Some("a")))]
#[case::updates(None, &["b"], Ok(Some("b")))]
#[case::updates_its_own(Some("b"), &["b"], Ok(Some("b")))]
#[case::another_one(Some("a"), &["b"], Err(Reason::Invalid))]
#[case::several(None, &["b", "c"], Err(Reason::Precondition))]
fn a_conditional_update_does_what_r4_says(
    #[case] own: Option<&str>,
    #[case] matches: &[&str],
    #[case] wanted: Result<Option<&str>, Reason>,
) {
    let matches = matches.iter().map(|id| (*id).to_owned()).collect();
    match (choose(&update(own), &matches), wanted) {
        (Ok(plan), Ok(Some(id))) => assert_eq!(plan.id, id),
        (Ok(plan), Ok(None)) => assert!(matches!(plan.what, What::Put { fresh: true, .. })),
        (Err(refusal), Err(reason)) => assert_eq!(refusal.reason, reason),
        (got, _) => panic!("{got:?}"),
    }
}

#[rstest]
#[case("http://a.org/fhir/Patient/7", Some(("http://a.org/fhir", "Patient/7")))]
#[case("urn:uuid:1", None)]
#[case("http://a.org/fhir/Nonsense/7", None)]
#[case("Patient/7", None)]
fn a_restful_url_has_a_root(#[case] url: &str, #[case] parts: Option<(&str, &str)>) {
    assert_eq!(restful(url), parts);
}

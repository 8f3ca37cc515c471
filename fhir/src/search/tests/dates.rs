use rstest::rstest;

use super::*;

/// One Observation for each; a period is `start/end` with either side left out.
fn dated(dates: &[(&str, &str)]) -> RecordBatch {
    let texts: Vec<String> = dates
        .iter()
        .map(|(id, date)| {
            let effective = match date.split_once('/') {
                None => format!("\"effectiveDateTime\":\"{date}\""),
                Some((start, end)) => {
                    let side = |name: &str, date: &str| (!date.is_empty()).then(|| format!("\"{name}\":\"{date}\""));
                    let sides: Vec<String> = [side("start", start), side("end", end)].into_iter().flatten().collect();
                    format!("\"effectivePeriod\":{{{}}}", sides.join(","))
                }
            };
            format!("{{\"resourceType\":\"Observation\",\"id\":\"{id}\",\"status\":\"final\",\"code\":{{\"text\":\"x\"}},{effective}}}")
        })
        .collect();
    table("Observation", &texts.iter().map(String::as_str).collect::<Vec<_>>())
}

// `instant` is a second; `day`, `month` and `year` are what they say; `open` has begun and not ended
#[rstest]
#[case("2023-03-15", "day instant")]
#[case("eq2023-03-15T10:00:00Z", "instant")]
#[case("2023-03-15T10:00Z", "instant")]
#[case("2023-03-15T12:00:00+02:00", "instant")]
#[case("2023-03-15T12:00:00 02:00", "instant")]
#[case("2023-03-15T10:00:00", "instant")]
#[case("2023-03", "day instant month")]
#[case("2023", "day instant month period year")]
#[case("ne2023-03-15", "month open period year")]
#[case("gt2023-03-15", "month open period year")]
#[case("ge2023-03-15", "day instant month open period year")]
#[case("lt2023-03-15", "month open period year")]
#[case("le2023-03-15", "day instant month open period year")]
#[case("gt2023", "open")]
#[case("lt2023", "open")]
#[case("sa2023-03-14", "day instant")]
#[case("sa2023-03-15", "")]
#[case("sa2022-05", "day instant month open period year")]
#[case("sa2022-06-01", "day instant month period year")]
#[case("eb2023-04", "day instant month")]
#[case("eb2023-03-15T10:00:00Z", "")]
#[case("eb2023-03-15T10:00:01Z", "instant")]
#[case("gt2023-03-15T09:00:00Z", "day instant month open period year")]
#[case("lt2023-03-15T10:00:00Z", "day month open period year")]
#[case("2023-03-15,2020", "day instant")]
#[case("ge2023-03-15&date=le2023-03-15", "day instant month open period year")]
#[case("ap2023-03-15", "day instant month open period year")]
#[case("ap2021-01-01", "")]
fn periods_are_compared_as_r4_says(#[case] date: &str, #[case] expected: &str) {
    let table = dated(&[
        ("day", "2023-03-15"),
        ("instant", "2023-03-15T10:00:00Z"),
        ("month", "2023-03"),
        ("open", "2022-06-01/"),
        ("period", "2023-01-01/2023-06-30"),
        ("year", "2023"),
    ]);
    // `ap2021-01-01` widens by 10 % of three years: to April 2021
    assert_eq!(ids(&format!("date={date}"), "Observation", &table), expected);
}

#[test]
fn a_period_without_a_start_has_always_been() {
    let table = dated(&[("until", "/2020-05-01"), ("dot", "2020-05-01")]);
    assert_eq!(ids("date=lt1900", "Observation", &table), "until");
    assert_eq!(ids("date=ge2020-05-01", "Observation", &table), "dot until".replace("until", "").trim());
    assert_eq!(ids("date=eb2020-05-02", "Observation", &table), "dot until");
    assert_eq!(ids("date=sa1900", "Observation", &table), "dot");
}

// only the outer limits count: `events` lasts from May 2023 to February 2024
#[rstest]
#[case("2023-05", "")]
#[case("2023-07", "")]
#[case("ge2023-07", "bounds events until")]
#[case("lt2023-05-02", "bounds events until")]
#[case("eb2024-02-01T10:00:00Z", "until")]
#[case("eb2024-02-01T10:00:01Z", "events until")]
#[case("sa2023-04-30", "events")]
#[case("sa2022-12-31", "bounds events")]
#[case("lt2020", "until")]
#[case("ge2030", "bounds")]
#[case("eb2023-12-02", "until")]
#[case("ap2023-10", "bounds events until")]
fn a_timing_counts_by_its_outer_limits(#[case] date: &str, #[case] expected: &str) {
    let observation = |id: &str, timing: &str| {
        format!(
            "{{\"resourceType\":\"Observation\",\"id\":\"{id}\",\"status\":\"final\",\"code\":{{\"text\":\"x\"}},\"effectiveTiming\":{timing}}}"
        )
    };
    let texts = [
        observation("events", "{\"event\":[\"2024-02-01T12:00:00+02:00\",\"2023-05-01\"]}"),
        observation("until", "{\"event\":[\"2019-01-01\"],\"repeat\":{\"boundsPeriod\":{\"end\":\"2023-12-01\"}}}"),
        observation("bounds", "{\"repeat\":{\"boundsPeriod\":{\"start\":\"2023-01-01\"},\"frequency\":1}}"),
        observation("code", "{\"code\":{\"text\":\"daily\"}}"),
    ];
    let table = table("Observation", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ids(&format!("date={date}"), "Observation", &table), expected);
}

#[test]
fn nested_and_repeating_dates_are_found() {
    let table = table(
        "Immunization",
        &[
            r#"{"resourceType":"Immunization","id":"i1","status":"completed","occurrenceDateTime":"2020-01-01","reaction":[{"date":"2020-01-02"},{"date":"2020-02"}]}"#,
            r#"{"resourceType":"Immunization","id":"i2","status":"completed","occurrenceString":"last year"}"#,
        ],
    );
    assert_eq!(ids("reaction-date=2020-02", "Immunization", &table), "i1");
    assert_eq!(ids("reaction-date=2020-03", "Immunization", &table), "");
    assert_eq!(ids("date=2020", "Immunization", &table), "i1");
}

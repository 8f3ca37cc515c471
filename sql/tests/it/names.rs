use rstest::rstest;

use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn columns_and_tables_are_found_whatever_their_case() {
    let lake = Fixture::new().await;
    for sql in [
        "SELECT birthDate FROM patient ORDER BY ID",
        "SELECT BIRTHDATE FROM FHIR.R4.PATIENT ORDER BY id",
        "SELECT p.birthdate FROM r4.patient AS p ORDER BY P.Id",
        "SELECT \"birthDate\" FROM \"fhir\".\"r4\".\"patient\" ORDER BY 1",
        "SELECT `birthDate` FROM patient ORDER BY 1",
        "WITH x AS (SELECT * FROM patient) SELECT birthdate FROM x ORDER BY BIRTHDATE",
        "SELECT max(birthdate) FROM patient GROUP BY birthDATE ORDER BY max(BirthDate)",
        "SELECT birthdate FROM (SELECT birthDate, id FROM patient) ORDER BY ID",
        "SELECT birthdate::date::text AS d FROM patient ORDER BY D",
    ] {
        assert_eq!(lake.rows(sql).await, ["1950-01-02", "1961-03-04"], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_tables_spelling_and_an_alias_the_callers() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let sql = "SELECT BIRTHDATE, id AS PatientId, NAME[1].FAMILY, count(*) OVER () AS n FROM patient";
    let names: Vec<String> =
        session.prepare(sql).await.unwrap().schema.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["birthDate", "PatientId", "family", "n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_called_alike_are_told_so_before_and_with_the_rows() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    for sql in ["SELECT id, id AS x, nom AS x FROM hms.hms_patient", "SELECT x.*, x FROM (SELECT 1 AS id, 2 AS x) x"] {
        let promised = session.prepare(sql).await.unwrap().schema;
        assert_eq!(promised.fields().iter().filter(|field| field.name() == "x").count(), 2, "{sql}");
        // The second time from memory.
        for _ in 0..2 {
            let stream = session.query(sql, &[], None).await.unwrap();
            assert_eq!(stream.schema, promised, "{sql}");
            let rows = crate::fixture::batches(stream).await.unwrap();
            assert!(rows.iter().all(|batch| batch.schema() == promised), "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quoted_identifier_is_exact() {
    let lake = Fixture::new().await;
    let error = lake.error(&lake.admin, "SELECT\n  \"birthdate\" FROM patient").await;
    let mavis_sql::Error::Invalid { line, column, message } = error else { panic!("{error}") };
    assert_eq!((line, column), (Some(2), Some(3)), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_its_zone_is_looked_for_in_fhir_processed_raw() {
    let lake = Fixture::new().await;
    assert_eq!(lake.rows("SELECT count(*) FROM hms.hms_patient").await, ["3"]);
    // Nested, and joined over zones where the spelling of a column differs.
    let sql = "SELECT p.BirthDate, h.BIRTHDATE FROM patient p JOIN hms.hms_patient h ON p.birthdate = h.birthdate \
               WHERE h.nom IN (SELECT name[1].family FROM patient) ORDER BY h.id";
    assert_eq!(lake.rows(sql).await, ["1950-01-02|1950-01-02", "1961-03-04|1961-03-04"]);
}

#[rstest]
#[case("SELECT * FROM patients", "there is no table `patients`; did you mean `fhir.r4.patient`?")]
#[case(
    "SELECT * FROM hms_patient",
    "there is no table `hms_patient`; did you mean `processed.hms.hms_patient` or `raw.hms.hms_patient`?"
)]
#[case("SELECT * FROM a.b.c.d", "there is no table `a.b.c.d`")]
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_is_told_with_the_nearest_name(#[case] sql: &str, #[case] told: &str) {
    let lake = Fixture::new().await;
    assert_eq!(lake.error(&lake.admin, sql).await.to_string(), told);
}

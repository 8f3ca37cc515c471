use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use rstest::rstest;

use super::{APART, Bindings, BoundName, TableKey, resolve, resolve_answer, tables};
use crate::{Error, dialect::parse, time_travel::AsOf};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

fn human_name() -> DataType {
    let fields: Fields =
        vec![Field::new("family", DataType::Utf8, true), Field::new("givenName", DataType::Utf8, true)].into();
    DataType::List(Arc::new(Field::new("element", DataType::Struct(fields), true)))
}

/// `patient` is the FHIR table, `hms.patient` a raw one whose `birthdate` differs only in case.
fn bindings(sql: &str) -> Bindings {
    let text = DataType::Utf8;
    let period = DataType::Struct(vec![Field::new("startDate", text.clone(), true)].into());
    let known: HashMap<&str, ([&str; 3], SchemaRef)> = HashMap::from([
        (
            "patient",
            (
                ["fhir", "r4", "patient"],
                schema(&[
                    ("id", text.clone()),
                    ("birthDate", text.clone()),
                    ("name", human_name()),
                    ("activePeriod", period),
                ]),
            ),
        ),
        ("encounter", (["fhir", "r4", "encounter"], schema(&[("id", text.clone()), ("subjectId", text.clone())]))),
        ("hms.patient", (["raw", "hms", "patient"], schema(&[("id", text.clone()), ("birthdate", text)]))),
    ]);
    let statement = parse(sql).unwrap();
    tables(&statement)
        .unwrap()
        .into_iter()
        .map(|key: TableKey| {
            let mut short = key.parts.join(".");
            for prefix in ["fhir.r4.", "r4.", "raw."] {
                short = short.strip_prefix(prefix).unwrap_or(&short).to_owned();
            }
            let bound = match known.get(short.as_str()) {
                None => Err(Error::NoSuchTable { table: key.to_string(), hint: String::new() }),
                Some((name, columns)) => {
                    let name = name.map(str::to_owned);
                    let mut relation = name.clone();
                    relation[2].push_str(&key.as_of.map(AsOf::mark).unwrap_or_default());
                    Ok(Arc::new(BoundName { relation, name, columns: Arc::clone(columns), stamp: None }))
                }
            };
            (key, bound)
        })
        .collect()
}

fn resolved(sql: &str) -> Result<String, Error> {
    let mut statement = parse(sql)?;
    resolve(&mut statement, &mut bindings(sql))?;
    Ok(statement.to_string())
}

#[rstest]
#[case::any_case(
    "SELECT BIRTHDATE, birthdate, birthDate FROM PATIENT",
    r#"SELECT "birthDate", "birthDate", "birthDate" FROM "fhir"."r4"."patient" AS "patient""#
)]
#[case::quoted_is_exact(
    r#"SELECT "birthdate", "birthDate" FROM patient"#,
    r#"SELECT "birthdate", "birthDate" FROM "fhir"."r4"."patient" AS "patient""#
)]
#[case::whole_names(
    r#"SELECT fhir.r4.patient.birthdate, "fhir"."r4"."patient"."id" FROM fhir.r4.patient"#,
    r#"SELECT "patient"."birthDate", "patient"."id" FROM "fhir"."r4"."patient" AS "patient""#
)]
#[case::alias(
    "SELECT P.BirthDate AS Born FROM patient p WHERE p.birthdate > '2000' ORDER BY BORN",
    r#"SELECT "p"."birthDate" AS "Born" FROM "fhir"."r4"."patient" p WHERE "p"."birthDate" > '2000' ORDER BY "Born""#
)]
#[case::join_on_and_group(
    "SELECT count(*) AS n FROM patient p JOIN encounter e ON e.SUBJECTID = p.ID GROUP BY birthdate HAVING max(subjectid) > '1'",
    r#"SELECT count(*) AS "n" FROM "fhir"."r4"."patient" p JOIN "fhir"."r4"."encounter" e ON "e"."subjectId" = "p"."id" GROUP BY "birthDate" HAVING max("subjectId") > '1'"#
)]
#[case::two_spellings_told_apart_by_the_alias(
    "SELECT p.BIRTHDATE, r.BIRTHDATE FROM patient p JOIN hms.patient r USING (ID)",
    r#"SELECT "p"."birthDate", "r"."birthdate" FROM "fhir"."r4"."patient" p JOIN "raw"."hms"."patient" r ON ("p"."id" = "r"."id")"#
)]
#[case::two_spellings_told_apart_by_the_caller(
    "SELECT birthDate, birthdate FROM patient p, hms.patient r",
    r#"SELECT "birthDate", "birthdate" FROM "fhir"."r4"."patient" p, "raw"."hms"."patient" r"#
)]
#[case::cte(
    "WITH x AS (SELECT id, birthdate FROM patient) SELECT X.BIRTHDATE, id FROM x ORDER BY birthDATE",
    r#"WITH x AS (SELECT "id", "birthDate" FROM "fhir"."r4"."patient" AS "patient") SELECT "x"."birthDate", "id" FROM "x" ORDER BY "birthDate""#
)]
#[case::cte_named_like_a_table(
    "WITH patient AS (SELECT id AS Number FROM encounter) SELECT NUMBER FROM patient",
    r#"WITH patient AS (SELECT "id" AS "Number" FROM "fhir"."r4"."encounter" AS "encounter") SELECT "Number" FROM "patient""#
)]
#[case::cte_with_columns(
    "WITH x (Born) AS (SELECT birthdate FROM patient) SELECT born FROM x",
    r#"WITH x ("Born") AS (SELECT "birthDate" FROM "fhir"."r4"."patient" AS "patient") SELECT "Born" FROM "x""#
)]
#[case::subquery_in_from(
    "SELECT D.BORN FROM (SELECT birthdate AS born, * FROM patient) d WHERE d.birthdate IS NULL",
    r#"SELECT "d"."born" FROM (SELECT "birthDate" AS "born", * FROM "fhir"."r4"."patient" AS "patient") d WHERE "d"."birthDate" IS NULL"#
)]
#[case::correlated(
    "SELECT id FROM patient p WHERE EXISTS (SELECT 1 FROM encounter WHERE subjectid = p.id AND birthdate IS NULL)",
    r#"SELECT "id" FROM "fhir"."r4"."patient" p WHERE EXISTS (SELECT 1 FROM "fhir"."r4"."encounter" AS "encounter" WHERE "subjectId" = "p"."id" AND "birthDate" IS NULL)"#
)]
#[case::nested_fields(
    "SELECT NAME[1].FAMILY, p.name[1].givenname, activeperiod.STARTDATE FROM patient p",
    r#"SELECT "name"[1]['family'] AS "family", "p"."name"[1]['givenName'] AS "givenName", "activePeriod"."startDate" AS "startDate" FROM "fhir"."r4"."patient" p"#
)]
#[case::wildcards(
    "SELECT P.* EXCEPT (BIRTHDATE) FROM patient p",
    r#"SELECT "p".* EXCEPT ("birthDate") FROM "fhir"."r4"."patient" p"#
)]
#[case::union_and_order(
    "SELECT birthdate FROM patient UNION ALL SELECT subjectid FROM encounter ORDER BY BIRTHDATE",
    r#"SELECT "birthDate" FROM "fhir"."r4"."patient" AS "patient" UNION ALL SELECT "subjectId" FROM "fhir"."r4"."encounter" AS "encounter" ORDER BY "birthDate""#
)]
#[case::windows(
    "SELECT row_number() OVER (PARTITION BY subjectid ORDER BY id) FROM encounter",
    r#"SELECT row_number() OVER (PARTITION BY "subjectId" ORDER BY "id") FROM "fhir"."r4"."encounter" AS "encounter""#
)]
#[case::same_table_twice(
    "SELECT a.birthdate, b.birthdate FROM patient a, patient VERSION AS OF 3 b",
    r#"SELECT "a"."birthDate", "b"."birthDate" FROM "fhir"."r4"."patient" a, "fhir"."r4"."patient@v3" b"#
)]
#[case::time_travel_without_alias(
    "SELECT patient.birthdate FROM r4.patient VERSION AS OF 3",
    r#"SELECT "patient"."birthDate" FROM "fhir"."r4"."patient@v3" AS "patient""#
)]
#[case::same_last_name(
    "SELECT fhir.r4.patient.birthdate, hms.patient.birthdate FROM patient, hms.patient",
    r#"SELECT "patient"."birthDate", "raw.hms.patient"."birthdate" FROM "fhir"."r4"."patient" AS "patient", "raw"."hms"."patient" AS "raw.hms.patient""#
)]
#[case::recursive(
    "WITH RECURSIVE t AS (SELECT 1 AS Level UNION ALL SELECT level + 1 FROM t WHERE LEVEL < 3) SELECT level FROM t",
    r#"WITH RECURSIVE t AS (SELECT 1 AS "Level" UNION ALL SELECT "Level" + 1 FROM "t" WHERE "Level" < 3) SELECT "Level" FROM "t""#
)]
fn identifiers_are_spelled_as_the_tables_do(#[case] sql: &str, #[case] expected: &str) {
    assert_eq!(resolved(sql).unwrap(), expected);
}

#[rstest]
#[case("SELECT BIRTHDATE FROM patient p, hms.patient r", "ambiguous")]
#[case("SELECT 1 FROM nothing", "there is no table `nothing`")]
#[case("SELECT 1 FROM patient WHERE id IN (SELECT id FROM nothing)", "there is no table `nothing`")]
#[case("WITH x AS (SELECT 1) SELECT 1 FROM fhir.r4.x", "there is no table `fhir.r4.x`")]
#[case("SELECT 1 FROM (WITH x AS (SELECT 1) SELECT * FROM x) y, x", "there is no table `x`")]
#[case("SELECT * FROM patient TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE")]
fn what_cannot_be_resolved_is_told(#[case] sql: &str, #[case] told: &str) {
    let error = resolved(sql).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[rstest]
#[case::beside_a_star("SELECT *, ID FROM patient ORDER BY id", r#"SELECT *, "id" AS "id^2" FROM"#)]
#[case::before_a_star("SELECT id, p.* FROM patient p", r#"SELECT "id" AS "id^2", "p".* FROM"#)]
#[case::aliases("SELECT id AS a, id AS a, id AS a FROM patient", r#""id" AS "a", "id" AS "a^2", "id" AS "a^3" FROM"#)]
#[case::an_alias_and_a_column("SELECT birthDate AS id, id FROM patient", r#""birthDate" AS "id", "id" AS "id^2" FROM"#)]
#[case::two_tables_are_apart("SELECT p.id, e.id FROM patient p, encounter e", r#"SELECT "p"."id", "e"."id" FROM"#)]
#[case::one_of_two_tables("SELECT p.*, e.id FROM patient p, encounter e", r#"SELECT "p".*, "e"."id" AS "id^2" FROM"#)]
#[case::what_a_star_leaves_out("SELECT * EXCLUDE (id), id FROM patient", r#", "id" FROM"#)]
#[case::in_a_plan("EXPLAIN SELECT *, id FROM patient", r#"SELECT *, "id" AS "id 2" FROM"#)]
#[case::in_a_union("SELECT 1 AS a, 2 AS a UNION ALL SELECT 1 AS b, 2 AS b", r#"1 AS "b", 2 AS "b^2""#)]
#[case::not_below("SELECT * FROM (SELECT *, id FROM patient) t", r#"(SELECT *, "id" FROM"#)]
fn columns_of_an_answer_may_be_called_alike(#[case] sql: &str, #[case] expected: &str) {
    let mut statement = parse(sql).unwrap();
    resolve_answer(&mut statement, &mut bindings(sql)).unwrap();
    let text = statement.to_string().replace(APART, "^");
    assert!(text.contains(expected), "{text}");
}

#[rstest]
#[case("SELECT id AS a, birthDate AS a FROM patient ORDER BY a")]
#[case("SELECT *, 1 AS id FROM patient ORDER BY id DESC")]
#[case("SELECT p.*, e.id FROM patient p, encounter e ORDER BY id")]
fn an_order_by_one_of_them_is_ambiguous(#[case] sql: &str) {
    let mut statement = parse(sql).unwrap();
    let error = resolve_answer(&mut statement, &mut bindings(sql)).unwrap_err().to_string();
    assert!(error.contains("may mean several columns"), "{error}");
}

//! What is granted is seen, what is hidden is not: not by a query of any kind, not by an error, not from memory, not in a copy.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use mavis_catalog::{NewMapping, NewToken};
use mavis_sql::{Error, not_whole, not_whole_of};
use mavis_types::{Principal, Role, Scope, SourceName, TableName, Zone};
use rstest::rstest;

use crate::fixture::{Fixture, lines, principal, resources};

/// A name that only the hidden row has, and a number that is none.
const CANARY: &str = "Zanzibar";

/// An analyst called `ana` with what was granted until now.
pub(crate) async fn ana(lake: &Fixture) -> Principal {
    let mut ana = principal(Role::Analyst, Scope::Schemas(Vec::new()));
    ana.name = "ana".to_owned();
    lake.lake.catalog().put_rights(&mut ana).await.unwrap();
    ana
}

pub(crate) async fn grant(lake: &Fixture, sql: &str) {
    assert_eq!(lake.rows(sql).await, ["granted"], "{sql}");
}

/// `processed.hms.visit` and `raw.hms.visit`: three visits, the last of them the canary of clinic 9.
pub(crate) async fn visits(lake: &Fixture) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("clinic", DataType::Int64, true),
        Field::new("nom", DataType::Utf8, true),
        Field::new("code", DataType::Utf8, true),
        Field::new("day", DataType::Utf8, true),
        Field::new("consent", DataType::Boolean, true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(Int64Array::from(vec![3, 3, 9])),
        Arc::new(StringArray::from(vec!["Durand", "Petit", CANARY])),
        Arc::new(StringArray::from(vec!["10", "20", CANARY])),
        Arc::new(StringArray::from(vec!["2024-01-05", "2023-02-06", "2022-03-07"])),
        Arc::new(BooleanArray::from(vec![true, false, true])),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    for zone in [Zone::Raw, Zone::Processed] {
        let table = lake.table(zone, "hms", "visit", &schema).await;
        lake.append(&table, &rows).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_columns_are_all_that_is_there() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT (id, DAY) ON processed.hms.visit TO USER ana").await;
    let ana = ana(&lake).await;
    assert_eq!(lake.ask(&ana, "SELECT * FROM hms.visit ORDER BY id LIMIT 1").await.unwrap(), ["1|2024-01-05"]);
    assert_eq!(lake.ask(&ana, "SELECT count(*) FROM hms.visit").await.unwrap(), ["3"]);
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'visit' ORDER BY 1";
    assert_eq!(lake.ask(&ana, columns).await.unwrap(), ["day", "id"]);
    let columns = "SELECT column_name FROM system.catalog.columns ORDER BY 1";
    assert_eq!(lake.ask(&ana, columns).await.unwrap(), ["day", "id"]);
    assert_eq!(lake.ask(&ana, "DESCRIBE processed.hms.visit").await.unwrap().len(), 2);
    let listed = lake.engine.table_schema(&ana, "processed", "hms", "visit").await.unwrap();
    assert_eq!(listed.fields().len(), 2);
    let tables = lake.engine.list_tables(&ana, None, Some("hms"), None).await.unwrap();
    assert_eq!(tables.iter().map(|one| one.table.as_str()).collect::<Vec<_>>(), ["visit"]);
    for (hidden, absent) in [("nom", "nox"), ("clinic", "clinix")] {
        for sql in
            ["SELECT {} FROM hms.visit", "SELECT id FROM hms.visit WHERE {} IS NULL", "SELECT max({}) FROM hms.visit"]
        {
            let first = lake.error(&ana, &sql.replace("{}", hidden)).await.to_string();
            let second = lake.error(&ana, &sql.replace("{}", absent)).await.to_string();
            assert_eq!(first.replace(hidden, absent), second);
        }
    }
    for elsewhere in ["raw.hms.visit", "processed.hms.hms_patient", "patient"] {
        let error = lake.error(&ana, &format!("SELECT * FROM {elsewhere}")).await;
        assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
    }
}

/// Nothing that is asked shows the hidden row, nor fails because of it.
#[rstest]
#[case("SELECT * FROM {}")]
#[case("SELECT count(*), max(nom), min(day), sum(clinic) FROM {}")]
#[case("SELECT nom FROM {} ORDER BY nom DESC LIMIT 1")]
#[case("SELECT nom FROM {} WHERE nom > 'Y' OR nom LIKE 'Z%'")]
#[case("SELECT CAST(code AS INT) FROM {}")]
#[case("SELECT id FROM {} WHERE CAST(code AS INT) > 0")]
#[case("SELECT id FROM {} WHERE 1 / (id - 3) < 0 ORDER BY id")]
#[case("SELECT 10 / (9 - clinic) FROM {}")]
#[case("SELECT a.nom FROM {} a JOIN {} b ON CAST(a.code AS INT) = CAST(b.code AS INT)")]
#[case("SELECT nom FROM {} WHERE id IN (SELECT CAST(code AS INT) - 7 FROM {})")]
#[case("SELECT nom, row_number() OVER (ORDER BY clinic DESC) FROM {}")]
#[case("SELECT DISTINCT clinic FROM {}")]
#[case("WITH v AS (SELECT * FROM {}) SELECT string_agg(nom, ',') FROM v")]
#[case("EXPLAIN SELECT * FROM {} WHERE clinic = 9")]
#[case("EXPLAIN ANALYZE SELECT * FROM {} WHERE nom > 'A'")]
#[case("SELECT approx_distinct(nom) FROM {}")]
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_row_is_not_there(#[case] sql: &str) {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT ON ZONE processed TO analyst").await;
    grant(&lake, "GRANT SELECT ON SCHEMA raw.hms TO analyst").await;
    grant(&lake, "CREATE POLICY own ON processed.hms.visit TO USER ana USING (clinic = 3)").await;
    let ana = ana(&lake).await;
    let version = lake.lake.version(lake.find("processed.hms.visit").await.id).await.unwrap();
    for table in ["processed.hms.visit", "hms.visit", "raw.hms.visit", &format!("hms.visit VERSION AS OF {version}")] {
        if table.contains("VERSION") && sql.contains(" JOIN ") {
            continue;
        }
        let sql = sql.replace("{}", table);
        // Whoever sees all of it asks first, so that an answer would be at hand.
        let whole = lake.ask(&lake.admin, &sql).await;
        let seen = lake.ask(&ana, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).join("\n");
        assert!(!seen.contains(CANARY) && !seen.contains("clinic = 3"), "{sql}: {seen}");
        assert_ne!(whole.ok(), Some(vec![seen.clone()]).filter(|_| !sql.starts_with("EXPLAIN")), "{sql}");
    }
}

async fn is_large(lake: &Fixture, who: &Principal) -> bool {
    let session = lake.engine.session(who, None).await.unwrap();
    session.prepare("SELECT * FROM raw.hms.visit").await.unwrap().large
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_filtered_table_are_not_counted_by_others() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    let rows = "SELECT table_name, rows FROM system.catalog.tables WHERE table_name = 'visit' AND zone = 'raw'";
    assert_eq!(lake.ask(&ana(&lake).await, rows).await.unwrap(), ["visit|3"]);
    assert!(!is_large(&lake, &ana(&lake).await).await);
    grant(&lake, "CREATE POLICY own ON processed.hms.visit TO analyst USING (clinic = 3)").await;
    assert_eq!(lake.ask(&ana(&lake).await, rows).await.unwrap(), ["visit|NULL"]);
    assert!(is_large(&lake, &ana(&lake).await).await, "into how many streams an answer is divided tells nothing");
    assert_eq!(lake.ask(&ana(&lake).await, "SELECT count(*) FROM raw.hms.visit").await.unwrap(), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_holds_in_every_copy_and_for_every_question() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    grant(&lake, "CREATE MASK ON raw.hms.visit (nom) TO analyst USING HASH").await;
    grant(&lake, "CREATE MASK ON processed.hms.visit (day) TO analyst USING YEAR").await;
    grant(&lake, "CREATE MASK ON processed.hms.visit (clinic) TO PUBLIC USING NULL").await;
    let ana = ana(&lake).await;
    for table in ["raw.hms.visit", "processed.hms.visit"] {
        let ask = async |sql: &str| lake.ask(&ana, &sql.replace("{}", table)).await.unwrap();
        assert_eq!(ask("SELECT day, clinic, code FROM {} WHERE id = 1").await, ["2024|NULL|10"]);
        let hashed = ask("SELECT nom FROM {} ORDER BY id").await;
        assert!(hashed.iter().all(|one| one.len() == 32), "{hashed:?}");
        for nothing in [
            "SELECT id FROM {} WHERE nom = 'Durand'",
            "SELECT id FROM {} WHERE nom IN ('Durand', 'Petit')",
            "SELECT id FROM {} WHERE clinic = 3",
            "SELECT id FROM {} WHERE clinic BETWEEN 1 AND 9",
            "SELECT id FROM {} WHERE day = '2024-01-05'",
            "SELECT v.id FROM {} v JOIN (VALUES ('Durand')) AS t(nom) ON v.nom = t.nom",
            "SELECT id FROM {} WHERE starts_with(day, '2024-01')",
        ] {
            assert_eq!(ask(nothing).await, [""; 0], "{nothing}");
        }
        assert_eq!(ask("SELECT max(clinic), count(clinic) FROM {}").await, ["NULL|0"]);
        assert_eq!(ask("SELECT id FROM {} WHERE clinic IS NULL ORDER BY id DESC").await, ["3", "2", "1"]);
        assert_eq!(ask("SELECT id FROM {} WHERE day = '2022'").await, ["3"]);
        let joined = "SELECT count(*) FROM raw.hms.visit r JOIN processed.hms.visit p ON r.nom = p.nom";
        assert_eq!(ask(joined).await, ["3"], "hashes of the same text are the same");
    }
    assert_eq!(lake.rows("SELECT nom, clinic FROM raw.hms.visit WHERE id = 3").await, ["Zanzibar|9"]);
}

/// `fhir.r4.practitioner` and its history, with names everywhere that names can be.
async fn practitioners(lake: &Fixture) {
    let rows = resources(&[("p1", "1950-01-02", CANARY), ("p2", "1961-03-04", "Petit")]);
    let text = |id: &str, born: &str, family: &str| {
        format!(
            "{{\"resourceType\":\"Practitioner\",\"id\":\"{id}\",\"text\":{{\"div\":\"<p>{family}</p>\"}},\"name\":[{{\
             \"family\":\"{family}\"}}],\"birthDate\":\"{born}\",\"contained\":[{{\"resourceType\":\"Person\",\"name\":[{{\
             \"family\":\"{family}\"}}]}}]}}"
        )
    };
    let texts = StringArray::from(vec![text("p1", "1950-01-02", CANARY), text("p2", "1961-03-04", "Petit")]);
    let mut columns = rows.columns().to_vec();
    columns[3] = Arc::new(texts);
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    for schema in ["r4", "r4_history"] {
        let table = lake.table(Zone::Fhir, schema, "practitioner", &rows.schema()).await;
        lake.append(&table, &rows).await;
        lake.publish(&table).await;
    }
}

#[rstest]
#[case("SELECT * FROM fhir.{}.practitioner")]
#[case("SELECT resource FROM fhir.{}.practitioner")]
#[case("SELECT get_json_object(resource, '$.name[0].family'), name[1].family FROM fhir.{}.practitioner")]
#[case("SELECT n.family FROM fhir.{}.practitioner p LATERAL VIEW explode(p.name) t AS n")]
#[case(
    "SELECT resource #>> '{name,0,family}', resource -> 'name', json_agg(resource) FROM fhir.{}.practitioner GROUP BY 1, 2"
)]
#[case("SELECT count(*) FILTER (WHERE resource LIKE '%Zanz%') || 'x' FROM fhir.{}.practitioner")]
#[tokio::test(flavor = "multi_thread")]
async fn a_masked_element_is_gone_from_the_resource_and_its_history(#[case] sql: &str) {
    let lake = Fixture::new().await;
    practitioners(&lake).await;
    grant(&lake, "GRANT SELECT ON ZONE fhir TO analyst").await;
    grant(&lake, "CREATE MASK ON fhir.r4.practitioner (NAME) TO analyst USING NULL").await;
    grant(&lake, "CREATE MASK ON fhir.r4.practitioner (birthDate) TO analyst USING YEAR").await;
    let ana = ana(&lake).await;
    for schema in ["r4", "r4_history"] {
        let sql = sql.replace("{}", schema);
        let whole = lake.rows(&sql).await.join("\n");
        let seen = lake.ask(&ana, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).join("\n");
        assert!(!seen.contains(CANARY) && !seen.contains("03-04"), "{sql}: {seen}");
        assert_ne!(whole, seen, "{sql}");
    }
    let text = lake.ask(&ana, "SELECT resource, birthDate FROM practitioner WHERE id = 'p1'").await.unwrap();
    assert_eq!(text, ["{\"resourceType\":\"Practitioner\",\"id\":\"p1\",\"birthDate\":\"1950\"}|1950"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_elements_are_all_that_a_resource_says() {
    let lake = Fixture::new().await;
    practitioners(&lake).await;
    grant(&lake, "GRANT SELECT (birthdate, gender) ON fhir.r4.practitioner TO USER ana").await;
    let ana = ana(&lake).await;
    let seen = lake.ask(&ana, "SELECT * FROM practitioner WHERE id = 'p2'").await.unwrap();
    let text = "{\"resourceType\":\"Practitioner\",\"id\":\"p2\",\"birthDate\":\"1961-03-04\"}";
    assert_eq!(seen, [format!("p2|1961-03-04|{text}")]);
    lake.error(&ana, "SELECT * FROM r4_history.practitioner").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_masked_element_was_made_from_is_masked_too() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    practitioners(&lake).await;
    let mapping = "version = 1\nresource = \"Practitioner\"\nfrom = \"processed.hms.visit v\"\nkey = \"v.id\"\n\n[set]\n\
                   \"name[0].family\" = \"upper(v.nom)\"\n\"birthDate\" = \"v.day\"\n";
    let new = NewMapping {
        name: "hms_practitioner".to_owned(),
        resource: "Practitioner".to_owned(),
        source: None,
        text: mapping.to_owned(),
    };
    lake.lake.catalog().apply_mapping(new).await.unwrap();
    grant(&lake, "GRANT SELECT ON EVERYTHING TO analyst").await;
    grant(&lake, "CREATE MASK ON fhir.r4.practitioner (name) TO analyst USING NULL").await;
    let ana = ana(&lake).await;
    for table in ["raw.hms.visit", "processed.hms.visit"] {
        let seen = lake.ask(&ana, &format!("SELECT nom, day FROM {table} WHERE id = 1")).await.unwrap();
        assert_eq!(seen, ["NULL|2024-01-05"], "{table}");
    }
    // Nor is it copied elsewhere by whoever cannot read it.
    let catalog = lake.lake.catalog();
    let tables = ["processed.hms.hms_patient", "processed.hms.visit"].map(|name| name.parse::<TableName>().unwrap());
    assert_eq!(not_whole(catalog, &ana, &tables).await.unwrap(), Some(&tables[1]));
    assert_eq!(not_whole(catalog, &lake.admin, &tables).await.unwrap(), None);
}

/// What of the source `hms` is said not to be seen whole.
#[rstest]
#[case(&["GRANT SELECT ON EVERYTHING TO analyst"], None)]
#[case(&["GRANT SELECT ON SCHEMA raw.hms TO analyst", "GRANT SELECT ON SCHEMA processed.hms TO analyst"], None)]
#[case(&["GRANT SELECT ON SCHEMA processed.hms TO analyst"], Some("a table of `hms`"))]
#[case(
    &["GRANT SELECT ON SCHEMA raw.hms TO analyst", "GRANT SELECT (id) ON processed.hms.hms_patient TO analyst"],
    Some("`processed.hms.hms_patient`")
)]
#[case(
    &["GRANT SELECT ON EVERYTHING TO analyst", "CREATE MASK ON raw.hms.visit (nom) TO analyst USING HASH"],
    Some("`raw.hms.visit`")
)]
#[case(
    &["GRANT SELECT ON EVERYTHING TO analyst", "CREATE POLICY a ON processed.hms.visit TO analyst USING (id = 1)"],
    Some("`raw.hms.visit`")
)]
#[case(&["GRANT SELECT ON EVERYTHING TO analyst", "CREATE MASK ON fhir.r4.patient (name) TO analyst USING NULL"], None)]
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_see_all_of_a_source_is_told_which_table(#[case] rights: &[&str], #[case] told: Option<&str>) {
    let lake = Fixture::new().await;
    visits(&lake).await;
    for sql in rights {
        grant(&lake, sql).await;
    }
    let (ana, source) = (ana(&lake).await, SourceName::new("hms").unwrap());
    let hidden = not_whole_of(lake.lake.catalog(), &ana, &source).await.unwrap();
    assert_eq!(hidden.as_deref(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_may_ask_another_table_and_is_never_out_of_date() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT ON SCHEMA processed.hms TO analyst").await;
    let consent = "CREATE POLICY consent ON processed.hms.hms_patient TO analyst \
                   USING (id IN (SELECT id FROM processed.hms.visit WHERE consent))";
    grant(&lake, consent).await;
    let ana = ana(&lake).await;
    let sql = "SELECT nom FROM processed.hms.hms_patient ORDER BY id";
    assert_eq!(lake.ask(&ana, sql).await.unwrap(), ["Durand", "Moreau"]);
    let visit = lake.find("processed.hms.visit").await;
    let row: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![2])),
        Arc::new(Int64Array::from(vec![3])),
        Arc::new(StringArray::from(vec!["Petit"])),
        Arc::new(StringArray::from(vec!["20"])),
        Arc::new(StringArray::from(vec!["2023-02-06"])),
        Arc::new(BooleanArray::from(vec![true])),
    ];
    let names = ["id", "clinic", "nom", "code", "day", "consent"];
    let row = RecordBatch::try_from_iter_with_nullable(names.into_iter().zip(row).map(|(n, c)| (n, c, true))).unwrap();
    lake.append(&visit, &row).await;
    assert_eq!(lake.ask(&ana, sql).await.unwrap(), ["Durand", "Petit", "Moreau"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_together_and_know_who_asks() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT ON processed.hms.visit TO analyst").await;
    grant(&lake, "CREATE POLICY a ON processed.hms.visit TO analyst USING (clinic = 3)").await;
    grant(&lake, "CREATE POLICY b ON processed.hms.visit TO USER ana USING (nom = 'Petit' OR nom = current_user)")
        .await;
    assert_eq!(lake.ask(&ana(&lake).await, "SELECT nom FROM hms.visit").await.unwrap(), ["Petit"]);
    let mut durand = principal(Role::Analyst, Scope::Schemas(Vec::new()));
    durand.name = "Durand".to_owned();
    lake.lake.catalog().put_rights(&mut durand).await.unwrap();
    assert_eq!(lake.ask(&durand, "SELECT nom FROM hms.visit").await.unwrap(), ["Durand", "Petit"]);
    assert_eq!(lake.rows("DROP POLICY b ON processed.hms.visit").await, ["revoked"]);
    assert_eq!(lake.ask(&ana(&lake).await, "SELECT nom FROM hms.visit").await.unwrap(), ["Durand", "Petit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_glass_lifts_what_hides_for_who_may_break_it_and_is_audited() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT SELECT ON processed.hms.visit TO analyst").await;
    grant(&lake, "CREATE POLICY a ON processed.hms.visit TO analyst USING (clinic = 3)").await;
    grant(&lake, "CREATE MASK ON processed.hms.visit (nom) TO analyst USING NULL").await;
    let open = "BREAK GLASS ON processed.hms FOR 5 MINUTES REASON 'unconscious patient in the emergency room'";
    let refused = lake.error(&ana(&lake).await, open).await;
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    grant(&lake, "GRANT BREAK GLASS ON SCHEMA processed.hms TO USER ana").await;
    let elsewhere = open.replace("processed.hms", "raw.hms");
    lake.error(&ana(&lake).await, &elsewhere).await;
    assert_eq!(lake.ask(&ana(&lake).await, "SELECT nom FROM hms.visit").await.unwrap(), ["NULL", "NULL"]);
    let done = lake.ask(&ana(&lake).await, open).await.unwrap();
    assert!(done[0].starts_with("everything of processed.hms is open to you until"), "{done:?}");
    let all = "SELECT nom FROM hms.visit ORDER BY id";
    assert_eq!(lake.ask(&ana(&lake).await, all).await.unwrap(), ["Durand", "Petit", CANARY]);
    let audit = "SELECT allowed, object FROM system.ops.audit WHERE action = 'glass.break' ORDER BY at";
    let audit = lake.rows(audit).await;
    assert_eq!(audit.len(), 3);
    assert!(audit[2].contains("true") && audit[2].contains("unconscious patient"), "{audit:?}");
    assert_eq!(lake.ask(&ana(&lake).await, "CLOSE GLASS").await.unwrap(), ["revoked"]);
    assert_eq!(lake.ask(&ana(&lake).await, all).await.unwrap(), ["NULL", "NULL"]);
}

/// How the leave came, how it is taken back, and how it comes again.
#[rstest]
#[case(
    &["GRANT BREAK GLASS ON SCHEMA processed.hms TO USER ana"],
    "REVOKE BREAK GLASS ON SCHEMA processed.hms FROM USER ana"
)]
#[case(
    &["GRANT BREAK GLASS ON SCHEMA processed.hms TO ROLE clinicians", "GRANT ROLE clinicians TO USER ana"],
    "REVOKE ROLE clinicians FROM USER ana"
)]
#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_does_not_outlive_the_leave_to_declare_it(#[case] granted: &[&str], #[case] revoked: &str) {
    let lake = Fixture::new().await;
    visits(&lake).await;
    lake.lake.catalog().create_token(NewToken::new("ana", Role::Analyst, Scope::Schemas(Vec::new()))).await.unwrap();
    grant(&lake, "GRANT SELECT ON processed.hms.visit TO analyst").await;
    grant(&lake, "CREATE POLICY a ON processed.hms.visit TO analyst USING (clinic = 3)").await;
    grant(&lake, "GRANT BREAK GLASS ON SCHEMA processed.hms TO USER eva").await;
    for sql in granted {
        grant(&lake, sql).await;
    }
    let open = "BREAK GLASS ON processed.hms.visit FOR 5 MINUTES REASON 'unconscious patient in the emergency room'";
    let mut eva = principal(Role::Analyst, Scope::Schemas(Vec::new()));
    eva.name = "eva".to_owned();
    lake.lake.catalog().put_rights(&mut eva).await.unwrap();
    for who in [&eva, &ana(&lake).await] {
        assert!(lake.ask(who, open).await.unwrap()[0].starts_with("everything of"));
    }
    let count = "SELECT count(*) FROM hms.visit";
    assert_eq!(lake.ask(&ana(&lake).await, count).await.unwrap(), ["3"]);
    assert_eq!(lake.rows(revoked).await, ["revoked"]);
    let on = "SELECT grantee FROM system.ops.grants WHERE privilege = 'open emergency'";
    assert_eq!(lake.rows(on).await, ["eva"], "that of somebody else goes on");
    for sql in granted {
        lake.rows(sql).await;
    }
    assert_eq!(lake.ask(&ana(&lake).await, count).await.unwrap(), ["2"], "it is declared anew, or not at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_grant_and_everything_is_audited_without_values() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    for sql in [
        "GRANT SELECT ON EVERYTHING TO analyst",
        "REVOKE SELECT ON EVERYTHING FROM analyst",
        "CREATE POLICY p ON processed.hms.visit TO analyst USING (nom = 'Durand')",
        "DROP MASK ON processed.hms.visit (nom) FROM analyst",
        "GRANT ROLE researchers TO USER ana",
    ] {
        let error = lake.error(&lake.reader, sql).await;
        assert!(matches!(error, Error::Refused { .. }), "{sql}: {error}");
    }
    grant(&lake, "CREATE POLICY p ON processed.hms.visit TO analyst USING (nom = 'Durand')").await;
    let audit = lake.rows("SELECT actor, action, object, allowed FROM system.ops.audit").await.join("\n");
    assert!(audit.contains("reader|grant|select on everything to role analyst|false"), "{audit}");
    assert!(audit.contains("admin|policy.create|p on processed.hms.visit to role analyst|true"), "{audit}");
    assert!(!audit.contains("Durand"), "{audit}");
}

#[rstest]
#[case("GRANT SELECT ON processed.hms.nothing TO analyst", "no table")]
#[case("GRANT SELECT (nox) ON processed.hms.visit TO analyst", "no column `nox`")]
#[case("GRANT MODIFY ON processed.hms.visit TO analyst", "only `work`")]
#[case("CREATE MASK ON processed.hms.visit (clinic) TO analyst USING HASH", "use NULL")]
#[case("CREATE POLICY p ON processed.hms.visit TO analyst USING (clinix = 3)", "clinix")]
#[case("CREATE POLICY p ON processed.hms.visit TO analyst USING (random() < 0.5)", "differently each time")]
#[case("CREATE POLICY p ON processed.hms.visit TO analyst USING (EXISTS (SELECT 1))", "EXISTS")]
#[case("REVOKE SELECT ON processed.hms.visit FROM analyst", "nothing of that kind")]
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_cannot_be_is_refused_when_it_is_made(#[case] sql: &str, #[case] told: &str) {
    let lake = Fixture::new().await;
    visits(&lake).await;
    let error = lake.error(&lake.admin, sql).await.to_string();
    assert!(error.contains(told), "{sql}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_public_are_granted_to_and_shown() {
    let lake = Fixture::new().await;
    visits(&lake).await;
    grant(&lake, "GRANT ROLE researchers TO USER ana").await;
    grant(&lake, "GRANT ROLE readers_of_raw TO ROLE researchers").await;
    grant(&lake, "GRANT SELECT ON raw.hms.visit TO ROLE readers_of_raw").await;
    let person = ana(&lake).await;
    assert_eq!(person.groups, ["researchers", "readers_of_raw"]);
    assert_eq!(lake.ask(&person, "SELECT count(*) FROM raw.hms.visit").await.unwrap(), ["3"]);
    let shown = lake.ask(&person, "SHOW GRANTS").await.unwrap().join("\n");
    assert!(shown.contains("role|readers_of_raw|select|raw|hms|visit"), "{shown}");
    let shown = lake.rows("SHOW GRANTS TO ROLE researchers").await;
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(lake.rows("REVOKE ROLE researchers FROM USER ana").await, ["revoked"]);
    lake.error(&ana(&lake).await, "SELECT count(*) FROM raw.hms.visit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_a_grant_grants_nothing() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    let prepared = session.prepare("GRANT SELECT ON EVERYTHING TO PUBLIC").await.unwrap();
    assert_eq!(prepared.schema.fields().len(), 1);
    assert!(lake.lake.catalog().rights().await.unwrap().is_empty());
}

/// Who holds a page's link, or has a transaction open, asks a state of before.
#[tokio::test(flavor = "multi_thread")]
async fn an_objection_hides_what_was_known_before_it() {
    let lake = Fixture::new().await;
    let patient = lake.find("fhir.r4.patient").await;
    let objection = lake.table(Zone::Fhir, "r4", "consent", &resources(&[]).schema()).await;
    lake.append(&objection, &resources(&[("b", "2020-01-01", "none")])).await;
    lake.publish(&objection).await;
    let before = lake.publish(&patient).await;
    grant(&lake, "GRANT SELECT ON ZONE fhir TO analyst").await;
    grant(
        &lake,
        "CREATE POLICY objections ON fhir.r4.patient TO analyst USING (id NOT IN (SELECT id FROM fhir.r4.consent))",
    )
    .await;
    let ana = ana(&lake).await;
    let then = async |sql: &str| {
        let session = lake.engine.session(&ana, Some(before)).await.unwrap();
        lines(session.query(sql, &[], None).await.unwrap()).await.unwrap()
    };
    let ids = "SELECT id FROM patient ORDER BY id";
    assert_eq!(then(ids).await, ["a", "c"]);
    lake.append(&objection, &resources(&[("a", "2024-01-01", "none")])).await;
    lake.publish(&objection).await;
    assert_eq!(lake.ask(&ana, ids).await.unwrap(), ["c"]);
    assert_eq!(then(ids).await, ["c"]);
}

use mavis_sql::Error;

use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn listings_show_what_may_be_read() {
    let lake = Fixture::new().await;
    let names = |lines: Vec<mavis_sql::TableListing>| -> Vec<String> {
        lines.into_iter().map(|line| format!("{}.{}.{}", line.catalog, line.schema, line.table)).collect()
    };
    let all = lake.engine.list_tables(&lake.admin, None, None, Some("%p_tient%")).await.unwrap();
    assert_eq!(names(all), ["fhir.r4.patient", "processed.hms.hms_patient", "raw.hms.hms_patient"]);
    let seen = lake.engine.list_tables(&lake.reader, None, None, Some("%p_tient%")).await.unwrap();
    assert_eq!(names(seen), ["fhir.r4.patient", "processed.hms.hms_patient"]);
    let hidden = lake.engine.list_tables(&lake.reader, Some("processed"), Some("secret"), None).await.unwrap();
    assert!(hidden.is_empty());
    let audit = |lines: Vec<mavis_sql::TableListing>| {
        lines.iter().any(|line| line.table == "audit" && line.kind == "SYSTEM TABLE")
    };
    assert!(audit(lake.engine.list_tables(&lake.admin, Some("system"), Some("ops"), None).await.unwrap()));
    assert!(!audit(lake.engine.list_tables(&lake.reader, Some("system"), Some("ops"), None).await.unwrap()));
    let schemas = lake.engine.list_schemas(&lake.reader, Some("processed"), None).await.unwrap();
    assert_eq!(schemas.iter().map(|(_, schema)| schema.as_str()).collect::<Vec<_>>(), ["hms", "information_schema"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_schema_is_what_a_query_returns() {
    let lake = Fixture::new().await;
    let session = lake.engine.session(&lake.admin, None).await.unwrap();
    for listed in lake.engine.list_tables(&lake.admin, None, None, None).await.unwrap() {
        let told = lake.engine.table_schema(&lake.admin, &listed.catalog, &listed.schema, &listed.table).await.unwrap();
        let sql = format!("SELECT * FROM \"{}\".\"{}\".\"{}\"", listed.catalog, listed.schema, listed.table);
        let prepared = session.prepare(&sql).await.unwrap();
        assert_eq!(prepared.schema, told, "{sql}");
        let stream = session.query(&sql, &[], None).await.unwrap();
        assert_eq!(stream.schema, told, "{sql}");
        crate::fixture::batches(stream).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_a_forbidden_table_is_as_absent() {
    let lake = Fixture::new().await;
    let forbidden = lake.engine.table_schema(&lake.reader, "processed", "secret", "staff").await.unwrap_err();
    let absent = lake.engine.table_schema(&lake.reader, "processed", "secret", "stafx").await.unwrap_err();
    assert!(matches!(forbidden, Error::NoSuchTable { .. }));
    assert_eq!(forbidden.to_string().replace("staff", "stafx"), absent.to_string());
}

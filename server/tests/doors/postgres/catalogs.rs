//! Who may see what of the catalogs.

use sqlx::{ConnectOptions, PgConnection, Row};

use super::{connect, options, with_tables};

async fn names(connection: &mut PgConnection, sql: &'static str) -> Vec<String> {
    let rows = sqlx::query(sql).fetch_all(connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_token_sees_its_own_schemas_and_nothing_of_the_others() {
    let test = with_tables().await;
    let secret = test.token("ann", mavis_proto::v1::Role::Reader, &["raw.hms"]).await;
    let mut admin = connect(&test, "raw").await;
    let mut ann = options(&test, "raw", &secret).connect().await.unwrap();
    for (sql, all, own) in [
        (
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1",
            &["hms", "lab"][..],
            &["hms"][..],
        ),
        (
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace > 16000 ORDER BY 1",
            &["results", "visits"],
            &["visits"],
        ),
        (
            "SELECT tablename FROM pg_tables WHERE schemaname IN ('hms', 'lab') ORDER BY 1",
            &["results", "visits"],
            &["visits"],
        ),
        (
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema IN ('hms', 'lab') ORDER BY 1",
            &["results", "visits"],
            &["visits"],
        ),
        ("SELECT conname FROM pg_constraint ORDER BY 1", &["results_pkey", "visits_pkey"], &["visits_pkey"]),
        (
            "SELECT description FROM pg_description WHERE objsubid = 0 ORDER BY 1",
            &["about results", "about visits"],
            &["about visits"],
        ),
    ] {
        assert_eq!(names(&mut admin, sql).await, all, "{sql}");
        assert_eq!(names(&mut ann, sql).await, own, "{sql}");
    }
    // A number that somebody else learned tells nothing.
    let oid: Vec<String> = names(&mut admin, "SELECT 'lab.results'::regclass::oid::bigint::text").await;
    for sql in [
        format!("SELECT count(*)::text FROM pg_attribute WHERE attrelid = {}", oid[0]),
        format!("SELECT CASE WHEN {}::regclass::text LIKE '%results%' THEN 'told' ELSE '0' END", oid[0]),
        "SELECT coalesce(to_regclass('lab.results')::bigint, 0)::text".to_owned(),
    ] {
        let told = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql.clone())).fetch_one(&mut ann).await;
        assert_eq!(told.unwrap(), "0", "{sql}");
    }
    for sql in [
        "SELECT * FROM lab.results",
        "SELECT * FROM raw.lab.results",
        "SELECT * FROM fhir.r4.patient",
        "COPY lab.results TO STDOUT",
    ] {
        let error = sqlx::raw_sql(sql).execute(&mut ann).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42P01"), "{sql}");
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_loaded_as_drivers_load_them() {
    let test = with_tables().await;
    let mut fhir = connect(&test, "fhir").await;
    // What Arrow's driver takes from it: the type of each function that receives values.
    let sql = "SELECT typreceive, typname, oid FROM pg_catalog.pg_type WHERE (typreceive != 0 OR typsend != 0) \
               AND typtype != 'r' AND typreceive::TEXT != 'array_recv' ORDER BY oid";
    let loaded = names(&mut fhir, sql).await;
    for function in
        ["boolrecv", "int8recv", "textrecv", "date_recv", "timestamptz_recv", "numeric_recv", "interval_recv"]
    {
        assert!(loaded.contains(&function.to_owned()), "{function}: {loaded:?}");
    }
    test.stop().await;
}

/// What DataGrip and drizzle-kit read of the index of a key, shortened.
#[tokio::test(flavor = "multi_thread")]
async fn columns_of_indexes_are_told_beside_what_they_are_joined_to() {
    let test = with_tables().await;
    let mut fhir = connect(&test, "fhir").await;
    for sql in [
        "SELECT ind_stor.relname || ' ' || k::text || ' ' || a.attname || ' ' || amcanorder::text || ' ' || opcname \
         FROM pg_catalog.pg_index ind_head JOIN pg_catalog.pg_class ind_stor ON ind_stor.oid = ind_head.indexrelid \
         CROSS JOIN unnest(ind_head.indkey) WITH ORDINALITY u(u, k) \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = ind_head.indrelid AND a.attnum = ind_head.indkey[k-1] \
         CROSS JOIN pg_catalog.pg_indexam_has_property(ind_stor.relam, 'can_order') amcanorder \
         LEFT JOIN pg_catalog.pg_opclass ON pg_opclass.oid = ind_head.indclass[k-1] \
         WHERE pg_catalog.age(ind_stor.xmin) <= coalesce(nullif(greatest(pg_catalog.age('1'::varchar::xid), -1), -1), 2147483647) \
         ORDER BY 1",
        "SELECT ic.relname || ' ' || k.i::text || ' ' || coalesce(a.attname, pg_get_indexdef(i.indexrelid, k.i, false)) \
         || ' ' || (NOT (i.indoption[k.i-1] & 1 = 1))::text || ' ' || opc.opcname \
         FROM pg_class t LEFT JOIN pg_index i ON t.oid = i.indrelid LEFT JOIN pg_class ic ON ic.oid = i.indexrelid \
         CROSS JOIN LATERAL (SELECT unnest(i.indkey), generate_subscripts(i.indkey, 1) + 1) AS k(attnum, i) \
         LEFT JOIN pg_attribute AS a ON i.indrelid = a.attrelid AND k.attnum = a.attnum \
         JOIN pg_opclass opc ON opc.oid = ANY(i.indclass) ORDER BY 1",
    ] {
        let told = names(&mut fhir, sql).await;
        assert_eq!(told, ["observation_pkey 1 id true any_ops", "patient_pkey 1 id true any_ops"], "{sql}");
    }
    let sql = "SELECT c.column_name FROM information_schema.table_constraints tc \
               JOIN information_schema.constraint_column_usage AS ccu USING (constraint_schema, constraint_name) \
               JOIN information_schema.columns AS c ON c.table_schema = tc.constraint_schema \
               AND tc.table_name = c.table_name AND ccu.column_name = c.column_name \
               WHERE tc.table_name = 'patient' and constraint_schema = 'r4'";
    assert_eq!(names(&mut fhir, sql).await, ["id"]);
    // An index that a key made is no index of its own.
    let sql = "SELECT idx.indexrelname FROM pg_stat_user_indexes idx JOIN pg_constraint con ON con.conindid = idx.indexrelid \
               WHERE schemaname = 'r4' ORDER BY 1";
    assert_eq!(names(&mut fhir, sql).await, ["observation_pkey", "patient_pkey"]);
    let sql = "SELECT conname FROM pg_constraint WHERE connamespace = $1::regnamespace";
    let keys = sqlx::query(sql).bind("r4").fetch_all(&mut fhir).await.unwrap();
    assert_eq!(keys.len(), 2);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_for_along_the_search_path_and_then_as_at_every_door() {
    let test = with_tables().await;
    let mut fhir = connect(&test, "fhir").await;
    for sql in [
        "SELECT id FROM patient",
        "SELECT patient.id FROM r4.patient",
        "SELECT r4.patient.\"birthDate\", birthdate + 1 FROM r4.patient",
        "SELECT p.id FROM fhir.r4.patient p",
        "WITH patient AS (SELECT 1 AS id) SELECT id FROM patient",
        "SELECT name FROM system.catalog.sources",
    ] {
        sqlx::query(sql).fetch_all(&mut fhir).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    test.stop().await;
}

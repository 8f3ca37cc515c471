//! Foreign keys over Flight SQL.

use arrow::array::{AsArray, RecordBatch};
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys, client::FlightSqlServiceClient,
};
use mavis_catalog::NewSource;
use mavis_proto::v1 as pb;

use crate::{
    flight_long::{Caller, table, tickets},
    harness::TestServer,
};

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_are_those_that_discovery_found() {
    let test = TestServer::start().await;
    let catalog = &test.server.app().catalog;
    let source = NewSource {
        name: mavis_types::SourceName::new("hms").unwrap(),
        kind: "sqlite".to_owned(),
        params: serde_json::json!({}),
        authoritative: false,
    };
    let source = catalog.add_source(source).await.unwrap();
    table(&test, "hms", "patient", &["id", "name"]).await;
    table(&test, "hms", "visit", &["id", "patient_id"]).await;
    let column = |name: &str, lake: &str| serde_json::json!({"name": name, "lake_name": lake, "data_type": "Int64", "source_type": "int", "nullable": true});
    let report = serde_json::json!({
        "source": "hms", "made_at": "2026-01-01T00:00:00Z", "failures": [],
        "tables": [
            {"table": {"schema": null, "name": "Patient"}, "lake_name": ["hms", "patient"], "kind": "table", "mode": "snapshot",
             "columns": [column("ID", "id"), column("Name", "name")], "key": ["ID"], "foreign_keys": [], "comment": null, "row_estimate": null},
            {"table": {"schema": null, "name": "Visit"}, "lake_name": ["hms", "visit"], "kind": "table", "mode": "snapshot",
             "columns": [column("ID", "id"), column("PatientID", "patient_id")], "key": ["ID"], "comment": null, "row_estimate": null,
             "foreign_keys": [{"columns": ["PatientID"], "table": {"schema": null, "name": "Patient"}, "referenced": ["ID"]}]},
        ],
    });
    let readable: mavis_pipeline::DiscoveryReport = serde_json::from_value(report.clone()).expect("a report");
    assert_eq!(readable.tables.len(), 2);
    catalog.save_discovery(source.id, &report).await.unwrap();

    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.set_token(test.admin_token());
    let asked = |table: &str| (Some("raw".to_owned()), Some("hms".to_owned()), table.to_owned());
    let imported = |table: &str| {
        let (catalog, db_schema, table) = asked(table);
        CommandGetImportedKeys { catalog, db_schema, table }
    };
    let exported = |table: &str| {
        let (catalog, db_schema, table) = asked(table);
        CommandGetExportedKeys { catalog, db_schema, table }
    };
    let cross = |pk: &str, fk: &str| CommandGetCrossReference {
        pk_catalog: Some("raw".to_owned()),
        pk_db_schema: None,
        pk_table: pk.to_owned(),
        fk_catalog: None,
        fk_db_schema: None,
        fk_table: fk.to_owned(),
    };
    let infos = [
        (client.get_imported_keys(imported("visit")).await.unwrap(), 1),
        (client.get_imported_keys(imported("patient")).await.unwrap(), 0),
        (client.get_exported_keys(exported("patient")).await.unwrap(), 1),
        (client.get_exported_keys(exported("visit")).await.unwrap(), 0),
        (client.get_cross_reference(cross("patient", "visit")).await.unwrap(), 1),
        (client.get_cross_reference(cross("visit", "patient")).await.unwrap(), 0),
    ];
    let mut caller = Caller::of(&test).await;
    for (info, keys) in infos {
        let promised = info.clone().try_decode_schema().unwrap();
        let batches = caller.fetch(tickets(&info).remove(0)).await.unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, keys);
        if let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) {
            assert_eq!(batch.schema().as_ref(), &promised);
            let text = |column: usize| batch.column(column).as_string::<i32>().value(0).to_owned();
            assert_eq!(
                (text(2), text(3), text(6), text(7)),
                ("patient".into(), "id".into(), "visit".into(), "patient_id".into())
            );
        }
    }
    let half = test.token("half", pb::Role::Reader, &["raw.other"]).await;
    let mut reader = Caller::with(&test, &half, &[]).await;
    let info = client.get_imported_keys(imported("visit")).await.unwrap();
    let hidden = reader.fetch(tickets(&info).remove(0)).await.unwrap();
    assert_eq!(hidden.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    test.stop().await;
}

//! What an analyst's Python writes: bulk ingests in every mode, and statements, over the ADBC driver and pyarrow.

use std::process::Command;

use mavis_tests::{Server, patients_csv, python, write};

const SCRIPT: &str = r#"
import sys
import pyarrow, pyarrow.flight
import adbc_driver_flightsql.dbapi as flight
from adbc_driver_flightsql import DatabaseOptions

uri, token = sys.argv[1:3]
options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}

def table(start, rows):
    return pyarrow.table({
        "id": pyarrow.array(range(start, start + rows), pyarrow.int64()),
        "Last name": [f"name {n}" for n in range(rows)],
        "score": pyarrow.array([n / 2 for n in range(rows)], pyarrow.float64()),
        "kind": pyarrow.array(["a" if n % 2 else "b" for n in range(rows)]).dictionary_encode(),
        "seen": pyarrow.array([n * 1_000_000 for n in range(rows)], pyarrow.timestamp("us", "UTC")),
    })

def count(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchone()[0]

with flight.connect(uri, db_kwargs=options, autocommit=True) as connection, connection.cursor() as cursor:
    assert cursor.adbc_ingest("results", table(0, 50_000), mode="create") == 50_000
    assert count(cursor, "SELECT count(*) FROM work.ana.results") == 50_000
    try:
        cursor.adbc_ingest("results", table(0, 1), mode="create")
        raise SystemExit("a table that is there was made again")
    except flight.Error as error:
        assert "exists already" in str(error), error
    assert cursor.adbc_ingest("results", table(50_000, 10), mode="append") == 10
    assert count(cursor, "SELECT count(*) FROM results") == 50_010
    reader = pyarrow.RecordBatchReader.from_batches(table(0, 1).schema, (b for b in table(0, 20_000).to_batches(1_000)))
    assert cursor.adbc_ingest("results", reader, mode="replace") == 20_000
    assert count(cursor, "SELECT count(*) FROM results") == 20_000
    assert cursor.adbc_ingest("others", table(0, 5), mode="create_append", db_schema_name="ana") == 5
    assert cursor.adbc_ingest("others", table(5, 5), mode="create_append", catalog_name="work") == 5
    assert count(cursor, "SELECT count(*) FROM others") == 10
    for bad in [{"catalog_name": "raw", "db_schema_name": "clinic"}, {"db_schema_name": "bob"}, {"temporary": True}]:
        try:
            cursor.adbc_ingest("t", table(0, 1), mode="create", **bad)
            raise SystemExit(f"{bad} was taken")
        except flight.Error:
            pass

    cursor.execute("CREATE TABLE seen AS SELECT patient_id, nom FROM processed.clinic.patients")
    assert cursor.rowcount in (300, -1), cursor.rowcount
    assert count(cursor, "SELECT count(*) FROM seen") == 300
    cursor.execute("INSERT INTO seen VALUES (?, ?)", parameters=(1000, "one"))
    cursor.executemany("INSERT INTO seen VALUES (?, ?)", [(1001 + n, f"many {n}") for n in range(500)])
    assert count(cursor, "SELECT count(*) FROM seen") == 801
    cursor.execute("UPDATE seen SET nom = upper(nom) WHERE patient_id > 1000")
    cursor.execute("DELETE FROM seen WHERE patient_id <= 300")
    assert count(cursor, "SELECT count(*) FROM seen WHERE nom LIKE 'MANY%'") == 500
    cursor.execute("""MERGE INTO seen s USING processed.clinic.patients p ON s.patient_id = p.patient_id
                      WHEN NOT MATCHED THEN INSERT (patient_id, nom) VALUES (p.patient_id, p.nom)""")
    assert count(cursor, "SELECT count(*) FROM seen") == 801
    cursor.execute("CREATE VIEW firsts AS SELECT nom FROM seen WHERE patient_id < 10")
    assert count(cursor, "SELECT count(*) FROM firsts") == 9
    schema = connection.adbc_get_table_schema("results", catalog_filter="work", db_schema_filter="ana")
    assert schema.names == ["id", "last_name", "score", "kind", "seen"], schema
    objects = connection.adbc_get_objects(depth="tables", catalog_filter="work").read_all().to_pylist()
    kinds = {t["table_name"]: t["table_type"] for s in objects[0]["catalog_db_schemas"] for t in s["db_schema_tables"]}
    assert kinds["firsts"] == "VIEW" and kinds["seen"] == "TABLE", kinds
print("ok")
"#;

#[tokio::test]
async fn an_analyst_writes_over_adbc() {
    let Some(python) = python() else { return };
    let server = Server::start().await.unwrap();
    let file = server.scratch().join("in/patients.csv");
    write(&file, patients_csv(300)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    let made = server.mavis(&["token", "create", "ana", "--role", "analyst"]).unwrap().ok().unwrap();
    let token = made.trim().to_owned();
    let script = server.scratch().join("client.py");
    write(&script, SCRIPT).unwrap();
    let uri = format!("grpc://{}", server.grpc);
    let ran = Command::new(python).arg(&script).args([&uri, &token]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

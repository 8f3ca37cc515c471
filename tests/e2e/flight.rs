//! Flight SQL with the ADBC driver, the strictest client there is.

use std::process::Command;

use mavis_tests::{Server, patients_csv, python, write};

const SCRIPT: &str = r#"
import sys
import adbc_driver_flightsql.dbapi as flight
from adbc_driver_flightsql import DatabaseOptions

uri, token = sys.argv[1:3]
options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
with flight.connect(uri, db_kwargs=options, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) AS n FROM raw.clinic.patients")
        assert cursor.fetch_arrow_table().to_pylist() == [{"n": 300}]
        cursor.execute("SELECT nom FROM processed.clinic.patients WHERE patient_id = ?", parameters=(7,))
        assert cursor.fetchall() == [("Nom7",)], "a bound parameter"
        cursor.execute("SELECT * FROM raw.clinic.patients")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 300 and "nom" in table.column_names
        try:
            cursor.execute("SELECT * FROM raw.nowhere.nothing")
            cursor.fetchall()
            raise SystemExit("an unknown table was answered")
        except flight.Error as error:
            assert "nothing" in str(error), error
    objects = connection.adbc_get_objects(depth="columns", catalog_filter="raw").read_all().to_pylist()
    schemas = objects[0]["catalog_db_schemas"]
    names = [(s["db_schema_name"], t["table_name"], [c["column_name"] for c in t["table_columns"]])
             for s in schemas for t in s["db_schema_tables"]]
    assert [n[:2] for n in names] == [("clinic", "patients")], names
    assert "date_naissance" in names[0][2], names
    assert connection.adbc_get_info()["vendor_name"], "the server has a name"
    schema = connection.adbc_get_table_schema("patients", catalog_filter="raw", db_schema_filter="clinic")
    assert "nom" in schema.names

try:
    flight.connect(uri, db_kwargs={DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer wrong"}).cursor().execute("SELECT 1")
    raise SystemExit("a wrong token was let in")
except flight.Error:
    pass
with flight.connect(uri, db_kwargs={"username": "admin", "password": token}, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        assert cursor.fetchall() == [(1,)], "Basic becomes Bearer"
print("ok")
"#;

#[tokio::test]
async fn the_adbc_driver_connects_lists_objects_binds_parameters_and_fetches_arrow_tables() {
    let Some(python) = python() else { return };
    let server = Server::start().await.unwrap();
    let file = server.scratch().join("in/patients.csv");
    write(&file, patients_csv(300)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    let script = server.scratch().join("client.py");
    write(&script, SCRIPT).unwrap();
    let uri = format!("grpc://{}", server.grpc);
    let ran = Command::new(python).arg(&script).args([&uri, &server.token().unwrap()]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

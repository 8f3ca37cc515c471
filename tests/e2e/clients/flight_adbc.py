"""ADBC's Flight SQL driver: objects at every depth, parameters, sessions, cancelling, pandas and polars."""
import sys
import threading
import time

import adbc_driver_flightsql.dbapi as flight
import pandas
import polars
from adbc_driver_flightsql import ConnectionOptions, DatabaseOptions

uri, token = sys.argv[1:3]
options = {
    DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
    DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true",
}
ENDLESS = (
    "WITH r AS (SELECT unnest(range(0, 60000)) AS n) "
    "SELECT sum(sqrt(a.n * b.n + 0.5)) FROM r a, r b WHERE a.n % 7 <> b.n % 5"
)

with flight.connect(uri, db_kwargs=options, autocommit=True) as connection:
    # Objects: each depth, with and without filters.
    for depth in ["catalogs", "db_schemas", "tables", "all"]:
        objects = connection.adbc_get_objects(depth=depth).read_all().to_pylist()
        catalogs = {o["catalog_name"]: o["catalog_db_schemas"] for o in objects}
        assert {"fhir", "processed", "raw", "system"} <= set(catalogs), (depth, catalogs)
        if depth == "catalogs":
            continue
        schemas = {s["db_schema_name"]: s["db_schema_tables"] for s in catalogs["raw"]}
        assert "clinic" in schemas, (depth, schemas)
        if depth == "db_schemas":
            continue
        tables = {t["table_name"]: t["table_columns"] for t in schemas["clinic"]}
        assert "patients" in tables, (depth, tables)
        if depth == "all":
            assert {"patient_id", "nom"} <= {c["column_name"] for c in tables["patients"]}, tables
    some = connection.adbc_get_objects(
        depth="columns", catalog_filter="raw", db_schema_filter="cli%", table_name_filter="pat%", column_name_filter="no%"
    ).read_all().to_pylist()
    columns = [c["column_name"] for o in some for s in o["catalog_db_schemas"] for t in s["db_schema_tables"] for c in t["table_columns"]]
    assert columns == ["nom"], columns
    assert set(connection.adbc_get_table_types()) >= {"TABLE", "VIEW", "SYSTEM TABLE"}
    assert connection.adbc_get_info()["vendor_name"] == "Mavis"

    with connection.cursor() as cursor:
        # Parameters of every kind, and several rows of them.
        cursor.execute("SELECT ? + 1 AS n, ? AS t, CAST(? AS DOUBLE) AS f, ? AS nothing", parameters=(41, "é'; DROP TABLE x", 0.5, None))
        assert cursor.fetchall() == [(42, "é'; DROP TABLE x", 0.5, None)]
        cursor.execute("SELECT count(*) FROM raw.clinic.patients WHERE nom = ?", parameters=("Nom7",))
        assert cursor.fetchall() == [(1,)]
        schema = cursor.adbc_prepare("SELECT nom FROM raw.clinic.patients WHERE patient_id = ?")
        assert schema is not None and len(schema) == 1, schema
        # A large answer, from several endpoints.
        cursor.execute("SELECT n, n % 7 AS r FROM (SELECT unnest(range(0, 500000)) AS n)")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 500000 and sum(table["n"].to_pylist()) == 500000 * 499999 // 2
        # The same in parts that the client plans and reads by itself.
        parts, schema = cursor.adbc_execute_partitions("SELECT n FROM (SELECT unnest(range(0, 300000)) AS n)")
        assert len(parts) >= 1 and schema.names == ["n"], (parts, schema)
        rows = 0
        for part in parts:
            cursor.adbc_read_partition(part)
            rows += cursor.fetch_arrow_table().num_rows
        assert rows == 300000, rows
        # Data frames.
        cursor.execute("SELECT sexe, count(*) AS n FROM raw.clinic.patients GROUP BY sexe ORDER BY sexe")
        frame = cursor.fetch_df()
        assert list(frame["sexe"]) == ["F", "M"] and int(frame["n"].sum()) == 300, frame
        cursor.execute("SELECT patient_id, nom FROM processed.clinic.patients WHERE patient_id <= 5 ORDER BY patient_id")
        frame = polars.from_arrow(cursor.fetch_arrow_table())
        assert frame.shape == (5, 2) and frame["nom"].to_list() == [f"Nom{n}" for n in range(1, 6)], frame
        # Errors name the place.
        try:
            cursor.execute("SELECT nom\nFROM raw.clinic.patient")
            raise SystemExit("an unknown table was answered")
        except flight.Error as error:
            assert "FROM raw.clinic.patient\n     ^" in str(error), error
        # Cancelling from another thread.
        failed = []

        def run():
            try:
                cursor.execute(ENDLESS)
                cursor.fetchall()
            except flight.Error as error:
                failed.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(1)
        cursor.adbc_cancel()
        thread.join(30)
        assert not thread.is_alive() and failed, "it was not cancelled"
    with connection.cursor() as cursor:
        frame = polars.read_database("SELECT count(*) AS n FROM raw.clinic.patients", connection)
        assert frame["n"].to_list() == [300], frame
        frame = pandas.read_sql("SELECT sexe, count(*) AS n FROM raw.clinic.patients GROUP BY 1 ORDER BY 1", connection)
        assert list(frame["n"]) == [150, 150], frame
    # A session with a catalog and a schema of its own.
    connection.adbc_current_catalog = "raw"
    connection.adbc_current_db_schema = "clinic"
    assert (connection.adbc_current_catalog, connection.adbc_current_db_schema) == ("raw", "clinic")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM patients")
        assert cursor.fetchall() == [(300,)]
        cursor.execute("USE processed.clinic")
        cursor.fetchall()
        cursor.execute("SELECT count(*) FROM patients")
        assert cursor.fetchall() == [(300,)]
    assert connection.adbc_current_catalog == "processed"

compressed = dict(options)
compressed[DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "x-mavis-compression"] = "zstd"
with flight.connect(uri, db_kwargs=compressed, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT n FROM (SELECT unnest(range(0, 200000)) AS n)")
    assert cursor.fetch_arrow_table().num_rows == 200000, "bodies compressed with zstd"
assert ConnectionOptions is not None
print("ok")

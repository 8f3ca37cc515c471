//! What tools ask when they connect and when they list, as recorded, and SQLAlchemy and psycopg as they are.

use sqlx::Executor;

use super::{connect, options, with_tables};

const RECORDED: &str = include_str!("clients.sql");

#[tokio::test(flavor = "multi_thread")]
async fn what_tools_ask_when_they_connect_is_answered() {
    let test = with_tables().await;
    let mut connection = connect(&test, "fhir").await;
    let mut failed = Vec::new();
    let statements: Vec<&'static str> =
        RECORDED.split("\n;\n").map(str::trim).filter(|text| !text.is_empty()).collect();
    assert!(statements.len() > 100);
    for sql in statements.iter().copied() {
        if let Err(error) = connection.execute(sqlx::raw_sql(sql)).await {
            failed.push(format!("{sql}\n    {error}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), statements.len(), failed.join("\n\n"));
    test.stop().await;
}

const SCRIPT: &str = r#"
import sys, datetime, decimal
import pandas, psycopg2, psycopg
from sqlalchemy import create_engine, inspect, text, MetaData, Table, select

url = sys.argv[1]
engine = create_engine("postgresql+psycopg2://" + url)
with engine.connect() as connection:
    lists = inspect(connection)
    assert "r4" in lists.get_schema_names(), lists.get_schema_names()
    assert set(lists.get_table_names(schema="r4")) == {"patient", "observation"}, lists.get_table_names(schema="r4")
    assert lists.get_table_names() == lists.get_table_names(schema="r4")
    columns = {c["name"]: c for c in lists.get_columns("patient", schema="r4")}
    assert list(columns) == ["id", "birthDate", "price", "seen", "tags", "n"], columns
    assert str(columns["price"]["type"]) == "NUMERIC(10, 2)" and not columns["id"]["nullable"], columns
    assert columns["id"]["comment"] == "the key", columns
    assert lists.get_pk_constraint("patient", schema="r4")["constrained_columns"] == ["id"]
    assert lists.get_foreign_keys("patient", schema="r4") == []
    assert lists.get_indexes("patient", schema="r4") == []
    assert lists.get_unique_constraints("patient", schema="r4") == []
    assert lists.get_check_constraints("patient", schema="r4") == []
    assert lists.get_table_comment("patient", schema="r4") == {"text": "about patient"}
    assert lists.has_table("patient", schema="r4") and not lists.has_table("nobody", schema="r4")
    lists.get_view_names(schema="r4")
    row = connection.execute(text("SELECT :a + 1 AS n, :b AS word"), {"a": 41, "b": "it's"}).one()
    assert tuple(row) == (42, "it's"), row
    table = Table("patient", MetaData(), autoload_with=connection, schema="r4")
    assert connection.execute(select(table).where(table.c.id == "x")).all() == []
    frame = pandas.read_sql(text("SELECT n, n * 1.5 AS x FROM (VALUES (1), (2)) AS t(n) ORDER BY n"), connection)
    assert frame["n"].tolist() == [1, 2] and len(frame) == 2, frame
    assert len(pandas.read_sql_table("patient", connection, schema="r4")) == 0

dsn = "postgresql://" + url
with psycopg2.connect(dsn) as connection:
    with connection.cursor("many") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT unnest(range(0, 5000)) AS n")
        assert sum(row[0] for row in cursor) == 5000 * 4999 // 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT DATE '2024-02-29', CAST(1.50 AS DECIMAL(5,2)), ARRAY['a', NULL], true, named_struct('a', 1)")
        assert cursor.fetchone() == (datetime.date(2024, 2, 29), decimal.Decimal("1.50"), ["a", None], True, {"a": 1})
with psycopg.connect(dsn) as connection:
    assert connection.execute("SELECT %s + 1, %s", (41, "x")).fetchone() == (42, "x")
    with connection.cursor(binary=True) as cursor:
        cursor.execute("SELECT %s::bigint, 'é', ARRAY[1, 2], CAST(-12345.678 AS DECIMAL(10, 3)), TIMESTAMP '2024-02-29 01:02:03'", (7,))
        assert cursor.fetchone() == (7, "é", [1, 2], decimal.Decimal("-12345.678"), datetime.datetime(2024, 2, 29, 1, 2, 3))
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1, 'a') TO STDOUT") as copy:
        assert b"".join(bytes(part) for part in copy) == b"1\ta\n"
    with connection.cursor("server side") as cursor:
        cursor.execute("SELECT unnest(range(0, 100))")
        assert len(cursor.fetchmany(10)) == 10
    with connection.cursor("with values") as cursor:
        cursor.execute("SELECT n FROM (VALUES (1), (2), (3)) AS t(n) WHERE n >= %s ORDER BY n", (2,))
        assert [row[0] for row in cursor] == [2, 3]
    for sql, values, expected in [
        ("SELECT %s::int + 1", ("41",), 42),
        ("SELECT %s || %s", ("a", "b"), "ab"),
        ("SELECT count(*) FROM (VALUES (1), (2)) AS t(n) WHERE n = ANY(%s)", ([1, None, 7],), 1),
        ("SELECT count(*) FROM (VALUES (CAST(1.5 AS DECIMAL(5, 2)))) AS t(p) WHERE p = ANY(%s)", ([decimal.Decimal("1.5"), None],), 1),
        ("SELECT DATE '2024-02-29' = ANY(%s)", ([datetime.date(2024, 2, 29)],), True),
        ("SELECT %s * 2", (decimal.Decimal("1.50"),), decimal.Decimal("3")),
        ("SELECT TIMESTAMP '2024-01-01' + %s", (datetime.timedelta(hours=25),), datetime.datetime(2024, 1, 2, 1)),
        ("SELECT count(*) FROM (VALUES (true), (false)) AS t(b) WHERE b = %s", ("t",), 1),
        ("SELECT count(*) FROM (VALUES (TIMESTAMP '2024-02-29')) AS t(s) WHERE s = %s", ("2024-02-29 00:00:00+02",), 1),
        ("SELECT count(*) FROM (VALUES (DATE '2024-02-29')) AS t(d) WHERE d = %s", ("2024-02-29 +00",), 1),
        ("SELECT TIMESTAMP '2024-02-01' - TIMESTAMP '2024-01-01 01:00'", (), datetime.timedelta(days=30, hours=23)),
        ("SELECT INTERVAL '-1 days +02:03:04'", (), datetime.timedelta(days=-1, hours=2, minutes=3, seconds=4)),
        ("SELECT TIMESTAMPTZ '2024-01-01 12:00+00' AT TIME ZONE 'Europe/Paris'", (), datetime.datetime(2024, 1, 1, 13)),
    ]:
        for binary in (False, True):
            answer = connection.execute(sql, values, binary=binary).fetchone()[0]
            assert answer == expected, (sql, binary, answer)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_psycopg_and_pandas_work_as_they_are() {
    let Ok(python) = std::env::var("MAVIS_TEST_PYTHON") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_PYTHON is not set");
        eprintln!("skipped: the Python with SQLAlchemy is not there (MAVIS_TEST_PYTHON); run `make test`");
        return;
    };
    let test = with_tables().await;
    let script = test.folder.path().join("client.py");
    std::fs::write(&script, SCRIPT).unwrap();
    let port = test.server.postgres_address().unwrap().port();
    let mut command = std::process::Command::new(python);
    command.arg(script).arg(format!("anybody:{}@127.0.0.1:{port}/fhir", test.admin_token()));
    let ran = crate::harness::run(command).await;
    assert!(ran.status.success(), "{}", crate::harness::stderr(&ran));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_connect_and_list_at_once() {
    use sqlx::ConnectOptions;
    let test = with_tables().await;
    let began = std::time::Instant::now();
    let token = test.admin_token();
    let clients = (0..100).map(|_| {
        let options = options(&test, "fhir", &token);
        async move {
            let mut connection = options.connect().await.unwrap();
            let sql =
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'r4'";
            sqlx::query(sql).fetch_all(&mut connection).await.unwrap().len()
        }
    });
    let found = futures::future::join_all(clients).await;
    // tables and the indexes of their keys
    assert!(found.iter().all(|count| *count == 4), "{found:?}");
    eprintln!("100 connections connect and list in {:?}", began.elapsed());
    test.stop().await;
}

//! Firebird to the raw zone: 500,000 rows of 10 columns. Floor: the plain client, isql, fetching all rows to /dev/null.

use anyhow::{Context, Result};
use mavis_bench::Plain;

const TABLE: &str = "
    CREATE TABLE READING (ID BIGINT NOT NULL PRIMARY KEY, PATIENT INTEGER NOT NULL, AT_TIME TIMESTAMP NOT NULL, CODE VARCHAR(20) NOT NULL,
        VAL DOUBLE PRECISION, LOW NUMERIC(9,2), HIGH NUMERIC(18,2), UNIT VARCHAR(10), NOTE VARCHAR(100), CHECKED BOOLEAN);
    COMMIT;
    SET TERM ^;
    EXECUTE BLOCK AS DECLARE I INTEGER = 0; BEGIN WHILE (I < 500000) DO BEGIN I = I + 1;
        INSERT INTO READING VALUES (:I, MOD(:I, 5000), DATEADD(:I SECOND TO TIMESTAMP '2024-01-01 00:00:00'), 'код-' || MOD(:I, 300),
            :I / 7.0, MOD(:I, 1000) / 10.00, MOD(:I, 1000) / 5.00, 'ммоль/л', 'запись ' || :I, MOD(:I, 3) = 0); END END^
    SET TERM ;^
    COMMIT;";

#[tokio::main]
async fn main() -> Result<()> {
    let (Ok(address), Ok(client)) = (std::env::var("MAVIS_TEST_FIREBIRD"), std::env::var("MAVIS_TEST_FIREBIRD_ISQL"))
    else {
        eprintln!("skipped: MAVIS_TEST_FIREBIRD is not set; run bench/run");
        return Ok(());
    };
    let (host_and_port, folder) =
        address.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).context("no address")?;
    let port = host_and_port.rsplit_once(':').context("no port")?.1;
    let path = format!("/{folder}/bench_{}.fdb", std::process::id());
    let database = format!("127.0.0.1/{port}:{path}");
    let arguments = ["-q", "-ch", "UTF8", "-user", "SYSDBA", "-password", "masterkey"];
    let mut plain = Plain {
        kind: "firebird",
        client: [client.as_str()].iter().chain(&arguments).map(|text| (*text).to_owned()).collect(),
        password: ("FIREBIRD_PASSWORD_LAB", "masterkey"),
        params: ["host=127.0.0.1", &format!("port={port}"), "user=SYSDBA", &format!("database={path}")]
            .map(str::to_owned)
            .into(),
        query: "SELECT * FROM READING;",
        table: "reading",
        rows: 500_000,
    };
    plain.run(&format!("CREATE DATABASE '{database}' PAGE_SIZE 8192 DEFAULT CHARACTER SET WIN1251;"))?;
    plain.client.push(database);
    plain.run(TABLE)?;
    plain.compare("isql to /dev/null").await
}

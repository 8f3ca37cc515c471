//! MariaDB to the raw zone: 1,000,000 rows of 10 columns. Floor: the plain client fetching all rows, `--quick`, to /dev/null.

use anyhow::{Context, Result};
use mavis_bench::Plain;

const TABLE: &str = "
    DROP DATABASE IF EXISTS bench; CREATE DATABASE bench CHARACTER SET utf8mb4; USE bench;
    CREATE TABLE reading (id bigint PRIMARY KEY, patient int NOT NULL, at datetime NOT NULL, code varchar(20) NOT NULL,
        value double, low decimal(10,2), high decimal(10,2), unit varchar(10), note text, checked boolean);
    INSERT INTO reading SELECT seq, seq % 5000, '2024-01-01' + INTERVAL seq SECOND, concat('code-', seq % 300), seq / 7.0,
        (seq % 1000) / 10.0, (seq % 1000) / 5.0, 'mmol/l', concat('note ', seq), seq % 3 = 0 FROM seq_1_to_1000000;
    ANALYZE TABLE reading;";

#[tokio::main]
async fn main() -> Result<()> {
    let (Ok(url), Ok(client)) = (std::env::var("MAVIS_TEST_MARIADB"), std::env::var("MAVIS_TEST_MARIADB_CLIENT"))
    else {
        eprintln!("skipped: MAVIS_TEST_MARIADB is not set; run bench/run");
        return Ok(());
    };
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()).context("no port")?;
    let arguments = ["--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "mavis", "-pmavis", "--quick"];
    let plain = Plain {
        kind: "mysql",
        client: [client.as_str()].iter().chain(&arguments).map(|text| (*text).to_owned()).collect(),
        password: ("MYSQL_PASSWORD_LAB", "mavis"),
        params: ["host=127.0.0.1", &format!("port={port}"), "user=mavis", "database=bench"].map(str::to_owned).into(),
        query: "SELECT * FROM bench.reading;",
        table: "reading",
        rows: 1_000_000,
    };
    plain.run(TABLE)?;
    plain.compare("mariadb --quick to /dev/null").await
}

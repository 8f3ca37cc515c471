use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mavis_tests::Server;

use crate::{Figure, median};

/// A database client that fetches all rows, and the source that reads the same table.
#[derive(Debug)]
pub struct Plain {
    pub kind: &'static str,
    pub client: Vec<String>,
    /// The password of the source `lab`, by its variable.
    pub password: (&'static str, &'static str),
    pub params: Vec<String>,
    /// Fetches the table, whatever is done with it.
    pub query: &'static str,
    /// The table in the raw zone.
    pub table: &'static str,
    pub rows: i64,
}

impl Plain {
    /// Gives the client statements on its standard input and throws away what it prints.
    ///
    /// # Errors
    /// When the client is not there or fails.
    pub fn run(&self, statements: &str) -> Result<Duration> {
        let start = Instant::now();
        let (program, arguments) = self.client.split_first().context("no client")?;
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("no standard input")?.write_all(statements.as_bytes())?;
        ensure!(child.wait()?.success(), "{program} failed");
        Ok(start.elapsed())
    }

    /// Prints how long the client takes, and how long the way into the raw zone, each the median of three in turn.
    ///
    /// # Errors
    /// When rows are lost on the way.
    pub async fn compare(&self, floor: &str) -> Result<()> {
        let (mut floors, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            floors.push(self.run(self.query)?);
            ours.push(self.to_raw().await?);
        }
        let (floor_time, time) = (median(&mut floors), median(&mut ours));
        println!("{} rows, median of 3", self.rows);
        println!("{}", Figure { what: format!("floor: {floor}"), value: format!("{floor_time:.2?}"), ratio: None });
        let ratio = Some(("the floor".to_owned(), time.as_secs_f64() / floor_time.as_secs_f64()));
        println!(
            "{}",
            Figure { what: "mavis into the raw zone, committed".to_owned(), value: format!("{time:.2?}"), ratio }
        );
        Ok(())
    }

    async fn to_raw(&self) -> Result<Duration> {
        let server = Server::builder().env(self.password.0, self.password.1).start().await?;
        let mut args = vec!["source", "add", "lab", "--kind", self.kind];
        for param in &self.params {
            args.extend(["--param", param]);
        }
        server.mavis(&args)?.ok()?;
        server.mavis(&["ingest", "lab"])?.ok()?;
        let count = server.count(&format!("SELECT count(*) FROM raw.lab.{}", self.table)).await?;
        ensure!(count == self.rows, "rows were lost: {count}");
        let seconds = server.value("SELECT seconds FROM system.ops.run_units WHERE step = 'to_raw'").await?;
        Ok(Duration::from_secs_f64(seconds.as_f64().context("no seconds")?))
    }
}
